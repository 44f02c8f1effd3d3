#include "postgres.h"

#include "backfill/backfill.h"

PG_FUNCTION_INFO_V1(architect_backfill);
PG_FUNCTION_INFO_V1(architect_backfill_stripe);

Datum
architect_backfill(PG_FUNCTION_ARGS)
{
	elog(ERROR, "not there yet");
}

Datum
architect_backfill_stripe(PG_FUNCTION_ARGS)
{
	elog(ERROR, "not there yet");
}
