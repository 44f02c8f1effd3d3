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
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_as_of);

/* The table, or a partition of it, that is being read. */
typedef struct AsOfPart
{
	Relation	relation;
	AuditTable *table;
	TupleConversionMap *map;	/* to the row type of the root; NULL if it is the same */
	TupleTableSlot *slot;
	TupleTableSlot *root_slot;	/* used with the map */
	int			last_key;		/* the key is in the columns up to this number */
	TableScanDesc scan;
} AsOfPart;

struct AuditAsOf
{
	MemoryContext context;		/* owns everything */
	MemoryContext row_context;	/* of the row returned last */
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
	bool		is_plain;		/* reading values looks at no setting and runs nobody's code */
	TupleTableSlot *slot;		/* a row of the result that is not as it is in the table */

	/* How far it has come. */
	List	   *tables;			/* of Oid */
	int			next_table;
	AsOfPart   *part;			/* NULL between two of them */
	StringInfoData record_id;
	int			next_change;
	int64		disagreeing;
};

static void
block(AuditAsOf *as_of, TimestampTz until, const char *reason)
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
check_shapes(AuditAsOf *as_of)
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
			block(as_of, until, is_last ? psprintf("Its changes are not logged any more: %s.", shape->gap) :
				  psprintf("Its changes were not logged for a while since: %s.", shape->gap));
		else if (!is_last && architect_audit_has_other_key(shape, shape + 1))
			block(as_of, until, "The key by which its log names the rows is another since.");
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
	AuditAsOf  *as_of = argument;

	if (event->operation == AUDIT_OPERATION_TRUNCATE && event->record_id == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(as_of->context);

		block(as_of, event->changed_at, "The table was truncated since, and its audit keeps no rows then.");
		MemoryContextSwitchTo(caller);
	}
	else if (event->operation == AUDIT_OPERATION_GAP && event->gap != NULL && strcmp(event->gap, "rewrite") != 0)
	{
		MemoryContext caller = MemoryContextSwitchTo(as_of->context);

		block(as_of, event->changed_at,
			  psprintf("Rows changed without being logged since: %s.",
					   event->detail != NULL ? event->detail : event->gap));
		MemoryContextSwitchTo(caller);
	}
	architect_audit_replay(as_of->replay, event);
}

/*
 * Returns when all transactions that were changing rows at this time had committed.
 */
static TimestampTz
after_commits(TimestampTz at)
{
	return architect_audit_query_time("SELECT max(committed_at) FROM " ARCHITECT_SCHEMA ".audit_commits"
									  " WHERE committed_at > $1 AND committed_at <> 'infinity' AND began_at <= $1",
									  TIMESTAMPTZOID, TimestampTzGetDatum(at), at);
}

static void
refuse_if_blocked(AuditAsOf *as_of)
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
			 errhint("The earliest time that can be shown is %s.",
					 timestamptz_to_str(after_commits(as_of->blocked_until)))));
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
find_unknown_columns(AuditAsOf *as_of)
{
	TupleDesc	desc = RelationGetDescr(as_of->root);
	AuditShape *then = shape_then(as_of->target);

	as_of->is_plain = true;
	as_of->unknown = palloc0(desc->natts * sizeof(bool));
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *name = as_of->readers[i].name;

		as_of->is_plain &= name == NULL || as_of->readers[i].is_plain;
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

/*
 * Puts the columns that an image has into the row of the result.
 */
static void
apply_image(AuditAsOf *as_of, Jsonb *image)
{
	TupleTableSlot *slot = as_of->slot;
	JsonbIterator *iterator = JsonbIteratorInit(&image->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	AuditReading reading;

	if (!as_of->is_plain)
		architect_audit_begin_reading(as_of->target, &reading);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		int			column;

		if (token != WJB_KEY)
			continue;
		column = architect_audit_find_reader(as_of->readers, slot->tts_tupleDescriptor->natts, &value);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (column >= 0)
			slot->tts_values[column] = architect_audit_read_column(&as_of->readers[column], image, &value,
																   &slot->tts_isnull[column]);
	}
	if (!as_of->is_plain)
		architect_audit_end_reading(&reading);
}

/*
 * Returns the row in the slot of the result, without what is unknown of it.
 */
static TupleTableSlot *
finish_row(AuditAsOf *as_of)
{
	TupleTableSlot *slot = as_of->slot;

	for (int i = 0; as_of->has_unknown && i < slot->tts_tupleDescriptor->natts; i++)
		slot->tts_isnull[i] |= as_of->unknown[i];
	architect_compute_virtual_columns(as_of->root, slot);
	return slot;
}

/*
 * Returns a live row as it was, or NULL if it was not there.
 */
static TupleTableSlot *
past_of_live_row(AuditAsOf *as_of, TupleTableSlot *live, AuditChange *record)
{
	TupleTableSlot *slot = as_of->slot;
	int			natts = slot->tts_tupleDescriptor->natts;

	if (record != NULL)
	{
		record->seen = record->exists;
		as_of->disagreeing += !record->exists;
		if (!record->exists || !record->existed)
			return NULL;
	}
	else if (!as_of->has_unknown && !architect_has_virtual_columns(RelationGetDescr(as_of->root)))
		return live;

	slot_getallattrs(live);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, live->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, live->tts_isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	if (record != NULL && record->before != NULL)
		apply_image(as_of, record->before);
	return finish_row(as_of);
}

/*
 * Returns a row that is gone by now.
 */
static TupleTableSlot *
lost_row(AuditAsOf *as_of, AuditChange *record)
{
	ExecClearTuple(as_of->slot);
	ExecStoreAllNullTuple(as_of->slot);
	apply_image(as_of, record->before);
	return finish_row(as_of);
}

/*
 * Starts to read a table or a partition.
 */
static AsOfPart *
begin_part(AuditAsOf *as_of, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	AsOfPart   *part = palloc0(sizeof(AsOfPart));

	part->relation = rel;
	part->table = architect_audit_capture_of(rel);
	part->map = convert_tuples_by_name(RelationGetDescr(rel), RelationGetDescr(as_of->root));
	part->slot = table_slot_create(rel, NULL);
	part->root_slot = MakeSingleTupleTableSlot(RelationGetDescr(as_of->root), &TTSOpsVirtual);
	for (int i = 0; i < part->table->nkeys; i++)
		part->last_key = Max(part->last_key, part->table->keys[i]->index + 1);
	part->scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	return part;
}

static void
end_part(AsOfPart *part)
{
	table_endscan(part->scan);
	ExecDropSingleTupleTableSlot(part->slot);
	ExecDropSingleTupleTableSlot(part->root_slot);
	table_close(part->relation, NoLock);
}

/*
 * Returns the next row of this table or partition that was there then.
 */
static TupleTableSlot *
next_of_part(AuditAsOf *as_of, AsOfPart *part)
{
	while (table_scan_getnextslot(part->scan, ForwardScanDirection, part->slot))
	{
		AuditChange *record = NULL;
		TupleTableSlot *live = part->slot;

		CHECK_FOR_INTERRUPTS();
		if (!as_of->is_empty)
		{
			slot_getsomeattrs(part->slot, part->last_key);
			record = architect_audit_find_change(as_of->replay,
												 architect_audit_write_record_id(part->table, part->slot,
																				 &as_of->record_id));
		}
		if (part->map != NULL)
			live = execute_attr_map_slot(part->map->attrMap, part->slot, part->root_slot);
		live = past_of_live_row(as_of, live, record);
		if (live != NULL)
			return live;
	}
	return NULL;
}

/*
 * Returns the next row that was there then and is there now, as it was.
 */
static TupleTableSlot *
next_live_row(AuditAsOf *as_of)
{
	for (;;)
	{
		TupleTableSlot *row;

		if (as_of->part == NULL)
		{
			MemoryContext caller;

			if (as_of->next_table == list_length(as_of->tables))
				return NULL;
			caller = MemoryContextSwitchTo(as_of->context);
			as_of->part = begin_part(as_of, list_nth_oid(as_of->tables, as_of->next_table++));
			MemoryContextSwitchTo(caller);
		}
		row = next_of_part(as_of, as_of->part);
		if (row != NULL)
			return row;
		end_part(as_of->part);
		as_of->part = NULL;
	}
}

/*
 * Returns the next row that was there then and is gone.
 */
static TupleTableSlot *
next_lost_row(AuditAsOf *as_of)
{
	List	   *changes = architect_audit_net_changes(as_of->replay);

	while (as_of->next_change < list_length(changes))
	{
		AuditChange *record = list_nth(changes, as_of->next_change++);

		CHECK_FOR_INTERRUPTS();
		as_of->disagreeing += record->exists && !record->seen;
		if (record->existed && !record->exists)
			return lost_row(as_of, record);
	}
	return NULL;
}

static void
warn_of_disagreement(AuditAsOf *as_of)
{
	if (as_of->disagreeing > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("table \"%s\" and its log disagree in " INT64_FORMAT " records",
						as_of->target->name, as_of->disagreeing),
				 errdetail("Something has bypassed the triggers, so these records may not be shown as they were."),
				 errhint("Call architect.audit_verify for the table.")));
	as_of->disagreeing = 0;
}

/*
 * Returns the next row, which is good until the next call; NULL at the end.
 */
TupleTableSlot *
architect_audit_next_as_of(AuditAsOf *as_of)
{
	MemoryContext caller;
	TupleTableSlot *row;

	MemoryContextReset(as_of->row_context);
	caller = MemoryContextSwitchTo(as_of->row_context);
	row = next_live_row(as_of);
	if (row == NULL)
		row = next_lost_row(as_of);
	if (row == NULL)
		warn_of_disagreement(as_of);
	MemoryContextSwitchTo(caller);
	return row;
}

void
architect_audit_end_as_of(AuditAsOf *as_of)
{
	if (as_of->part != NULL)
		end_part(as_of->part);
	ExecDropSingleTupleTableSlot(as_of->slot);
	table_close(as_of->root, NoLock);
	MemoryContextDelete(as_of->context);
}

static AuditMoment *
make_moment(NullableDatum at, NullableDatum mark)
{
	if (at.isnull == mark.isnull)
		ereport(ERROR,
				(errcode(at.isnull ? ERRCODE_NULL_VALUE_NOT_ALLOWED : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("audit_as_of needs either a time or a mark"),
				 errhint("Pass a time, as in architect.audit_as_of(NULL::public.orders, now() - interval '1 hour'),"
						 " or the name of a mark, as in architect.audit_as_of(NULL::public.orders, mark => 'name').")));
	if (at.isnull)
		return architect_audit_moment_of_mark(TextDatumGetCString(mark.value));
	return architect_audit_moment_at(DatumGetTimestampTz(at.value));
}

/*
 * The table that has this row type.
 */
static Oid
table_of_type(Oid type)
{
	Oid			relid = get_typ_typrelid(type);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the first argument of audit_as_of must have the row type of a table"),
				 errhint("Pass NULL::public.orders for table public.orders.")));
	return relid;
}

/*
 * Raises unless the rows are still what the query was made for.
 */
static void
check_row_type(AuditAsOf *as_of, TupleDesc desc)
{
	TupleDesc	present = RelationGetDescr(as_of->root);
	bool		is_same = desc->natts == present->natts;

	for (int i = 0; is_same && i < present->natts; i++)
		is_same = TupleDescAttr(present, i)->attisdropped ||
			TupleDescAttr(present, i)->atttypid == TupleDescAttr(desc, i)->atttypid;
	if (!is_same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("table \"%s\" has other columns than when the query was planned", as_of->target->name),
				 errhint("Run the query again.")));
}

/*
 * Starts to show a table, with columns as described, as it was at a time or a mark,
 * one of which is NULL.  Everything is read under the active snapshot, and belongs to
 * a context below the current one.
 */
AuditAsOf *
architect_audit_begin_as_of(Oid relid, TupleDesc desc, NullableDatum at, NullableDatum mark)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "architect audit as of",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	AuditAsOf  *as_of = palloc0(sizeof(AuditAsOf));
	AuditEventFilter filter = {0};

	as_of->context = context;
	as_of->row_context = AllocSetContextCreate(context, "architect audit row", ALLOCSET_DEFAULT_SIZES);
	as_of->moment = make_moment(at, mark);
	filter.since = as_of->moment;
	as_of->target = architect_audit_read_target(relid, as_of->moment, "show the past of");
	architect_audit_check_row_security(as_of->target);

	as_of->blocked_until = DT_NOBEGIN;
	check_shapes(as_of);
	as_of->replay = architect_audit_begin_replay(true, false, false);
	architect_audit_read_events(as_of->target, &filter, take_event, as_of);
	refuse_if_blocked(as_of);
	as_of->is_empty = architect_audit_net_changes(as_of->replay) == NIL;

	as_of->root = table_open(as_of->target->relation, AccessShareLock);
	check_row_type(as_of, desc);
	as_of->readers = architect_audit_column_readers(as_of->root);
	as_of->slot = MakeSingleTupleTableSlot(RelationGetDescr(as_of->root), &TTSOpsVirtual);
	as_of->tables = architect_audit_tables_of(as_of->root);
	initStringInfo(&as_of->record_id);
	find_unknown_columns(as_of);
	MemoryContextSwitchTo(caller);
	return as_of;
}

/*
 * architect.audit_as_of(example, at, mark): all rows at once, where asof_scan.c
 * is not asked.
 */
Datum
architect_audit_as_of(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = table_of_type(get_fn_expr_argtype(fcinfo->flinfo, 0));
	AuditAsOf  *as_of;
	TupleTableSlot *row;

	InitMaterializedSRF(fcinfo, 0);
	as_of = architect_audit_begin_as_of(relid, result->setDesc, fcinfo->args[1], fcinfo->args[2]);
	while ((row = architect_audit_next_as_of(as_of)) != NULL)
		tuplestore_puttupleslot(result->setResult, row);
	architect_audit_end_as_of(as_of);
	return (Datum) 0;
}
