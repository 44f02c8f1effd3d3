/*
 * missing.h
 *    How the files that look for missing indexes share the work.
 */
#ifndef ARCHITECT_INDEX_MISSING_H
#define ARCHITECT_INDEX_MISSING_H

#include "index/workload.h"

#define MOST_COLUMNS 4

/* An index that would serve queries which now read the whole table. */
typedef struct IndexCandidate
{
	IndexTable *table;
	int			ncolumns;
	IndexSort	columns[MOST_COLUMNS];
	int			nsorted;		/* columns up to the last of the order; 0: there is none */
	double		share;			/* of the rows that it finds, at least for one query */
	List	   *queries;		/* IndexQuery */
	double		calls;
	double		milliseconds;
} IndexCandidate;

/* missing_candidate.c */
extern IndexCandidate *architect_index_candidate(IndexReview *review, const IndexQuery *query,
												 const IndexAccess *access);

#endif							/* ARCHITECT_INDEX_MISSING_H */
