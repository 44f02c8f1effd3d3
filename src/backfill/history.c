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
 * Leaves out the note that is missed least: the one whose neighbours are closest to each
 * other for their age.
 */
static void
drop_note(BackfillHistory *history, TimestampTz now)
{
	int			dropped = 1;
	double		smallest = 2;

	for (int i = 1; i < history->count - 1; i++)
	{
		TimestampTz before = history->at[i - 1];
		double		gap = (double) (history->at[i + 1] - before) / (now - before);

		if (gap < smallest)
		{
			smallest = gap;
			dropped = i;
		}
	}

	history->count--;
	for (int i = dropped; i < history->count; i++)
	{
		history->at[i] = history->at[i + 1];
		history->value[i] = history->value[i + 1];
	}
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
		drop_note(history, at);
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
