/*
 * event.c
 *    The events of one table, read from the log in their order.
 *
 * They are read by a query under the caller's rights, so the log's policy and
 * the planner apply as to everybody.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "audit/replay.h"
#include "core/core.h"

/* Columns of the query. */
enum EventColumn
{
	EVENT_ID,
	EVENT_CHANGED_AT,
	EVENT_OPERATION,
	EVENT_RECORD_ID,
	EVENT_NEW_RECORD_ID,
	EVENT_OLD_VALUES,
	EVENT_NEW_VALUES,
	EVENT_ROW,
	EVENT_GAP,
	EVENT_DETAIL
};

/* The table, and two of each moment with the time to begin at. */
#define MAX_PARAMETERS 6

/* Gets the rows of the query. */
typedef struct EventReceiver
{
	DestReceiver receiver;
	AuditTarget *target;
	AuditEventCallback callback;
	void	   *argument;
	MemoryContext context;		/* of one event */
} EventReceiver;

static AuditOperation
read_operation(text *operation)
{
	const char *word = VARDATA_ANY(operation);

	for (AuditOperation i = 0; i < AUDIT_OPERATIONS; i++)
	{
		const char *name = architect_audit_operation_name(i);

		if (VARSIZE_ANY_EXHDR(operation) == strlen(name) && memcmp(word, name, strlen(name)) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the audit log has an unknown operation \"%s\"", text_to_cstring(operation)),
			 errhint("Run the version of the extension that wrote it, or a newer one.")));
}

static text *
read_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : DatumGetTextPP(slot->tts_values[column]);
}

static Jsonb *
read_image(TupleTableSlot *slot, int column, AuditShape *shape)
{
	return slot->tts_isnull[column] ? NULL :
		architect_audit_present(DatumGetJsonbP(slot->tts_values[column]), shape);
}

static bool
receive_event(TupleTableSlot *slot, DestReceiver *self)
{
	EventReceiver *receiver = (EventReceiver *) self;
	MemoryContext caller = MemoryContextSwitchTo(receiver->context);
	AuditLogEvent event = {0};
	AuditShape *shape;

	CHECK_FOR_INTERRUPTS();
	slot_getallattrs(slot);
	event.id = DatumGetInt64(slot->tts_values[EVENT_ID]);
	event.changed_at = DatumGetTimestampTz(slot->tts_values[EVENT_CHANGED_AT]);
	event.operation = read_operation(read_text(slot, EVENT_OPERATION));
	event.record_id = read_text(slot, EVENT_RECORD_ID);
	event.new_record_id = read_text(slot, EVENT_NEW_RECORD_ID);

	shape = architect_audit_shape_at(receiver->target, event.id);
	event.old_values = read_image(slot, EVENT_OLD_VALUES, shape);
	event.new_values = read_image(slot, EVENT_NEW_VALUES, shape);
	event.row = read_image(slot, EVENT_ROW, shape);
	if (!slot->tts_isnull[EVENT_GAP])
		event.gap = TextDatumGetCString(slot->tts_values[EVENT_GAP]);
	if (!slot->tts_isnull[EVENT_DETAIL])
		event.detail = TextDatumGetCString(slot->tts_values[EVENT_DETAIL]);

	receiver->callback(&event, receiver->argument);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(receiver->context);
	return true;
}

static void
start_receiving(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
end_receiving(DestReceiver *self)
{
}

/*
 * The query, with its parameters in place.
 */
static char *
make_query(AuditTarget *target, const AuditEventFilter *filter, ParamListInfo params)
{
	StringInfoData query;
	Oid			types[MAX_PARAMETERS] = {INT4OID};
	Datum		values[MAX_PARAMETERS] = {Int32GetDatum(target->table_id)};
	int			nparams = 1;

	initStringInfo(&query);
	appendStringInfoString(&query,
						   "SELECT id, changed_at, operation, record_id, new_record_id, old_values, new_values,"
						   " context -> '" AUDIT_CONTEXT_ROW "',"
						   " CASE WHEN operation = 'GAP' THEN context ->> 'gap' END,"
						   " CASE WHEN operation = 'GAP' THEN context ->> 'detail'"
						   "      WHEN operation = 'TRUNCATE' THEN context ->> '" AUDIT_CONTEXT_PARTITION "' END"
						   " FROM " ARCHITECT_SCHEMA ".audit_log WHERE table_id = $1");
	if (filter->since != NULL)
	{
		types[nparams] = TIMESTAMPTZOID;
		values[nparams] = TimestampTzGetDatum(filter->since->since);
		appendStringInfo(&query, " AND changed_at >= $%d", ++nparams);
		architect_audit_moment_parameters(filter->since, types + nparams, values + nparams);
		appendStringInfo(&query, " AND %s", architect_audit_after(filter->since, nparams + 1));
		nparams += 2;
	}
	if (filter->until != NULL)
	{
		architect_audit_moment_parameters(filter->until, types + nparams, values + nparams);
		appendStringInfo(&query, " AND NOT %s", architect_audit_after(filter->until, nparams + 1));
		nparams += 2;
	}
	if (filter->after_id > 0)
		appendStringInfo(&query, " AND id > " INT64_FORMAT, filter->after_id);
	if (filter->whole_table)
		appendStringInfoString(&query, " AND record_id IS NULL");
	if (!filter->in_any_order)
		appendStringInfoString(&query, " ORDER BY id");

	for (int i = 0; i < nparams; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	params->numParams = nparams;
	return query.data;
}

/*
 * Calls back for each event of the table that the filter lets through.  The event
 * lives as long as the call.
 */
void
architect_audit_read_events(AuditTarget *target, const AuditEventFilter *filter,
							AuditEventCallback callback, void *argument)
{
	EventReceiver receiver = {
		.receiver = {
			.receiveSlot = receive_event,
			.rStartup = start_receiving,
			.rShutdown = end_receiving,
			.rDestroy = end_receiving,
			.mydest = DestTuplestore
		},
		.target = target,
		.callback = callback,
		.argument = argument,
		.context = AllocSetContextCreate(CurrentMemoryContext, "architect audit event", ALLOCSET_DEFAULT_SIZES)
	};
	int			pin_level = architect_audit_pin(AUDIT_PIN_QUERY);
	ParamListInfo params = makeParamList(MAX_PARAMETERS);
	SPIExecuteOptions options = {
		.params = params,
		.read_only = true,
		.dest = (DestReceiver *) &receiver
	};

	SPI_connect();
	if (SPI_execute_extended(make_query(target, filter, params), &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read the audit log");
	SPI_finish();
	architect_audit_unpin(pin_level);
	MemoryContextDelete(receiver.context);
}
