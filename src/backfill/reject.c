/*
 * reject.c
 *    Rows that could not be changed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/elog.h"

#include "backfill/backfill.h"
#include "backfill/register.h"

static const Oid add_types[] = {INT8OID, OIDOID, TEXTOID, TIDOID, TEXTOID, TEXTOID, BOOLOID};

static BackfillQuery add_query = BACKFILL_QUERY(add_types,
	"INSERT INTO architect.backfill_rejected (job, relation, record_id, row_place, sqlstate, message, undone)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (job, relation, record_id) DO UPDATE"
	" SET row_place = $4, sqlstate = $5, message = $6, undone = $7, rejected_at = clock_timestamp()");

static const Oid drop_types[] = {INT8OID, OIDOID, TEXTOID};

static BackfillQuery drop_query = BACKFILL_QUERY(drop_types,
	"DELETE FROM architect.backfill_rejected WHERE job = $1 AND relation = $2 AND record_id = $3");

static const Oid id_types[] = {INT8OID};

static BackfillQuery count_query = BACKFILL_QUERY(id_types,
	"SELECT count(*) FROM architect.backfill_rejected WHERE job = $1");

static BackfillQuery clear_query = BACKFILL_QUERY(id_types,
	"DELETE FROM architect.backfill_rejected WHERE job = $1");

static BackfillQuery forget_query = BACKFILL_QUERY(id_types,
	"DELETE FROM architect.backfill_rejected WHERE job = $1 AND undone");

/*
 * Notes a row with the error that it gave; of one that was noted already, the new
 * error.  Undone: the batch that it was in is taken back.
 */
void
architect_backfill_add_reject(int64 id, Oid relation, ItemPointer tid, const char *record_id, ErrorData *error,
								 bool undone)
{
	Datum		values[] = {
		Int64GetDatum(id), ObjectIdGetDatum(relation), CStringGetTextDatum(record_id), PointerGetDatum(tid),
		CStringGetTextDatum(unpack_sql_state(error->sqlerrcode)),
		CStringGetTextDatum(error->message == NULL ? "" : error->message), BoolGetDatum(undone)
	};

	(void) architect_backfill_query(&add_query, values, NULL);
}

/*
 * Forgets a row that could be changed after all.
 */
void
architect_backfill_drop_reject(int64 id, Oid relation, const char *record_id)
{
	Datum		values[] = {Int64GetDatum(id), ObjectIdGetDatum(relation), CStringGetTextDatum(record_id)};

	(void) architect_backfill_query(&drop_query, values, NULL);
}

/*
 * Forgets all rejects of the job, as all its rows are tried again.
 */
void
architect_backfill_clear_rejects(int64 id)
{
	Datum		values[] = {Int64GetDatum(id)};

	(void) architect_backfill_query(&clear_query, values, NULL);
}

/*
 * Forgets those whose batch was taken back, as that is done again.
 */
void
architect_backfill_forget_undone(int64 id)
{
	Datum		values[] = {Int64GetDatum(id)};

	(void) architect_backfill_query(&forget_query, values, NULL);
}

int64
architect_backfill_count_rejects(int64 id)
{
	Datum		values[] = {Int64GetDatum(id)};
	List	   *rows = architect_backfill_query(&count_query, values, NULL);

	return strtoi64(((char **) linitial(rows))[0], NULL, 10);
}
