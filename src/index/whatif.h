/*
 * whatif.h
 *    What a query would cost if there were other indexes.
 *
 * A text becomes a question, which is analysed and rewritten once; statements or ideas
 * become indexes that do not exist; some of those, and real ones that are not to be
 * seen, are a configuration.  The planner itself says what a question costs under a
 * configuration.  Nothing is run, and nothing locked but what planning locks: the caller
 * is to be in architect_try_out(), which releases that in the end.
 */
#ifndef ARCHITECT_INDEX_WHATIF_H
#define ARCHITECT_INDEX_WHATIF_H

#include "access/htup.h"
#include "nodes/params.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "utils/array.h"
#include "utils/hsearch.h"

#include "index/index.h"

/* A query. */
typedef struct WhatIfQuestion
{
	MemoryContext context;		/* of all that it is made of; delete it to forget the question */
	MemoryContext scratch;		/* of the plan in hand */
	char	   *text;			/* repaired: it can be parsed */
	Oid			role;			/* that it is planned as */
	List	   *queries;		/* Query, rewritten */
	ParamListInfo parameters;	/* with no values, plans are generic; NULL never */
	List	   *relations;		/* oids of tables and whatever else the plan depends on */
	double		cost;			/* as things are */
	char	   *problem;		/* why it cannot be planned; NULL: it can */
} WhatIfQuestion;

/* What indexes are thought of for. */
typedef struct WhatIfWorld
{
	MemoryContext context;
	IndexFacts *facts;
	HTAB	   *samples;		/* of tables, read when they are asked for */
	HTAB	   *leaves;			/* by their oids */
} WhatIfWorld;

/* An index of one table, with all that the planner wants to know. */
typedef struct WhatIfLeaf
{
	Oid			oid;			/* no relation has it */
	char	   *name;
	struct WhatIfIndex *index;
	IndexDefinition *definition;	/* its table is as big as it is now */
	double		bytes;
	const char *problem;		/* why that is a guess; NULL: it is of the size model */
	HeapTuple  *statistics;		/* rows of pg_statistic, by column; NULL where there is none */
	double		share;			/* of the table's rows, that have an entry */
	IndexOptInfo info;			/* for range-table position 1, without a relation */
	List	   *lists;			/* of what depends on the position, for others */
} WhatIfLeaf;

/* An index that does not exist: one, or one on each partition. */
typedef struct WhatIfIndex
{
	MemoryContext context;		/* of all that it is made of */
	WhatIfWorld *world;
	IndexDefinition *definition;
	char	   *name;
	WhatIfLeaf *leaf;			/* NULL: not made yet, or there are */
	HTAB	   *leaves;			/* by table, of a partitioned one */
} WhatIfIndex;

typedef struct WhatIfConfiguration
{
	List	   *indexes;		/* WhatIfIndex */
	List	   *hidden;			/* oids of real ones */
	bool		is_knowledge;	/* the indexes tell statistics of expressions, and are not scanned */
} WhatIfConfiguration;

/* What plans use. */
typedef struct WhatIfUse
{
	List	   *indexes;		/* WhatIfIndex */
	List	   *real;			/* oids of real ones */
} WhatIfUse;

/* What is done with plans. */
typedef void (*WhatIfReader) (const WhatIfConfiguration *configuration, const List *plans, void *argument);

/* whatif_question.c */
extern WhatIfQuestion *architect_whatif_question(const char *source, Oid role, const char *path, ArrayType *values);

/* whatif_index.c */
extern WhatIfWorld *architect_whatif_begin(void);
extern WhatIfIndex *architect_whatif_create(WhatIfWorld *world, const char *source);
extern WhatIfLeaf *architect_whatif_leaf(WhatIfIndex *index, Oid relation);
extern const WhatIfLeaf *architect_whatif_find(const WhatIfConfiguration *configuration, Oid oid);
extern double architect_whatif_bytes(WhatIfIndex *index);
extern void architect_whatif_forget(WhatIfIndex *index);
extern void architect_whatif_hide(WhatIfConfiguration *configuration, Oid index);

/* whatif_sample.c */
extern void architect_whatif_forget_samples(WhatIfWorld *world);

/* whatif_template.c */
extern void architect_whatif_fill(WhatIfLeaf *leaf);

/* whatif_plan.c: the first raises what the planner does; the second returns infinity where there is no plan */
extern void architect_whatif_init(void);
extern List *architect_whatif_plan(WhatIfQuestion *question, const WhatIfConfiguration *configuration);
extern bool architect_whatif_read(WhatIfQuestion *question, const WhatIfConfiguration *configuration,
								  WhatIfReader reader, void *argument);
extern double architect_whatif_cost(WhatIfQuestion *question, const WhatIfConfiguration *configuration, WhatIfUse *use);
extern double architect_whatif_plan_cost(const List *plans);

extern const WhatIfLeaf *architect_whatif_active_leaf(Oid oid);

/* whatif_brin.c */
extern void architect_whatif_brin_cost(PlannerInfo *root, IndexPath *path, double loops, Cost *startup, Cost *total,
									   Selectivity *selectivity, double *correlation, double *pages);

/* whatif_use.c */
typedef void (*WhatIfVisitor) (Plan *plan, void *argument);
extern void architect_whatif_walk(const PlannedStmt *statement, WhatIfVisitor visitor, void *argument);
extern void architect_whatif_find_use(const WhatIfConfiguration *configuration, const List *plans, WhatIfUse *use);

/* whatif_explain.c */
extern void architect_whatif_explain_init(void);
extern char *architect_whatif_explain(const WhatIfQuestion *question, const WhatIfConfiguration *configuration,
									  const List *plans, bool verbose);

#endif							/* ARCHITECT_INDEX_WHATIF_H */
