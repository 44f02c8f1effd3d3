/*
 * backfill.c
 *    Settings; starts the backfill part.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "backfill/run.h"

/* The number of the job in the transaction of a batch, and else empty. */
static char *job_setting = NULL;

bool		architect_backfill_autostart = true;

void
architect_backfill_init(void)
{
	architect_backfill_statement_init();
	architect_backfill_ddl_init();

	DefineCustomBoolVariable("architect.backfill_autostart",
							 "Go on with backfill jobs of background workers when the server starts.",
							 "Jobs start only where the library is preloaded.",
							 &architect_backfill_autostart, true, PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* Not for everybody to set, and pass for a backfill. */
	DefineCustomStringVariable("architect.backfill_job",
							   "Shows the number of the backfill job that changes rows in this transaction.",
							   NULL, &job_setting, "", PGC_SUSET,
							   GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, NULL, NULL, NULL);

	architect_backfill_launcher_init();
}
