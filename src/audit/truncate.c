/*
 * truncate.c
 *    Statement trigger for TRUNCATE: one event, every row, or refusal.
 *
 * It fires before the rows are gone.  In a partitioned table the root and every
 * partition have the trigger, as each can be truncated by name; what is
 * truncated along with an ancestor in the same command is the ancestor's event.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteManip.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "audit/audit.h"

PG_FUNCTION_INFO_V1(architect_audit_truncate);

/* The tables truncated by the command that ran last. */
static TransactionId truncated_by_transaction = InvalidTransactionId;
static CommandId truncated_by_command = InvalidCommandId;
static List *truncated = NIL;

/*
 * Notes that the current command truncates this table.
 */
static void
note_truncated(Relation rel)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	if (truncated_by_transaction != GetTopTransactionId() ||
		truncated_by_command != GetCurrentCommandId(true))
	{
		list_free(truncated);
		truncated = NIL;
		truncated_by_transaction = GetTopTransactionId();
		truncated_by_command = GetCurrentCommandId(true);
	}
	truncated = lappend_oid(truncated, RelationGetRelid(rel));
	MemoryContextSwitchTo(caller);
}

/*
 * True when the current command has come here for an ancestor already.
 */
static bool
ancestor_is_truncated(Relation rel)
{
	ListCell   *cell;

	if (!rel->rd_rel->relispartition ||
		truncated_by_transaction != GetTopTransactionId() ||
		truncated_by_command != GetCurrentCommandId(true))
		return false;

	foreach(cell, get_partition_ancestors(RelationGetRelid(rel)))
	{
		if (list_member_oid(truncated, lfirst_oid(cell)))
			return true;
	}
	return false;
}

/*
 * The condition under which deleted rows are audited, ready to be evaluated on
 * the inner tuple; NULL if there is none.
 */
static ExprState *
prepare_condition(Relation rel, EState *estate)
{
	Trigger    *trigger = architect_audit_find_trigger(rel);
	Node	   *condition;

	if (trigger == NULL || trigger->tgqual == NULL)
		return NULL;
	condition = stringToNode(trigger->tgqual);
	condition = architect_expand_generated_columns(condition, rel, PRS2_OLD_VARNO);
	ChangeVarNodes(condition, PRS2_OLD_VARNO, INNER_VAR, 0);
	return ExecPrepareQual(make_ands_implicit((Expr *) condition), estate);
}

/*
 * Logs every row of the table under the rules of its audit, as one that goes
 * (TRUNCATE) or one that is there (BASELINE); returns how many.
 */
int64
architect_audit_capture_rows(AuditTable *table, Relation rel, AuditOperation operation)
{
	EState	   *estate = CreateExecutorState();
	ExprContext *row_context = GetPerTupleExprContext(estate);
	ExprState  *condition = prepare_condition(rel, estate);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	AuditColumnSet set = {.columns = palloc(table->ncolumns * sizeof(int))};
	int64		count = 0;

	for (int i = 0; i < table->ncolumns; i++)
		set.columns[set.count++] = i;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		AuditEvent	event = {.operation = operation};
		Jsonb	  **image = operation == AUDIT_OPERATION_BASELINE ? &event.new_values : &event.old_values;
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();

		row_context->ecxt_innertuple = slot;
		if (condition != NULL && !ExecQual(condition, row_context))
			continue;

		caller = MemoryContextSwitchTo(row_context->ecxt_per_tuple_memory);
		slot_getallattrs(slot);
		event.record_id = architect_audit_record_id(table, slot);
		if (table->capture != AUDIT_CAPTURE_KEYS)
			*image = architect_audit_image(table, &set, slot);
		architect_audit_append(table, &event);
		count++;
		MemoryContextSwitchTo(caller);
		ResetExprContext(row_context);
	}

	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
	return count;
}

/*
 * Logs the one event that a table, or one of its partitions, was emptied.
 */
static void
capture_event(AuditTable *table, Relation rel)
{
	AuditEvent	event = {.operation = AUDIT_OPERATION_TRUNCATE};

	if (ancestor_is_truncated(rel))
		return;
	if (rel->rd_rel->relispartition)
		event.context = architect_audit_make_context(AUDIT_CONTEXT_PARTITION,
													 architect_audit_relation_name(RelationGetRelid(rel)));
	architect_audit_append(table, &event);
}

/*
 * architect.audit_truncate(): BEFORE TRUNCATE statement trigger.
 */
Datum
architect_audit_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation	rel;
	Trigger    *row_trigger;
	AuditTable *table;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("architect.audit_truncate must be called as a BEFORE TRUNCATE trigger"),
				 errhint("Call architect.audit_enable, which makes the triggers.")));

	/* A partition that was detached keeps this trigger, but no other. */
	rel = trigger->tg_relation;
	row_trigger = architect_audit_find_trigger(rel);
	if (row_trigger == NULL)
		return PointerGetDatum(NULL);

	table = architect_audit_table(rel, row_trigger);
	switch (table->truncate)
	{
		case AUDIT_TRUNCATE_REFUSE:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot truncate table \"%s\"", RelationGetRelationName(rel)),
					 errdetail("Its audit refuses TRUNCATE."),
					 errhint("Use DELETE, or call architect.audit_enable with truncate => 'event' or 'rows'.")));
			break;
		case AUDIT_TRUNCATE_ROWS:
			if (rel->rd_rel->relkind == RELKIND_RELATION)
				architect_audit_capture_rows(table, rel, AUDIT_OPERATION_TRUNCATE);
			break;
		case AUDIT_TRUNCATE_EVENT:
			capture_event(table, rel);
			break;
	}

	note_truncated(rel);
	return PointerGetDatum(NULL);
}
