/*
 * procedure.c
 *    CALL architect.backfill(…): a run in the session of the caller.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "utils/timeout.h"

#include "backfill/run.h"

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
 * CALL is one statement, however long the job is.
 */
static void
lift_statement_timeout(void)
{
	if (!architect_backfill_lifts("statement_timeout") || !get_timeout_active(STATEMENT_TIMEOUT))
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
	lift_statement_timeout();
	architect_backfill_run(id, 0, true);
	SPI_finish();
	PG_RETURN_VOID();
}
