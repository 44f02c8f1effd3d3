/*
 * backfill.c
 *    Starts the backfill part.
 */
#include "postgres.h"

#include "backfill/backfill.h"

void
architect_backfill_init(void)
{
}
