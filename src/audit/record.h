/*
 * record.h
 *    Images of the log taken apart, and the rows of the log by record.
 */
#ifndef ARCHITECT_AUDIT_RECORD_H
#define ARCHITECT_AUDIT_RECORD_H

#include "postgres.h"

#include "access/htup.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

#include "audit/audit.h"
#include "audit/log.h"

struct AuditShape;
struct AuditShapeColumn;

/* What the array under the empty key says of a column. */
typedef enum AuditMark
{
	AUDIT_MARK_NONE,
	AUDIT_MARK_JSON_NULL,		/* a jsonb column that holds JSON null */
	AUDIT_MARK_ERASED,			/* the value was removed from the log */
	AUDIT_MARK_MASKED			/* the value was never in it; only in images under present names */
} AuditMark;

/* One column of an image.  Name and value point into the image. */
typedef struct AuditField
{
	const char *name;
	int			length;			/* of the name */
	JsonbValue	value;
	AuditMark	mark;
	bool		stale;			/* may have changed unseen since */
} AuditField;

/* An image taken apart. */
typedef struct AuditRecord
{
	int			count;
	int			size;
	AuditField *fields;
} AuditRecord;

/* A row of the log. */
typedef struct AuditLogRow
{
	int64		id;
	int32		table_id;
	char		operation;		/* the first letter: I, U, D, T, B, G, … */
	FullTransactionId transaction;
	char	   *record_id;		/* NULL where the event is the whole table's */
	char	   *new_record_id;	/* NULL unless the key changed */
	Jsonb	   *old_values;		/* under present names, once is_renamed */
	Jsonb	   *new_values;
	bool		is_renamed;
	bool		keys_only;		/* captured so; known once is_renamed */
	struct UndoStep *step;		/* that undoes it */
	struct NetRow *row;			/* that it is about, within its transaction */
	Datum		values[LOG_COLUMNS];
	bool		nulls[LOG_COLUMNS];
} AuditLogRow;

/* The column by which rows are looked up. */
typedef enum AuditLookup
{
	AUDIT_BY_RECORD,
	AUDIT_BY_NEW_RECORD,
	AUDIT_LOOKUPS
} AuditLookup;

/* The log, open to be looked into. */
typedef struct AuditReader AuditReader;

/* The events of one record from its beginning, under whatever keys, to its end. */
typedef struct AuditLife
{
	List	   *events;			/* of AuditLogRow *, by id */
	AuditLogRow *doubtful;		/* the last, where it may have ended the life, or NULL */
} AuditLife;

/* One state of a record. */
typedef struct AuditVersion
{
	AuditLogRow *event;
	AuditLife  *life;
	AuditRecord *record;		/* NULL where it was gone */
	bool		complete;		/* the record is the whole row */
} AuditVersion;

/* record.c */
extern AuditRecord *architect_audit_make_record(void);
extern AuditRecord *architect_audit_read_record(Jsonb *image);
extern Jsonb *architect_audit_write_record(const AuditRecord *record);
extern AuditField *architect_audit_get_field(const AuditRecord *record, const char *name, int length);
extern void architect_audit_set_field(AuditRecord *record, const AuditField *field);
extern void architect_audit_merge(AuditRecord *record, const AuditRecord *newer);
extern AuditMark architect_audit_mark_of(Jsonb *image, const char *name, int length);
extern bool architect_audit_same_value(const JsonbValue *left, const JsonbValue *right);
extern bool architect_audit_is_known(const AuditField *field);
extern bool architect_audit_same_field(const AuditField *left, const AuditField *right);
extern bool architect_audit_contradicts(const AuditRecord *left, const AuditRecord *right);
extern bool architect_audit_is_full(const AuditRecord *before, const AuditRecord *after);

/* reader.c */
extern AuditReader *architect_audit_open_log(void);
extern void architect_audit_close_log(AuditReader *reader);
extern List *architect_audit_record_rows(AuditReader *reader, AuditLookup by, int32 table_id, const char *record_id);
extern Jsonb *architect_audit_updated_row(const AuditLogRow *row);
extern Oid	architect_audit_table_of(int32 table_id);
extern int	architect_audit_compare_rows(const ListCell *left, const ListCell *right);
extern List *architect_audit_transaction_rows(FullTransactionId transaction);

/* names.c */
extern struct AuditShapeColumn *architect_audit_shape_column(struct AuditShape *shape, const AuditField *field);
extern struct AuditTarget *architect_audit_past_names(Oid relid, int32 table_id);
extern void architect_audit_rename_event(struct AuditTarget *target, AuditLogRow *event);
extern AuditRecord *architect_audit_rename_back(struct AuditTarget *target, const AuditLogRow *event,
												AuditRecord *record);
extern bool architect_audit_renames_rows(struct AuditTarget *target, int64 earlier, int64 later);
extern bool architect_audit_is_renamed_row(struct AuditTarget *target, const AuditLogRow *event);
extern bool architect_audit_is_gone(AuditField *field);

/* life.c */
extern List *architect_audit_lives(AuditReader *reader, struct AuditTarget *target, int32 table_id,
								   const char *record_id, List *table_rows);

/* history.c */
extern List *architect_audit_versions(AuditReader *reader, struct AuditTarget *target, int32 table_id,
									  const char *record_id);
extern Relation architect_audit_open_target(Oid target, const char *purpose, int32 *table_id);

#endif							/* ARCHITECT_AUDIT_RECORD_H */
