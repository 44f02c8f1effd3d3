/*
 * begin.c
 *    From a request to a job: one that was left unfinished, or a new one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"

#include "backfill/register.h"
#include "backfill/run.h"

/* The last job of its kind, unless that has come to its end or was given up. */
static const Oid same_types[] = {OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, OIDOID};

static BackfillQuery same_query = BACKFILL_QUERY(same_types,
	"SELECT job FROM (SELECT job, state FROM architect.backfill_register"
	" WHERE target = $1 AND set_list = $2 AND condition IS NOT DISTINCT FROM $3 AND walk = $4"
	" AND key_index::text IS NOT DISTINCT FROM $5"
	" AND owner = (SELECT rolname FROM pg_roles WHERE oid = $6)"
	" ORDER BY job DESC LIMIT 1) AS last WHERE state IN ('waiting', 'running', 'paused', 'failed')");

static const Oid take_over_types[] = {
	INT8OID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, INT8OID, INT4OID, INT4OID, INT8OID, INT8OID, INT8OID,
	INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID
};

static BackfillQuery take_over_query = BACKFILL_QUERY(take_over_types,
	"UPDATE architect.backfill_register SET state = 'waiting', error = NULL, finished_at = NULL,"
	" called_at = clock_timestamp(),"
	" settings = $2::jsonb, shape = $3::jsonb, home = $4, workers = $5, on_error = $6, max_rejects = $7,"
	" batch_time = $8 * interval '1 millisecond', lock_timeout = $9 * interval '1 millisecond',"
	" max_lag = $10 * interval '1 millisecond', max_lag_bytes = $11, max_slot_bytes = $12, max_wal_rate = $13,"
	" max_archive_queue = $14, max_transaction_age = $15 * interval '1 millisecond',"
	" max_vacuum_wait = $16 * interval '1 millisecond', max_active_sessions = $17, throttle_query = $18"
	" WHERE job = $1");

static Datum
text_or_null(const char *text, char *null)
{
	*null = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/*
 * Returns the job that this request goes on with; 0 for none.
 */
static int64
find_same(const BackfillJob *job)
{
	char		nulls[] = "      ";
	Datum		values[] = {
		ObjectIdGetDatum(job->target), CStringGetTextDatum(job->what.set_list),
		text_or_null(job->what.condition, &nulls[2]),
		CStringGetTextDatum(job->walk == BACKFILL_WALK_KEY ? "key" : "block"),
		text_or_null(job->key, &nulls[4]), ObjectIdGetDatum(job->owner)
	};
	List	   *rows = architect_backfill_query(&same_query, values, nulls);

	return rows == NIL ? 0 : strtoi64(((char **) linitial(rows))[0], NULL, 10);
}

/*
 * Gives an unfinished job the limits of this request.
 */
static void
take_over(BackfillJob *job)
{
	char		nulls[] = "                  ";
	Datum		values[] = {
		Int64GetDatum(job->id), CStringGetTextDatum(job->settings), CStringGetTextDatum(job->shape),
		CStringGetTextDatum(architect_backfill_here()), Int32GetDatum(job->workers),
		CStringGetTextDatum(job->skips ? "skip" : "stop"), Int64GetDatum(job->max_rejects),
		Int32GetDatum(job->batch_time), Int32GetDatum(job->lock_timeout), Int64GetDatum(job->max_lag.value),
		Int64GetDatum(job->max_lag_bytes.value), Int64GetDatum(job->max_slot_bytes.value),
		Int64GetDatum(job->max_wal_rate.value), Int64GetDatum(job->max_archive_queue.value),
		Int64GetDatum(job->max_transaction_age.value), Int64GetDatum(job->max_vacuum_wait.value),
		Int64GetDatum(job->max_active_sessions.value), text_or_null(job->throttle_query, &nulls[17])
	};

	architect_backfill_adopt(job);
	(void) architect_backfill_query(&take_over_query, values, nulls);
	architect_backfill_log(job->id, "called again", NULL);
	ereport(NOTICE, (errmsg("going on with backfill " INT64_FORMAT, job->id)));
}

/*
 * Enters the request in the register and returns the number of its job: of the one
 * that an earlier call of the same left unfinished, or of a new one.  Raises 55006
 * where the table has an unfinished job of another kind, or one that is running.
 */
int64
architect_backfill_begin_job(BackfillJob *job)
{
	List	   *left_out = NIL;
	ListCell   *cell;
	int64		same;
	int64		unfinished;

	architect_backfill_check_limits(job, &left_out);
	same = find_same(job);
	unfinished = architect_backfill_unfinished(job->target);
	if (same != 0 && (unfinished == 0 || unfinished == same) && !architect_backfill_is_running(same))
	{
		job->id = same;
		take_over(job);
	}
	else
		architect_backfill_create(job);

	foreach(cell, left_out)
	{
		ereport(NOTICE, (errmsg("%s", (char *) lfirst(cell))));
		architect_backfill_log(job->id, "left out", "%s", (char *) lfirst(cell));
	}
	return job->id;
}
