/*
 * procedure.c
 *    CALL architect.backfill(…): a run in the session of the caller.
 */
#include "postgres.h"

#include "backfill/backfill.h"

PG_FUNCTION_INFO_V1(architect_backfill);

Datum
architect_backfill(PG_FUNCTION_ARGS)
{
	elog(ERROR, "not there yet");
}
