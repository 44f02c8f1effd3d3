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
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "audit/audit.h"
#include "audit/log.h"
#include "core/core.h"

/* A batch is stored when it has this many rows or bytes. */
#define BATCH_ROWS	1000
#define BATCH_BYTES	(512 * 1024)

/* Longest record_id: its index entry has to fit. */
#define RECORD_ID_BYTES	2600

static const char *const operation_names[AUDIT_OPERATIONS] = {
	[AUDIT_OPERATION_INSERT] = "INSERT",
	[AUDIT_OPERATION_UPDATE] = "UPDATE",
	[AUDIT_OPERATION_DELETE] = "DELETE",
	[AUDIT_OPERATION_TRUNCATE] = "TRUNCATE",
	[AUDIT_OPERATION_BASELINE] = "BASELINE",
	[AUDIT_OPERATION_GAP] = "GAP",
	[AUDIT_OPERATION_ERASE] = "ERASE",
	[AUDIT_OPERATION_RETAIN] = "RETAIN",
	[AUDIT_OPERATION_HOLD] = "HOLD",
	[AUDIT_OPERATION_RELEASE] = "RELEASE",
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
static int64 last_number = 0;	/* given to a row */
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

static ExecutorStart_hook_type next_ExecutorStart = NULL;
static ExecutorEnd_hook_type next_ExecutorEnd = NULL;
static ProcessUtility_hook_type next_ProcessUtility = NULL;

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
		architect_audit_store(partition, slots, nrows, rows[0].command);
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
		TimestampTz lower;
		TimestampTz upper;
		Relation	partition = architect_audit_open_partition(rows[done].changed_at, &lower, &upper);
		int			end = done + 1;

		while (end < nrows && end - done < BATCH_ROWS && rows[end].command == rows[done].command &&
			   rows[end].changed_at >= lower && rows[end].changed_at < upper)
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
		id_sequence = architect_audit_log_relation("audit_log_id_seq");

	id = architect_audit_take_numbers(id_sequence, npending - nnumbered);
	for (; nnumbered < npending; nnumbered++, id++)
	{
		HeapTupleHeader header = pending[nnumbered].tuple->t_data;

		memcpy((char *) header + header->t_hoff, &id, sizeof(id));
		last_number = id;
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
void
architect_audit_store_pending(void)
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
		TupleDescInitEntry(desc, i + 1, architect_audit_log_columns[i].name,
						   architect_audit_log_columns[i].type, -1, 0);
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

const char *
architect_audit_operation_name(AuditOperation operation)
{
	return operation_names[operation];
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
	check_record_id(event->new_record_id);
	if (batch_is_full())
		architect_audit_store_pending();
	architect_audit_actor(&changed_by, &session_role, &context);
	if (event->context != NULL)
		context = architect_audit_context_with(event->context);
	else if (event->operation == AUDIT_OPERATION_TRUNCATE && event->record_id == NULL)
		context = architect_audit_context_of_whole();

	row = next_pending();
	row->changed_at = GetCurrentTimestamp();
	row->subxact = GetCurrentSubTransactionId();
	row->command = GetCurrentCommandId(true);
	architect_audit_commit_note(row->changed_at);

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
	values[LOG_NEW_RECORD_ID] = value_or_null(PointerGetDatum(event->new_record_id), &nulls[LOG_NEW_RECORD_ID]);

	caller = MemoryContextSwitchTo(pending_context);
	row->tuple = heap_form_tuple(log_desc, values, nulls);
	MemoryContextSwitchTo(caller);
	row->length = row->tuple->t_len;
	pending_bytes += row->length;
	npending++;

	if (committing || table->store_at_once)
		architect_audit_store_pending();
}

/*
 * Adds an event that is no change of a row, and stores it at once; returns its
 * number.
 */
int64
architect_audit_note(AuditTable *table, const AuditEvent *event)
{
	architect_audit_append(table, event);
	architect_audit_store_pending();
	return last_number;
}

PG_FUNCTION_INFO_V1(architect_audit_note_sql);

/*
 * architect._audit_note(table_id, table_schema, table_name, operation, record_id, context)
 */
Datum
architect_audit_note_sql(PG_FUNCTION_ARGS)
{
	AuditTable	table = {
		.table_id = PG_GETARG_INT32(0),
		.schema_name = PG_GETARG_DATUM(1),
		.table_name = PG_GETARG_DATUM(2)
	};
	char	   *operation = text_to_cstring(PG_GETARG_TEXT_PP(3));
	AuditEvent	event = {
		.operation = AUDIT_OPERATIONS,
		.record_id = PG_ARGISNULL(4) ? NULL : PG_GETARG_TEXT_PP(4),
		.context = PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5)
	};

	for (int i = AUDIT_OPERATION_BASELINE; i < AUDIT_OPERATIONS; i++)
	{
		if (strcmp(operation, operation_names[i]) == 0)
			event.operation = i;
	}
	if (event.operation == AUDIT_OPERATIONS)
		elog(ERROR, "unknown operation \"%s\"", operation);
	PG_RETURN_INT64(architect_audit_note(&table, &event));
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
		architect_audit_store_pending();

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
		architect_audit_store_pending();

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
	architect_audit_store_pending();

	if (next_ProcessUtility)
		next_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest, completion);

	architect_audit_store_pending();
}

static void
forget_pending(void)
{
	truncate_pending(0);
	committing = false;
	architect_audit_commit_forget();
}

/*
 * The last moment at which something can be stored.
 */
static void
store_at_commit(bool is_prepared)
{
	architect_audit_store_pending();
	architect_audit_commit_store(is_prepared);
	committing = true;
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			store_at_commit(event == XACT_EVENT_PRE_PREPARE);
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
forget_sequence(Datum arg, Oid relid)
{
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
	CacheRegisterRelcacheCallback(forget_sequence, (Datum) 0);
}
