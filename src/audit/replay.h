/*
 * replay.h
 *    The log of one table read again: what its events come to, taken together.
 *
 * target.c opens an audited table with its shapes, event.c reads its events,
 * overlay.c brings their images under present names, and replay.c adds them up
 * to one net change a record.  asof.c, changes.c and verify.c ask for that;
 * fingerprint.c spares verify.c most of it.
 */
#ifndef ARCHITECT_AUDIT_REPLAY_H
#define ARCHITECT_AUDIT_REPLAY_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

#include "audit/audit.h"

/* A column as it was at the time of a shape. */
typedef struct AuditShapeColumn
{
	char	   *name;
	int			name_length;
	char	   *present_name;	/* NULL if it is gone */
	char	   *type;
	bool		masked;
	bool		excluded;
} AuditShapeColumn;

/* How a table looked from one number of the log on. */
typedef struct AuditShape
{
	int64		log_id;
	TimestampTz changed_at;
	bool		is_after;		/* it came after the moment asked for */
	char	   *capture;		/* NULL while not audited */
	char	   *condition;
	char	   *gap;
	bool		whole;			/* from here on the log has every row */
	char	   *key;			/* its columns and their types, as a text */
	char	   *origin;			/* the database that column numbers belong to */
	bool		is_present;		/* an image needs no change of names */
	int			ncolumns;
	AuditShapeColumn *columns;
} AuditShape;

/* A moment: what is visible to it has happened before. */
typedef struct AuditMoment
{
	TimestampTz at;
	char	   *snapshot;		/* of a mark; NULL where only the time is known */
	char	   *mark;			/* its name */
	TimestampTz since;			/* no event after the moment has an earlier changed_at */
	Datum		late;			/* xid8[]: logged changes before, and committed after */
} AuditMoment;

typedef struct AuditTarget
{
	Oid			relation;
	Oid			owner;
	char	   *name;
	int32		table_id;
	TimestampTz removed_before; /* DT_NOBEGIN if nothing was removed from its log */
	int			nshapes;
	AuditShape *shapes;			/* oldest first */
} AuditTarget;

/* A row of the log.  Images are under present names. */
typedef struct AuditLogEvent
{
	int64		id;
	TimestampTz changed_at;
	AuditOperation operation;
	text	   *record_id;
	text	   *new_record_id;
	Jsonb	   *old_values;
	Jsonb	   *new_values;
	Jsonb	   *row;			/* before an UPDATE, where the key is deferrable */
	char	   *gap;			/* kind of a gap */
	char	   *detail;			/* of a gap; the partition of a TRUNCATE */
} AuditLogEvent;

typedef void (*AuditEventCallback) (const AuditLogEvent *event, void *argument);

/* The net change of one record. */
typedef struct AuditChange
{
	text	   *id;				/* after the last event */
	text	   *first_id;		/* before the first */
	bool		existed;
	bool		exists;
	bool		arrived;		/* under its id by a change of key */
	bool		doubtful;		/* may be gone with a partition that was truncated */
	bool		seen;			/* for use of the caller */
	Jsonb	   *before;			/* of what changed, values before; the whole row if it is gone */
	Jsonb	   *after;			/* of what changed, values after; the whole row if it is new */
	Jsonb	   *known;			/* of one that arrived, what is known of its row */
	struct AuditChange *next;	/* with the same id: for a moment, where a key is deferrable */
} AuditChange;

typedef struct AuditReplay AuditReplay;

/* What reading as somebody else has changed. */
typedef struct AuditReading
{
	Oid			user;
	int			security;
	int			level;
} AuditReading;

/* How values of a column come back from JSON. */
typedef struct AuditColumnReader
{
	const char *table;
	char	   *name;			/* NULL for a column that was dropped */
	int			name_length;
	Oid			type;
	int32		typmod;
	bool		is_plain;		/* reading it looks at no setting and runs nobody's code */
	Oid			io_param;
	FmgrInfo	input;
} AuditColumnReader;

/* Which events to read; all of the table's where nothing is said. */
typedef struct AuditEventFilter
{
	const AuditMoment *since;	/* those that came after this moment */
	const AuditMoment *until;	/* and not after that */
	int64		after_id;
	bool		whole_table;	/* those of no single record */
	bool		in_any_order;	/* instead of that of their ids */
} AuditEventFilter;

typedef struct AuditFingerprints AuditFingerprints;

/* What a fingerprint says of a live row. */
typedef enum AuditVerdict
{
	AUDIT_VERDICT_SAME,
	AUDIT_VERDICT_SUSPECT,
	AUDIT_VERDICT_UNTOLD		/* the log does not know the record, and need not */
} AuditVerdict;

typedef struct AuditAsOf AuditAsOf;

/* asof.c */
extern AuditAsOf *architect_audit_begin_as_of(Oid relid, TupleDesc desc, NullableDatum at,
											  NullableDatum mark);
extern TupleTableSlot *architect_audit_next_as_of(AuditAsOf *as_of);
extern void architect_audit_end_as_of(AuditAsOf *as_of);

/* asof_scan.c */
extern void architect_audit_as_of_scan_init(void);

/* target.c */
extern AuditTarget *architect_audit_read_target(Oid relid, const AuditMoment *moment, const char *purpose);
extern void architect_audit_check_row_security(AuditTarget *target);
extern bool architect_audit_has_other_key(const AuditShape *left, const AuditShape *right);
extern void architect_audit_begin_reading(AuditTarget *target, AuditReading *reading);
extern void architect_audit_end_reading(AuditReading *reading);
extern List *architect_audit_tables_of(Relation root);
extern double architect_audit_estimate_rows(Relation root);
extern AuditTable *architect_audit_capture_of(Relation rel);
extern AuditShape *architect_audit_shape_at(AuditTarget *target, int64 log_id);

/* moment.c */
extern AuditMoment *architect_audit_moment_at(TimestampTz at);
extern TimestampTz architect_audit_query_time(const char *query, Oid type, Datum value, TimestampTz if_null);
extern AuditMoment *architect_audit_moment_of_mark(const char *name);
extern char *architect_audit_after(const AuditMoment *moment, int first_parameter);
extern void architect_audit_moment_parameters(const AuditMoment *moment, Oid *types, Datum *values);

/* event.c */
extern void architect_audit_read_events(AuditTarget *target, const AuditEventFilter *filter,
										AuditEventCallback callback, void *argument);

/* fingerprint.c */
extern AuditFingerprints *architect_audit_begin_fingerprints(List *untold, bool is_complete);
extern uint64 architect_audit_wide_hash(text *id);
extern void architect_audit_add_fingerprint(AuditFingerprints *fingerprints, const AuditLogEvent *event);
extern AuditVerdict architect_audit_check_fingerprint(AuditFingerprints *fingerprints, text *id, Jsonb *live);
extern void architect_audit_unseen_suspects(AuditFingerprints *fingerprints,
											void (*callback) (uint64 id, void *argument), void *argument);

/* overlay.c */
extern JsonbValue *architect_audit_get(Jsonb *image, const char *name, int length, JsonbValue *value);
extern bool architect_audit_is_in_list(List *names, const JsonbValue *name);
extern bool architect_audit_is_json_null(Jsonb *image, const char *name, int length);
extern bool architect_audit_is_erased(Jsonb *image, const char *name, int length);
extern Jsonb *architect_audit_difference(Jsonb *image, Jsonb *other);
extern Jsonb *architect_audit_overlay(Jsonb *below, Jsonb *above);
extern Jsonb *architect_audit_present(Jsonb *image, AuditShape *shape);

/* column.c */
extern AuditColumnReader *architect_audit_column_readers(Relation rel);
extern int	architect_audit_find_reader(AuditColumnReader *readers, int nreaders, const JsonbValue *name);
extern Datum architect_audit_read_column(AuditColumnReader *reader, Jsonb *image, JsonbValue *value, bool *isnull);

extern bool architect_audit_type_changed(AuditTarget *target, AuditColumnReader *reader);

/* replay.c */
extern AuditReplay *architect_audit_begin_replay(bool before, bool after, bool baselines);
extern void architect_audit_replay(AuditReplay *replay, const AuditLogEvent *event);
extern AuditChange *architect_audit_find_change(AuditReplay *replay, text *id);
extern List *architect_audit_net_changes(AuditReplay *replay);

#endif							/* ARCHITECT_AUDIT_REPLAY_H */
