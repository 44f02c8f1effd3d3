/*
 * run.h
 *    A run: one process at work on a job.
 */
#ifndef ARCHITECT_BACKFILL_RUN_H
#define ARCHITECT_BACKFILL_RUN_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/plancache.h"

#include "backfill/backfill.h"
#include "compat.h"
#include "core/core.h"

#define BACKFILL_REASON 256

/* Which ways to its rows the planner may see. */
typedef enum BackfillScan
{
	BACKFILL_SCAN_ANY,
	BACKFILL_SCAN_BLOCKS,		/* by tid alone */
	BACKFILL_SCAN_KEY			/* by the index of the key alone */
} BackfillScan;

/* A statement of ours: planned under a pinned search_path, run under the session's. */
typedef struct BackfillStatement
{
	CachedPlanSource *source;
	int			nargs;
	Oid		   *types;
	Oid			relation;		/* whose scan is chosen */
	Oid			index;
	BackfillScan scan;
} BackfillStatement;

/* The relation in hand, and what is kept of it from batch to batch. */
typedef struct BackfillLeaf
{
	Oid			relation;
	MemoryContext context;		/* of what is below */
	char	   *name;			/* qualified and quoted */
	char	   *record_id;		/* SQL text */
	BackfillStatement *places;	/* changes rows, a statement for each kind of range */
	BackfillStatement *span;
	BackfillStatement *change;	/* of keys */
	BackfillStatement *begin;	/* key walk: the same from the beginning */
	BackfillStatement *whole;	/* all rows; made when it is needed */
	BackfillStatement *one;		/* one row, by its place */
	BackfillStatement *identify;	/* record_id of a row, by its place */
	BackfillStatement *bound;	/* key walk: the last key of a batch */
	BackfillStatement *begin_bound; /* of the first batch */
	BackfillStatement *last;	/* key walk: the last key of all */
	BackfillKey *key;
	bool		can_be_hot;		/* no index has an assigned column */
} BackfillLeaf;

/* Which rows a statement is for. */
typedef enum BackfillRangeKind
{
	BACKFILL_RANGE_PLACES,		/* those at these places */
	BACKFILL_RANGE_SPAN,		/* from one place up to, and without, another */
	BACKFILL_RANGE_KEYS,		/* with keys after one, up to another */
	BACKFILL_RANGE_WHOLE		/* all there are, under one snapshot */
} BackfillRangeKind;

typedef struct BackfillRange
{
	BackfillRangeKind kind;
	ItemPointerData *places;
	int			nplaces;
	ItemPointerData from;
	ItemPointerData to;
	Datum	   *after;			/* NULL: from the beginning */
	Datum	   *upto;
} BackfillRange;

/* A row that could not be changed. */
typedef struct BackfillReject
{
	Oid			relation;
	ItemPointerData place;
	char	   *record_id;
	ErrorData  *error;
} BackfillReject;

typedef struct BackfillRun
{
	BackfillJob *job;
	int			worker;			/* 0 leads */
	bool		foreground;
	MemoryContext context;		/* for the whole run */
	MemoryContext batch;		/* reset by each commit */
	BackfillLeaf *leaf;
	bool		lifts_timeout;	/* transaction_timeout is not meant for it */
	bool		sweeping;
	bool		rewinds;		/* all parts, as they are found */
	bool		postponed;		/* rows that others held locked were left for the next sweep */
	double		size;			/* blocks or keys of a batch */
	int			pieces;			/* subtransactions of a batch; more where rows are rejected */
	List	   *rejects;		/* BackfillReject, of the batch in hand */
	int			most_stripes;	/* of a window; fewer where they do not help */
	int			windows;
	int64		open_blocks;	/* of the window in hand, still to be done */
	bool		is_sparse;		/* few rows of a window are to be changed */
	int64		window_seen;	/* rows looked at in the window in hand */
	int64		window_rows;	/* of them, changed */
	int64		window_hot;		/* of them, heap-only */
	Oid			claimed;		/* the relation of that window; InvalidOid for none */
	BlockNumber claimed_first;
	ItemPointerData *places;	/* of the rows of the stripe in hand */
	Size		places_size;	/* bytes there are for them */
	TimestampTz batch_began;
	bool		waited;			/* others did, for rows of the batch in hand */
	double		aim;			/* ms that a batch is to take; less while others wait for its rows */
	double		longest;		/* ms, of the transactions of the batch in hand */
	int			attempt;		/* how often the batch in hand was tried in vain */
	int64		changed;		/* rows, since the walk or sweep began */
	int64		rejected;		/* rows, of the whole job, before this batch */
	BackfillCounts batch_counts;	/* of the batch in hand */
	BackfillCounts counts;		/* of batches since they were saved */
	TimestampTz saved_at;
	TimestampTz checked_at;		/* when obstacles were looked for */
	int64		wal_since;		/* bytes, since then */
	TimestampTz told_at;		/* when the foreground's caller was told */
	char		reason[BACKFILL_REASON];	/* what it waits for */
} BackfillRun;

typedef enum BackfillOutcome
{
	BACKFILL_DONE,
	BACKFILL_BUSY,				/* a lock was in the way: try again */
	BACKFILL_STOPPED			/* paused or cancelled */
} BackfillOutcome;

/* So many subtransactions of one transaction are cheap for everybody's snapshots. */
#define BACKFILL_MOST_PIECES 56

/* begin.c */
extern int64 architect_backfill_begin_job(BackfillJob *job);

/* statement.c */
extern void architect_backfill_statement_init(void);
extern BackfillStatement *architect_backfill_prepare(const char *text, int nargs, const Oid *types, Oid relation,
													 Oid index, BackfillScan scan);
extern void architect_backfill_forget(BackfillStatement *statement);
extern int64 architect_backfill_execute(BackfillStatement *statement, Datum *values);
extern bool architect_backfill_fetch(BackfillStatement *statement, Datum *values, Datum *row);
extern bool architect_backfill_was_scanning(void);

/* leaf.c */
extern void architect_backfill_open_leaf(BackfillRun *run, Relation rel);
extern void architect_backfill_open_whole(BackfillRun *run);
extern void architect_backfill_close_leaf(BackfillRun *run);

/* batch.c */
extern void architect_backfill_begin_window(void);
extern void architect_backfill_begin_rows(void);
extern bool architect_backfill_is_of_the_row(const ErrorData *error);
extern void architect_backfill_learn_aim(BackfillRun *run);
extern BackfillOutcome architect_backfill_change(BackfillRun *run, BackfillRange *range);

/* block.c */
extern BackfillOutcome architect_backfill_walk_blocks(BackfillRun *run);
extern void architect_backfill_give_back(BackfillRun *run);

/* keyed.c */
extern BackfillOutcome architect_backfill_walk_keys(BackfillRun *run);
extern bool architect_backfill_find_bound(BackfillRun *run, const BackfillRange *range, int64 rows, Datum *bound);

/* ddl.c */
extern void architect_backfill_ddl_init(void);
extern void architect_backfill_check_shape(BackfillJob *job);

/* finish.c */
extern BackfillOutcome architect_backfill_finish(BackfillRun *run);

/* run.c */
extern ErrorData *architect_backfill_try(ArchitectTask task, void *argument);
extern bool architect_backfill_lifts(const char *timeout);
extern bool architect_backfill_is_busy(const ErrorData *error);
extern void architect_backfill_commit(BackfillRun *run);
extern bool architect_backfill_begin_batch(BackfillRun *run);
extern void architect_backfill_end_batch(BackfillRun *run);
extern void architect_backfill_undo_batch(BackfillRun *run);
extern bool architect_backfill_back_off(BackfillRun *run);
extern void architect_backfill_find_parts(BackfillRun *run, bool rewinds);
extern bool architect_backfill_rest(BackfillRun *run, const char *reason, int ms);
pg_noreturn extern void architect_backfill_fail(BackfillRun *run, ErrorData *error);

#endif							/* ARCHITECT_BACKFILL_RUN_H */
