/*
 * backfill.h
 *    Change every row of a big table in small commits.
 *
 * A request (what a call asks for) is checked and becomes a job in the register; a run
 * works on a job in one process, batch by batch, each batch a transaction.  Between
 * batches a run holds no snapshot and no lock but the job's own.
 */
#ifndef ARCHITECT_BACKFILL_H
#define ARCHITECT_BACKFILL_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "storage/block.h"
#include "utils/rel.h"

/* The name of the updated relation in canonical expressions. */
#define BACKFILL_ALIAS "target"

/* More stripes of a window save little of table and index, and each costs a look at its pages. */
#define BACKFILL_STRIPES 20

/* Where every update makes index entries anyway, stripes save room in the table alone. */
#define BACKFILL_STRIPES_NOT_HOT 4

/* A limit of the request.  None where value is 0 or less. */
typedef struct BackfillLimit
{
	int64		value;
	bool		asked;			/* given in the call, and not our default */
} BackfillLimit;

typedef enum BackfillWalk
{
	BACKFILL_WALK_BLOCK,
	BACKFILL_WALK_KEY
} BackfillWalk;

/* What is set and where, as expressions that mean the same under any search_path. */
typedef struct BackfillAssignment
{
	char	   *set_list;		/* "a = …, b = …" */
	char	   *condition;		/* the filter; NULL for none */
	char	   *guard;			/* true for a row that the assignment would change; NULL where evaluating it twice
								 * does not give the same (volatile), or the row's own new value counts */
	bool		repeatable;		/* doing it twice gives what doing it once gives */
	bool		closes;			/* the filter reads an assigned column, so that rows done leave it */
	List	   *columns;		/* names (char *) of the assigned columns */
} BackfillAssignment;

/* A job as it stands in the register. */
typedef struct BackfillJob
{
	int64		id;
	Oid			target;
	Oid			owner;
	char	   *assignment;		/* as given */
	char	   *filter;			/* as given, or NULL */
	BackfillAssignment what;
	BackfillWalk walk;
	char	   *key;			/* name of the index of the key order, in the target's schema */
	bool		skips;			/* on_error => 'skip' */
	int64		max_rejects;
	int			batch_time;		/* ms */
	int			lock_timeout;	/* ms */
	int			workers;		/* 0: foreground */
	BackfillLimit max_lag;		/* ms */
	BackfillLimit max_lag_bytes;
	BackfillLimit max_slot_bytes;
	BackfillLimit max_wal_rate; /* bytes a second */
	BackfillLimit max_archive_queue;	/* segments */
	BackfillLimit max_transaction_age;	/* ms */
	BackfillLimit max_vacuum_wait;	/* ms */
	BackfillLimit max_active_sessions;
	char	   *throttle_query; /* or NULL */
	char	   *settings;		/* of the caller, for workers: a jsonb object as text */
	char	   *shape;			/* of the target when it began: a jsonb object as text, see shape.c */
	char	   *state;
	char	   *phase;			/* walk, sweep, proof */
	bool		allows_subqueries;
} BackfillJob;

/* A unique key in whose order a table is walked. */
typedef struct BackfillKey
{
	int			ncolumns;
	char	  **columns;		/* names */
	Oid		   *types;
	/* SQL texts over these columns, which mean the same under any search_path: */
	char	   *list;			/* "id" or "a, b" */
	char	   *order;			/* ORDER BY list in the index's order */
	char	   *backwards;		/* and in the reverse order */
	char	   *after;			/* true for keys after ($1, …, $n) */
	char	   *upto;			/* true for keys up to ($n+1, …, $2n), itself included */
} BackfillKey;

/* Figures of a run since they were last saved. */
typedef struct BackfillCounts
{
	int64		rows;			/* changed */
	int64		hot;			/* of them, heap-only */
	int64		wal;			/* bytes */
	int64		busy;			/* ms spent in batches */
	int64		retries;
	int64		batch_rows;		/* rows in the last batch */
	int64		open_blocks;	/* taken and still to be done */
} BackfillCounts;

/* backfill.c */
extern bool architect_backfill_autostart;
extern void architect_backfill_init(void);

/* expression.c */
extern BackfillAssignment architect_backfill_analyze(Relation rel, const char *assignment, const char *filter,
													 bool allows_subqueries);

/* key.c */
extern char *architect_backfill_choose_key(Relation rel, Oid wanted, List *assigned);
extern BackfillKey *architect_backfill_open_key(Oid target, const char *index);
extern Oid	architect_backfill_leaf_index(Relation leaf, Oid target, const char *name);
extern char *architect_backfill_record_id(Relation rel);

/* target.c */
extern void architect_backfill_check_target(Relation rel, Oid owner);
extern List *architect_backfill_leaves(Oid target);
extern void architect_backfill_check_leaf(Relation leaf, Oid owner);

/* shape.c */
extern char *architect_backfill_shape(Relation rel);
extern char *architect_backfill_shape_change(const char *before, const char *now);

/* request.c */
extern BackfillJob *architect_backfill_request(FunctionCallInfo fcinfo, bool foreground);
extern void architect_backfill_read_changes(FunctionCallInfo fcinfo, BackfillJob *job);
extern void architect_backfill_check_workers(int workers);

/* start.c */
extern BackfillJob *architect_backfill_job_argument(FunctionCallInfo fcinfo);
extern void architect_backfill_check_unfinished(const BackfillJob *job, bool may_have_failed);

/* job.c */
extern int64 architect_backfill_create(BackfillJob *job);
extern BackfillJob *architect_backfill_load(int64 id);
extern bool architect_backfill_refresh(BackfillJob *job);
extern int64 architect_backfill_unfinished(Oid target);
extern void architect_backfill_set_state(BackfillJob *job, const char *state, const char *error);
extern void architect_backfill_set_phase(BackfillJob *job, const char *phase);
extern void architect_backfill_log(int64 id, const char *event, const char *detail,...) pg_attribute_printf(3, 4);
extern void architect_backfill_log_once(int64 id, const char *event, const char *detail,...) pg_attribute_printf(3, 4);
extern void architect_backfill_check_right(const BackfillJob *job);
extern void architect_backfill_store_limits(const BackfillJob *job);
extern void architect_backfill_check_free(const BackfillJob *job);
extern char *architect_backfill_here(void);
extern void architect_backfill_adopt(BackfillJob *job);

/* part.c */
extern void architect_backfill_add_parts(BackfillJob *job);
extern void architect_backfill_rewind_parts(BackfillJob *job);
extern bool architect_backfill_claim(int64 id, int64 blocks, Oid *relation, BlockNumber *first, BlockNumber *end);
extern void architect_backfill_return(int64 id, Oid relation, BlockNumber first);
extern bool architect_backfill_take_part(int64 id, Oid *relation, char ***cursor, char ***last);
extern void architect_backfill_move_cursor(int64 id, Oid relation, int ncolumns, char **cursor);
extern void architect_backfill_bound_part(int64 id, Oid relation, int ncolumns, char **last);
extern void architect_backfill_end_part(int64 id, Oid relation);

/* progress.c */
extern void architect_backfill_begin_progress(int64 id, int worker);
extern void architect_backfill_save_progress(int64 id, int worker, const BackfillCounts *counts);
extern void architect_backfill_save_wait(int64 id, int worker, const char *reason);
extern void architect_backfill_save_total(int64 id, int64 rows);
extern void architect_backfill_save_left(int64 id, int64 matching, int64 unchanged);

/* reject.c */
extern void architect_backfill_add_reject(int64 id, Oid relation, ItemPointer tid, const char *record_id,
										  ErrorData *error, bool undone);
extern void architect_backfill_drop_reject(int64 id, Oid relation, const char *record_id);
extern void architect_backfill_clear_rejects(int64 id);
extern void architect_backfill_forget_undone(int64 id);
extern int64 architect_backfill_count_rejects(int64 id);

/* lock.c */
extern bool architect_backfill_lock(int64 id, int worker);
extern void architect_backfill_unlock(int64 id, int worker);
extern bool architect_backfill_is_running(int64 id);
extern bool architect_backfill_is_working(int64 id, int worker);

/* total.c */
extern void architect_backfill_guess_total(const BackfillJob *job);

/* worker.c */
extern void architect_backfill_launch(const BackfillJob *job);
extern bool architect_backfill_relaunch(const BackfillJob *job);
extern List *architect_backfill_launch_followers(const BackfillJob *job);
extern bool architect_backfill_await_followers(List *followers, int timeout);

/* launcher.c */
extern void architect_backfill_launcher_init(void);

/* manners.c */
extern void architect_backfill_check_limits(BackfillJob *job, List **left_out);
extern char *architect_backfill_obstacle(BackfillJob *job, int64 wal, int64 elapsed);

/* pace.c */
extern double architect_backfill_next_size(double size, double took, double aim);
extern double architect_backfill_next_aim(double aim, double took, bool waited, double asked);
extern int	architect_backfill_backoff(int attempt);

/* run.c */
extern void architect_backfill_run(int64 id, int worker, bool foreground);

#endif							/* ARCHITECT_BACKFILL_H */
