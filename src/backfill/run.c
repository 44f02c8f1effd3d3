/*
 * run.c
 *    A run: the transactions of one process at work on a job, and the time between.
 *
 * In the foreground the run is within CALL, and SPI ends its transactions; in a worker
 * the run begins and ends them itself.  Whatever can fail is done in a subtransaction,
 * so that the run is left to say what became of the job.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "backfill/run.h"
#include "compat.h"

#define SAVE_EVERY 250			/* ms */
#define CHECK_EVERY 500			/* ms */
#define LOOK_EVERY 1000			/* ms, while waiting */
#define TELL_EVERY 5000			/* ms */

/*
 * Does a task in a subtransaction; returns its error, made in the caller's context,
 * or NULL.
 */
ErrorData *
architect_backfill_try(ArchitectTask task, void *argument)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		task(argument);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * True for an error that goes away by itself: somebody else's lock was in the way.
 */
bool
architect_backfill_is_busy(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

static void
set_local_number(const char *name, int64 value)
{
	char		number[32];

	snprintf(number, sizeof(number), INT64_FORMAT, value);
	set_local(name, number);
}

/*
 * Makes the transaction that has just begun one of the job's.
 */
static void
begin(BackfillRun *run)
{
	MemoryContextSwitchTo(run->batch);
	set_local("transaction_isolation", "read committed");
	set_local("lock_timeout", "0");
	if (run->lifts_timeout)
		set_local("transaction_timeout", "0");
	set_local_number("architect.backfill_job", run->job->id);
}

/*
 * Commits, and begins a transaction that holds no snapshot.
 */
void
architect_backfill_commit(BackfillRun *run)
{
	if (run->foreground)
		SPI_commit();
	else
	{
		CommitTransactionCommand();
		(void) pgstat_report_stat(false);
		StartTransactionCommand();
	}
	MemoryContextReset(run->batch);
	begin(run);
}

/*
 * Rolls back likewise.  What is in the batch's memory stays.
 */
static void
roll_back(BackfillRun *run)
{
	if (run->foreground)
		SPI_rollback();
	else
	{
		AbortCurrentTransaction();
		StartTransactionCommand();
	}
	begin(run);
}

/*
 * Saves what was done since the last time.
 */
static void
save_counts(BackfillRun *run)
{
	run->counts.open_blocks = run->open_blocks;
	architect_backfill_save_progress(run->job->id, run->worker, &run->counts);
	run->counts = (BackfillCounts) {0};
}

/*
 * False when this run goes on no longer because nobody leads the job.
 */
static bool
is_led(BackfillRun *run)
{
	return run->worker == 0 || architect_backfill_is_running(run->job->id);
}

static void
save_rejects(BackfillRun *run, bool undone)
{
	ListCell   *cell;

	foreach(cell, run->rejects)
	{
		BackfillReject *rejected = lfirst(cell);

		architect_backfill_add_reject(run->job->id, rejected->relation, &rejected->place, rejected->record_id,
									  rejected->error, undone);
	}
	if (run->rejects == NIL && run->pieces > 1)
		run->pieces /= 2;
	run->rejected += list_length(run->rejects);
	run->rejects = NIL;
}

/*
 * Ends the job as failed, or where somebody cancelled the query as one that can go on;
 * then raises the error.  The rows of the transaction in hand are left as they were.
 */
void
architect_backfill_fail(BackfillRun *run, ErrorData *error)
{
	bool		cancelled = error->sqlerrcode == ERRCODE_QUERY_CANCELED;
	char	   *message = error->message;

	/* What was altered; details of other errors have values of rows in them. */
	if (error->detail != NULL && error->sqlerrcode == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
		message = psprintf("%s: %s", message, error->detail);
	if (error->context != NULL)
		message = psprintf("%s (%s)", message, error->context);

	roll_back(run);
	save_rejects(run, true);
	save_counts(run);
	architect_backfill_give_back(run);
	if (cancelled)
		architect_backfill_log(run->job->id, "interrupted", "%s", error->message);
	else
	{
		architect_backfill_set_state(run->job, "failed", message);
		architect_backfill_log(run->job->id, "failed", "%s", message);
	}
	if (run->foreground)
		SPI_commit();
	else
	{
		CommitTransactionCommand();
		StartTransactionCommand();
	}
	ReThrowError(error);
}

/*
 * Ends it: what was done is counted with it, and committed with it.
 */
void
architect_backfill_end_batch(BackfillRun *run)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		took = TimestampDifferenceMilliseconds(run->batch_began, now);

	run->longest = Max(run->longest, took);
	save_rejects(run, false);
	run->counts.rows += run->batch_counts.rows;
	run->counts.hot += run->batch_counts.hot;
	run->counts.wal += run->batch_counts.wal;
	run->counts.batch_rows = run->batch_counts.rows;
	run->counts.busy += took;
	if (TimestampDifferenceExceeds(run->saved_at, now, SAVE_EVERY) || run->job->walk == BACKFILL_WALK_KEY)
	{
		save_counts(run);
		run->saved_at = now;
	}
	architect_backfill_commit(run);
}

/*
 * Takes it back, for another try.
 */
void
architect_backfill_undo_batch(BackfillRun *run)
{
	run->rejects = NIL;
	roll_back(run);
	MemoryContextReset(run->batch);
}

/*
 * Tells the caller of a run in the foreground how far it is.
 */
static void
tell(BackfillRun *run)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(run->job->id)};
	List	   *rows;

	if (!run->foreground || !TimestampDifferenceExceeds(run->told_at, GetCurrentTimestamp(), TELL_EVERY))
		return;
	run->told_at = GetCurrentTimestamp();
	rows = architect_read_as_owner("SELECT " ARCHITECT_SCHEMA "._backfill_line($1)", 1, types, values, NULL);
	if (rows != NIL && ((char **) linitial(rows))[0] != NULL)
		ereport(NOTICE, (errmsg("%s", ((char **) linitial(rows))[0])));
	architect_backfill_commit(run);
}

static void
take_interrupts(BackfillRun *run)
{
	CHECK_FOR_INTERRUPTS();

	/* A session takes over new settings after the statement. */
	if (!run->foreground && ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Sleeps; the caller holds no snapshot.
 */
static void
doze(BackfillRun *run, int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	take_interrupts(run);
}

/* What a look for obstacles is told and finds. */
typedef struct Obstacle
{
	BackfillRun *run;
	int64		elapsed;		/* ms */
	bool		found;			/* and its reason stands in the run */
} Obstacle;

static void
look_for_obstacle(void *argument)
{
	Obstacle   *obstacle = argument;
	BackfillRun *run = obstacle->run;
	char	   *reason = architect_backfill_obstacle(run->job, run->wal_since, obstacle->elapsed);

	obstacle->found = reason != NULL;
	if (reason != NULL)
		strlcpy(run->reason, reason, sizeof(run->reason));
}

/*
 * True when something is in the way of another batch: the run's reason says what.
 */
static bool
is_obstructed(BackfillRun *run)
{
	TimestampTz now = GetCurrentTimestamp();
	Obstacle	obstacle = {run, TimestampDifferenceMilliseconds(run->checked_at, now)};
	ErrorData  *error = architect_backfill_try(look_for_obstacle, &obstacle);

	if (error != NULL)
		architect_backfill_fail(run, error);
	run->checked_at = now;
	run->wal_since = 0;
	return obstacle.found;
}

/* A run in the foreground waits for the end of a pause. */
static bool
is_paused_here(BackfillRun *run)
{
	return run->foreground && strcmp(run->job->state, "paused") == 0;
}

static void
show_reason(BackfillRun *run, char *shown, Size size)
{
	if (strcmp(shown, run->reason) == 0)
		return;
	save_counts(run);
	architect_backfill_save_wait(run->job->id, run->worker, run->reason);
	strlcpy(shown, run->reason, size);
}

/*
 * Waits for a reason that the views show: so long, and then for as long as the job is
 * paused or something is in its way.  False when the job is to be worked on no longer.
 */
bool
architect_backfill_rest(BackfillRun *run, const char *reason, int ms)
{
	TimestampTz begin = GetCurrentTimestamp();
	char		shown[BACKFILL_REASON] = "";
	bool		goes_on = true;

	strlcpy(run->reason, reason, sizeof(run->reason));
	do
	{
		show_reason(run, shown, sizeof(shown));
		architect_backfill_commit(run);
		doze(run, ms > 0 ? Min(ms, LOOK_EVERY) : LOOK_EVERY);
		goes_on = architect_backfill_refresh(run->job) && is_led(run) &&
			(strcmp(run->job->state, "running") == 0 || is_paused_here(run));
		tell(run);
		if (is_paused_here(run))
			strlcpy(run->reason, "to be resumed: the job is paused", sizeof(run->reason));
	} while (goes_on &&
			 (!TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), ms) || is_paused_here(run) ||
			  is_obstructed(run)));

	architect_backfill_save_wait(run->job->id, run->worker, NULL);
	architect_backfill_commit(run);
	return goes_on;
}

/*
 * Between batches: waits while there are obstacles, or while a run in the foreground
 * is paused; false when the job is to be worked on no longer.
 */
static bool
yield(BackfillRun *run)
{
	take_interrupts(run);
	tell(run);
	if (is_paused_here(run))
		return architect_backfill_rest(run, "to be resumed: the job is paused", 0);
	if (strcmp(run->job->state, "running") != 0)
		return false;
	/* A rate is kept by the batch; other things do not change that fast. */
	if (run->job->max_wal_rate.value <= 0 &&
		!TimestampDifferenceExceeds(run->checked_at, GetCurrentTimestamp(), CHECK_EVERY))
		return true;
	if (is_obstructed(run))
		return architect_backfill_rest(run, run->reason, 0);
	architect_backfill_commit(run);
	return true;
}

/*
 * In a deadlock with an application it is the job that must give way: so it waits for
 * no lock until the application, which may have begun to wait when it did, looks for
 * deadlocks; and it looks for them early itself, as it may have begun later.
 */
static void
limit_lock_waits(BackfillRun *run)
{
	int			patience = DeadlockTimeout;
	int			timeout = run->job->lock_timeout;

	set_local_number("lock_timeout", timeout > 0 ? Min(timeout, patience) : patience);
	set_local_number("deadlock_timeout", Max(patience / 5, 1));
}

/*
 * Begins the work of a transaction, when nothing is in the way any more; false when
 * the job is to be worked on no longer.
 */
bool
architect_backfill_begin_batch(BackfillRun *run)
{
	ConstraintsSetStmt immediate = {.type = T_ConstraintsSetStmt, .constraints = NIL, .deferred = false};

	do
	{
		if (!yield(run) || !architect_backfill_refresh(run->job) || !is_led(run))
			return false;
	} while (strcmp(run->job->state, "running") != 0);

	run->batch_counts = (BackfillCounts) {0};
	run->batch_began = GetCurrentTimestamp();
	AfterTriggerSetState(&immediate);
	limit_lock_waits(run);
	return true;
}

/*
 * Waits after a lock was in the way, longer each time; false when the job is to be
 * worked on no longer.
 */
bool
architect_backfill_back_off(BackfillRun *run)
{
	run->attempt++;
	run->counts.retries++;
	run->pieces = BACKFILL_MOST_PIECES;
	return architect_backfill_rest(run, "a lock that another session holds",
								   architect_backfill_backoff(run->attempt));
}

/*
 * Waits until the other workers of the job have come to the end of their walk.
 */
static void
await_followers(BackfillRun *run, List *followers)
{
	while (!architect_backfill_await_followers(followers, LOOK_EVERY))
	{
		take_interrupts(run);
		architect_backfill_commit(run);
	}
}

static void
find_parts(void *argument)
{
	BackfillRun *run = argument;

	architect_backfill_check_shape(run->job);
	if (run->rewinds)
		architect_backfill_rewind_parts(run->job);
	else
		architect_backfill_add_parts(run->job);
}

/*
 * Adds to the parts of the job what is there now; rewinds them if it is all to be
 * walked again.  Ends the job where that cannot be.
 */
void
architect_backfill_find_parts(BackfillRun *run, bool rewinds)
{
	ErrorData  *error;

	run->rewinds = rewinds;
	while ((error = architect_backfill_try(find_parts, run)) != NULL)
	{
		if (!architect_backfill_is_busy(error))
			architect_backfill_fail(run, error);
	}
}

static BackfillOutcome
walk(BackfillRun *run)
{
	return run->job->walk == BACKFILL_WALK_KEY ? architect_backfill_walk_keys(run) :
		architect_backfill_walk_blocks(run);
}

/*
 * Walks with as many workers as the job has, and then alone over what those left that
 * did not come to their end, and over partitions that came meanwhile.
 */
static BackfillOutcome
walk_together(BackfillRun *run)
{
	List	   *followers = NIL;
	BackfillOutcome outcome;

	if (run->job->workers > 1)
	{
		MemoryContextSwitchTo(run->context);
		followers = architect_backfill_launch_followers(run->job);
		MemoryContextSwitchTo(run->batch);
	}
	outcome = walk(run);
	await_followers(run, followers);
	if (outcome != BACKFILL_DONE)
		return outcome;

	architect_backfill_find_parts(run, false);
	architect_backfill_commit(run);
	return walk(run);
}

static void
guess_total(void *job)
{
	architect_backfill_guess_total(job);
}

/*
 * Leads the job from wherever it stands to its end.
 */
static void
lead(BackfillRun *run)
{
	BackfillJob *job = run->job;
	BackfillOutcome outcome = BACKFILL_DONE;

	architect_backfill_set_state(job, "running", NULL);
	architect_backfill_begin_progress(job->id, run->worker);
	architect_backfill_find_parts(run, false);

	/* What is wrong with the expressions is for the first batch to say. */
	if (strcmp(job->phase, "walk") == 0)
		(void) architect_backfill_try(guess_total, job);

	/* What a walk in block order comes to again is found once more by a sweep. */
	if (job->walk == BACKFILL_WALK_KEY)
		architect_backfill_forget_undone(job->id);
	else
		architect_backfill_clear_rejects(job->id);
	run->rejected = architect_backfill_count_rejects(job->id);
	architect_backfill_commit(run);

	if (strcmp(job->phase, "walk") == 0)
		outcome = walk_together(run);
	if (outcome == BACKFILL_DONE)
		outcome = architect_backfill_finish(run);
	save_counts(run);
	architect_backfill_commit(run);
	if (outcome == BACKFILL_STOPPED && run->foreground)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("backfill " INT64_FORMAT " was %s before its end", job->id, job->state),
				 errhint("What is done stays done. See " ARCHITECT_SCHEMA ".backfill_events.")));
}

static void
follow(BackfillRun *run)
{
	architect_backfill_begin_progress(run->job->id, run->worker);
	architect_backfill_commit(run);
	(void) walk(run);
	run->open_blocks = 0;
	save_counts(run);
	architect_backfill_commit(run);
}

/*
 * True for a timeout that was not set in this session: what a role or a database has
 * by default is meant for other statements.
 */
bool
architect_backfill_lifts(const char *timeout)
{
	struct config_generic *setting = architect_find_setting(timeout);

	return setting != NULL && setting->source < PGC_S_SESSION;
}

/*
 * Works on a job until it is done, or paused or cancelled; raises 55006 when another
 * process does.  The caller has begun a transaction, and in the foreground has SPI
 * connected with SPI_OPT_NONATOMIC.  The transaction that it is left with has done
 * nothing.
 */
void
architect_backfill_run(int64 id, int worker, bool foreground)
{
	MemoryContext caller = CurrentMemoryContext;
	BackfillRun *run;
	BackfillRun *volatile made = NULL;
	MemoryContext context;

	if (!architect_backfill_lock(id, worker))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("backfill " INT64_FORMAT " is running already", id),
				 errhint("See " ARCHITECT_SCHEMA ".backfill_progress.")));

	context = AllocSetContextCreate(foreground ? PortalContext : TopMemoryContext, "pg_architect backfill",
									ALLOCSET_DEFAULT_SIZES);
	PG_TRY();
	{
		MemoryContextSwitchTo(context);
		made = run = palloc0(sizeof(BackfillRun));
		run->worker = worker;
		run->foreground = foreground;
		run->context = context;
		run->batch = AllocSetContextCreate(context, "pg_architect backfill batch", ALLOCSET_DEFAULT_SIZES);
		run->pieces = 1;
		run->lifts_timeout = architect_backfill_lifts("transaction_timeout");
		run->told_at = GetCurrentTimestamp();
		run->job = architect_backfill_load(id);
		if (run->job == NULL)
			elog(ERROR, "backfill " INT64_FORMAT " is gone", id);
		architect_backfill_commit(run);

		if (worker == 0)
			lead(run);
		else
			follow(run);
	}
	PG_FINALLY();
	{
		/* Plans that are kept would outlive the memory of the run. */
		if (made != NULL)
			architect_backfill_close_leaf(made);
		architect_backfill_unlock(id, worker);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
