/*
 * launcher.c
 *    Has background jobs go on by themselves after a restart, where the library is
 *    preloaded.
 *
 * One process looks through the databases, once; in each another one, connected there,
 * starts the workers of jobs that were under way.  After a crash the postmaster starts
 * all that again.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "backfill/backfill.h"
#include "backfill/register.h"
#include "core/core.h"

#define RESTART_S 5
#define RETRY_MS 5000

/* A database is left to its process after this time. */
#define PATIENCE_MS 10000

PGDLLEXPORT void architect_backfill_launcher_main(Datum argument);
PGDLLEXPORT void architect_backfill_starter_main(Datum argument);

/* A job that brought down the server so often, before it changed a row, is left alone. */
#define ATTEMPTS "5"

#define STARTED "started by the server"

static const Oid home_types[] = {TEXTOID};

static BackfillQuery jobs_query = BACKFILL_QUERY(home_types,
	"SELECT register.job, (SELECT count(*) FROM architect.backfill_log AS entry WHERE entry.job = register.job"
	" AND entry.event = '" STARTED "' AND entry.at > greatest(register.called_at, worker.progressed_at)) >= " ATTEMPTS
	" FROM architect.backfill_register AS register CROSS JOIN LATERAL (SELECT max(progressed_at) AS progressed_at"
	" FROM architect.backfill_workers AS worker WHERE worker.job = register.job) AS worker"
	" WHERE state IN ('waiting', 'running') AND workers > 0 AND home = $1 ORDER BY register.job");

static void
doze(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | (ms >= 0 ? WL_TIMEOUT : 0) | WL_EXIT_ON_PM_DEATH, ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

static void
listen_to_signals(void)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
}

static void
describe(BackgroundWorker *worker, const char *name, const char *function)
{
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_name, name, BGW_MAXLEN);
	strlcpy(worker->bgw_type, name, BGW_MAXLEN);
	strlcpy(worker->bgw_library_name, "pg_architect", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
}

/*
 * Registers the process that looks through the databases.
 */
void
architect_backfill_launcher_init(void)
{
	BackgroundWorker worker = {.bgw_restart_time = RESTART_S};

	if (!process_shared_preload_libraries_in_progress)
		return;
	describe(&worker, "backfill launcher", "architect_backfill_launcher_main");
	RegisterBackgroundWorker(&worker);
}

/*
 * Returns the databases that can be connected to, in the caller's context.
 */
static List *
find_databases(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *result = NIL;
	Relation	catalog;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(catalog, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old = MemoryContextSwitchTo(caller);

		if (database->datallowconn)
			result = lappend_oid(result, database->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return result;
}

/*
 * Starts the jobs of one database, by a process there.
 */
static void
visit(Oid database)
{
	BackgroundWorker worker = {
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_main_arg = ObjectIdGetDatum(database),
		.bgw_notify_pid = MyProcPid
	};
	BackgroundWorkerHandle *handle;
	TimestampTz begin = GetCurrentTimestamp();
	pid_t		pid;

	describe(&worker, "backfill starter", "architect_backfill_starter_main");
	while (!RegisterDynamicBackgroundWorker(&worker, &handle))
		doze(RETRY_MS);
	while (GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED &&
		   !TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), PATIENCE_MS))
		doze(PATIENCE_MS);
}

/*
 * Where the launcher begins.  It ends with the server alone, as the postmaster would
 * start it again.
 */
void
architect_backfill_launcher_main(Datum argument)
{
	bool		visited = false;

	listen_to_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	for (;;)
	{
		if (architect_backfill_autostart && !visited)
		{
			List	   *databases = find_databases();
			ListCell   *cell;

			foreach(cell, databases)
				visit(lfirst_oid(cell));
			list_free(databases);
			visited = true;
		}
		doze(-1);
	}
}

/*
 * Starts workers for the jobs that were under way; returns how many jobs there was no
 * worker for.
 */
static int
start_jobs(void)
{
	int			left = 0;
	Datum		values[1];
	ListCell   *cell;

	if (!OidIsValid(architect_relation("backfill_register", true)))
		return 0;
	values[0] = CStringGetTextDatum(architect_backfill_here());
	foreach(cell, architect_backfill_query(&jobs_query, values, NULL))
	{
		char	  **row = lfirst(cell);
		int64		id = strtoi64(row[0], NULL, 10);
		BackfillJob *job = architect_backfill_load(id);

		if (!OidIsValid(job->owner) || architect_backfill_is_running(id))
			continue;
		if (row[1][0] == 't')
			architect_backfill_log_once(id, "left alone", "the server started it " ATTEMPTS
										" times, and each time went down before a row was changed");
		else if (architect_backfill_relaunch(job))
			architect_backfill_log(id, STARTED, NULL);
		else
		{
			architect_backfill_log_once(id, "no worker", "all of max_worker_processes are taken: it waits for one");
			left++;
		}
	}
	return left;
}

/*
 * Where the process in a database begins.
 */
void
architect_backfill_starter_main(Datum argument)
{
	int			left;

	listen_to_signals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(argument), InvalidOid, 0);

	for (;;)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		left = start_jobs();
		CommitTransactionCommand();
		if (left == 0)
			break;
		doze(RETRY_MS);
	}
}
