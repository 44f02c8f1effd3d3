/*
 * commit.c
 *    When transactions committed, for those that took their time.
 *
 * A log row has the time of the change.  What was visible at some moment depends
 * on when the change was committed, so a transaction that logged its first change
 * a while before it commits leaves both times in architect.audit_commits.  For all
 * others the time of the change is the time of the commit, but for that while.
 * When a prepared transaction commits nobody tells us: its time is infinity.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "audit/audit.h"
#include "audit/log.h"
#include "compat.h"
#include "core/core.h"

/* In microseconds. */
#define A_WHILE 1000

/* The columns of architect.audit_commits. */
enum CommitColumn
{
	COMMIT_TRANSACTION_ID,
	COMMIT_BEGAN_AT,
	COMMIT_COMMITTED_AT,
	COMMIT_COLUMNS
};

/* When this transaction logged its first change; 0 before that. */
static TimestampTz began_at = 0;

/*
 * Takes the time of a change of this transaction.
 */
void
architect_audit_commit_note(TimestampTz changed_at)
{
	if (began_at == 0)
		began_at = changed_at;
}

void
architect_audit_commit_forget(void)
{
	began_at = 0;
}

/*
 * Raises unless the table has the columns that we write.
 */
static void
check_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (desc->natts != COMMIT_COLUMNS ||
		TupleDescAttr(desc, COMMIT_TRANSACTION_ID)->atttypid != XID8OID ||
		TupleDescAttr(desc, COMMIT_BEGAN_AT)->atttypid != TIMESTAMPTZOID ||
		TupleDescAttr(desc, COMMIT_COMMITTED_AT)->atttypid != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has not the columns that the audit writes", RelationGetRelationName(rel)),
				 errhint("Bring its columns back as they were.")));
}

/*
 * Stores both times of a transaction that is about to commit.
 */
static void
store_times(TimestampTz committed_at)
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *result_rel;
	TupleTableSlot *slot;

	/* The transaction may have dropped the log after all. */
	if (!OidIsValid(architect_relation("audit_log", true)))
		return;

	rel = table_open(architect_audit_log_relation("audit_commits"), RowExclusiveLock);
	check_columns(rel);
	estate = CreateExecutorState();
	result_rel = makeNode(ResultRelInfo);
	slot = table_slot_create(rel, NULL);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, COMMIT_COLUMNS * sizeof(bool));
	slot->tts_values[COMMIT_TRANSACTION_ID] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	slot->tts_values[COMMIT_BEGAN_AT] = TimestampTzGetDatum(began_at);
	slot->tts_values[COMMIT_COMMITTED_AT] = TimestampTzGetDatum(committed_at);
	ExecStoreVirtualTuple(slot);

	InitResultRelInfo(result_rel, rel, 0, NULL, 0);
	ExecOpenIndices(result_rel, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	table_tuple_insert(rel, slot, GetCurrentCommandId(true), 0, NULL);
	architect_insert_index_entries(result_rel, slot, estate);
	PopActiveSnapshot();

	ExecCloseIndices(result_rel);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
	table_close(rel, NoLock);
}

/*
 * Called when the transaction is about to commit or to be prepared.
 */
void
architect_audit_commit_store(bool is_prepared)
{
	TimestampTz now;

	if (began_at == 0)
		return;
	now = GetCurrentTimestamp();
	if (is_prepared)
		store_times(DT_NOEND);
	else if (now - began_at >= A_WHILE)
		store_times(now);
	began_at = 0;
}
