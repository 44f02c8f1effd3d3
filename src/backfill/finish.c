/*
 * finish.c
 *    The end of a job: proof that no row is left, and sweeps for rows that are.
 *
 * The proof is a count under one snapshot.  A row that was updated during the walk may
 * have moved to where the walk had been already, so rows that are left are swept up,
 * until none is.  Where the application puts rows back as fast as sweeps find them, one
 * statement under one snapshot takes all that are there at its beginning, which comes
 * after the beginning of the job: whatever was there then is done.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "backfill/run.h"

#define MOST_SWEEPS 10

/* What the proof counts. */
typedef struct Proof
{
	BackfillRun *run;
	Oid			relation;
	bool		guarded;		/* count apart the rows that the assignment leaves as they are */
	int64		matching;		/* rows that match the filter, or without one would change */
	int64		rejected;		/* of them, known as rejects */
	int64		open;			/* of the others, those that would change */
} Proof;

/*
 * Returns an array of the record_ids of this relation's rejects, as text.
 */
static char *
read_rejects(BackfillRun *run, Oid relation)
{
	Oid			types[] = {INT8OID, OIDOID};
	Datum		values[] = {Int64GetDatum(run->job->id), ObjectIdGetDatum(relation)};
	List	   *rows = architect_read_as_owner(
		"SELECT coalesce(array_agg(record_id), '{}') FROM " ARCHITECT_SCHEMA ".backfill_rejected"
		" WHERE job = $1 AND relation = $2",
		lengthof(types), types, values, NULL);

	return ((char **) linitial(rows))[0];
}

/*
 * Returns the query that counts.  Rows known as rejects are not asked for their
 * values, which may fail; they are looked up by a hash, as a constant is.
 */
static char *
proof_query(const Proof *proof, const BackfillLeaf *leaf)
{
	const BackfillAssignment *what = &proof->run->job->what;
	const char *guard = proof->guarded && what->guard != NULL ? what->guard : "true";
	const char *condition = what->condition != NULL ? what->condition : guard;
	const char *known;

	if (proof->run->rejected == 0)
		return psprintf("SELECT pg_catalog.count(*), 0::pg_catalog.int8, "
						"pg_catalog.count(*) FILTER (WHERE %s) FROM ONLY %s AS " BACKFILL_ALIAS " WHERE %s",
						guard, leaf->name, condition);
	known = psprintf("%s OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.text[])", leaf->record_id,
					 quote_literal_cstr(read_rejects(proof->run, proof->relation)));
	return psprintf("SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE %s), "
					"pg_catalog.count(*) FILTER (WHERE CASE WHEN %s THEN false ELSE %s END) "
					"FROM ONLY %s AS " BACKFILL_ALIAS " WHERE CASE WHEN %s THEN true ELSE %s END",
					known, known, guard, leaf->name, known, condition);
}

/*
 * Adds the counts of one relation.
 */
static void
count_relation(void *argument)
{
	Proof	   *proof = argument;
	BackfillRun *run = proof->run;
	Relation	rel = try_table_open(proof->relation, AccessShareLock);
	Datum		row[3];
	BackfillStatement *statement;

	if (rel == NULL)
		return;
	architect_backfill_check_shape(run->job);
	architect_backfill_open_leaf(run, rel);
	table_close(rel, NoLock);

	statement = architect_backfill_prepare(proof_query(proof, run->leaf), 0, NULL, proof->relation, InvalidOid,
										   BACKFILL_SCAN_ANY);
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) architect_backfill_fetch(statement, NULL, row);
	PopActiveSnapshot();
	architect_backfill_forget(statement);

	proof->matching += DatumGetInt64(row[0]);
	proof->rejected += DatumGetInt64(row[1]);
	proof->open += DatumGetInt64(row[2]);
}

/*
 * Returns the relations of the walk, for longer than a batch.
 */
static List *
find_relations(BackfillRun *run)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(run->job->id)};
	List	   *result = NIL;
	ListCell   *cell;

	MemoryContextSwitchTo(run->context);
	foreach(cell, architect_read_as_owner(
				"SELECT relation::oid FROM " ARCHITECT_SCHEMA ".backfill_parts WHERE job = $1 ORDER BY relation::oid",
				lengthof(types), types, values, NULL))
		result = lappend_oid(result, atooid(((char **) lfirst(cell))[0]));
	MemoryContextSwitchTo(run->batch);
	return result;
}

/*
 * Counts what is left, with no limit on the time a lock may take.  False when a row's
 * own values are in the way, and rows may be skipped: then there is a row to be swept.
 */
static bool
prove(BackfillRun *run, Proof *proof)
{
	ListCell   *cell;

	architect_backfill_find_parts(run, false);
	foreach(cell, find_relations(run))
	{
		Proof		before = *proof;
		ErrorData  *error;

		proof->relation = lfirst_oid(cell);
		while ((error = architect_backfill_try(count_relation, proof)) != NULL)
		{
			*proof = before;
			proof->relation = lfirst_oid(cell);
			if (architect_backfill_is_busy(error))
			{
				if (!architect_backfill_back_off(run))
					return true;
				continue;
			}
			if (!architect_backfill_is_of_the_row(error))
				architect_backfill_fail(run, error);
			return false;
		}
		run->attempt = 0;
		architect_backfill_commit(run);
	}
	return true;
}

/*
 * Walks over the whole table again, as it is now.
 */
static BackfillOutcome
sweep(BackfillRun *run)
{
	architect_backfill_close_leaf(run);
	run->sweeping = true;
	run->postponed = false;
	run->changed = 0;
	architect_backfill_set_phase(run->job, "sweep");
	architect_backfill_clear_rejects(run->job->id);
	run->rejected = 0;
	architect_backfill_find_parts(run, true);
	architect_backfill_commit(run);
	return architect_backfill_walk_blocks(run);
}

/* The rows of one relation under one snapshot. */
typedef struct Whole
{
	BackfillRun *run;
	Oid			relation;
	bool		gone;
	BackfillRange range;
} Whole;

static void
prepare_whole(void *argument)
{
	Whole	   *whole = argument;
	BackfillRun *run = whole->run;
	Relation	rel = try_table_open(whole->relation, RowExclusiveLock);

	whole->gone = rel == NULL;
	if (rel == NULL)
		return;
	architect_backfill_check_shape(run->job);
	architect_backfill_check_leaf(rel, run->job->owner);
	architect_backfill_open_leaf(run, rel);
	architect_backfill_open_whole(run);
	whole->range.kind = BACKFILL_RANGE_WHOLE;
	ItemPointerSet(&whole->range.from, 0, 0);
	ItemPointerSet(&whole->range.to, RelationGetNumberOfBlocks(rel), 0);
	table_close(rel, NoLock);
}

/*
 * Changes all rows that are there now, whatever the application does meanwhile.
 */
static BackfillOutcome
change_whole(BackfillRun *run)
{
	ListCell   *cell;

	foreach(cell, find_relations(run))
	{
		Whole		whole = {run, lfirst_oid(cell)};
		BackfillOutcome outcome = BACKFILL_BUSY;

		while (outcome == BACKFILL_BUSY)
		{
			ErrorData  *error;

			if (!architect_backfill_begin_batch(run))
				return BACKFILL_STOPPED;
			architect_backfill_begin_window();
			architect_backfill_begin_rows();
			error = architect_backfill_try(prepare_whole, &whole);
			if (error != NULL && !architect_backfill_is_busy(error))
				architect_backfill_fail(run, error);
			if (error == NULL)
				outcome = whole.gone ? BACKFILL_DONE : architect_backfill_change(run, &whole.range);
			architect_backfill_end_batch(run);
			if (outcome == BACKFILL_BUSY && !architect_backfill_back_off(run))
				return BACKFILL_STOPPED;
		}
		run->attempt = 0;
	}
	return BACKFILL_DONE;
}

/*
 * Counts and sweeps until nothing is left but rejects, or it is plain that others put
 * rows back.
 */
static BackfillOutcome
sweep_up(BackfillRun *run, Proof *proof)
{
	int64		open_before = PG_INT64_MAX;

	for (int sweeps = 0;; sweeps++)
	{
		BackfillOutcome outcome;
		bool		counted;

		*proof = (Proof) {run, .guarded = true};
		counted = prove(run, proof);
		if (strcmp(run->job->state, "running") != 0)
			return BACKFILL_STOPPED;
		if (counted && proof->open == 0)
			return BACKFILL_DONE;
		if (!run->postponed &&
			(sweeps >= MOST_SWEEPS || (sweeps >= 2 && counted && proof->open > open_before / 2)))
			break;

		if (counted)
			architect_backfill_save_left(run->job->id, proof->open + proof->rejected, 0);
		open_before = counted ? proof->open : PG_INT64_MAX;
		if (counted)
			architect_backfill_log_once(run->job->id, "sweep", INT64_FORMAT " rows are left", proof->open);
		outcome = sweep(run);
		if (outcome != BACKFILL_DONE)
			return outcome;
	}

	architect_backfill_log(run->job->id, "last statement",
						   INT64_FORMAT " rows are left after a sweep; rows come back as fast as they are done",
						   proof->open);
	if (change_whole(run) != BACKFILL_DONE)
		return BACKFILL_STOPPED;
	*proof = (Proof) {run, .guarded = true};
	if (!prove(run, proof))
	{
		*proof = (Proof) {run};
		(void) prove(run, proof);
	}
	return BACKFILL_DONE;
}

/*
 * Appends how many rows there are of a kind.
 */
static void
append_count(StringInfo text, int64 rows, const char *one, const char *many)
{
	appendStringInfo(text, "%s" INT64_FORMAT " %s %s", text->len > 0 ? "; " : "", rows,
					 rows == 1 ? "row" : "rows", rows == 1 ? one : many);
}

/*
 * Says how the job ended, to the caller and in the log.
 */
static void
report(BackfillRun *run, const Proof *proof)
{
	BackfillJob *job = run->job;
	int64		unchanged = proof->matching - proof->rejected - proof->open;
	int64		rejects = architect_backfill_count_rejects(job->id);
	StringInfoData text;

	initStringInfo(&text);
	if (job->walk == BACKFILL_WALK_KEY)
		appendStringInfoString(&text, "each row was done once");
	else
		append_count(&text, proof->open + proof->rejected, "is left", "are left");
	if (rejects > 0)
		append_count(&text, rejects, "was rejected", "were rejected");
	if (proof->open > 0)
		append_count(&text, proof->open, "matches the filter again", "match the filter again");
	if (unchanged > 0)
		append_count(&text, unchanged, "matches the filter, and the assignment leaves it as it is",
					 "match the filter, and the assignment leaves them as they are");

	architect_backfill_save_left(job->id, proof->open + proof->rejected, unchanged);
	architect_backfill_set_state(job, "done", NULL);
	architect_backfill_log(job->id, "done", "%s", text.data);
	if (!run->foreground)
		return;
	if (rejects > 0)
		ereport(WARNING,
				(errmsg_plural("backfill " INT64_FORMAT " is done, but for " INT64_FORMAT " row that was rejected",
							   "backfill " INT64_FORMAT " is done, but for " INT64_FORMAT " rows that were rejected",
							   rejects, job->id, rejects),
				 errhint("See " ARCHITECT_SCHEMA ".backfill_rejects. Correct them and call " ARCHITECT_SCHEMA ".backfill_retry(" INT64_FORMAT ").", job->id)));
	if (proof->open > 0)
		ereport(WARNING,
				(errmsg_plural("backfill " INT64_FORMAT " is done, but " INT64_FORMAT " row matches the filter again",
							   "backfill " INT64_FORMAT " is done, but " INT64_FORMAT " rows match the filter again",
							   proof->open, job->id, proof->open),
				 errdetail("They were written since, or a trigger leaves them as they are."),
				 errhint("Let the application or a trigger write the new value, and then call again.")));
	ereport(NOTICE, (errmsg("backfill " INT64_FORMAT " is done: %s", job->id, text.data)));
}

/*
 * Ends a job whose walk is done.
 */
BackfillOutcome
architect_backfill_finish(BackfillRun *run)
{
	BackfillJob *job = run->job;
	Proof		proof = {run};
	BackfillOutcome outcome = BACKFILL_DONE;

	architect_backfill_set_phase(job, "proof");
	architect_backfill_commit(run);

	/* A walk by key does each row once; what matches afterwards may well be right. */
	if (job->walk == BACKFILL_WALK_BLOCK)
		outcome = sweep_up(run, &proof);
	if (outcome != BACKFILL_DONE)
		return outcome;
	report(run, &proof);
	return BACKFILL_DONE;
}
