/*
 * history.c
 *    How far a counter had come at times past: how long ago it went by a value.
 *
 * New notes are close to each other, old ones far apart, so that few of them reach back
 * to the beginning and an age is still known to about a tenth.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "backfill/manners.h"

/* No two notes are closer than this. */
#define NOTE_INTERVAL 50		/* ms */

/*
 * Leaves every other note out.
 */
static void
thin_out(BackfillHistory *history)
{
	int			kept = 0;

	for (int i = 0; i < history->count; i += 2)
	{
		history->at[kept] = history->at[i];
		history->value[kept] = history->value[i];
		kept++;
	}
	history->count = kept;
}

/*
 * Notes that the counter is at this value.  Notes come in the order of time, and the
 * counter never goes back.
 */
void
architect_backfill_note(BackfillHistory *history, TimestampTz at, uint64 value)
{
	int			last = history->count - 1;

	if (last >= 0 && (value <= history->value[last] ||
					  !TimestampDifferenceExceeds(history->at[last], at, NOTE_INTERVAL)))
		return;
	if (history->count == BACKFILL_NOTES)
		thin_out(history);
	history->at[history->count] = at;
	history->value[history->count] = value;
	history->count++;
}

/*
 * For how many ms, at least, the counter has been beyond this value: 0 where it is not
 * known to be.
 */
int64
architect_backfill_behind(const BackfillHistory *history, TimestampTz now, uint64 value)
{
	for (int i = 0; i < history->count; i++)
	{
		if (history->value[i] > value)
			return Max((now - history->at[i]) / 1000, 0);
	}
	return 0;
}
