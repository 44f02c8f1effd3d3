/*
 * keyed.c
 *    The walk in the order of a unique key: each row exactly once.
 *
 * The last key done is stored in the transaction that changes the rows, under a lock
 * on the part, so that after a crash or an error neither is there without the other.
 */
#include "postgres.h"

#include "access/table.h"
#include "storage/bufmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "backfill/run.h"

#define FIRST_ROWS 256
#define LEAST_ROWS 16
#define MOST_ROWS 1000000
#define MOST_ROWS_WITH_REJECTS 1024

/* A part of the walk, in the transaction that holds it. */
typedef struct Part
{
	BackfillRun *run;
	Oid			relation;
	char	  **cursor;			/* texts; NULL at the beginning */
	char	  **last;			/* NULL: not known yet */
	bool		taken;			/* false: there is none left */
	bool		ends;			/* there are no rows beyond this batch, or the relation is gone */
	BackfillRange range;
} Part;

/*
 * Keys are stored as texts that do not depend on the settings of a session.
 */
static int
fix_formats(void)
{
	int			level = NewGUCNestLevel();
	const char *settings[][2] = {{"datestyle", "ISO, YMD"}, {"intervalstyle", "postgres"}, {"extra_float_digits", "3"},
								 {"lc_monetary", "C"}, {"array_nulls", "on"}};

	architect_pin_path();
	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	return level;
}

static Datum *
to_values(const BackfillKey *key, char **texts)
{
	Datum	   *values;
	int			level;

	if (texts == NULL)
		return NULL;
	values = palloc(key->ncolumns * sizeof(Datum));
	level = fix_formats();
	for (int i = 0; i < key->ncolumns; i++)
	{
		Oid			input;
		Oid			parameter;

		getTypeInputInfo(key->types[i], &input, &parameter);
		values[i] = OidInputFunctionCall(input, texts[i], parameter, -1);
	}
	AtEOXact_GUC(false, level);
	return values;
}

static char **
to_texts(const BackfillKey *key, const Datum *values)
{
	char	  **texts = palloc(key->ncolumns * sizeof(char *));
	int			level = fix_formats();

	for (int i = 0; i < key->ncolumns; i++)
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(key->types[i], &output, &is_varlena);
		texts[i] = OidOutputFunctionCall(output, values[i]);
	}
	AtEOXact_GUC(false, level);
	return texts;
}

/*
 * Finds the key of the so-manieth row of a range; false when it has fewer.
 */
bool
architect_backfill_find_bound(BackfillRun *run, const BackfillRange *range, int64 rows, Datum *bound)
{
	BackfillLeaf *leaf = run->leaf;
	int			ncolumns = leaf->key->ncolumns;
	Datum	   *values = palloc0((2 * ncolumns + 1) * sizeof(Datum));
	bool		found;

	if (range->after != NULL)
		memcpy(values, range->after, ncolumns * sizeof(Datum));
	memcpy(values + ncolumns, range->upto, ncolumns * sizeof(Datum));
	values[2 * ncolumns] = Int64GetDatum(rows - 1);

	PushActiveSnapshot(GetTransactionSnapshot());
	found = architect_backfill_fetch(range->after != NULL ? leaf->bound : leaf->begin_bound, values, bound);
	PopActiveSnapshot();
	return found;
}

/*
 * Finds where the walk of this relation ends, which is where it ended when it was come
 * to; false for an empty one.
 */
static bool
find_last(Part *part, Datum *last)
{
	BackfillRun *run = part->run;
	BackfillKey *key = run->leaf->key;
	bool		found;

	PushActiveSnapshot(GetTransactionSnapshot());
	found = architect_backfill_fetch(run->leaf->last, NULL, last);
	PopActiveSnapshot();
	if (found)
		architect_backfill_bound_part(run->job->id, part->relation, key->ncolumns, to_texts(key, last));
	return found;
}

/*
 * Opens the relation and finds the rows of the next batch.
 */
static void
find_range(void *argument)
{
	Part	   *part = argument;
	BackfillRun *run = part->run;
	BackfillRange *range = &part->range;
	BackfillKey *key;
	Datum	   *last;
	Datum	   *bound;
	Relation	rel = try_table_open(part->relation, RowExclusiveLock);

	part->ends = rel == NULL;
	if (rel == NULL)
		return;
	architect_backfill_check_shape(run->job);
	architect_backfill_check_leaf(rel, run->job->owner);
	architect_backfill_open_leaf(run, rel);
	table_close(rel, NoLock);

	key = run->leaf->key;
	range->kind = BACKFILL_RANGE_KEYS;
	range->after = to_values(key, part->cursor);
	last = part->last != NULL ? to_values(key, part->last) : palloc(key->ncolumns * sizeof(Datum));
	if (part->last == NULL && !find_last(part, last))
	{
		part->ends = true;
		return;
	}
	range->upto = last;
	bound = palloc(key->ncolumns * sizeof(Datum));
	part->ends = !architect_backfill_find_bound(run, range, run->size, bound);
	if (!part->ends)
		range->upto = bound;
}

static void
take_part(void *argument)
{
	Part	   *part = argument;

	part->taken = architect_backfill_take_part(part->run->job->id, &part->relation, &part->cursor, &part->last);
}

/*
 * Takes a part of the walk for this transaction.  BUSY: a lock is in the way.
 */
static BackfillOutcome
hold_part(BackfillRun *run, Part *part)
{
	ErrorData  *error = architect_backfill_try(take_part, part);

	if (error != NULL && !architect_backfill_is_busy(error))
		architect_backfill_fail(run, error);
	return error == NULL ? BACKFILL_DONE : BACKFILL_BUSY;
}

/*
 * Changes the rows of one batch and moves the cursor behind them.
 */
static BackfillOutcome
change_batch(BackfillRun *run, Part *part)
{
	BackfillOutcome outcome = BACKFILL_DONE;
	ErrorData  *error = architect_backfill_try(find_range, part);

	if (error != NULL && architect_backfill_is_busy(error))
		return BACKFILL_BUSY;
	if (error != NULL)
		architect_backfill_fail(run, error);

	if (part->range.upto != NULL)
	{
		architect_backfill_begin_window();
		architect_backfill_begin_rows();
		outcome = architect_backfill_change(run, &part->range);
	}
	if (outcome != BACKFILL_DONE)
		return outcome;
	if (part->ends)
		architect_backfill_end_part(run->job->id, part->relation);
	else
		architect_backfill_move_cursor(run->job->id, part->relation, run->leaf->key->ncolumns,
									   to_texts(run->leaf->key, part->range.upto));
	return BACKFILL_DONE;
}

/*
 * The next batch aims at the time that was asked for, or at less.
 */
static void
learn_size(BackfillRun *run, bool was_full, double most)
{
	if (was_full || run->longest > run->aim)
		run->size = architect_backfill_next_size(run->size, run->longest, run->aim);
	run->size = Max(Min(run->size, most), LEAST_ROWS);
}

/*
 * Walks over the parts that no other worker has in hand.
 */
BackfillOutcome
architect_backfill_walk_keys(BackfillRun *run)
{
	run->size = FIRST_ROWS;
	run->aim = run->job->batch_time;
	while (architect_backfill_begin_batch(run))
	{
		Part		part = {run};
		BackfillOutcome outcome = hold_part(run, &part);
		double		most;

		if (outcome == BACKFILL_DONE && !part.taken)
		{
			architect_backfill_commit(run);
			return BACKFILL_DONE;
		}
		if (outcome == BACKFILL_DONE)
			outcome = change_batch(run, &part);
		if (outcome == BACKFILL_BUSY)
		{
			architect_backfill_undo_batch(run);
			run->size = Max(run->size / 2, LEAST_ROWS);
			if (!architect_backfill_back_off(run))
				return BACKFILL_STOPPED;
			continue;
		}

		run->attempt = 0;
		run->longest = 0;
		most = run->rejects != NIL ? MOST_ROWS_WITH_REJECTS : MOST_ROWS;
		architect_backfill_learn_aim(run);
		architect_backfill_end_batch(run);
		learn_size(run, !part.ends, most);
	}
	return BACKFILL_STOPPED;
}
