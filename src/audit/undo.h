/*
 * undo.h
 *    Live tables that are to be set back, and the statements that do it.
 */
#ifndef ARCHITECT_AUDIT_UNDO_H
#define ARCHITECT_AUDIT_UNDO_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "audit/record.h"

/* Rows looked up by one query at most, which may read all of a small table for them. */
#define AUDIT_LOOKUP_ROWS	10000

/* Rows set back by one statement at most. */
#define AUDIT_STEP_ROWS		1000

/* A column as it is now. */
typedef struct LiveColumn
{
	AttrNumber	attnum;
	const char *name;
	int			length;			/* of the name */
	const char *quoted;
	const char *type;			/* its base type, qualified, without modifier */
	const char *equals;			/* operator by which a key is compared */
	bool		is_jsonb;
	bool		is_logged;		/* neither excluded nor virtual */
	bool		is_masked;
	bool		is_generated;
	bool		is_always_identity;
	bool		is_unique;		/* at every moment, alone or with others */
	bool		needs_value;	/* NOT NULL without a default */
	bool		noticed;		/* the user knows that it cannot be brought back */
} LiveColumn;

/* An audited table as it is now. */
typedef struct LiveTable
{
	int32		table_id;
	Oid			relid;
	const char *name;			/* qualified and quoted */
	const char *target;			/* the same with ONLY where others inherit from it */
	int			ncolumns;
	LiveColumn *columns;
	int			nkeys;
	LiveColumn **keys;
	bool		order_matters;	/* an expression or condition can make any column unique */
	bool		keys_only;		/* capture of keys */
	struct AuditTarget *names;	/* how columns were called, or NULL */
	uint32		pins;			/* settings that reading its values depends on */
	List	   *gone;			/* names (char *) of columns that the user knows to be dropped */
} LiveTable;

typedef enum UndoKind
{
	UNDO_DELETE,
	UNDO_INSERT,
	UNDO_UPDATE
} UndoKind;

/* One row to be set back. */
typedef struct UndoRow
{
	UndoKind	kind;
	LiveTable  *table;
	const char *record_id;		/* under which it is now, or will be once inserted */
	const char *new_record_id;	/* under which it will be, if its key is set back too */
	AuditRecord *values;		/* to insert or to set; NULL to delete */
	AuditLogRow *event;			/* that this undoes */
	bool		emitted;		/* has its place in the order */
	List	   *waiting;		/* rows (UndoRow *) that come after this one */
} UndoRow;

/* A foreign key between tables that the transaction changed. */
typedef struct UndoReference
{
	LiveTable  *child;
	LiveTable  *parent;
	int			count;
	LiveColumn **child_columns;
	LiveColumn **parent_columns;
} UndoReference;

/* A statement on rows of one table. */
typedef struct UndoStep
{
	UndoKind	kind;
	LiveTable  *table;			/* NULL for a statement about constraints */
	List	   *rows;			/* of UndoRow * */
	List	   *columns;		/* of LiveColumn *, inserted or set */
	const char *statement;		/* NULL where there is none that could do it */
	const char *why;
	List	   *conflicts;		/* of Jsonb * */
} UndoStep;

/* A row as the transaction left it. */
typedef struct NetRow
{
	AuditRecord *values;		/* as far as the transaction set them */
	struct UndoStep *step;		/* that undoes the last of its changes that can be, or NULL */
	List	   *updates;		/* what undoes (UndoRow *) its UPDATEs, the last first */
} NetRow;

/* What the transaction left under one key. */
typedef struct NetState
{
	LiveTable  *table;
	const char *record_id;
	List	   *rows;			/* of NetRow *: none or one, more only while a key is deferred */
	AuditLogRow *event;			/* the last that took a row away */
	int			came;			/* rows that the transaction brought to this key */
	int			went;			/* and took from it */
	Jsonb	   *live;			/* what is there now, or NULL */
	UndoRow    *waiting;		/* the row to be set back last that has no place yet */
	struct NetState *next;		/* of the same hash */
} NetState;

/* The undo of one transaction. */
typedef struct Undo
{
	FullTransactionId transaction;
	bool		force;
	List	   *events;			/* of AuditLogRow *, by id */
	List	   *tables;			/* of LiveTable * */
	struct HTAB *index;			/* of the states */
	List	   *states;			/* of NetState * */
	List	   *rows;			/* of UndoRow *, in the order in which they are set back */
	List	   *steps;			/* of UndoStep * */
	List	   *constraints;	/* of the database (HeapTuple), once they were read */
	int			nconflicts;
	const char *first_conflict; /* as JSON */
	const char *impossible;		/* why it cannot be done at all, or NULL */
} Undo;

/* A live row as the log would show it. */
typedef struct LiveRow
{
	const char *record_id;
	Jsonb	   *image;
} LiveRow;

/* live.c */
extern char *architect_audit_operator(Oid operator);
extern const char *architect_audit_number_name(LiveTable *table);
extern LiveTable *architect_audit_live_table(Oid relid, int32 table_id);
extern LiveColumn *architect_audit_live_column(LiveTable *table, const char *name, int length);
extern List *architect_audit_live_rows(LiveTable *table, List *record_ids, bool lock);
extern void architect_audit_refuse_key(LiveTable *table, const char *record_id);
extern List *architect_audit_key_texts(LiveTable *table, const char *record_id);

extern List *architect_audit_query_rows(LiveTable *table, const char *query, bool read_only);

/* conflict.c */
extern NetState *architect_audit_state(Undo *undo, LiveTable *table, const char *record_id);
extern void architect_audit_count_states(Undo *undo);
extern void architect_audit_find_states(Undo *undo);
extern void architect_audit_find_conflicts(Undo *undo);
extern void architect_audit_add_problem(Undo *undo, UndoStep *step, const char *record_id, const char *problem);

extern void architect_audit_add_reference(Undo *undo, UndoStep *step, Oid relid, const char *constraint, int64 count);

/* reference.c */
extern void architect_audit_find_references(Undo *undo, LiveTable *table);
extern char *architect_audit_deferrable(Undo *undo);
extern List *architect_audit_references(Undo *undo);

/* order.c */
extern void architect_audit_order_rows(Undo *undo);

/* undo.c */
extern LiveTable *architect_audit_undo_table(Undo *undo, int32 table_id);
extern int64 architect_audit_run_step(const UndoStep *step, bool force);

/* statement.c */
extern void architect_audit_append_keys(StringInfo buf, LiveTable *table, List *record_ids, const char *number);
extern void architect_audit_append_match(StringInfo buf, LiveTable *table, const char *prefix);
extern const char *architect_audit_obstacle(LiveTable *table, UndoKind kind, const AuditRecord *values);
extern List *architect_audit_settable(LiveTable *table, UndoKind kind, const AuditRecord *values);
extern char *architect_audit_statement(UndoKind kind, LiveTable *table, List *rows, List *columns);

#endif							/* ARCHITECT_AUDIT_UNDO_H */
