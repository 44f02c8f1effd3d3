/*
 * advise_row.h
 *    One call for advice, and the rows of its answer.
 */
#ifndef ARCHITECT_INDEX_ADVISE_ROW_H
#define ARCHITECT_INDEX_ADVISE_ROW_H

#include "nodes/execnodes.h"

#include "index/advise_pool.h"

/* An index that need not stay. */
typedef struct AdviseDrop
{
	IndexDefinition *index;
	double		saved;			/* what writes cost less */
	double		change;			/* of the cost of the workload, with that */
	int			users;			/* queries that use it now */
	double		worst;			/* share by which one of them gets worse at most */
} AdviseDrop;

typedef struct Advice
{
	List	   *statements;		/* AdviseStatement */
	List	   *tables;			/* oids, that indexes are wanted for; NIL: all */
	AdviseLimits limits;
	AdvisePool	pool;
	List	   *queries;		/* AdviseQuery */
	double		unit;			/* what a unit of cost counts, where a query was not measured */
	double		cost;			/* of the workload, as things are */
	AdviseSolution solution;
	bool		wants_drops;
	List	   *drops;			/* AdviseDrop */
	ReturnSetInfo *result;
} Advice;

/* advise.c */
extern void architect_advise_count_writes(const Advice *advice, const IndexDefinition *index, double bytes,
										  AdviseWrite *sum);

/* advise_drop.c */
extern List *architect_advise_drops(Advice *advice);

/* advise_row.c */
extern void architect_advise_write_rows(Advice *advice);

#endif							/* ARCHITECT_INDEX_ADVISE_ROW_H */
