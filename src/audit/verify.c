/*
 * verify.c
 *    architect.audit_verify: the log replayed must be the table as it is.
 *
 * The net change of all events is compared with the rows, under one snapshot and
 * without locks that anybody would wait for.  What the log tells of a record is
 * kept in memory; where that is too much for maintenance_work_mem, records are
 * divided up by their hash and the log is read once for each part.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "audit/replay.h"

PG_FUNCTION_INFO_V1(architect_audit_verify);

/* What a record takes, as a rule, with its image. */
#define RECORD_BYTES 512

/* Columns of the result. */
enum VerifyColumn
{
	VERIFY_RECORD_ID,
	VERIFY_PROBLEM,
	VERIFY_LOGGED,
	VERIFY_LIVE,
	VERIFY_COLUMNS
};

typedef struct Verify
{
	AuditTarget *target;
	ReturnSetInfo *result;
	Relation	root;
	AuditColumnReader *readers;
	AuditReplay *replay;
	int			passes;			/* a power of two */
	int			pass;
	AuditReplay *moved;			/* has the ids of records whose key changed; they belong to pass 0 */
	bool		is_complete;	/* every row of the table was logged once */
	int64		untold;			/* rows that the log does not know */
} Verify;

static void
put_problem(Verify *verify, text *record_id, const char *problem, Jsonb *logged, Jsonb *live)
{
	Datum		values[VERIFY_COLUMNS] = {0};
	bool		nulls[VERIFY_COLUMNS] = {
		[VERIFY_LOGGED] = logged == NULL,
		[VERIFY_LIVE] = live == NULL
	};

	values[VERIFY_RECORD_ID] = PointerGetDatum(record_id);
	values[VERIFY_PROBLEM] = CStringGetTextDatum(problem);
	values[VERIFY_LOGGED] = PointerGetDatum(logged);
	values[VERIFY_LIVE] = PointerGetDatum(live);
	tuplestore_putvalues(verify->result->setResult, verify->result->setDesc, values, nulls);
}

static bool
belongs_to_pass(Verify *verify, text *record_id)
{
	if (verify->passes == 1)
		return true;
	if (architect_audit_find_change(verify->moved, record_id) != NULL)
		return verify->pass == 0;
	return (architect_audit_hash_id(record_id) & (verify->passes - 1)) == verify->pass;
}

/*
 * Collects the ids between which records have moved.
 */
static void
take_moved(const AuditLogEvent *event, void *argument)
{
	Verify	   *verify = argument;
	AuditLogEvent arrival = {.operation = AUDIT_OPERATION_INSERT};

	if (event->new_record_id == NULL)
		return;
	arrival.record_id = event->record_id;
	architect_audit_replay(verify->moved, &arrival);
	arrival.record_id = event->new_record_id;
	architect_audit_replay(verify->moved, &arrival);
}

static void
take_event(const AuditLogEvent *event, void *argument)
{
	Verify	   *verify = argument;

	if (event->operation == AUDIT_OPERATION_BASELINE && event->record_id == NULL)
		verify->is_complete = true;
	if (event->record_id == NULL || belongs_to_pass(verify, event->record_id))
		architect_audit_replay(verify->replay, event);
}

/*
 * True when the log does not tell the present value of the column: it is hidden,
 * or was at some time, and so its last logged value may be an old one.
 */
static bool
is_untold(Verify *verify, Jsonb *logged, const JsonbValue *name)
{
	if (architect_audit_is_erased(logged, name->val.string.val, name->val.string.len))
		return true;
	for (int i = 0; i < verify->target->nshapes; i++)
	{
		AuditShape *shape = &verify->target->shapes[i];

		for (int j = 0; j < shape->ncolumns; j++)
		{
			AuditShapeColumn *column = &shape->columns[j];

			if ((column->masked || column->excluded) && column->present_name != NULL &&
				strlen(column->present_name) == name->val.string.len &&
				memcmp(column->present_name, name->val.string.val, name->val.string.len) == 0)
				return true;
		}
	}
	return false;
}

/*
 * True when a value that was logged under another type of the column is the live
 * one in its present type.
 */
static bool
is_same_in_present_type(Verify *verify, const JsonbValue *name, Jsonb *logged, JsonbValue *value,
						Jsonb *live, JsonbValue *live_value)
{
	for (int i = 0; i < RelationGetDescr(verify->root)->natts; i++)
	{
		AuditColumnReader *reader = &verify->readers[i];
		bool		logged_is_null;
		bool		live_is_null;
		Datum		logged_datum;
		Datum		live_datum;
		Oid			output;
		bool		is_varlena;

		if (reader->name == NULL || reader->name_length != name->val.string.len ||
			memcmp(reader->name, name->val.string.val, reader->name_length) != 0)
			continue;
		if (!architect_audit_type_changed(verify->target, reader))
			return false;

		logged_datum = architect_audit_read_column(reader, logged, value, &logged_is_null);
		live_datum = architect_audit_read_column(reader, live, live_value, &live_is_null);
		if (logged_is_null || live_is_null)
			return logged_is_null == live_is_null;
		getTypeOutputInfo(reader->type, &output, &is_varlena);
		return strcmp(OidOutputFunctionCall(output, logged_datum), OidOutputFunctionCall(output, live_datum)) == 0;
	}
	return false;
}

/*
 * Compares a row with what the log says of it, column by column, and emits the
 * columns that differ.
 */
static void
compare_columns(Verify *verify, text *record_id, Jsonb *logged, Jsonb *live)
{
	JsonbIterator *iterator = JsonbIteratorInit(&logged->root);
	JsonbParseState *logged_state = NULL;
	JsonbParseState *live_state = NULL;
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		found = false;

	pushJsonbValue(&logged_state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&live_state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		JsonbValue	name = value;
		JsonbValue	live_value;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (name.val.string.len == 0 ||
			architect_audit_get(live, name.val.string.val, name.val.string.len, &live_value) == NULL)
			continue;
		if (architect_audit_equal(&value, &live_value) &&
			(value.type != jbvNull ||
			 architect_audit_is_json_null(logged, name.val.string.val, name.val.string.len) ==
			 architect_audit_is_json_null(live, name.val.string.val, name.val.string.len)))
			continue;
		if (is_untold(verify, logged, &name) ||
			is_same_in_present_type(verify, &name, logged, &value, live, &live_value))
			continue;

		pushJsonbValue(&logged_state, WJB_KEY, &name);
		pushJsonbValue(&logged_state, WJB_VALUE, &value);
		pushJsonbValue(&live_state, WJB_KEY, &name);
		pushJsonbValue(&live_state, WJB_VALUE, &live_value);
		found = true;
	}
	if (found)
		put_problem(verify, record_id, "different",
					JsonbValueToJsonb(pushJsonbValue(&logged_state, WJB_END_OBJECT, NULL)),
					JsonbValueToJsonb(pushJsonbValue(&live_state, WJB_END_OBJECT, NULL)));
}

/*
 * Checks one row of the table.
 */
static void
check_row(Verify *verify, AuditTable *table, const AuditColumnSet *set, TupleTableSlot *slot, text *record_id)
{
	AuditChange *record = architect_audit_find_change(verify->replay, record_id);
	Jsonb	   *live;

	if (record == NULL && !verify->is_complete)
	{
		verify->untold++;
		return;
	}
	if (record != NULL)
		record->seen = record->exists;
	if (record != NULL && record->exists && record->after == NULL)
		return;

	slot_getallattrs(slot);
	live = architect_audit_image(table, set, slot);
	if (record == NULL || !record->exists)
		put_problem(verify, record_id, "unexpected", NULL, live);
	else if (VARSIZE(live) != VARSIZE(record->after) || memcmp(live, record->after, VARSIZE(live)) != 0)
		compare_columns(verify, record_id, record->after, live);
}

/*
 * Checks the rows of a table or a partition that belong to this pass.
 */
static void
check_rows(Verify *verify, Relation rel)
{
	AuditTable *table = architect_audit_table(rel, architect_audit_find_trigger(rel));
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	AuditColumnSet set = {.columns = palloc(table->ncolumns * sizeof(int))};
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "architect audit row",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(row_context);

	while (set.count < table->ncolumns)
	{
		set.columns[set.count] = set.count;
		set.count++;
	}
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		text	   *record_id;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_context);
		slot_getallattrs(slot);
		record_id = architect_audit_record_id(table, slot);
		if (belongs_to_pass(verify, record_id))
			check_row(verify, table, &set, slot, record_id);
	}
	MemoryContextSwitchTo(caller);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_context);
}

/*
 * Replays and compares the records of one pass.
 */
static void
run_pass(Verify *verify)
{
	MemoryContext pass_context = AllocSetContextCreate(CurrentMemoryContext, "architect audit verify",
													   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(pass_context);
	ListCell   *cell;

	verify->replay = architect_audit_begin_replay(false, true, true);
	architect_audit_read_events(verify->target, NULL, NULL, take_event, verify);

	foreach(cell, architect_audit_tables_of(verify->root))
	{
		Relation	rel = table_open(lfirst_oid(cell), AccessShareLock);

		if (rel->rd_rel->relkind == RELKIND_RELATION)
			check_rows(verify, rel);
		table_close(rel, NoLock);
	}
	foreach(cell, architect_audit_net_changes(verify->replay))
	{
		AuditChange *record = lfirst(cell);

		if (record->exists && !record->doubtful && !record->seen)
			put_problem(verify, record->id, "missing", record->after, NULL);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(pass_context);
}

/*
 * How often to read the log, for the records of a pass to fit into
 * maintenance_work_mem.
 */
static int
count_passes(Relation root)
{
	double		rows = 0;
	ListCell   *cell;

	foreach(cell, architect_audit_tables_of(root))
	{
		Relation	rel = table_open(lfirst_oid(cell), AccessShareLock);

		if (rel->rd_rel->relkind == RELKIND_RELATION)
			rows += Max(rel->rd_rel->reltuples, 0);
		table_close(rel, NoLock);
	}
	return pg_nextpower2_32(Min(1024, 1 + (uint32) (rows * RECORD_BYTES / (maintenance_work_mem * 1024.0))));
}

/*
 * Raises where the log leaves out changes by intent.
 */
static void
check_shapes(AuditTarget *target)
{
	AuditShape *present = &target->shapes[target->nshapes - 1];

	if (present->gap != NULL || present->condition != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot verify the log of table \"%s\"", target->name),
				 present->gap != NULL ? errdetail("Its changes are not logged: %s.", present->gap) :
				 errdetail("It is audited under a condition, so its log has not every row."),
				 errhint("Call architect.audit_enable for the whole of the table, and then architect.audit_baseline.")));
}

/*
 * architect.audit_verify(target)
 */
Datum
architect_audit_verify(PG_FUNCTION_ARGS)
{
	Verify	   *verify = palloc0(sizeof(Verify));

	verify->target = architect_audit_read_target(PG_GETARG_OID(0), NULL, "verify the log of");
	architect_audit_check_row_security(verify->target);
	check_shapes(verify->target);
	InitMaterializedSRF(fcinfo, 0);
	verify->result = (ReturnSetInfo *) fcinfo->resultinfo;

	verify->root = table_open(verify->target->relation, AccessShareLock);
	verify->readers = architect_audit_column_readers(verify->root);
	verify->passes = count_passes(verify->root);
	for (int i = 0; i < verify->target->nshapes; i++)
		verify->is_complete |= verify->target->shapes[i].whole;
	verify->is_complete &= verify->target->removed_before == DT_NOBEGIN;

	if (verify->passes > 1)
	{
		verify->moved = architect_audit_begin_replay(false, false, false);
		architect_audit_read_events(verify->target, NULL, NULL, take_moved, verify);
	}
	for (verify->pass = 0; verify->pass < verify->passes; verify->pass++)
		run_pass(verify);
	table_close(verify->root, NoLock);

	if (verify->untold > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " rows of table \"%s\" are not in its log", verify->untold, verify->target->name),
				 errdetail("They are older than what the log has of the table, and have not changed since."),
				 errhint("architect.audit_baseline puts them into the log, to be verified from then on.")));
	return (Datum) 0;
}
