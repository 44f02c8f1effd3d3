/*
 * statement.c
 *    A statement that is planned under a pinned search_path and run under the
 *    session's, which the users' triggers expect.
 *
 * SPI would plan a statement again whenever the search_path differs.  The plan is a
 * generic one, whose estimates are guesses: so the planner is shown only the way to
 * the rows that the walk goes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "optimizer/plancat.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "backfill/run.h"
#include "compat.h"

/* What receives the only row of a statement. */
typedef struct RowReceiver
{
	DestReceiver receiver;
	MemoryContext context;
	Datum	   *row;
	bool		found;
} RowReceiver;

static get_relation_info_hook_type next_relation_info = NULL;

/* The statement that is being planned. */
static BackfillStatement *planned = NULL;

/* Rows are being read and changed: not before, nor in the triggers after. */
static bool scanning = false;

/*
 * Takes indexes that the walk does not use out of the planner's sight.
 */
static void
show_one_way(PlannerInfo *root, Oid relation, bool inhparent, RelOptInfo *rel)
{
	if (next_relation_info != NULL)
		next_relation_info(root, relation, inhparent, rel);

	if (planned == NULL || planned->scan == BACKFILL_SCAN_ANY || planned->relation != relation)
		return;
	for (int i = list_length(rel->indexlist) - 1; i >= 0; i--)
	{
		IndexOptInfo *index = list_nth(rel->indexlist, i);

		if (planned->scan == BACKFILL_SCAN_BLOCKS || index->indexoid != planned->index)
			rel->indexlist = list_delete_nth_cell(rel->indexlist, i);
	}
}

static void
set_while_planning(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Prepares a statement with these parameters, in the caller's context.  Until it is
 * forgotten.
 */
BackfillStatement *
architect_backfill_prepare(const char *text, int nargs, const Oid *types, Oid relation, Oid index, BackfillScan scan)
{
	BackfillStatement *statement = palloc0(sizeof(BackfillStatement));
	int			level = NewGUCNestLevel();
	RawStmt    *raw;
	List	   *queries;

	statement->nargs = nargs;
	statement->types = palloc(Max(nargs, 1) * sizeof(Oid));
	if (nargs > 0)
		memcpy(statement->types, types, nargs * sizeof(Oid));
	statement->relation = relation;
	statement->index = index;
	statement->scan = scan;

	architect_pin_path();
	raw = linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT));
	statement->source = CreateCachedPlan(raw, text, IsA(raw->stmt, SelectStmt) ? CMDTAG_SELECT : CMDTAG_UPDATE);
	queries = pg_analyze_and_rewrite_fixedparams(raw, text, statement->types, nargs, NULL);
	if (list_length(queries) != 1)
		elog(ERROR, "unexpected rewriting of: %s", text);
	CompleteCachedPlan(statement->source, queries, NULL, statement->types, nargs, NULL, NULL,
					   CURSOR_OPT_GENERIC_PLAN | CURSOR_OPT_PARALLEL_OK, true);
	SaveCachedPlan(statement->source);
	AtEOXact_GUC(false, level);
	return statement;
}

void
architect_backfill_forget(BackfillStatement *statement)
{
	if (statement != NULL)
		DropCachedPlan(statement->source);
}

/*
 * Returns the plan, made again where something that it depends on has changed.
 */
static CachedPlan *
plan(BackfillStatement *statement, ParamListInfo params)
{
	CachedPlan *result;
	int			level = NewGUCNestLevel();

	architect_pin_path();
	set_while_planning("jit", "off");
	if (statement->scan != BACKFILL_SCAN_ANY)
	{
		set_while_planning("enable_seqscan", "off");
		set_while_planning("enable_bitmapscan", "off");
		set_while_planning("enable_sort", "off");
		set_while_planning("enable_tidscan", "on");
		set_while_planning("enable_indexscan", "on");
	}
	planned = statement;
	PG_TRY();
	{
		result = GetCachedPlan(statement->source, params, CurrentResourceOwner, NULL);
	}
	PG_FINALLY();
	{
		planned = NULL;
	}
	PG_END_TRY();
	AtEOXact_GUC(false, level);
	return result;
}

/*
 * Runs the statement under the active snapshot; returns how many rows it gave or
 * changed.
 */
static int64
run_plan(BackfillStatement *statement, Datum *values, DestReceiver *receiver)
{
	ParamListInfo params = makeParamList(statement->nargs);
	CachedPlan *cached;
	QueryDesc  *query;
	int64		rows;

	for (int i = 0; i < statement->nargs; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = statement->types[i];
	}

	scanning = false;
	cached = plan(statement, params);
	query = CreateQueryDesc(linitial_node(PlannedStmt, cached->stmt_list), statement->source->query_string,
							GetActiveSnapshot(), InvalidSnapshot, receiver, params, NULL, 0);
	ExecutorStart(query, 0);
	scanning = true;
	architect_run_executor(query);
	scanning = false;
	rows = query->estate->es_processed;
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	return rows;
}

/*
 * Runs a statement that gives no rows; returns how many it changed.
 */
int64
architect_backfill_execute(BackfillStatement *statement, Datum *values)
{
	return run_plan(statement, values, None_Receiver);
}

/*
 * True when the last statement failed at the row in hand, and not in what came
 * before the rows or after them.
 */
bool
architect_backfill_was_scanning(void)
{
	return scanning;
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);

	slot_getallattrs(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(slot->tts_tupleDescriptor, i);

		receiver->row[i] = slot->tts_isnull[i] ? (Datum) 0 :
			attribute->attlen == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(slot->tts_values[i])) :
			datumCopy(slot->tts_values[i], attribute->attbyval, attribute->attlen);
	}
	receiver->found = true;
	MemoryContextSwitchTo(old);
	return true;
}

static void
begin_receiving(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
end_receiving(DestReceiver *self)
{
}

/*
 * Runs a statement that gives one row or none; puts its values, allocated here, into
 * the array.  False for none.
 */
bool
architect_backfill_fetch(BackfillStatement *statement, Datum *values, Datum *row)
{
	RowReceiver receiver = {
		.receiver = {receive_row, begin_receiving, end_receiving, end_receiving, DestNone},
		.context = CurrentMemoryContext,
		.row = row
	};

	(void) run_plan(statement, values, &receiver.receiver);
	return receiver.found;
}

void
architect_backfill_statement_init(void)
{
	next_relation_info = get_relation_info_hook;
	get_relation_info_hook = show_one_way;
}
