/*
 * audit.h
 *    Row changes as rows of architect.audit_log.
 *
 * A change flows one way: capture.c and truncate.c turn what a trigger sees
 * into an event with the help of table.c (how a table is audited), image.c and
 * value.c (its rows as JSONB); log.c numbers and stores events.
 */
#ifndef ARCHITECT_AUDIT_H
#define ARCHITECT_AUDIT_H

#include "postgres.h"

#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "utils/jsonb.h"

#include "audit/value.h"
#include "compat.h"

#define AUDIT_ROW_TRIGGER		"architect_audit"
#define AUDIT_DELETE_TRIGGER	"architect_audit_delete"
#define AUDIT_TRUNCATE_TRIGGER	"architect_audit_truncate"

/*
 * Under this name the context of an UPDATE has the row before it, where a deferrable
 * key does not tell which row that was.
 */
#define AUDIT_CONTEXT_ROW "updated_row"

/* And under this one that of a TRUNCATE the partition, where it was not all of the table. */
#define AUDIT_CONTEXT_PARTITION "partition"

/* And under this one what a backfill changed has its job. */
#define AUDIT_CONTEXT_JOB "backfill_job"

/* What a masked value looks like in the log. */
#define AUDIT_MASK "***"

typedef enum AuditCapture
{
	AUDIT_CAPTURE_CHANGES,		/* whole new or old row; of an update the changed columns */
	AUDIT_CAPTURE_FULL,			/* both rows whole */
	AUDIT_CAPTURE_KEYS			/* no values, but those of a changed key */
} AuditCapture;

typedef enum AuditTruncate
{
	AUDIT_TRUNCATE_EVENT,
	AUDIT_TRUNCATE_ROWS,
	AUDIT_TRUNCATE_REFUSE
} AuditTruncate;

typedef enum AuditOperation
{
	AUDIT_OPERATION_INSERT,
	AUDIT_OPERATION_UPDATE,
	AUDIT_OPERATION_DELETE,
	AUDIT_OPERATION_TRUNCATE,

	/* What is no change. */
	AUDIT_OPERATION_BASELINE,	/* a row as it was found */
	AUDIT_OPERATION_GAP,		/* the table may have changed unseen */
	AUDIT_OPERATION_ERASE,		/* values were removed from the log */
	AUDIT_OPERATION_RETAIN,		/* old rows were removed from the log */
	AUDIT_OPERATION_HOLD,		/* no removal from here on */
	AUDIT_OPERATION_RELEASE,	/* the end of that */
	AUDIT_OPERATIONS
} AuditOperation;

/* A column that goes into the log, under its name in the root table. */
typedef struct AuditColumn
{
	char	   *name;
	int			name_length;
	int			index;			/* of its value in a slot, from 0 */
	int16		length;
	bool		by_value;
	bool		masked;
	bool		in_key;
	AuditType	type;
} AuditColumn;

/* How one table, or one partition of it, is audited. */
typedef struct AuditTable
{
	Oid			trigger;		/* hash key: the trigger it was read from */
	bool		valid;
	Oid			relation;
	Oid			root;			/* the relation itself if it is no partition */
	int32		table_id;
	AuditCapture capture;
	AuditTruncate truncate;
	Datum		schema_name;	/* text; of the root */
	Datum		table_name;
	int			ncolumns;
	AuditColumn *columns;		/* in the order of JSONB keys */
	int			nkeys;
	AuditColumn **keys;			/* in key order */
	bool		key_is_deferrable;	/* two rows can have one key for a moment */
	uint32		pins;
	bool		store_at_once;	/* others' AFTER triggers may look into the log */
	MemoryContext context;		/* owns all of the above */
} AuditTable;

/* A set of columns: places in AuditTable.columns, ascending. */
typedef struct AuditColumnSet
{
	int			count;
	int		   *columns;
} AuditColumnSet;

typedef struct AuditEvent
{
	AuditOperation operation;
	text	   *record_id;		/* NULL where the event is the whole table's */
	Jsonb	   *old_values;
	Jsonb	   *new_values;
	text	   *new_record_id;	/* after an UPDATE that changed the key */
	Jsonb	   *context;		/* added to that of the transaction, if not NULL */
} AuditEvent;

/* audit.c */
extern void architect_audit_init(void);

/* actor.c */
extern void architect_audit_actor(Datum *changed_by, Datum *session_role, Datum *context);
extern Jsonb *architect_audit_make_context(const char *name, const char *value);
extern Jsonb *architect_audit_make_row_context(Jsonb *row);
extern Datum architect_audit_context_with(Jsonb *more);
extern Datum architect_audit_context_of_whole(void);
extern void architect_audit_actor_init(void);

/* condition.c */
extern char *architect_audit_condition(Relation rel, const char *condition, const char *alias);

/* enable.c */
extern Relation architect_audit_open_root(Oid target, const char *purpose);
extern List *architect_audit_names(FunctionCallInfo fcinfo, int argument);
extern bool architect_audit_is_changing;

/* image.c */
extern Jsonb *architect_audit_image(AuditTable *table, const AuditColumnSet *set,
									TupleTableSlot *slot);
extern text *architect_audit_write_record_id(AuditTable *table, TupleTableSlot *slot, StringInfo record);
extern text *architect_audit_record_id(AuditTable *table, TupleTableSlot *slot);

/* log.c */
extern const char *architect_audit_operation_name(AuditOperation operation);
extern void architect_audit_append(AuditTable *table, const AuditEvent *event);
extern int64 architect_audit_note(AuditTable *table, const AuditEvent *event);
extern void architect_audit_log_init(void);

extern void architect_audit_store_pending(void);

/* number.c */
extern int64 architect_audit_take_numbers(Oid sequence_id, int count);

/* shape.c */
extern void architect_audit_note_shape(Oid target, bool enabled);

/* table.c */
extern AuditTable *architect_audit_table(Relation rel, Trigger *trigger);
extern int32 architect_audit_table_id(Oid root);
extern Trigger *architect_audit_find_trigger(Relation rel);
extern char *architect_audit_origin(void);
extern char *architect_audit_witness(Relation root);
extern List *architect_audit_extend_mask(Relation root, List *mask);
extern void architect_audit_table_init(void);

/* truncate.c */
extern int64 architect_audit_capture_rows(AuditTable *table, Relation rel, AuditOperation operation);

#endif							/* ARCHITECT_AUDIT_H */
