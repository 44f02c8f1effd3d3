/*
 * start.c
 *    backfill_start, _pause, _resume and _cancel.
 *
 * Pause and cancel say in the register what shall be; whoever works on the job looks
 * there between batches.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "backfill/register.h"
#include "backfill/run.h"

PG_FUNCTION_INFO_V1(architect_backfill_start);
PG_FUNCTION_INFO_V1(architect_backfill_pause);
PG_FUNCTION_INFO_V1(architect_backfill_resume);
PG_FUNCTION_INFO_V1(architect_backfill_cancel);

static const Oid steer_types[] = {INT8OID, TEXTOID};

static BackfillQuery steer_query = BACKFILL_QUERY(steer_types,
	"UPDATE architect.backfill_register SET state = $2,"
	" finished_at = CASE WHEN $2 = 'cancelled' THEN clock_timestamp() END"
	" WHERE job = $1 AND state IN ('waiting', 'running', 'paused') AND state <> $2"
	" RETURNING 1");

static const Oid resume_types[] = {INT8OID, TEXTOID, INT4OID, TEXTOID};

static BackfillQuery resume_query = BACKFILL_QUERY(resume_types,
	"UPDATE architect.backfill_register SET state = $2, workers = $3, shape = $4::jsonb, error = NULL,"
	" finished_at = NULL, called_at = clock_timestamp()"
	" WHERE job = $1 AND state IN ('waiting', 'running', 'paused', 'failed')"
	" RETURNING 1");

/*
 * Returns the job in the first argument, which the caller may steer.
 */
BackfillJob *
architect_backfill_job_argument(FunctionCallInfo fcinfo)
{
	BackfillJob *job;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("job must not be NULL"),
				 errhint("See " ARCHITECT_SCHEMA ".backfill_jobs.")));
	PreventCommandDuringRecovery("a backfill");
	PreventCommandIfReadOnly("a backfill");
	job = architect_backfill_load(PG_GETARG_INT64(0));
	architect_backfill_check_right(job);
	return job;
}

static bool
has_state(const BackfillJob *job, const char *state)
{
	return strcmp(job->state, state) == 0;
}

/*
 * Raises 55000 for a job that cannot be steered any more.
 */
void
architect_backfill_check_unfinished(const BackfillJob *job, bool may_have_failed)
{
	if (!has_state(job, "done") && !has_state(job, "cancelled") && (may_have_failed || !has_state(job, "failed")))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("backfill " INT64_FORMAT " is %s", job->id, job->state),
			 errdetail("It has come to its end."),
			 has_state(job, "failed") ?
			 errhint("To go on with it, use " ARCHITECT_SCHEMA ".backfill_resume(" INT64_FORMAT ").", job->id) :
			 errhint("Begin another one.")));
}

/*
 * Moves an unfinished job to the state; says so where it has it already.
 */
static void
steer(FunctionCallInfo fcinfo, const char *state)
{
	BackfillJob *job = architect_backfill_job_argument(fcinfo);
	Datum		values[] = {Int64GetDatum(job->id), CStringGetTextDatum(state)};

	if (architect_backfill_query(&steer_query, values, NULL) != NIL)
	{
		architect_backfill_log(job->id, state, "by %s", GetUserNameFromId(GetUserId(), false));
		return;
	}
	(void) architect_backfill_refresh(job);
	if (!has_state(job, state))
		architect_backfill_check_unfinished(job, false);
	ereport(NOTICE, (errmsg("backfill " INT64_FORMAT " is %s already", job->id, state)));
}

/*
 * architect.backfill_pause(job)
 */
Datum
architect_backfill_pause(PG_FUNCTION_ARGS)
{
	steer(fcinfo, "paused");
	PG_RETURN_VOID();
}

/*
 * architect.backfill_cancel(job)
 */
Datum
architect_backfill_cancel(PG_FUNCTION_ARGS)
{
	steer(fcinfo, "cancelled");
	PG_RETURN_VOID();
}

/*
 * architect.backfill_start(target, set, filter, …)
 */
Datum
architect_backfill_start(PG_FUNCTION_ARGS)
{
	BackfillJob *job = architect_backfill_request(fcinfo, false);

	(void) architect_backfill_begin_job(job);
	architect_backfill_launch(job);
	PG_RETURN_INT64(job->id);
}

/*
 * Takes the table as it is now for the one that the job was meant for.
 */
static void
accept_shape(BackfillJob *job)
{
	Relation	rel = try_table_open(job->target, AccessShareLock);
	char	   *shape;
	char	   *change;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of backfill " INT64_FORMAT " was dropped", job->id),
				 errhint("It cannot go on. Begin another one on the table that took its place.")));
	shape = architect_backfill_shape(rel);
	change = architect_backfill_shape_change(job->shape, shape);
	if (change != NULL)
		architect_backfill_log(job->id, "table altered", "%s", change);
	job->shape = shape;
	table_close(rel, NoLock);
}

/*
 * Takes the number of workers from the argument, where it is given.
 */
static void
take_workers(FunctionCallInfo fcinfo, BackfillJob *job)
{
	if (PG_ARGISNULL(1))
		return;
	job->workers = PG_GETARG_INT32(1);
	architect_backfill_check_workers(job->workers);
}

/*
 * Has a job that nobody works on go on, unless that is for its caller to do.
 */
static void
set_going(BackfillJob *job)
{
	if (job->workers > 0)
	{
		architect_backfill_launch(job);
		return;
	}
	ereport(NOTICE,
			(errmsg("backfill " INT64_FORMAT " goes on when it is called again", job->id),
			 errdetail("It runs in the session of its caller."),
			 errhint("Make the same CALL as before; or run it in the background: SELECT " ARCHITECT_SCHEMA
					 ".backfill_resume(" INT64_FORMAT ", workers => 1);", job->id)));
}

/*
 * architect.backfill_resume(job, workers)
 *
 * A run in the background that has been paused may be about to end, so that a worker
 * is started for it in any case: one too many finds the job locked, and ends.
 */
Datum
architect_backfill_resume(PG_FUNCTION_ARGS)
{
	BackfillJob *job = architect_backfill_job_argument(fcinfo);
	bool		live = architect_backfill_is_running(job->id);
	bool		was_going = has_state(job, "waiting") || has_state(job, "running");
	bool		in_session = live && job->workers == 0;
	Datum		values[4];

	architect_backfill_check_unfinished(job, true);
	if (live && was_going)
	{
		ereport(NOTICE, (errmsg("backfill " INT64_FORMAT " is running already", job->id)));
		PG_RETURN_VOID();
	}
	if (!in_session)
		take_workers(fcinfo, job);
	if (has_state(job, "failed"))
	{
		architect_backfill_check_free(job);
		accept_shape(job);
	}
	architect_backfill_adopt(job);

	values[0] = Int64GetDatum(job->id);
	values[1] = CStringGetTextDatum(in_session ? "running" : "waiting");
	values[2] = Int32GetDatum(job->workers);
	values[3] = CStringGetTextDatum(job->shape);
	if (architect_backfill_query(&resume_query, values, NULL) == NIL)
	{
		(void) architect_backfill_refresh(job);
		architect_backfill_check_unfinished(job, true);
	}
	architect_backfill_log(job->id, "resumed", "by %s", GetUserNameFromId(GetUserId(), false));
	if (!in_session)
		set_going(job);
	PG_RETURN_VOID();
}
