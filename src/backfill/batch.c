/*
 * batch.c
 *    The rows of one batch, and which of them it was that could not be changed.
 *
 * A range of rows is changed in a subtransaction.  When that fails and rows may be
 * skipped, the row in hand is tried by itself, rejected when it fails again, and the
 * range is done without it.  Where the failure came after the rows (AFTER triggers,
 * constraints), halves of the range are tried.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "backfill/run.h"
#include "compat.h"

/* So often rows that are locked are waited for before they are left for a sweep. */
#define MOST_ATTEMPTS 3

PG_FUNCTION_INFO_V1(architect_backfill_row);

/* The row in hand, and how many there were since the statement began. */
static ItemPointerData row_in_hand;
static int64 rows_seen = 0;

/* Rows to be passed by, as they were rejected. */
static ItemPointerData *passed_by = NULL;
static int	npassed_by = 0;

/* Transactions that wrote rows of this window: these are not changed again. */
static TransactionId *writers = NULL;
static int	nwriters = 0;

/*
 * architect._backfill_row(row_place tid, writer xid)
 */
Datum
architect_backfill_row(PG_FUNCTION_ARGS)
{
	ItemPointer place = (ItemPointer) PG_GETARG_POINTER(0);
	TransactionId writer = PG_GETARG_TRANSACTIONID(1);

	/* They are in the order of their beginning, and most rows are older than all of them. */
	for (int i = nwriters - 1; i >= 0 && !TransactionIdPrecedes(writer, writers[0]); i--)
	{
		if (writers[i] == writer)
			PG_RETURN_BOOL(false);
	}
	for (int i = 0; i < npassed_by; i++)
	{
		if (ItemPointerEquals(&passed_by[i], place))
			PG_RETURN_BOOL(false);
	}

	row_in_hand = *place;
	rows_seen++;
	PG_RETURN_BOOL(true);
}

/* Rows that are written from now on belong to another window. */
void
architect_backfill_begin_window(void)
{
	nwriters = 0;
}

/* What was passed by so far is a matter of other rows. */
void
architect_backfill_begin_rows(void)
{
	npassed_by = 0;
}

static void
remember_writer(void)
{
	TransactionId xid = GetCurrentTransactionIdIfAny();

	if (!TransactionIdIsValid(xid))
		return;
	if (nwriters % 64 == 0)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		writers = writers == NULL ? palloc(64 * sizeof(TransactionId)) :
			repalloc(writers, (nwriters + 64) * sizeof(TransactionId));
		MemoryContextSwitchTo(old);
	}
	writers[nwriters++] = xid;
}

static void
pass_by(ItemPointer place)
{
	if (npassed_by % 64 == 0)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		passed_by = passed_by == NULL ? palloc(64 * sizeof(ItemPointerData)) :
			repalloc(passed_by, (npassed_by + 64) * sizeof(ItemPointerData));
		MemoryContextSwitchTo(old);
	}
	passed_by[npassed_by++] = *place;
}

/*
 * True when other sessions wait for rows of the transaction in hand, or, before it is
 * released, of the subtransaction.
 */
static bool
has_waiters(TransactionId xid)
{
	LOCKTAG		tag;

	if (!TransactionIdIsValid(xid))
		return false;
	SET_LOCKTAG_TRANSACTION(tag, xid);
	return LockHasWaiters(&tag, ExclusiveLock, false);
}

/*
 * At the end of a batch: the next ones aim at less time when others wait for its rows.
 */
void
architect_backfill_learn_aim(BackfillRun *run)
{
	TimestampTz now = GetCurrentTimestamp();

	run->aim = architect_backfill_next_aim(run->aim, (now - run->batch_began) / 1000.0,
										   run->waited || has_waiters(GetTopTransactionIdIfAny()),
										   run->job->batch_time);
	run->waited = false;
}

/* One statement on rows of the leaf in hand. */
typedef struct Change
{
	BackfillRun *run;
	BackfillStatement *statement;
	Datum	   *values;
	int64		seen;
	int64		rows;
	int64		hot;
	int64		wal;
	bool		done;			/* and only to be taken back */
} Change;

static void
execute_change(void *argument)
{
	Change	   *change = argument;
	Relation	rel = RelationIdGetRelation(change->run->leaf->relation);
	uint64		wal = pgWalUsage.wal_bytes;
	int64		hot = architect_count_hot_updates(rel);

	rows_seen = 0;
	PushActiveSnapshot(GetTransactionSnapshot());
	change->rows = architect_backfill_execute(change->statement, change->values);
	PopActiveSnapshot();
	change->seen = rows_seen;
	change->hot = architect_count_hot_updates(rel) - hot;
	change->wal = pgWalUsage.wal_bytes - wal;
	change->run->waited |= has_waiters(GetCurrentTransactionIdIfAny());
	RelationClose(rel);

	/* In key order ranges are disjoint: what a trigger writes of others is still to be done. */
	if (change->run->job->walk == BACKFILL_WALK_BLOCK)
		remember_writer();
}

static void
try_change(void *argument)
{
	Change	   *change = argument;

	PushActiveSnapshot(GetTransactionSnapshot());
	(void) architect_backfill_execute(change->statement, change->values);
	PopActiveSnapshot();
	change->done = true;
	elog(ERROR, "to be taken back");
}

/*
 * Changes rows in a subtransaction and counts them; returns the error of a failure.
 */
static ErrorData *
attempt(BackfillRun *run, BackfillStatement *statement, Datum *values)
{
	Change		change = {run, statement, values};
	ErrorData  *error = architect_backfill_try(execute_change, &change);

	if (error == NULL)
	{
		run->batch_counts.rows += change.rows;
		run->batch_counts.hot += change.hot;
		run->batch_counts.wal += change.wal;
		run->wal_since += change.wal;
		run->changed += change.rows;
		run->window_seen += change.seen;
		run->window_rows += change.rows;
		run->window_hot += change.hot;
	}
	return error;
}

static ErrorData *
attempt_places(BackfillRun *run, const BackfillRange *range)
{
	Datum	   *elements = palloc(Max(range->nplaces, 1) * sizeof(Datum));
	Datum		places;

	for (int i = 0; i < range->nplaces; i++)
		elements[i] = PointerGetDatum(&range->places[i]);
	places = PointerGetDatum(construct_array(elements, range->nplaces, TIDOID, sizeof(ItemPointerData), false,
											 TYPALIGN_SHORT));
	pfree(elements);
	return attempt(run, run->leaf->places, &places);
}

static ErrorData *
attempt_keys(BackfillRun *run, const BackfillRange *range)
{
	BackfillLeaf *leaf = run->leaf;
	int			ncolumns = leaf->key->ncolumns;
	Datum	   *values = palloc0(2 * ncolumns * sizeof(Datum));

	if (range->after != NULL)
		memcpy(values, range->after, ncolumns * sizeof(Datum));
	memcpy(values + ncolumns, range->upto, ncolumns * sizeof(Datum));
	return attempt(run, range->after != NULL ? leaf->change : leaf->begin, values);
}

static ErrorData *
attempt_range(BackfillRun *run, const BackfillRange *range)
{
	Datum		span[] = {PointerGetDatum(&range->from), PointerGetDatum(&range->to)};

	switch (range->kind)
	{
		case BACKFILL_RANGE_PLACES:
			return attempt_places(run, range);
		case BACKFILL_RANGE_SPAN:
			return attempt(run, run->leaf->span, span);
		case BACKFILL_RANGE_KEYS:
			return attempt_keys(run, range);
		case BACKFILL_RANGE_WHOLE:
			return attempt(run, run->leaf->whole, NULL);
	}
	elog(ERROR, "unexpected kind of range %d", range->kind);
}

/* A row that is asked for its record_id. */
typedef struct Identity
{
	BackfillRun *run;
	ItemPointer place;
	char	   *record_id;
} Identity;

static void
identify(void *argument)
{
	Identity   *identity = argument;
	Datum		value = PointerGetDatum(identity->place);
	Datum		row;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (architect_backfill_fetch(identity->run->leaf->identify, &value, &row))
		identity->record_id = TextDatumGetCString(row);
	PopActiveSnapshot();
}

/*
 * Returns the record_id of the row at a place; NULL where there is none any more.
 */
static char *
record_id_of(BackfillRun *run, ItemPointer place)
{
	Identity	identity = {run, place, NULL};
	ErrorData  *error = architect_backfill_try(identify, &identity);

	if (error != NULL)
		ReThrowError(error);
	return identity.record_id;
}

/*
 * Ends the job for an error of the user's data or triggers, with the row in the
 * message where it is known.
 */
static void
give_up(BackfillRun *run, ErrorData *error)
{
	if (architect_backfill_was_scanning() && rows_seen > 0)
	{
		ItemPointerData place = row_in_hand;
		char	   *record_id = record_id_of(run, &place);

		if (record_id != NULL)
			error->context = psprintf("%s%schanging row %s of table %s",
									  error->context != NULL ? error->context : "",
									  error->context != NULL ? "\n" : "", record_id, run->leaf->name);
	}
	architect_backfill_fail(run, error);
}

static void
raise_too_many(void *argument)
{
	BackfillRun *run = argument;
	BackfillReject *rejected = llast(run->rejects);

	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("more than " INT64_FORMAT " rows could not be changed", run->job->max_rejects),
			 errdetail("The last one, %s of %s: %s", rejected->record_id, run->leaf->name, rejected->error->message),
			 errhint("See " ARCHITECT_SCHEMA ".backfill_rejects. Correct the assignment or the rows, or call with a greater max_rejects.")));
}

/*
 * Puts a row among the rejects of this batch; ends the job when they have become too
 * many.
 */
static void
reject(BackfillRun *run, ItemPointer place, ErrorData *error)
{
	char	   *record_id = record_id_of(run, place);
	BackfillReject *rejected;

	if (record_id == NULL)
		return;
	rejected = palloc(sizeof(BackfillReject));
	rejected->relation = run->leaf->relation;
	rejected->place = *place;
	rejected->record_id = record_id;
	rejected->error = error;
	run->rejects = lappend(run->rejects, rejected);
	run->pieces = BACKFILL_MOST_PIECES;
	if (run->rejected + list_length(run->rejects) > run->job->max_rejects)
		architect_backfill_fail(run, architect_backfill_try(raise_too_many, run));
}

/*
 * True for an error that another row may not have: not one of rights, names or
 * resources.
 */
bool
architect_backfill_is_of_the_row(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case MAKE_SQLSTATE('2', '5', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '6', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('3', 'D', '0', '0', '0'):
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('4', '2', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '5', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('F', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):
			return false;
		default:
			return true;
	}
}

static BackfillOutcome change_range(BackfillRun *run, const BackfillRange *range);

/* Places of rows as numbers that can be halved. */
static uint64
to_number(const ItemPointerData *place)
{
	return ((uint64) ItemPointerGetBlockNumberNoCheck(place) << 16) + ItemPointerGetOffsetNumberNoCheck(place);
}

static void
to_place(uint64 number, ItemPointer place)
{
	ItemPointerSet(place, number >> 16, number & 0xFFFF);
}

/*
 * Divides a range in two; false where it cannot be divided.
 */
static bool
halve(BackfillRun *run, const BackfillRange *range, BackfillRange *left, BackfillRange *right)
{
	uint64		from = to_number(&range->from);
	uint64		middle = from + (to_number(&range->to) - from) / 2;

	*left = *right = *range;
	switch (range->kind)
	{
		case BACKFILL_RANGE_PLACES:
			left->nplaces = range->nplaces / 2;
			right->places += left->nplaces;
			right->nplaces -= left->nplaces;
			return left->nplaces > 0;
		case BACKFILL_RANGE_SPAN:
		case BACKFILL_RANGE_WHOLE:
			left->kind = right->kind = BACKFILL_RANGE_SPAN;
			to_place(middle, &left->to);
			right->from = left->to;
			return middle > from;
		case BACKFILL_RANGE_KEYS:
			left->upto = right->after = palloc(run->leaf->key->ncolumns * sizeof(Datum));
			return architect_backfill_find_bound(run, range, Max(rows_seen / 2, 1), left->upto);
	}
	return false;
}

/*
 * Changes first the one and then the other half of a range, which failed as a whole.
 */
static BackfillOutcome
change_halves(BackfillRun *run, const BackfillRange *range, ErrorData *error)
{
	BackfillRange left;
	BackfillRange right;
	BackfillOutcome outcome;

	if (!halve(run, range, &left, &right))
		give_up(run, error);
	outcome = change_range(run, &left);
	return outcome == BACKFILL_DONE ? change_range(run, &right) : outcome;
}

/*
 * Tries the row in hand alone, and takes it back; returns its error, or NULL when it was
 * not that row.
 */
static ErrorData *
try_row(BackfillRun *run, ItemPointerData place)
{
	Datum		value = PointerGetDatum(&place);
	Change		change = {run, run->leaf->one, &value};
	ErrorData  *error = architect_backfill_try(try_change, &change);

	return change.done ? NULL : error;
}

/*
 * Changes the rows of a range, but for those that are rejected.
 */
static BackfillOutcome
change_range(BackfillRun *run, const BackfillRange *range)
{
	for (int vain = 0;;)
	{
		ErrorData  *error = attempt_range(run, range);
		ErrorData  *alone = error;
		ItemPointerData place = row_in_hand;
		int64		seen = rows_seen;

		CHECK_FOR_INTERRUPTS();
		if (error == NULL)
			return BACKFILL_DONE;
		if (architect_backfill_is_busy(error))
			return BACKFILL_BUSY;
		if (!run->job->skips || seen == 0 || !architect_backfill_is_of_the_row(error))
			give_up(run, error);
		if (!architect_backfill_was_scanning() && seen > 1)
			return change_halves(run, range, error);

		if (architect_backfill_was_scanning())
			alone = try_row(run, place);
		if (alone != NULL && architect_backfill_is_busy(alone))
			return BACKFILL_BUSY;
		if (alone != NULL && !architect_backfill_is_of_the_row(alone))
			give_up(run, alone);
		if (alone != NULL)
		{
			reject(run, &place, alone);
			pass_by(&place);
			continue;
		}

		/* It was another row: where there is a join, rows are shown before they are changed. */
		rows_seen = seen;
		if (seen > 1)
			return change_halves(run, range, error);
		if (++vain > MOST_ATTEMPTS)
			give_up(run, error);
	}
}

/*
 * Takes a piece of so many places or, of a span, numbers of places off the beginning
 * of a range.
 */
static BackfillRange
take_piece(BackfillRange *range, uint64 step)
{
	BackfillRange piece = *range;

	if (range->kind == BACKFILL_RANGE_PLACES)
	{
		piece.nplaces = Min(range->nplaces, step);
		range->places += piece.nplaces;
		range->nplaces -= piece.nplaces;
	}
	else
	{
		if (to_number(&range->to) - to_number(&range->from) > step)
			to_place(to_number(&range->from) + step, &piece.to);
		range->from = piece.to;
	}
	return piece;
}

static bool
is_empty(const BackfillRange *range)
{
	return range->kind == BACKFILL_RANGE_PLACES ? range->nplaces == 0 :
		to_number(&range->from) >= to_number(&range->to);
}

/*
 * Changes the rows of a range in one or more subtransactions.  When BUSY is returned,
 * the range begins where it is to be tried again; a part of it that was tried often
 * enough is left for a sweep.
 */
BackfillOutcome
architect_backfill_change(BackfillRun *run, BackfillRange *range)
{
	uint64		step;

	if (range->kind == BACKFILL_RANGE_KEYS || range->kind == BACKFILL_RANGE_WHOLE)
		return change_range(run, range);

	step = range->kind == BACKFILL_RANGE_PLACES ? range->nplaces :
		to_number(&range->to) - to_number(&range->from);
	step = Max(step / run->pieces, 1);
	while (!is_empty(range))
	{
		BackfillRange rest = *range;
		BackfillRange piece = take_piece(&rest, step);
		BackfillOutcome outcome;

		npassed_by = 0;
		outcome = change_range(run, &piece);
		if (outcome != BACKFILL_DONE)
		{
			if (run->attempt < MOST_ATTEMPTS)
				return outcome;
			run->postponed = true;
		}
		*range = rest;
		if (outcome != BACKFILL_DONE)
			return outcome;
	}
	return BACKFILL_DONE;
}
