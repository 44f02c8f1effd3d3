/*
 * total.c
 *    How many rows there are to change, as the planner thinks.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "backfill/backfill.h"
#include "core/core.h"

/*
 * Returns the number of rows in the first line of a plan, such as
 * "Seq Scan on orders  (cost=0.00..35.50 rows=2550 width=0)".
 */
static int64
rows_of(const char *line)
{
	const char *rows = strstr(line, " rows=");

	return rows == NULL ? 0 : strtoi64(rows + strlen(" rows="), NULL, 10);
}

/*
 * Asks the planner, as the current user, and notes the answer.
 */
void
architect_backfill_guess_total(const BackfillJob *job)
{
	int			level = NewGUCNestLevel();
	char	   *query = psprintf("EXPLAIN SELECT FROM %s AS " BACKFILL_ALIAS " WHERE %s",
								 quote_qualified_identifier(get_namespace_name(get_rel_namespace(job->target)),
															get_rel_name(job->target)),
								 job->what.condition == NULL ? "true" : job->what.condition);
	int64		rows = 0;

	architect_pin_path();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_execute(query, false, 0) != SPI_OK_UTILITY || SPI_processed == 0)
		elog(ERROR, "unexpected result of: %s", query);
	rows = rows_of(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	PopActiveSnapshot();
	SPI_finish();
	AtEOXact_GUC(false, level);
	architect_backfill_save_total(job->id, rows);
}
