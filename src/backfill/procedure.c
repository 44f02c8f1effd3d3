/*
 * procedure.c
 *    CALL architect.backfill(…): a run in the session of the caller.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc_tables.h"
#include "utils/timeout.h"

#include "backfill/run.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(architect_backfill);

/*
 * Raises 25001 where no COMMIT is possible.
 */
static void
check_can_commit(FunctionCallInfo fcinfo)
{
	if (fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg(ARCHITECT_SCHEMA ".backfill cannot run inside a transaction block or a function"),
			 errdetail("It commits after each batch."),
			 errhint("Send CALL by itself, with autocommit on and no other statement beside it; or run it in the background with SELECT "
					 ARCHITECT_SCHEMA ".backfill_start(…).")));
}

/*
 * A timeout that the role or the database has by default is meant for other
 * statements; one that was set in the session counts.
 */
static void
lift_timeouts(void)
{
	struct config_generic *setting = architect_find_setting("statement_timeout");

	if (setting == NULL || setting->source >= PGC_S_SESSION || !get_timeout_active(STATEMENT_TIMEOUT))
		return;
	disable_timeout(STATEMENT_TIMEOUT, false);
	ereport(NOTICE,
			(errmsg("statement_timeout does not count for this call"),
			 errdetail("It was not set in this session, and each batch is short.")));
}

/*
 * architect.backfill(target regclass, set text, filter text, …)
 */
Datum
architect_backfill(PG_FUNCTION_ARGS)
{
	BackfillJob *job;
	int64		id;

	check_can_commit(fcinfo);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	job = architect_backfill_request(fcinfo, true);
	id = architect_backfill_begin_job(job);
	lift_timeouts();
	architect_backfill_run(id, 0, true);
	SPI_finish();
	PG_RETURN_VOID();
}
