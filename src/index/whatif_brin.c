/*
 * whatif_brin.c
 *    What a BRIN index costs that does not exist.
 *
 * The planner takes it to summarize 128 pages at a time, whatever it is told.  A table
 * that is as much bigger, or smaller, has as many ranges as there would be.
 */
#include "postgres.h"

#include "access/brin.h"
#include "optimizer/optimizer.h"
#include "utils/index_selfuncs.h"

#include "index/whatif.h"

void
architect_whatif_brin_cost(PlannerInfo *root, IndexPath *path, double loops, Cost *startup, Cost *total,
						   Selectivity *selectivity, double *correlation, double *pages)
{
	RelOptInfo *rel = path->indexinfo->rel;
	const WhatIfLeaf *leaf = architect_whatif_active_leaf(path->indexinfo->indexoid);
	BlockNumber table_pages = rel->pages;
	int			range = BRIN_DEFAULT_PAGES_PER_RANGE;
	double		ranges;

	if (leaf != NULL && leaf->definition->pages_per_range > 0)
		range = leaf->definition->pages_per_range;
	rel->pages = Min((double) table_pages * BRIN_DEFAULT_PAGES_PER_RANGE / range, MaxBlockNumber);
	brincostestimate(root, path, loops, startup, total, selectivity, correlation, pages);
	ranges = *selectivity * rel->pages / BRIN_DEFAULT_PAGES_PER_RANGE;
	rel->pages = table_pages;

	/* A page of the table that may be read has its price, too. */
	*total += 0.1 * cpu_operator_cost * ranges * (range - BRIN_DEFAULT_PAGES_PER_RANGE);
}
