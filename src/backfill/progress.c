/*
 * progress.c
 *    What the processes of a job have done, and what they wait for.
 *
 * Each process has a row of its own, so that none waits for another.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "backfill/backfill.h"
#include "backfill/register.h"

/* The time after which rows count by 1/e for the present rate. */
#define RATE_WINDOW "60000"

static const Oid worker_types[] = {INT8OID, INT4OID};

static BackfillQuery begin_query = BACKFILL_QUERY(worker_types,
	"INSERT INTO architect.backfill_workers AS worker (job, worker, seen_at) VALUES ($1, $2, clock_timestamp())"
	" ON CONFLICT (job, worker) DO UPDATE SET waiting_for = NULL, waiting_since = NULL, batch_rows = NULL,"
	" open_blocks = 0, recent_rows = 0, recent_ms = 0, seen_at = clock_timestamp()");

static const Oid save_types[] = {
	INT8OID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID
};

static BackfillQuery save_query = BACKFILL_QUERY(save_types,
	"UPDATE architect.backfill_workers AS worker SET rows_done = rows_done + $3, rows_hot = rows_hot + $4,"
	" wal_bytes = wal_bytes + $5, busy_ms = busy_ms + $6, retries = retries + $7, batch_rows = $8,"
	" open_blocks = $9, progressed_at = CASE WHEN $3 > 0 THEN passed.now ELSE progressed_at END,"
	" recent_rows = recent_rows * exp(-passed.ms / " RATE_WINDOW ") + $3,"
	" recent_ms = recent_ms * exp(-passed.ms / " RATE_WINDOW ") + passed.ms,"
	" seen_at = passed.now"
	" FROM (SELECT at.job, at.worker, clock.now,"
	"       least(greatest(extract(epoch FROM clock.now - at.seen_at), 0) * 1000, 3600000)::double precision AS ms"
	"       FROM architect.backfill_workers AS at CROSS JOIN (SELECT clock_timestamp() AS now) AS clock"
	"       WHERE at.job = $1 AND at.worker = $2) AS passed"
	" WHERE worker.job = $1 AND worker.worker = $2");

static const Oid wait_types[] = {INT8OID, INT4OID, TEXTOID};

/* Figures in the reason change while the reason stays. */
static BackfillQuery wait_query = BACKFILL_QUERY(wait_types,
	"UPDATE architect.backfill_workers SET waiting_for = $3,"
	" waiting_since = CASE WHEN $3 IS NULL THEN NULL"
	"  WHEN regexp_replace(waiting_for, '[0-9]+', '', 'g') = regexp_replace($3, '[0-9]+', '', 'g')"
	"  THEN waiting_since ELSE clock_timestamp() END"
	" WHERE job = $1 AND worker = $2 AND waiting_for IS DISTINCT FROM $3");

static const Oid rows_types[] = {INT8OID, INT8OID};

static BackfillQuery total_query = BACKFILL_QUERY(rows_types,
	"UPDATE architect.backfill_register SET rows_total = $2 WHERE job = $1");

static const Oid left_types[] = {INT8OID, INT8OID, INT8OID};

static BackfillQuery left_query = BACKFILL_QUERY(left_types,
	"UPDATE architect.backfill_register SET rows_left = $2, rows_unchanged = $3 WHERE job = $1");

/*
 * Enters this process; figures of an earlier one of the same number stay.
 */
void
architect_backfill_begin_progress(int64 id, int worker)
{
	Datum		values[] = {Int64GetDatum(id), Int32GetDatum(worker)};

	(void) architect_backfill_query(&begin_query, values, NULL);
}

/*
 * Adds to the figures of this process.
 */
void
architect_backfill_save_progress(int64 id, int worker, const BackfillCounts *counts)
{
	Datum		values[] = {
		Int64GetDatum(id), Int32GetDatum(worker), Int64GetDatum(counts->rows), Int64GetDatum(counts->hot),
		Int64GetDatum(counts->wal), Int64GetDatum(counts->busy), Int64GetDatum(counts->retries),
		Int64GetDatum(counts->batch_rows), Int64GetDatum(counts->open_blocks)
	};

	(void) architect_backfill_query(&save_query, values, NULL);
}

/*
 * Notes what this process waits for; NULL: nothing.
 */
void
architect_backfill_save_wait(int64 id, int worker, const char *reason)
{
	Datum		values[] = {Int64GetDatum(id), Int32GetDatum(worker),
							reason == NULL ? (Datum) 0 : CStringGetTextDatum(reason)};

	(void) architect_backfill_query(&wait_query, values, reason == NULL ? "  n" : "   ");
}

/*
 * Notes how many rows there are to do, as far as is known at the beginning.
 */
void
architect_backfill_save_total(int64 id, int64 rows)
{
	Datum		values[] = {Int64GetDatum(id), Int64GetDatum(rows)};

	(void) architect_backfill_query(&total_query, values, NULL);
}

/*
 * Notes how many rows matched the filter when they were counted, and how many of them
 * the assignment leaves as they are.
 */
void
architect_backfill_save_left(int64 id, int64 matching, int64 unchanged)
{
	Datum		values[] = {Int64GetDatum(id), Int64GetDatum(matching), Int64GetDatum(unchanged)};

	(void) architect_backfill_query(&left_query, values, NULL);
}
