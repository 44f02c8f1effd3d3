/*
 * pace.c
 *    How big the next batch is, and how long to wait before one is tried again.
 */
#include "postgres.h"

#include "common/pg_prng.h"

#include "backfill/backfill.h"

#define LARGEST_GROWTH 2.0

/* While others wait for our rows, and as long as they do not. */
#define SHRINK 0.7
#define RECOVER 1.01
#define LEAST_AIM 10.0			/* ms */

#define SHORTEST_BACKOFF 50		/* ms */
#define LONGEST_BACKOFF 10000

/*
 * The size that would have taken the time aimed at, given that this size took so many
 * ms: smaller at once where it took longer, at most twice as big where it was fast, as
 * a fast batch may just have found everything in memory.
 */
double
architect_backfill_next_size(double size, double took, double aim)
{
	double		growth = LARGEST_GROWTH;

	if (took > 0)
		growth = Min(aim / took, LARGEST_GROWTH);
	return Max(size * growth, 1.0);
}

/*
 * The time to aim at, in ms, after a batch that took so long and for whose rows others
 * were or were not waiting at its end.  It comes back slowly to what was asked for.
 */
double
architect_backfill_next_aim(double aim, double took, bool waited, double asked)
{
	if (waited)
		aim = Max(Min(aim, took * SHRINK), LEAST_AIM);
	else
		aim *= RECOVER;
	return Min(aim, asked);
}

/*
 * How many ms to wait before attempt number n + 1, where the first is number 1.  Two
 * that got into each other's way must not meet again, so it is not the same twice.
 */
int
architect_backfill_backoff(int attempt)
{
	int			longest = SHORTEST_BACKOFF;

	while (--attempt > 0 && longest < LONGEST_BACKOFF)
		longest *= 2;
	longest = Min(longest, LONGEST_BACKOFF);
	return longest / 2 + (int) (pg_prng_double(&pg_global_prng_state) * longest / 2);
}
