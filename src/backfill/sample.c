/*
 * sample.c
 *    A sample of a table: windows of blocks all over it are read, and some of them
 *    changed and rolled back.
 *
 * What is changed leaves dead rows behind, as does any UPDATE that is rolled back:
 * so there are few of them.  A window is changed twice: the first time writes images
 * of its pages to the log, the second time tells what the rows themselves cost.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/execdesc.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "parser/parser.h"
#include "portability/instr_time.h"
#include "storage/bufmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "backfill/estimate.h"
#include "compat.h"
#include "core/core.h"

#define WINDOW 8				/* blocks */
#define READ_TIME 500			/* ms, over all relations */
#define CHANGE_TIME 300			/* likewise */
#define LEAST_WINDOWS 4			/* of a relation are read, however long it takes */
#define LEAST_ROWS 200			/* are changed, if there are so many */
#define MOST_ROWS 2000
#define SMALL_WINDOWS 128		/* so many of one block in a small relation */
#define SMALL_SHARE 0.02		/* of relations of which one block is enough */
#define LOCK_TIMEOUT "200"		/* ms */

/* A statement on a window, planned under a pinned search_path. */
typedef struct Probe
{
	PlannedStmt *plan;
	char	   *text;
	int64		rows;			/* of the last run */
	double		time;
	double		scan_time;
	double		before_time;	/* of triggers that are called row by row */
} Probe;

/* What receives the places of changed rows. */
typedef struct PlaceReceiver
{
	DestReceiver receiver;
	MemoryContext context;
	ItemPointerData *places;
	int64		count;
	int64		room;
} PlaceReceiver;

static double
elapsed_since(instr_time begin)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, begin);
	return INSTR_TIME_GET_MILLISEC(now);
}

/*
 * Plans a statement whose parameters are the places between which it works, so that
 * it goes to them by their tid.
 */
static void
plan_probe(Probe *probe, char *text)
{
	Oid			types[] = {TIDOID, TIDOID};
	const char *off[] = {"enable_seqscan", "enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan", "jit"};
	int			level = NewGUCNestLevel();
	RawStmt    *raw;
	List	   *queries;

	architect_pin_path();
	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	raw = linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT));
	queries = pg_analyze_and_rewrite_fixedparams(raw, text, types, lengthof(types), NULL);
	if (list_length(queries) != 1)
		elog(ERROR, "unexpected rewriting of: %s", text);
	probe->text = text;
	probe->plan = pg_plan_query(linitial_node(Query, queries), text, 0, NULL);
	AtEOXact_GUC(false, level);
}

/*
 * Adds up the times of triggers, those before the change of each row apart.
 */
static void
read_triggers(EState *estate, Probe *probe)
{
	ListCell   *cell;

	foreach(cell, estate->es_opened_result_relations)
	{
		ResultRelInfo *result = lfirst(cell);

		for (int i = 0; result->ri_TrigDesc != NULL && i < result->ri_TrigDesc->numtriggers; i++)
		{
			Instrumentation *instrument = result->ri_TrigInstrument + i;

			InstrEndLoop(instrument);
			if (TRIGGER_FOR_BEFORE(result->ri_TrigDesc->triggers[i].tgtype))
				probe->before_time += instrument->total * 1000;
		}
	}
}

/*
 * Runs the statement on blocks from one up to, and without, another.
 */
static void
run_probe(Probe *probe, BlockNumber first, BlockNumber end, DestReceiver *receiver)
{
	ParamListInfo params = makeParamList(2);
	ItemPointerData places[2];
	QueryDesc  *query;
	instr_time	begin;

	ItemPointerSet(&places[0], first, 0);
	ItemPointerSet(&places[1], end, 0);
	for (int i = 0; i < 2; i++)
	{
		params->params[i].value = PointerGetDatum(&places[i]);
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = TIDOID;
	}

	INSTR_TIME_SET_CURRENT(begin);
	PushActiveSnapshot(GetTransactionSnapshot());
	query = CreateQueryDesc(probe->plan, probe->text, GetActiveSnapshot(), InvalidSnapshot, receiver, params, NULL,
							INSTRUMENT_TIMER | INSTRUMENT_ROWS);
	ExecutorStart(query, 0);
	architect_run_executor(query);
	probe->time = elapsed_since(begin);
	probe->rows = query->estate->es_processed;
	ExecutorFinish(query);
	probe->scan_time = probe->before_time = 0;
	if (query->operation == CMD_UPDATE)
	{
		PlanState  *scan = outerPlanState(query->planstate);

		InstrEndLoop(scan->instrument);
		probe->scan_time = scan->instrument->total * 1000;
		read_triggers(query->estate, probe);
	}
	ExecutorEnd(query);
	FreeQueryDesc(query);
	PopActiveSnapshot();
}

static bool
receive_place(TupleTableSlot *slot, DestReceiver *self)
{
	PlaceReceiver *receiver = (PlaceReceiver *) self;
	bool		isnull;

	if (receiver->count == receiver->room)
	{
		MemoryContext old = MemoryContextSwitchTo(receiver->context);

		receiver->room = Max(receiver->room * 2, 1024);
		receiver->places = receiver->places == NULL ? palloc(receiver->room * sizeof(ItemPointerData)) :
			repalloc(receiver->places, receiver->room * sizeof(ItemPointerData));
		MemoryContextSwitchTo(old);
	}
	receiver->places[receiver->count++] = *(ItemPointer) DatumGetPointer(slot_getattr(slot, 1, &isnull));
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

/* A count comes as the only column of the only row. */
static bool
receive_count(TupleTableSlot *slot, DestReceiver *self)
{
	PlaceReceiver *receiver = (PlaceReceiver *) self;
	bool		isnull;

	receiver->count = DatumGetInt64(slot_getattr(slot, 1, &isnull));
	return true;
}

static int64
count_rows(Probe *probe, BlockNumber first, BlockNumber end)
{
	PlaceReceiver receiver = {.receiver = {receive_count, begin_receiving, end_receiving, end_receiving, DestNone}};

	run_probe(probe, first, end, &receiver.receiver);
	return receiver.count;
}

/*
 * True for an error that other rows may not have.
 */
static bool
is_of_a_row(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case MAKE_SQLSTATE('2', '2', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('P', '0', '0', '0', '0'):
			return true;
		default:
			return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/*
 * Does a task and rolls that back; false when a row stands against it, and then notes
 * the error.
 */
static bool
try_task(ArchitectTask task, void *argument, BackfillSample *sample)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		task(argument);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error == NULL)
		return true;
	if (!is_of_a_row(error))
		ReThrowError(error);
	if (sample->error == NULL)
		sample->error = error;
	return false;
}

/*
 * Notes what stands on a page.
 */
static void
read_page(Relation rel, BlockNumber block, BackfillPage *facts)
{
	Buffer		buffer = ReadBuffer(rel, block);
	Page		page = BufferGetPage(buffer);

	*facts = (BackfillPage) {0};
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (!PageIsNew(page))
	{
		for (OffsetNumber i = FirstOffsetNumber; i <= PageGetMaxOffsetNumber(page); i++)
		{
			ItemId		item = PageGetItemId(page, i);

			if (ItemIdIsNormal(item))
			{
				facts->rows++;
				facts->bytes += MAXALIGN(ItemIdGetLength(item));
			}
		}
		facts->free = PageGetHeapFreeSpace(page);
	}
	UnlockReleaseBuffer(buffer);
}

/* A window that is being read. */
typedef struct Look
{
	Probe	   *count;
	BlockNumber first;
	BlockNumber end;
	int64		rows;
} Look;

static void
count_matching(void *argument)
{
	Look	   *look = argument;

	look->rows = count_rows(look->count, look->first, look->end);
}

/*
 * Reads a window and counts its rows that are to be changed.  Those are all rows when
 * it cannot be told which ones the assignment would change.
 */
static void
read_window(Relation rel, Probe *count, Probe *count_all, BlockNumber first, BlockNumber end, BackfillSample *sample)
{
	Look		look = {count, first, end};
	BackfillPage *pages;
	double		rows = 0;

	if (!try_task(count_matching, &look, sample))
		look.rows = count_rows(count_all, first, end);

	if (sample->npages + WINDOW > sample->room)
	{
		sample->room = Max(sample->room * 2, 1024);
		sample->pages = sample->pages == NULL ? palloc(sample->room * sizeof(BackfillPage)) :
			repalloc_huge(sample->pages, sample->room * sizeof(BackfillPage));
	}
	pages = sample->pages + sample->npages;
	for (BlockNumber block = first; block < end; block++)
	{
		read_page(rel, block, &pages[block - first]);
		rows += pages[block - first].rows;
	}
	for (BlockNumber i = 0; rows > 0 && i < end - first; i++)
		pages[i].matching = look.rows * pages[i].rows / rows;

	sample->cold_time += count->time;
	sample->npages += end - first;
	sample->rows += rows;
	sample->matching += look.rows;
}

/*
 * Adds up what the new versions of rows are like.
 */
static void
read_versions(Relation rel, const PlaceReceiver *places, BackfillSample *sample)
{
	Buffer		buffer = InvalidBuffer;

	for (int64 i = 0; i < places->count; i++)
	{
		ItemPointer place = &places->places[i];
		Page		page;
		ItemId		item;

		if (BufferIsInvalid(buffer) || BufferGetBlockNumber(buffer) != ItemPointerGetBlockNumber(place))
		{
			if (BufferIsValid(buffer))
				UnlockReleaseBuffer(buffer);
			buffer = ReadBuffer(rel, ItemPointerGetBlockNumber(place));
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
		}
		page = BufferGetPage(buffer);
		item = PageGetItemId(page, ItemPointerGetOffsetNumber(place));
		sample->bytes += MAXALIGN(ItemIdGetLength(item));
		if (HeapTupleHeaderIsHeapOnly((HeapTupleHeader) PageGetItem(page, item)))
			sample->hot++;
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

static BlockNumber
count_toast_blocks(Relation rel)
{
	Oid			toast = rel->rd_rel->reltoastrelid;
	Relation	opened;
	BlockNumber blocks;

	if (!OidIsValid(toast))
		return 0;
	opened = RelationIdGetRelation(toast);
	blocks = RelationGetNumberOfBlocks(opened);
	RelationClose(opened);
	return blocks;
}

/* A window that is being changed. */
typedef struct Trial
{
	Relation	rel;
	Probe	   *change;
	BlockNumber first;
	BlockNumber end;
	bool		first_time;
	BackfillSample *sample;
	double		wal;			/* of the first time */
} Trial;

/*
 * Changes the rows of a window; to be rolled back.
 */
static void
change_window(void *argument)
{
	Trial	   *trial = argument;
	ConstraintsSetStmt immediate = {.type = T_ConstraintsSetStmt, .constraints = NIL, .deferred = false};
	PlaceReceiver places = {
		.receiver = {receive_place, begin_receiving, end_receiving, end_receiving, DestNone},
		.context = CurrentMemoryContext
	};
	BackfillSample *sample = trial->sample;
	WalUsage	before = pgWalUsage;
	BlockNumber toast = count_toast_blocks(trial->rel);
	instr_time	begin;
	double		wal;

	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
							 false);
	AfterTriggerSetState(&immediate);
	INSTR_TIME_SET_CURRENT(begin);
	run_probe(trial->change, trial->first, trial->end, &places.receiver);

	wal = pgWalUsage.wal_bytes - before.wal_bytes;
	if (trial->first_time)
	{
		trial->wal = wal;
		sample->images += pgWalUsage.wal_fpi - before.wal_fpi;
		return;
	}
	sample->trigger_time += elapsed_since(begin) - trial->change->time + trial->change->before_time;
	sample->scan_time += trial->change->scan_time;
	sample->write_time += trial->change->time - trial->change->scan_time - trial->change->before_time;
	sample->wal += wal;
	sample->image_wal += Max(trial->wal - wal, 0);
	sample->changed += places.count;
	sample->changed_pages += trial->end - trial->first;
	sample->toast_blocks += count_toast_blocks(trial->rel) - toast;
	read_versions(trial->rel, &places, sample);
}

/* The windows of a relation, in an order whose every beginning is spread evenly. */
typedef struct Order
{
	BlockNumber count;
	BlockNumber step;
} Order;

static Order
spread_windows(BlockNumber blocks)
{
	Order		order = {.count = (blocks + WINDOW - 1) / WINDOW};
	BlockNumber left;
	BlockNumber right;

	/* A step that has no divisor in common with the count goes everywhere once. */
	order.step = Max(order.count * 0.618, 1);
	do
	{
		left = order.count;
		right = order.step++;
		while (right != 0)
		{
			BlockNumber rest = left % right;

			left = right;
			right = rest;
		}
	} while (left != 1);
	order.step--;
	return order;
}

static BlockNumber
window_at(Order order, BlockNumber position)
{
	return (uint64) position * order.step % order.count * WINDOW;
}

/*
 * Returns the conditions on a row to be changed, beside its place.
 */
static char *
conditions_of(const BackfillAssignment *what, bool guarded)
{
	StringInfoData text;

	initStringInfo(&text);
	if (what->condition != NULL)
		appendStringInfo(&text, " AND (%s)", what->condition);
	if (guarded)
		appendStringInfo(&text, " AND (%s)", what->guard);
	return text.data;
}

/*
 * Changes windows, one after the other, until enough rows were changed.
 */
static void
change_windows(Trial *trial, Order order, BlockNumber width, double wanted, double most_time)
{
	BackfillSample *sample = trial->sample;
	instr_time	begin;

	INSTR_TIME_SET_CURRENT(begin);
	for (BlockNumber i = 0; i < order.count && sample->changed < wanted; i++)
	{
		double		changed = sample->changed;

		if (sample->windows > 0 && elapsed_since(begin) > most_time)
			break;
		CHECK_FOR_INTERRUPTS();
		trial->first = window_at(order, i);
		trial->end = Min(trial->first + width, sample->blocks);
		trial->first_time = true;
		if (try_task(change_window, trial, sample))
		{
			trial->first_time = false;
			if (trial->change->rows == 0)
				continue;
			if (try_task(change_window, trial, sample) && sample->changed > changed)
			{
				sample->windows++;
				continue;
			}
		}
		sample->windows++;
		sample->failed++;
	}
}

/*
 * Reads and changes windows of a relation, which is locked for this, within a share
 * of the time for all.
 */
void
architect_backfill_sample(Relation rel, const BackfillAssignment *what, bool guarded, double share,
						  BackfillSample *sample)
{
	const char *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												  RelationGetRelationName(rel));
	const char *range = BACKFILL_ALIAS ".ctid OPERATOR(pg_catalog.>=) $1 AND "
		BACKFILL_ALIAS ".ctid OPERATOR(pg_catalog.<) $2";
	char	   *conditions = conditions_of(what, guarded);
	Probe		count = {0};
	Probe		count_all = {0};
	Probe		change = {0};
	Trial		trial = {rel, &change, .sample = sample};
	Order		order;
	BlockNumber width;
	double		wanted;
	instr_time	begin;

	sample->blocks = RelationGetNumberOfBlocks(rel);
	if (sample->blocks == 0)
		return;
	plan_probe(&count, psprintf("SELECT pg_catalog.count(*) FROM ONLY %s AS " BACKFILL_ALIAS " WHERE %s%s",
								name, range, conditions));
	plan_probe(&count_all, psprintf("SELECT pg_catalog.count(*) FROM ONLY %s AS " BACKFILL_ALIAS " WHERE %s%s",
									name, range, conditions_of(what, false)));
	plan_probe(&change, psprintf("UPDATE ONLY %s AS " BACKFILL_ALIAS " SET %s WHERE %s%s RETURNING " BACKFILL_ALIAS
								 ".ctid", name, what->set_list, range, conditions));

	order = spread_windows(sample->blocks);
	INSTR_TIME_SET_CURRENT(begin);
	for (BlockNumber i = 0; i < order.count && (i < LEAST_WINDOWS || elapsed_since(begin) < READ_TIME * share); i++)
	{
		BlockNumber first = window_at(order, i);

		CHECK_FOR_INTERRUPTS();
		read_window(rel, &count, &count_all, first, Min(first + WINDOW, sample->blocks), sample);
	}

	width = share < SMALL_SHARE ? 1 : Max(Min(sample->blocks / SMALL_WINDOWS, WINDOW), 1);
	wanted = Min(Max(sample->rows / sample->npages * sample->blocks / 100, LEAST_ROWS), MOST_ROWS);
	change_windows(&trial, order, width, wanted, CHANGE_TIME * share);
}
