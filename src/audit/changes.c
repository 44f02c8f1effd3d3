/*
 * changes.c
 *    architect.audit_changes: the net change of each record between two times.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "audit/replay.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(architect_audit_changes);

/* Columns of the result. */
enum ChangesColumn
{
	CHANGES_RECORD_ID,
	CHANGES_OPERATION,
	CHANGES_OLD_VALUES,
	CHANGES_NEW_VALUES,
	CHANGES_COLUMNS
};

typedef struct Changes
{
	AuditReplay *replay;
	ReturnSetInfo *result;
} Changes;

static void
put_change(ReturnSetInfo *result, text *record_id, AuditOperation operation, Jsonb *old_values, Jsonb *new_values)
{
	Datum		values[CHANGES_COLUMNS] = {0};
	bool		nulls[CHANGES_COLUMNS] = {
		[CHANGES_RECORD_ID] = record_id == NULL,
		[CHANGES_OLD_VALUES] = old_values == NULL,
		[CHANGES_NEW_VALUES] = new_values == NULL
	};

	values[CHANGES_RECORD_ID] = PointerGetDatum(record_id);
	values[CHANGES_OPERATION] = CStringGetTextDatum(architect_audit_operation_name(operation));
	values[CHANGES_OLD_VALUES] = PointerGetDatum(old_values);
	values[CHANGES_NEW_VALUES] = PointerGetDatum(new_values);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Adds an event up.  That a table was emptied without images is told as it is:
 * nobody knows of which records.
 */
static void
take_event(const AuditLogEvent *event, void *argument)
{
	Changes    *changes = argument;

	if (event->operation == AUDIT_OPERATION_TRUNCATE && event->record_id == NULL)
		put_change(changes->result, NULL, AUDIT_OPERATION_TRUNCATE, NULL, NULL);
	architect_audit_replay(changes->replay, event);
}

static void
put_record(ReturnSetInfo *result, AuditChange *record)
{
	if (!record->existed && !record->exists)
		return;
	if (!record->existed)
		put_change(result, record->id, AUDIT_OPERATION_INSERT, NULL, record->after);
	else if (!record->exists)
		put_change(result, record->first_id, AUDIT_OPERATION_DELETE, record->before, NULL);
	else
	{
		Jsonb	   *old_values = architect_audit_difference(record->before, record->after);
		Jsonb	   *new_values = architect_audit_difference(record->after, record->before);

		if (old_values != NULL || new_values != NULL || record->before == NULL)
			put_change(result, record->first_id, AUDIT_OPERATION_UPDATE, old_values, new_values);
	}
}

/*
 * architect.audit_changes(target, since, until)
 */
Datum
architect_audit_changes(PG_FUNCTION_ARGS)
{
	AuditEventFilter filter = {0};
	AuditTarget *target;
	Changes		changes;
	ListCell   *cell;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("target and since must not be NULL"),
				 errhint("Name the table and a time, as in architect.audit_changes('public.orders', now() - interval '1 hour').")));

	filter.since = architect_audit_moment_at(PG_GETARG_TIMESTAMPTZ(1));
	if (!PG_ARGISNULL(2))
		filter.until = architect_audit_moment_at(PG_GETARG_TIMESTAMPTZ(2));
	target = architect_audit_read_target(PG_GETARG_OID(0), filter.since, "show the changes of");
	InitMaterializedSRF(fcinfo, 0);
	changes.result = (ReturnSetInfo *) fcinfo->resultinfo;
	changes.replay = architect_audit_begin_replay(true, true, false);
	architect_audit_read_events(target, &filter, take_event, &changes);

	foreach(cell, architect_audit_net_changes(changes.replay))
	{
		CHECK_FOR_INTERRUPTS();
		put_record(changes.result, lfirst(cell));
	}
	return (Datum) 0;
}
