/*
 * log.h
 *    The audit log as tables: columns, partitions, and times of commits.
 */
#ifndef ARCHITECT_AUDIT_LOG_H
#define ARCHITECT_AUDIT_LOG_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/rel.h"

/* The columns of architect.audit_log, as audit.sql makes them. */
enum LogColumn
{
	LOG_ID,						/* first, so that its place in a tuple is fixed */
	LOG_CHANGED_AT,
	LOG_TRANSACTION_ID,
	LOG_TABLE_ID,
	LOG_OPERATION,
	LOG_TABLE_SCHEMA,
	LOG_TABLE_NAME,
	LOG_RECORD_ID,
	LOG_CHANGED_BY,
	LOG_SESSION_ROLE,
	LOG_OLD_VALUES,
	LOG_NEW_VALUES,
	LOG_CONTEXT,
	LOG_NEW_RECORD_ID,
	LOG_COLUMNS
};

typedef struct AuditLogColumn
{
	const char *name;
	Oid			type;
	bool		nullable;
} AuditLogColumn;

extern const AuditLogColumn architect_audit_log_columns[LOG_COLUMNS];

/* commit.c */
extern void architect_audit_commit_note(TimestampTz changed_at);
extern void architect_audit_commit_store(bool is_prepared);
extern void architect_audit_commit_forget(void);

/* partition.c */
extern Oid	architect_audit_log_relation(const char *name);
extern Relation architect_audit_open_partition(TimestampTz at, TimestampTz *lower, TimestampTz *upper);
extern void architect_audit_store(Relation partition, TupleTableSlot **slots, int nrows, CommandId command);
extern void architect_audit_partition_init(void);

#endif							/* ARCHITECT_AUDIT_LOG_H */
