/*
 * watch.c
 *    Manners that the server's own views answer: replicas, slots, sessions.
 *
 * The views show nothing, or NULL, to a role that may not see; that it may is checked
 * before.  Plans are kept for the life of the session.  The caller has pinned the path
 * and has pushed a snapshot.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "backfill/manners.h"

/*
 * Replicas that lack something.  The server goes on showing the last lag of one that
 * has caught up, so that does not count.  Base backups have no position.
 */
#define REPLICAS_QUERY \
	"SELECT coalesce(nullif(application_name, ''), host(client_addr), pid::text)," \
	" replay_lsn, coalesce(extract(epoch FROM replay_lag) * 1000, 0)::bigint" \
	" FROM pg_catalog.pg_stat_replication" \
	" WHERE replay_lsn < $1"

/* A slot that has lost what it needs cannot be helped by waiting. */
#define SLOTS_QUERY \
	"SELECT slot_name::text, ($1 - coalesce(confirmed_flush_lsn, restart_lsn))::bigint" \
	" FROM pg_catalog.pg_replication_slots" \
	" WHERE wal_status IS DISTINCT FROM 'lost'" \
	" AND $1 - coalesce(confirmed_flush_lsn, restart_lsn) > $2" \
	" ORDER BY 2 DESC LIMIT 1"

#define SESSIONS_QUERY \
	"SELECT count(*) FROM pg_catalog.pg_stat_activity" \
	" WHERE state IN ('active', 'fastpath function call') AND backend_type = 'client backend'" \
	" AND pid <> pg_catalog.pg_backend_pid()"

/* The transactions, or what stands for them, by which the server's horizon is kept. */
#define HOLDERS_QUERY \
	"SELECT who, since FROM (" \
	"SELECT 1, pg_catalog.format('prepared transaction \"%s\"', gid), prepared" \
	" FROM pg_catalog.pg_prepared_xacts WHERE transaction = $1" \
	" UNION ALL SELECT 2, pg_catalog.format('slot \"%s\"', slot_name), NULL" \
	" FROM pg_catalog.pg_replication_slots WHERE xmin = $1" \
	" UNION ALL SELECT 3, pg_catalog.format('replica \"%s\"', application_name), NULL" \
	" FROM pg_catalog.pg_stat_replication WHERE backend_xmin = $1" \
	" UNION ALL SELECT 4, pg_catalog.format('transaction of process %s', pid), xact_start" \
	" FROM pg_catalog.pg_stat_activity" \
	" WHERE $1 IN (backend_xid, backend_xmin) AND backend_type <> 'walsender'" \
	" AND pid <> pg_catalog.pg_backend_pid()" \
	") AS holders (rank, who, since) ORDER BY rank, since LIMIT 1"

/* A query, and its plan when it has one. */
typedef struct Watch
{
	const char *query;
	int			nargs;
	Oid			types[2];
	SPIPlanPtr	plan;
} Watch;

static Watch replicas = {REPLICAS_QUERY, 1, {LSNOID}};
static Watch slots = {SLOTS_QUERY, 2, {LSNOID, INT8OID}};
static Watch sessions = {SESSIONS_QUERY, 0};
static Watch holders = {HOLDERS_QUERY, 1, {XIDOID}};

/*
 * Runs the query in SPI, which the caller connects to.
 */
static void
look(Watch *watch, Datum *values)
{
	if (watch->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(watch->query, watch->nargs, watch->types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare: %s", watch->query);
		watch->plan = plan;
	}
	if (SPI_execute_plan(watch->plan, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of: %s", watch->query);
}

/*
 * A value of the result; NULL is 0.
 */
static Datum
value_at(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? (Datum) 0 : value;
}

/*
 * Closes SPI and returns the text, made in the context that was there before it.
 */
static char *
finish(const char *text)
{
	char	   *result = NULL;

	if (text != NULL)
	{
		result = SPI_palloc(strlen(text) + 1);
		strcpy(result, text);
	}
	SPI_finish();
	return result;
}

/*
 * Says which replica is further behind than the job's limits allow; NULL for none.
 *
 * How old the oldest WAL is that a replica lacks is known to the server only from the
 * replica's answers.  One that has stopped answering shows the lag that it had, and one
 * that has never caught up shows none; so our own notes of the WAL count as well.
 */
char *
architect_backfill_slow_replica(const BackfillJob *job, BackfillHistory *wal, TimestampTz now)
{
	XLogRecPtr	end = GetFlushRecPtr(NULL);
	Datum		values[] = {LSNGetDatum(end)};
	char	   *reason = NULL;

	architect_backfill_note(wal, now, end);
	SPI_connect();
	look(&replicas, values);
	for (uint64 i = 0; i < SPI_processed && reason == NULL; i++)
	{
		XLogRecPtr	place = DatumGetLSN(value_at(i, 2));
		int64		shown = DatumGetInt64(value_at(i, 3));
		int64		lag = Max(shown, architect_backfill_behind(wal, now, place));
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		if (job->max_lag.value > 0 && lag > job->max_lag.value)
			reason = psprintf("replica \"%s\" is %s behind (max_lag %s)", name,
							  architect_backfill_duration(lag),
							  architect_backfill_duration(job->max_lag.value));
		else if (job->max_lag_bytes.value > 0 && end - place > job->max_lag_bytes.value)
			reason = psprintf("replica \"%s\" is %s behind (max_lag_bytes %s)", name,
							  architect_backfill_size(end - place),
							  architect_backfill_size(job->max_lag_bytes.value));
	}
	return finish(reason);
}

/*
 * Says which slot keeps more WAL from being removed than the job's limit; NULL for none.
 */
char *
architect_backfill_slow_slot(const BackfillJob *job)
{
	Datum		values[] = {LSNGetDatum(GetFlushRecPtr(NULL)), Int64GetDatum(job->max_slot_bytes.value)};
	char	   *reason = NULL;

	SPI_connect();
	look(&slots, values);
	if (SPI_processed > 0)
		reason = psprintf("slot \"%s\" is %s behind (max_slot_bytes %s)",
						  SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						  architect_backfill_size(DatumGetInt64(value_at(0, 2))),
						  architect_backfill_size(job->max_slot_bytes.value));
	return finish(reason);
}

/*
 * Says how many sessions are active where that is more than the job's limit; NULL
 * otherwise.
 */
char *
architect_backfill_busy_sessions(const BackfillJob *job)
{
	int64		active;
	char	   *reason = NULL;

	SPI_connect();
	look(&sessions, NULL);
	active = DatumGetInt64(value_at(0, 1));
	if (active > job->max_active_sessions.value)
		reason = psprintf("%lld sessions are active (max_active_sessions %lld)",
						  (long long) active, (long long) job->max_active_sessions.value);
	return finish(reason);
}

/*
 * Says what keeps the horizon where it is, as far as the role may see it, and since
 * when: 0 where that is not known.
 */
char *
architect_backfill_horizon_holder(TransactionId horizon, TimestampTz *since)
{
	Datum		values[] = {TransactionIdGetDatum(horizon)};
	const char *who = "a transaction";

	*since = 0;
	SPI_connect();
	look(&holders, values);
	if (SPI_processed > 0)
	{
		who = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		*since = DatumGetTimestampTz(value_at(0, 2));
	}
	return finish(who);
}
