/*
 * manners.h
 *    What the watchers between batches share.
 */
#ifndef ARCHITECT_MANNERS_H
#define ARCHITECT_MANNERS_H

#include "datatype/timestamp.h"

#include "backfill/backfill.h"

/*
 * How far a counter of the server's (WAL, transactions) had come at times that this
 * process has seen.  Zeroed: none yet.
 */
#define BACKFILL_NOTES 100

typedef struct BackfillHistory
{
	int			count;
	TimestampTz at[BACKFILL_NOTES];
	uint64		value[BACKFILL_NOTES];
} BackfillHistory;

/* manners.c */
extern char *architect_backfill_duration(int64 ms);
extern char *architect_backfill_size(int64 bytes);

/* history.c */
extern void architect_backfill_note(BackfillHistory *history, TimestampTz at, uint64 value);
extern int64 architect_backfill_behind(const BackfillHistory *history, TimestampTz now, uint64 value);

/* watch.c */
extern char *architect_backfill_slow_replica(const BackfillJob *job, BackfillHistory *wal, TimestampTz now);
extern char *architect_backfill_slow_slot(const BackfillJob *job);
extern char *architect_backfill_busy_sessions(const BackfillJob *job);
extern char *architect_backfill_horizon_holder(TransactionId horizon, TimestampTz *since);

/* throttle.c */
extern void architect_backfill_check_throttle(const char *query);
extern char *architect_backfill_throttle(const BackfillJob *job);

#endif							/* ARCHITECT_MANNERS_H */
