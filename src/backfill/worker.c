/*
 * worker.c
 *    Background workers of a job, which are connected as the role that owns it.
 *
 * One leads; if the job has several it starts the others, and ends after them.  A
 * worker is started before the transaction that asks for it has committed, and waits
 * for that.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "backfill/register.h"
#include "backfill/run.h"
#include "compat.h"

/* How long a worker waits for the one before it, which has been paused, to end. */
#define HANDOVER_MS 30000
#define LOOK_MS 50

/* What a worker is started with. */
typedef struct WorkerOrder
{
	Oid			database;
	Oid			owner;
	int64		job;
	int			worker;
	TransactionId transaction;	/* that asks for it; may be invalid */
} WorkerOrder;

StaticAssertDecl(sizeof(WorkerOrder) <= BGW_EXTRALEN, "an order must fit into bgw_extra");

PGDLLEXPORT void architect_backfill_worker_main(Datum argument);

static const Oid settings_types[] = {INT8OID};

static BackfillQuery settings_query = BACKFILL_QUERY(settings_types,
	"SELECT setting.key, setting.value FROM architect.backfill_register AS register"
	" LEFT JOIN LATERAL jsonb_each_text(register.settings) AS setting ON true WHERE register.job = $1");

/*
 * Asks the postmaster for a worker; false when it has none to give.
 */
static bool
start_worker(const BackfillJob *job, int worker, BackgroundWorkerHandle **handle)
{
	BackgroundWorker request = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_notify_pid = worker > 0 ? MyProcPid : 0
	};
	WorkerOrder order = {MyDatabaseId, job->owner, job->id, worker, GetTopTransactionIdIfAny()};

	snprintf(request.bgw_name, BGW_MAXLEN, "backfill " INT64_FORMAT " worker %d", job->id, worker);
	strlcpy(request.bgw_type, "backfill", BGW_MAXLEN);
	strlcpy(request.bgw_library_name, "pg_architect", BGW_MAXLEN);
	strlcpy(request.bgw_function_name, "architect_backfill_worker_main", BGW_MAXLEN);
	memcpy(request.bgw_extra, &order, sizeof(order));
	return RegisterDynamicBackgroundWorker(&request, handle);
}

/*
 * Raises unless the role that owns the job can connect; a worker could say so in the
 * server's log only.
 */
static void
check_can_connect(const BackfillJob *job)
{
	if (!OidIsValid(job->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that owns backfill " INT64_FORMAT " does not exist", job->id),
				 errhint("See \"owner\" in " ARCHITECT_SCHEMA ".backfill_jobs.")));
	if (!architect_can_connect(job->owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" cannot run in the background", GetUserNameFromId(job->owner, false)),
				 errdetail("A background worker connects as the role that owns the job, and this role has no LOGIN."),
				 errhint("Use CALL " ARCHITECT_SCHEMA ".backfill(…), or give the role LOGIN, which without a password lets nobody in.")));
	if (object_aclcheck(DatabaseRelationId, MyDatabaseId, job->owner, ACL_CONNECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not connect to this database", GetUserNameFromId(job->owner, false)),
				 errdetail("A background worker connects as the role that owns the job."),
				 errhint("Grant it CONNECT.")));
}

/*
 * Refuses to run what belongs to others with the rights of a superuser, where nobody
 * looks on: a call of his own may have begun the job so.
 */
static void
check_no_superuser(const BackfillJob *job)
{
	HeapTuple	tuple;
	Oid			owner;

	if (!superuser_arg(job->owner))
		return;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(job->target));
	if (!HeapTupleIsValid(tuple))
		return;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (superuser_arg(owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("backfill " INT64_FORMAT " cannot run in the background", job->id),
			 errdetail("Its owner is a superuser, with whose rights the triggers of role \"%s\" would run.",
					   GetUserNameFromId(owner, false)),
			 errhint("Make the same CALL as before; or begin another with " ARCHITECT_SCHEMA ".backfill_start(…), which does it as that role.")));
}

/*
 * Starts the worker that leads the job, once this transaction has committed.
 */
void
architect_backfill_launch(const BackfillJob *job)
{
	BackgroundWorkerHandle *handle;

	check_can_connect(job);
	check_no_superuser(job);
	if (!start_worker(job, 0, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("no background worker is free"),
				 errdetail("They are shared with parallel queries, logical replication and other extensions."),
				 errhint("Try again later, use CALL " ARCHITECT_SCHEMA ".backfill(…), or raise max_worker_processes.")));
}

/*
 * The same for one that nobody asks for now; false where it cannot be.
 */
bool
architect_backfill_relaunch(const BackfillJob *job)
{
	BackgroundWorkerHandle *handle;

	return start_worker(job, 0, &handle);
}

/*
 * Starts the other workers of the job and returns them, in the caller's context.  Where
 * there are not as many as asked for, the events say so.
 */
List *
architect_backfill_launch_followers(const BackfillJob *job)
{
	List	   *followers = NIL;
	BackgroundWorkerHandle *handle;

	for (int i = 1; i < job->workers; i++)
	{
		if (!start_worker(job, i, &handle))
		{
			architect_backfill_log(job->id, "fewer workers", "%d of %d: no more background workers are free", i,
								   job->workers);
			break;
		}
		followers = lappend(followers, handle);
	}
	return followers;
}

/*
 * Waits for the end of these workers for so many ms; true when all have ended.
 */
bool
architect_backfill_await_followers(List *followers, int timeout)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout);

	for (;;)
	{
		bool		all = true;
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		ListCell   *cell;

		foreach(cell, followers)
		{
			pid_t		pid;

			if (GetBackgroundWorkerPid(lfirst(cell), &pid) != BGWH_STOPPED)
				all = false;
		}
		if (all || left <= 0)
			return all;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
set_option(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * What the role or the database has for its sessions is not meant for this one.
 */
static void
lift_limits(const WorkerOrder *order)
{
	char		name[NAMEDATALEN];

	set_option("statement_timeout", "0");
	set_option("lock_timeout", "0");
	set_option("idle_in_transaction_session_timeout", "0");
	architect_lift_transaction_timeout();
	set_option("default_transaction_read_only", "off");
	set_option("default_transaction_isolation", "read committed");

	snprintf(name, sizeof(name), "backfill " INT64_FORMAT, order->job);
	SetConfigOption("application_name", name, PGC_USERSET, PGC_S_SESSION);
}

/*
 * Puts on the settings of whoever began the job; false where there is no such job.
 */
static bool
apply_settings(int64 id)
{
	Datum		values[] = {Int64GetDatum(id)};
	List	   *rows = architect_backfill_query(&settings_query, values, NULL);
	ListCell   *cell;

	foreach(cell, rows)
	{
		char	  **row = lfirst(cell);

		if (row[0] != NULL && row[1] != NULL)
			SetConfigOption(row[0], row[1], PGC_USERSET, PGC_S_SESSION);
	}
	return rows != NIL;
}

/*
 * Waits until nobody is this worker of the job; false where somebody goes on with that.
 */
static bool
await_handover(int64 id, int worker)
{
	for (int waited = 0; architect_backfill_is_working(id, worker); waited += LOOK_MS)
	{
		if (waited >= HANDOVER_MS)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/*
 * True when there is work for this worker: the job was not taken back, paused or
 * finished meanwhile.
 */
static bool
has_work(const WorkerOrder *order)
{
	BackfillJob *job;

	if (!OidIsValid(architect_relation("backfill_register", true)) || !apply_settings(order->job))
		return false;
	if (!await_handover(order->job, order->worker))
		return false;
	if (order->worker > 0)
		return architect_backfill_is_running(order->job);
	job = architect_backfill_load(order->job);
	return job->owner == order->owner &&
		(strcmp(job->state, "waiting") == 0 || strcmp(job->state, "running") == 0);
}

/*
 * Notes an error that the run has not: where there is none to see it, the job says why
 * it goes on no longer.
 */
static void
note_failure(int64 id, const char *message)
{
	BackfillJob *job;

	AbortCurrentTransaction();
	StartTransactionCommand();
	job = architect_backfill_load(id);
	if (strcmp(job->state, "waiting") == 0 || strcmp(job->state, "running") == 0)
	{
		architect_backfill_set_state(job, "failed", message);
		architect_backfill_log(id, "failed", "%s", message);
	}
	CommitTransactionCommand();
}

/*
 * Leads or follows, until the job has come to its end or is to be left alone.
 */
static void
run(const WorkerOrder *order)
{
	MemoryContext context = TopMemoryContext;

	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		architect_backfill_run(order->job, order->worker, false);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (order->worker == 0 && error->sqlerrcode != ERRCODE_QUERY_CANCELED &&
			error->sqlerrcode != ERRCODE_OBJECT_IN_USE)
			note_failure(order->job, error->message);
		ReThrowError(error);
	}
	PG_END_TRY();
}

/*
 * Does the work, which begins and ends its own transactions.
 */
static void
work(const WorkerOrder *order)
{
	bool		wanted;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (TransactionIdIsValid(order->transaction))
		XactLockTableWait(order->transaction, NULL, NULL, XLTW_None);
	CommitTransactionCommand();

	StartTransactionCommand();
	wanted = has_work(order);
	CommitTransactionCommand();
	if (!wanted)
		return;

	pgstat_report_activity(STATE_RUNNING, MyBgworkerEntry->bgw_name);
	StartTransactionCommand();
	run(order);
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * Where a background worker begins.
 */
void
architect_backfill_worker_main(Datum argument)
{
	WorkerOrder order;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(order.database, order.owner, ARCHITECT_CONNECT_WITHOUT_LOGIN);

	lift_limits(&order);
	work(&order);
}
