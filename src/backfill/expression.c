/*
 * expression.c
 *    What is set and where: from text to expressions.
 */
#include "postgres.h"

#include "backfill/backfill.h"

PG_FUNCTION_INFO_V1(architect_backfill_differs);

Datum
architect_backfill_differs(PG_FUNCTION_ARGS)
{
	elog(ERROR, "not there yet");
}
