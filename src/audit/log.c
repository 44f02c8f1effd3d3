/*
 * log.c
 *    The audit log: events are collected, numbered and stored in batches.
 *
 * An event becomes a log row at once, but is stored a little later: rows of one
 * statement go to the heap together.  Nobody can tell, because pending rows are
 * stored
 *  - when the statement ends, and before any utility command;
 *  - before a query that reads a relation of ours;
 *  - when a batch is full, and before the transaction commits or prepares;
 *  - at once, where a table has AFTER triggers of others, which may look;
 * and because each row keeps the command number under which it was captured.
 * A row captured in a subtransaction is stored by that subtransaction, passes to
 * its parent when it commits and is dropped when it aborts.
 *
 * Rows are numbered (id) before any of them is stored: in the order of capture,
 * and later than the row locks of the changes, so that along one record the
 * numbers ascend.
 *
 * The partition is found from the time of the event.  Rows are written by the
 * table access method directly: the log needs no grants, and has none.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "audit/audit.h"
#include "compat.h"
#include "core/core.h"

/* A batch is stored when it has this many rows or bytes. */
#define BATCH_ROWS	1000
#define BATCH_BYTES	(512 * 1024)

/* Longest record_id: its index entry has to fit. */
#define RECORD_ID_BYTES	2600

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
	LOG_COLUMNS
};

static const struct
{
	const char *name;
	Oid			type;
	bool		nullable;
}			log_columns[LOG_COLUMNS] = {
	[LOG_ID] = {"id", INT8OID},
	[LOG_CHANGED_AT] = {"changed_at", TIMESTAMPTZOID},
	[LOG_TRANSACTION_ID] = {"transaction_id", XID8OID},
	[LOG_TABLE_ID] = {"table_id", INT4OID},
	[LOG_OPERATION] = {"operation", TEXTOID},
	[LOG_TABLE_SCHEMA] = {"table_schema", TEXTOID},
	[LOG_TABLE_NAME] = {"table_name", TEXTOID},
	[LOG_RECORD_ID] = {"record_id", TEXTOID, true},
	[LOG_CHANGED_BY] = {"changed_by", TEXTOID},
	[LOG_SESSION_ROLE] = {"session_role", TEXTOID, true},
	[LOG_OLD_VALUES] = {"old_values", JSONBOID, true},
	[LOG_NEW_VALUES] = {"new_values", JSONBOID, true},
	[LOG_CONTEXT] = {"context", JSONBOID, true},
};

static const char *const operation_names[] = {
	[AUDIT_OPERATION_INSERT] = "INSERT",
	[AUDIT_OPERATION_UPDATE] = "UPDATE",
	[AUDIT_OPERATION_DELETE] = "DELETE",
	[AUDIT_OPERATION_TRUNCATE] = "TRUNCATE",
};

/* A log row that is not stored yet. */
typedef struct PendingRow
{
	HeapTuple	tuple;			/* the slot's from when it is stored */
	Size		length;
	TimestampTz changed_at;
	SubTransactionId subxact;
	CommandId	command;
} PendingRow;

static MemoryContext pending_context = NULL;	/* the tuples, reset with the batch */
static PendingRow *pending = NULL;
static int	pending_size = 0;
static int	npending = 0;
static int	nnumbered = 0;		/* of them, from the first */
static Size pending_bytes = 0;
static bool storing = false;

/* Past PRE_COMMIT nothing stores a batch any more, so rows go straight. */
static bool committing = false;

/* Lives for the session. */
static MemoryContext log_context = NULL;
static TupleDesc log_desc = NULL;
static Datum operation_texts[lengthof(operation_names)];
static TupleTableSlot *slots[BATCH_ROWS];

/* The sequence of log row numbers. */
static Oid	id_sequence = InvalidOid;

/* The partition used last, and the times that belong there: [lower, upper). */
static struct
{
	bool		valid;
	uint64		changes;		/* of the relations, seen so far */
	Oid			log;
	Oid			partition;
	TimestampTz lower;
	TimestampTz upper;

	/* What an administrator has added that can refuse a row. */
	bool		has_constraints;

	/* Its indexes, where all are plain btrees; otherwise the executor's way. */
	bool		plain_indexes;
	List	   *indexes;		/* of Oid */
	List	   *index_infos;	/* of IndexInfo *, in the same order */
	MemoryContext context;		/* owns the lists */
}			target = {false};

static ExecutorStart_hook_type next_ExecutorStart = NULL;
static ExecutorEnd_hook_type next_ExecutorEnd = NULL;
static ProcessUtility_hook_type next_ProcessUtility = NULL;

static int
count_columns(TupleDesc desc)
{
	int			count = 0;

	for (int i = 0; i < desc->natts; i++)
		count += !TupleDescAttr(desc, i)->attisdropped;
	return count;
}

/*
 * Raises unless the partition is a plain table of the columns that we write.
 */
static void
check_shape(Relation partition)
{
	TupleDesc	desc = RelationGetDescr(partition);

	if (partition->rd_rel->relkind != RELKIND_RELATION || count_columns(desc) != LOG_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not a partition that the audit log can use",
						RelationGetRelationName(partition)),
				 errdetail("It must be an ordinary table with just the %d columns of the log.", LOG_COLUMNS),
				 errhint("Drop columns that were added to it; keep data of your own in a table of your own.")));

	for (int i = 0; i < LOG_COLUMNS; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped ||
			attribute->atttypid != log_columns[i].type ||
			strcmp(NameStr(attribute->attname), log_columns[i].name) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" has not the columns of the audit log",
							RelationGetRelationName(partition)),
					 errdetail("Column %d must be \"%s\" of type %s.", i + 1, log_columns[i].name,
							   format_type_be(log_columns[i].type)),
					 errhint("Bring the column back as it was.")));
	}
}

/*
 * Returns a relation of the log, which the first audit_enable made.
 */
static Oid
log_relation(const char *name)
{
	Oid			relid = architect_relation(name, true);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", ARCHITECT_SCHEMA, name),
				 errdetail("An audited change has to be written there."),
				 errhint("Restore the log from a backup, or call architect.audit_enable for the table again, which makes a new one.")));
	return relid;
}

/*
 * Finds the log's partition for this time, and the times that share it.
 */
static void
find_partition(TimestampTz at)
{
	Relation	log;
	PartitionKey key;
	PartitionDesc parts;
	PartitionBoundInfo bounds;
	Datum		value = TimestampTzGetDatum(at);
	bool		is_equal;
	int			below;
	int			index;

	target.log = log_relation("audit_log");
	target.lower = DT_NOBEGIN;
	target.upper = DT_NOEND;

	log = table_open(target.log, AccessShareLock);
	key = RelationGetPartitionKey(log);
	parts = RelationGetPartitionDesc(log, true);
	bounds = parts->boundinfo;
	if (key == NULL || parts->nparts == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"architect.audit_log\" has no partition"),
				 errhint("Call architect.audit_maintain.")));

	below = partition_range_datum_bsearch(key->partsupfunc, key->partcollation, bounds,
										  1, &value, &is_equal);
	index = bounds->ndatums > 0 ? bounds->indexes[below + 1] : -1;
	if (index < 0)
		index = bounds->default_index;
	if (index < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"architect.audit_log\" has no partition for now, and no default partition"),
				 errhint("Call architect.audit_maintain.")));

	if (below >= 0 && bounds->kind[below][0] == PARTITION_RANGE_DATUM_VALUE)
		target.lower = DatumGetTimestampTz(bounds->datums[below][0]);
	if (below + 1 < bounds->ndatums && bounds->kind[below + 1][0] == PARTITION_RANGE_DATUM_VALUE)
		target.upper = DatumGetTimestampTz(bounds->datums[below + 1][0]);
	target.partition = parts->oids[index];
	table_close(log, NoLock);
}

/*
 * True when an entry of the index depends on nothing but columns, and cannot
 * be refused.
 */
static bool
is_plain_index(Relation index, IndexInfo *info)
{
	return index->rd_rel->relam == BTREE_AM_OID && !info->ii_Unique &&
		info->ii_Expressions == NIL && info->ii_Predicate == NIL &&
		info->ii_ExclusionOps == NULL && info->ii_ReadyForInserts;
}

/*
 * True when the partition has a CHECK, or a NOT NULL where we may write NULL.
 */
static bool
has_constraints(Relation partition)
{
	TupleDesc	desc = RelationGetDescr(partition);

	if (desc->constr != NULL && desc->constr->num_check > 0)
		return true;
	for (int i = 0; i < LOG_COLUMNS; i++)
	{
		if (log_columns[i].nullable && TupleDescAttr(desc, i)->attnotnull)
			return true;
	}
	return false;
}

/*
 * Reads what the indexes of the target partition need.
 */
static void
describe_indexes(Relation partition)
{
	MemoryContext caller;
	ListCell   *cell;

	if (target.context == NULL)
		target.context = AllocSetContextCreate(log_context, "architect audit log indexes",
											   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(target.context);

	caller = MemoryContextSwitchTo(target.context);
	target.plain_indexes = true;
	target.index_infos = NIL;
	target.indexes = RelationGetIndexList(partition);
	foreach(cell, target.indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);

		target.plain_indexes &= is_plain_index(index, info);
		target.index_infos = lappend(target.index_infos, info);
		index_close(index, NoLock);
	}
	MemoryContextSwitchTo(caller);
}

/*
 * Opens the partition for this time, locked against DDL until the transaction
 * ends.  Waiting for the lock may show that the partition is another by now.
 */
static Relation
open_partition(TimestampTz at)
{
	for (;;)
	{
		bool		known = target.valid && at >= target.lower && at < target.upper;
		uint64		changes = target.changes;
		Relation	partition;

		if (!known)
		{
			target.valid = false;
			find_partition(at);
		}

		LockRelationOid(target.partition, RowExclusiveLock);
		if (target.changes != changes)
			continue;

		partition = table_open(target.partition, NoLock);
		if (!known)
		{
			check_shape(partition);
			target.has_constraints = has_constraints(partition);
			describe_indexes(partition);
			target.valid = target.changes == changes;
		}
		return partition;
	}
}

/*
 * Returns slot i of the session's slots for log rows.
 */
static TupleTableSlot *
get_slot(int i)
{
	if (slots[i] == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(log_context);

		slots[i] = MakeSingleTupleTableSlot(log_desc, &TTSOpsHeapTuple);
		MemoryContextSwitchTo(caller);
	}
	return slots[i];
}

/*
 * Adds index entries for rows that are stored, one index after the other.
 */
static void
insert_plain_entries(Relation partition, int nrows)
{
	ListCell   *index_cell;
	ListCell   *info_cell;

	forboth(index_cell, target.indexes, info_cell, target.index_infos)
	{
		Relation	index = index_open(lfirst_oid(index_cell), RowExclusiveLock);
		IndexInfo  *info = lfirst(info_cell);
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		for (int i = 0; i < nrows; i++)
		{
			FormIndexDatum(info, slots[i], NULL, values, nulls);
			index_insert(index, values, nulls, &slots[i]->tts_tid, partition,
						 UNIQUE_CHECK_NO, false, info);
		}
		index_close(index, NoLock);
	}
}

/*
 * Checks rows against what an administrator has added to the log, and adds
 * their index entries, as the executor would.
 */
static void
insert_general_entries(ResultRelInfo *result_rel, EState *estate, int nrows)
{
	ExecOpenIndices(result_rel, false);
	for (int i = 0; i < nrows; i++)
	{
		architect_insert_index_entries(result_rel, slots[i], estate);
		ResetPerTupleExprContext(estate);
	}
	ExecCloseIndices(result_rel);
}

/*
 * Stores the rows in the slots, which share partition and command.
 */
static void
store_slots(Relation partition, int nrows, CommandId command)
{
	EState	   *estate = NULL;
	ResultRelInfo *result_rel = NULL;

	if (target.has_constraints || !target.plain_indexes)
	{
		estate = CreateExecutorState();
		result_rel = makeNode(ResultRelInfo);
		InitResultRelInfo(result_rel, partition, 0, NULL, 0);
	}
	for (int i = 0; target.has_constraints && i < nrows; i++)
		ExecConstraints(result_rel, slots[i], estate);

	if (nrows == 1)
		table_tuple_insert(partition, slots[0], command, 0, NULL);
	else
		table_multi_insert(partition, slots, nrows, command, 0, NULL);

	if (target.plain_indexes)
		insert_plain_entries(partition, nrows);
	else
		insert_general_entries(result_rel, estate, nrows);

	if (estate != NULL)
		FreeExecutorState(estate);
}

/*
 * Stores rows that share partition and command.  Their tuples go over to the
 * slots, which are empty again however this ends.
 */
static void
store_rows(Relation partition, PendingRow *rows, int nrows)
{
	for (int i = 0; i < nrows; i++)
	{
		rows[i].tuple->t_tableOid = RelationGetRelid(partition);
		ExecStoreHeapTuple(rows[i].tuple, get_slot(i), true);
	}

	PG_TRY();
	{
		store_slots(partition, nrows, rows[0].command);
	}
	PG_FINALLY();
	{
		for (int i = 0; i < nrows; i++)
			ExecClearTuple(slots[i]);
	}
	PG_END_TRY();
}

/*
 * Stores the rows in runs of one command and one partition.
 */
static void
store_batch(PendingRow *rows, int nrows)
{
	bool		push_snapshot = !ActiveSnapshotSet();
	int			done = 0;

	if (push_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());

	while (done < nrows)
	{
		Relation	partition = open_partition(rows[done].changed_at);
		int			end = done + 1;

		while (end < nrows && end - done < BATCH_ROWS && rows[end].command == rows[done].command &&
			   rows[end].changed_at >= target.lower && rows[end].changed_at < target.upper)
			end++;

		store_rows(partition, rows + done, end - done);
		table_close(partition, NoLock);
		done = end;
	}

	if (push_snapshot)
		PopActiveSnapshot();
}

/*
 * Gives pending rows their numbers.  The id is the first column and never NULL,
 * so it stands right behind the tuple's header.
 */
static void
number_pending(void)
{
	int64		id;

	if (nnumbered == npending)
		return;
	if (!OidIsValid(id_sequence))
		id_sequence = log_relation("audit_log_id_seq");

	id = architect_audit_take_numbers(id_sequence, npending - nnumbered);
	for (; nnumbered < npending; nnumbered++, id++)
	{
		HeapTupleHeader header = pending[nnumbered].tuple->t_data;

		memcpy((char *) header + header->t_hoff, &id, sizeof(id));
	}
}

/*
 * Forgets pending rows from this place on.
 */
static void
truncate_pending(int count)
{
	while (npending > count)
		pending_bytes -= pending[--npending].length;
	nnumbered = Min(nnumbered, npending);
	if (npending == 0)
		MemoryContextReset(pending_context);
}

/*
 * Stores the pending rows of the current subtransaction.  Those of its parents
 * stand before them and stay: only the parent can store them.
 */
static void
store_pending(void)
{
	SubTransactionId subxact = GetCurrentSubTransactionId();
	int			first = npending;
	MemoryContext caller;
	MemoryContext scratch;

	if (npending == 0 || storing)
		return;

	while (first > 0 && pending[first - 1].subxact == subxact)
		first--;
	if (first == npending)
		return;

	scratch = AllocSetContextCreate(CurrentMemoryContext, "architect audit batch",
									ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(scratch);
	storing = true;
	PG_TRY();
	{
		number_pending();
		store_batch(pending + first, npending - first);
	}
	PG_FINALLY();
	{
		storing = false;
		truncate_pending(first);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
}

/*
 * Makes what lives for the session, on first use in a transaction.
 */
static void
prepare_session(void)
{
	MemoryContext caller = MemoryContextSwitchTo(log_context);
	TupleDesc	desc = CreateTemplateTupleDesc(LOG_COLUMNS);

	for (int i = 0; i < LOG_COLUMNS; i++)
		TupleDescInitEntry(desc, i + 1, log_columns[i].name, log_columns[i].type, -1, 0);
	for (int i = 0; i < lengthof(operation_names); i++)
		operation_texts[i] = CStringGetTextDatum(operation_names[i]);
	MemoryContextSwitchTo(caller);
	log_desc = desc;
}

static Datum
value_or_null(Datum value, bool *isnull)
{
	*isnull = DatumGetPointer(value) == NULL;
	return value;
}

/*
 * True when the current subtransaction has rows enough for a batch.
 */
static bool
batch_is_full(void)
{
	return pending_bytes >= BATCH_BYTES ||
		(npending >= BATCH_ROWS &&
		 pending[npending - BATCH_ROWS].subxact == GetCurrentSubTransactionId());
}

/*
 * Returns a place behind the pending rows, to be counted by the caller.
 */
static PendingRow *
next_pending(void)
{
	if (npending == pending_size)
	{
		int			size = pending_size == 0 ? BATCH_ROWS : pending_size * 2;

		pending = pending == NULL ? MemoryContextAlloc(log_context, size * sizeof(PendingRow)) :
			repalloc(pending, size * sizeof(PendingRow));
		pending_size = size;
	}
	return &pending[npending];
}

/*
 * Refuses a key that could not be looked up.
 */
static void
check_record_id(text *record_id)
{
	if (record_id != NULL && VARSIZE_ANY_EXHDR(record_id) > RECORD_ID_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("key is too long for the audit log"),
				 errdetail("Its text has %d bytes, and the log can index %d.",
						   (int) VARSIZE_ANY_EXHDR(record_id), RECORD_ID_BYTES),
				 errhint("Name a shorter unique key in the \"key\" argument of architect.audit_enable.")));
}

/*
 * The partition's name as it goes into a context, whatever settings say.
 */
static char *
partition_name(Relation partition)
{
	int			pin_level = architect_audit_pin(AUDIT_PIN_QUOTE);
	char	   *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(partition)),
												  RelationGetRelationName(partition));

	architect_audit_unpin(pin_level);
	return name;
}

/*
 * Adds an event to the log of this transaction.
 */
void
architect_audit_append(AuditTable *table, const AuditEvent *event)
{
	Datum		values[LOG_COLUMNS];
	bool		nulls[LOG_COLUMNS] = {false};
	Datum		changed_by;
	Datum		session_role;
	Datum		context;
	PendingRow *row;
	MemoryContext caller;

	if (log_desc == NULL)
		prepare_session();
	check_record_id(event->record_id);
	if (batch_is_full())
		store_pending();
	architect_audit_actor(&changed_by, &session_role, &context);
	if (event->partition != NULL)
		context = architect_audit_context_with("partition", partition_name(event->partition));

	row = next_pending();
	row->changed_at = GetCurrentTimestamp();
	row->subxact = GetCurrentSubTransactionId();
	row->command = GetCurrentCommandId(true);

	values[LOG_ID] = Int64GetDatum(0);
	values[LOG_CHANGED_AT] = TimestampTzGetDatum(row->changed_at);
	values[LOG_TRANSACTION_ID] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[LOG_TABLE_ID] = Int32GetDatum(table->table_id);
	values[LOG_OPERATION] = operation_texts[event->operation];
	values[LOG_TABLE_SCHEMA] = table->schema_name;
	values[LOG_TABLE_NAME] = table->table_name;
	values[LOG_RECORD_ID] = value_or_null(PointerGetDatum(event->record_id), &nulls[LOG_RECORD_ID]);
	values[LOG_CHANGED_BY] = changed_by;
	values[LOG_SESSION_ROLE] = value_or_null(session_role, &nulls[LOG_SESSION_ROLE]);
	values[LOG_OLD_VALUES] = value_or_null(PointerGetDatum(event->old_values), &nulls[LOG_OLD_VALUES]);
	values[LOG_NEW_VALUES] = value_or_null(PointerGetDatum(event->new_values), &nulls[LOG_NEW_VALUES]);
	values[LOG_CONTEXT] = value_or_null(context, &nulls[LOG_CONTEXT]);

	caller = MemoryContextSwitchTo(pending_context);
	row->tuple = heap_form_tuple(log_desc, values, nulls);
	MemoryContextSwitchTo(caller);
	row->length = row->tuple->t_len;
	pending_bytes += row->length;
	npending++;

	if (committing || table->store_at_once)
		store_pending();
}

/*
 * True when the plan reads or writes a relation of ours.
 */
static bool
touches_our_schema(PlannedStmt *plan)
{
	Oid			schema = architect_schema();
	ListCell   *cell;

	foreach(cell, plan->relationOids)
	{
		if (get_rel_namespace(lfirst_oid(cell)) == schema)
			return true;
	}
	return false;
}

static void
store_before_read(QueryDesc *query, int eflags)
{
	if (npending > 0 && touches_our_schema(query->plannedstmt))
		store_pending();

	if (next_ExecutorStart)
		next_ExecutorStart(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
store_after_change(QueryDesc *query)
{
	if (npending > 0 &&
		(query->operation != CMD_SELECT || query->plannedstmt->hasModifyingCTE))
		store_pending();

	if (next_ExecutorEnd)
		next_ExecutorEnd(query);
	else
		standard_ExecutorEnd(query);
}

static void
store_around_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	store_pending();

	if (next_ProcessUtility)
		next_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest, completion);

	store_pending();
}

static void
forget_pending(void)
{
	truncate_pending(0);
	committing = false;
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			store_pending();
			committing = true;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			forget_pending();
			break;
		default:
			break;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subxact,
				   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = npending; i > 0 && pending[i - 1].subxact == subxact; i--)
			pending[i - 1].subxact = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		int			kept = npending;

		while (kept > 0 && pending[kept - 1].subxact == subxact)
		{
			heap_freetuple(pending[--kept].tuple);
		}
		truncate_pending(kept);
	}
}

static void
forget_relations(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == target.log || relid == target.partition)
	{
		target.valid = false;
		target.changes++;
	}
	if (!OidIsValid(relid) || relid == id_sequence)
		id_sequence = InvalidOid;
}

void
architect_audit_log_init(void)
{
	log_context = AllocSetContextCreate(TopMemoryContext, "architect audit log",
										ALLOCSET_DEFAULT_SIZES);
	pending_context = AllocSetContextCreate(log_context, "architect audit pending rows",
											ALLOCSET_DEFAULT_SIZES);

	next_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = store_before_read;
	next_ExecutorEnd = ExecutorEnd_hook;
	ExecutorEnd_hook = store_after_change;
	next_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = store_around_utility;
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
	CacheRegisterRelcacheCallback(forget_relations, (Datum) 0);
}
