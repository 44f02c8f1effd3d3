/*
 * kept.h
 *    Advice that the reader has kept, and what has become of it.
 */
#ifndef ARCHITECT_INDEX_KEPT_H
#define ARCHITECT_INDEX_KEPT_H

#include "index/index.h"

/* A row of index_advise: an index to create, or one to drop. */
typedef struct IndexKept
{
	int64		id;
	TimestampTz advised_at;
	bool		is_latest;		/* of the advice that was kept last */
	char	   *action;			/* create or drop */
	Oid			relation;		/* InvalidOid: the table is gone */
	IndexTable *table;			/* NULL: likewise, or it is none of ours */
	char	   *statement;
	double		bytes;
	double		cost_before;
	double		cost_after;
	Jsonb	   *queries;		/* an array */
	char	   *confidence;
	char	   *reason;
	bool		is_drop;
	IndexDefinition *definition;	/* of the one to create; NULL: there is a problem */
	List	   *columns;		/* char *, its columns: names or expressions */
	List	   *names;			/* char *, of its columns, for its name */
	char	   *body;			/* from USING on */
	IndexDefinition *index;		/* that is as advised, or is to be dropped; NULL: there is none */
	const char *problem;		/* why that is not known; NULL: it is */
} IndexKept;

/* kept.c */
extern List *architect_index_read_kept(IndexFacts *facts);
extern bool architect_index_is_done(const IndexKept *kept);

#endif							/* ARCHITECT_INDEX_KEPT_H */
