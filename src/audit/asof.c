/*
 * asof.c
 *    architect.audit_as_of: an audited table as it was.
 *
 * The table as it is now is read, and what the log says came after the moment is
 * taken back: only records that have changed since cost more than a look into a
 * hash table.  Log and table are read under one snapshot.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "audit/replay.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(architect_audit_as_of);

typedef struct AsOf
{
	AuditTarget *target;
	AuditMoment *moment;
	AuditReplay *replay;

	/* The latest that stands between the moment and now. */
	TimestampTz blocked_until;	/* DT_NOBEGIN if nothing does */
	char	   *blocked_by;

	Relation	root;
	AuditColumnReader *readers;	/* a column of the root */
	bool	   *unknown;		/* columns that the log does not tell of, at the moment */
	bool		has_unknown;
	bool		is_empty;		/* no record has changed since */
	TupleTableSlot *slot;		/* a row of the result */
	Tuplestorestate *store;
	int64		disagreeing;
} AsOf;

static void
block(AsOf *as_of, TimestampTz until, const char *reason)
{
	if (until < as_of->blocked_until && as_of->blocked_by != NULL)
		return;
	as_of->blocked_until = until;
	as_of->blocked_by = pstrdup(reason);
}

/*
 * Finds what in the way the table was audited since the moment leaves changes
 * untold.
 */
static void
check_shapes(AsOf *as_of)
{
	AuditTarget *target = as_of->target;

	if (target->shapes[0].is_after)
		block(as_of, target->shapes[0].changed_at, "The audit of the table began later.");
	if (as_of->moment->at < target->removed_before)
		block(as_of, target->removed_before, "The log of that time was removed.");

	for (int i = 0; i < target->nshapes; i++)
	{
		AuditShape *shape = &target->shapes[i];
		bool		is_last = i == target->nshapes - 1;
		TimestampTz until = is_last ? DT_NOEND : shape[1].changed_at;

		if (!is_last && !shape[1].is_after)
			continue;
		if (shape->gap != NULL)
			block(as_of, until, psprintf("The table was not audited since: %s.", shape->gap));
		else if (shape->condition != NULL)
			block(as_of, until, "The table was audited under a condition since.");
		else if (strcmp(shape->capture, "keys") == 0)
			block(as_of, until, "The table was audited without values since.");
	}
}

/*
 * Adds an event up, and sees whether it can be taken back at all.
 */
static void
take_event(const AuditLogEvent *event, void *argument)
{
	AsOf	   *as_of = argument;

	if (event->operation == AUDIT_OPERATION_TRUNCATE && event->record_id == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(as_of));

		block(as_of, event->changed_at, "The table was truncated since, and its audit keeps no rows then.");
		MemoryContextSwitchTo(caller);
	}
	else if (event->operation == AUDIT_OPERATION_GAP && event->gap != NULL && strcmp(event->gap, "rewrite") != 0)
	{
		MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(as_of));

		block(as_of, event->changed_at,
			  psprintf("Rows changed without being logged since: %s.",
					   event->detail != NULL ? event->detail : event->gap));
		MemoryContextSwitchTo(caller);
	}
	architect_audit_replay(as_of->replay, event);
}

static void
refuse_if_blocked(AsOf *as_of)
{
	char	   *moment;

	if (as_of->blocked_by == NULL)
		return;
	moment = as_of->moment->mark != NULL ? psprintf("mark \"%s\"", as_of->moment->mark) :
		pstrdup(timestamptz_to_str(as_of->moment->at));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot show table \"%s\" as of %s", as_of->target->name, moment),
			 errdetail("%s", as_of->blocked_by),
			 as_of->blocked_until == DT_NOEND ?
			 errhint("No time can be shown until architect.audit_enable is called for the whole of the table.") :
			 errhint("The earliest time that can be shown is %s.", timestamptz_to_str(as_of->blocked_until))));
}

/*
 * The shape that the table had at the moment.
 */
static AuditShape *
shape_then(AuditTarget *target)
{
	int			place = target->nshapes - 1;

	while (place > 0 && target->shapes[place].is_after)
		place--;
	return &target->shapes[place];
}

/*
 * Finds the columns that did not exist then, and those whose changes since are
 * not logged: they are shown as NULL.
 */
static void
find_unknown_columns(AsOf *as_of)
{
	TupleDesc	desc = RelationGetDescr(as_of->root);
	AuditShape *then = shape_then(as_of->target);

	as_of->unknown = palloc0(desc->natts * sizeof(bool));
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *name = as_of->readers[i].name;

		as_of->unknown[i] = name != NULL && !architect_is_virtual(desc, i);
		for (int j = 0; name != NULL && j < then->ncolumns; j++)
		{
			if (then->columns[j].present_name != NULL && strcmp(then->columns[j].present_name, name) == 0)
				as_of->unknown[i] = false;
		}
		for (AuditShape *shape = then; name != NULL && shape < as_of->target->shapes + as_of->target->nshapes; shape++)
		{
			for (int j = 0; j < shape->ncolumns; j++)
			{
				if (shape->columns[j].excluded && shape->columns[j].present_name != NULL &&
					strcmp(shape->columns[j].present_name, name) == 0)
					as_of->unknown[i] = true;
			}
		}
		as_of->has_unknown |= as_of->unknown[i];
	}
}

static int
find_column(AsOf *as_of, const JsonbValue *key)
{
	for (int i = 0; i < RelationGetDescr(as_of->root)->natts; i++)
	{
		AuditColumnReader *reader = &as_of->readers[i];

		if (reader->name != NULL && reader->name_length == key->val.string.len &&
			memcmp(reader->name, key->val.string.val, key->val.string.len) == 0)
			return i;
	}
	return -1;
}

/*
 * Puts the columns that an image has into the row of the result.
 */
static void
apply_image(AsOf *as_of, Jsonb *image)
{
	TupleTableSlot *slot = as_of->slot;
	JsonbIterator *iterator = JsonbIteratorInit(&image->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		int			column;

		if (token != WJB_KEY)
			continue;
		column = find_column(as_of, &value);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (column >= 0)
			slot->tts_values[column] = architect_audit_read_column(&as_of->readers[column], image, &value,
																   &slot->tts_isnull[column]);
	}
}

/*
 * Emits the row in the slot of the result, without what is unknown of it.
 */
static void
put_row(AsOf *as_of)
{
	TupleTableSlot *slot = as_of->slot;

	for (int i = 0; as_of->has_unknown && i < slot->tts_tupleDescriptor->natts; i++)
		slot->tts_isnull[i] |= as_of->unknown[i];
	architect_compute_virtual_columns(as_of->root, slot);
	tuplestore_puttupleslot(as_of->store, slot);
}

/*
 * Emits a live row as it was, or nothing if it was not there.
 */
static void
put_live_row(AsOf *as_of, TupleTableSlot *live, AuditChange *record)
{
	TupleTableSlot *slot = as_of->slot;
	int			natts = slot->tts_tupleDescriptor->natts;

	if (record != NULL)
	{
		record->seen = record->exists;
		as_of->disagreeing += !record->exists;
		if (!record->exists || !record->existed)
			return;
	}
	else if (!as_of->has_unknown && !architect_has_virtual_columns(RelationGetDescr(as_of->root)))
	{
		tuplestore_puttupleslot(as_of->store, live);
		return;
	}

	slot_getallattrs(live);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, live->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, live->tts_isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	if (record != NULL && record->before != NULL)
		apply_image(as_of, record->before);
	put_row(as_of);
}

/*
 * Emits a row that is gone by now.
 */
static void
put_lost_row(AsOf *as_of, AuditChange *record)
{
	TupleTableSlot *slot = as_of->slot;

	ExecClearTuple(slot);
	ExecStoreAllNullTuple(slot);
	apply_image(as_of, record->before);
	put_row(as_of);
}

/*
 * Goes through the rows of a table or a partition.
 */
static void
put_live_rows(AsOf *as_of, Relation rel)
{
	TupleConversionMap *map = convert_tuples_by_name(RelationGetDescr(rel), RelationGetDescr(as_of->root));
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TupleTableSlot *root_slot = table_slot_create(as_of->root, NULL);
	AuditTable *table = architect_audit_table(rel, architect_audit_find_trigger(rel));
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "architect audit row",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller;
	StringInfoData record_id;
	int			last_key = 0;

	initStringInfo(&record_id);
	for (int i = 0; i < table->nkeys; i++)
		last_key = Max(last_key, table->keys[i]->index + 1);
	if (map != NULL)
	{
		ExecDropSingleTupleTableSlot(root_slot);
		root_slot = MakeSingleTupleTableSlot(RelationGetDescr(as_of->root), &TTSOpsVirtual);
	}
	caller = MemoryContextSwitchTo(row_context);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		AuditChange *record = NULL;
		TupleTableSlot *live = slot;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_context);
		if (!as_of->is_empty)
		{
			slot_getsomeattrs(slot, last_key);
			record = architect_audit_find_change(as_of->replay,
												 architect_audit_write_record_id(table, slot, &record_id));
		}
		if (map != NULL)
			live = execute_attr_map_slot(map->attrMap, slot, root_slot);
		put_live_row(as_of, live, record);
	}
	MemoryContextSwitchTo(caller);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(root_slot);
	MemoryContextDelete(row_context);
}

/*
 * Emits what was there then: first of what is there now, then what is gone.
 */
static void
put_rows(AsOf *as_of)
{
	ListCell   *cell;

	foreach(cell, architect_audit_tables_of(as_of->root))
	{
		Relation	rel = table_open(lfirst_oid(cell), AccessShareLock);

		if (rel->rd_rel->relkind == RELKIND_RELATION)
			put_live_rows(as_of, rel);
		table_close(rel, NoLock);
	}

	foreach(cell, architect_audit_net_changes(as_of->replay))
	{
		AuditChange *record = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		if (record->existed && !record->exists)
			put_lost_row(as_of, record);
		as_of->disagreeing += record->exists && !record->seen;
	}
}

static AuditMoment *
moment_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1) == PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(PG_ARGISNULL(1) ? ERRCODE_NULL_VALUE_NOT_ALLOWED : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("audit_as_of needs either a time or a mark"),
				 errhint("Pass a time, as in architect.audit_as_of(NULL::public.orders, now() - interval '1 hour'),"
						 " or the name of a mark, as in architect.audit_as_of(NULL::public.orders, mark => 'name').")));
	if (PG_ARGISNULL(1))
		return architect_audit_moment_of_mark(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	return architect_audit_moment_at(PG_GETARG_TIMESTAMPTZ(1));
}

/*
 * The table whose row type the first argument has.
 */
static Oid
table_argument(FunctionCallInfo fcinfo)
{
	Oid			relid = get_typ_typrelid(get_fn_expr_argtype(fcinfo->flinfo, 0));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the first argument of audit_as_of must have the row type of a table"),
				 errhint("Pass NULL::public.orders for table public.orders.")));
	return relid;
}

/*
 * architect.audit_as_of(example, at, mark)
 */
Datum
architect_audit_as_of(PG_FUNCTION_ARGS)
{
	AsOf	   *as_of = palloc0(sizeof(AsOf));
	AuditEventFilter filter = {0};

	as_of->moment = moment_argument(fcinfo);
	filter.since = as_of->moment;
	as_of->target = architect_audit_read_target(table_argument(fcinfo), as_of->moment, "show the past of");
	architect_audit_check_row_security(as_of->target);
	InitMaterializedSRF(fcinfo, 0);
	as_of->store = ((ReturnSetInfo *) fcinfo->resultinfo)->setResult;

	as_of->blocked_until = DT_NOBEGIN;
	check_shapes(as_of);
	as_of->replay = architect_audit_begin_replay(true, false, false);
	architect_audit_read_events(as_of->target, &filter, take_event, as_of);
	refuse_if_blocked(as_of);
	as_of->is_empty = architect_audit_net_changes(as_of->replay) == NIL;

	as_of->root = table_open(as_of->target->relation, AccessShareLock);
	as_of->readers = architect_audit_column_readers(as_of->root);
	as_of->slot = MakeSingleTupleTableSlot(RelationGetDescr(as_of->root), &TTSOpsVirtual);
	find_unknown_columns(as_of);
	put_rows(as_of);
	ExecDropSingleTupleTableSlot(as_of->slot);
	table_close(as_of->root, NoLock);

	if (as_of->disagreeing > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("table \"%s\" and its log disagree in " INT64_FORMAT " records",
						as_of->target->name, as_of->disagreeing),
				 errdetail("Something has bypassed the triggers, so these records may not be shown as they were."),
				 errhint("Call architect.audit_verify for the table.")));
	return (Datum) 0;
}
