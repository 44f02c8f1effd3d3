/*
 * start.c
 *    backfill_start and what steers a job.
 */
#include "postgres.h"

#include "backfill/backfill.h"

PG_FUNCTION_INFO_V1(architect_backfill_start);

Datum
architect_backfill_start(PG_FUNCTION_ARGS)
{
	elog(ERROR, "not there yet");
}
