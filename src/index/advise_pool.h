/*
 * advise_pool.h
 *    The candidates, and what the queries cost with some of them.
 *
 * Sets of candidates, and of queries, are sets of their numbers.
 */
#ifndef ARCHITECT_INDEX_ADVISE_POOL_H
#define ARCHITECT_INDEX_ADVISE_POOL_H

#include "index/advise.h"

typedef struct AdvisePool
{
	MemoryContext context;
	WhatIfWorld *world;
	int			ncandidates;
	int			capacity;
	AdviseCandidate **candidates;
	List	   *tables;			/* AdvisePoolTable */
	int			nqueries;
	AdviseQuery **queries;
	TimestampTz start;
	TimestampTz end;			/* of all; DT_NOEND: none */
	TimestampTz deadline;		/* of the part in hand */
	bool		is_late;		/* it has been seen to pass: costs are not asked for any more */
} AdvisePool;

/* The parts of the work, by the percent of the time after which each is over. */
typedef enum AdvisePart
{
	ADVISE_PLANNING = 40,
	ADVISE_MAKING = 60,			/* candidates, as what-if indexes */
	ADVISE_EXPLORING = 80,
	ADVISE_SEARCH = 100,
	ADVISE_ANSWER = 110,		/* the rows: what is not known by then is not told */
} AdvisePart;

/* Candidates that are added together. */
typedef struct AdviseMove
{
	Bitmapset  *adds;
	Bitmapset  *queries;		/* that may use some of them */
	double		bound;			/* gain at most, beside nothing else */
} AdviseMove;

/* advise_candidate.c */
extern List *architect_advise_propose(AdvisePool *pool, AdviseAccess *access);

/* advise_pool.c */
extern void architect_advise_begin_part(AdvisePool *pool, AdvisePart part);
extern bool architect_advise_is_late(AdvisePool *pool);
extern AdviseCandidate *architect_advise_candidate(AdvisePool *pool, IndexTable *table, const char *method, List *keys,
												   Bitmapset *included, const AdvisePredicate *predicate);
extern List *architect_advise_candidates_of(const AdvisePool *pool, const IndexTable *table);
extern bool architect_advise_make(AdvisePool *pool, AdviseCandidate *candidate);
extern void architect_advise_make_all(AdvisePool *pool);
extern void architect_advise_forget_useless(AdvisePool *pool);

/* advise_cost.c */
extern double architect_advise_cost(AdvisePool *pool, AdviseQuery *query, const Bitmapset *set, Bitmapset **used);
extern double architect_advise_estimate(AdvisePool *pool, AdviseQuery *query, const Bitmapset *set);
extern double architect_advise_least_cost(const AdviseQuery *query);
extern double architect_advise_gain(AdvisePool *pool, const Bitmapset *set, const AdviseCandidate *candidate);
extern bool architect_advise_relate(AdviseQuery *query, AdviseCandidate *candidate);

/* advise_explore.c */
extern bool architect_advise_begins_with(const AdviseCandidate *candidate, const AdviseCandidate *other);
extern List *architect_advise_explore(AdvisePool *pool);
extern bool architect_advise_show(AdvisePool *pool, const Bitmapset *set);

/* advise_search.c */
extern AdviseSolution architect_advise_search(AdvisePool *pool, const AdviseLimits *limits, List *moves);

#endif							/* ARCHITECT_INDEX_ADVISE_POOL_H */
