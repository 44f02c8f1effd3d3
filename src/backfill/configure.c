/*
 * configure.c
 *    architect.backfill_configure: other limits for a job, also while it runs.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "backfill/backfill.h"
#include "core/core.h"

#define THROTTLE_QUERY 8		/* the number of that argument */

PG_FUNCTION_INFO_V1(architect_backfill_configure);

/*
 * Checks the changed limits by what the owner of the job may see.  The throttle query
 * is looked at only where it comes with this call: planning runs functions of whoever
 * wrote it.
 */
static void
check_limits(BackfillJob *job, bool has_query)
{
	char	   *query = job->throttle_query;
	List	   *left_out;

	if (!OidIsValid(job->owner))
		return;
	if (!has_query)
		job->throttle_query = NULL;
	architect_backfill_check_limits(job, &left_out);
	job->throttle_query = query;
}

/*
 * architect.backfill_configure(job, …)
 */
Datum
architect_backfill_configure(PG_FUNCTION_ARGS)
{
	BackfillJob *job = architect_backfill_job_argument(fcinfo);

	architect_backfill_check_unfinished(job, true);
	architect_backfill_read_changes(fcinfo, job);
	check_limits(job, !PG_ARGISNULL(THROTTLE_QUERY));
	architect_backfill_store_limits(job);
	architect_backfill_log(job->id, "configured", "by %s", GetUserNameFromId(GetUserId(), false));
	PG_RETURN_VOID();
}
