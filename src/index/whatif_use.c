/*
 * whatif_use.c
 *    What is in a plan, and which indexes it reads.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "index/whatif.h"

static void visit(Plan *plan, WhatIfVisitor visitor, void *argument);

static void
visit_all(List *plans, WhatIfVisitor visitor, void *argument)
{
	ListCell   *cell;

	foreach(cell, plans)
		visit(lfirst(cell), visitor, argument);
}

static void
visit(Plan *plan, WhatIfVisitor visitor, void *argument)
{
	if (plan == NULL)
		return;
	check_stack_depth();
	visitor(plan, argument);
	if (IsA(plan, BitmapAnd))
		visit_all(((BitmapAnd *) plan)->bitmapplans, visitor, argument);
	else if (IsA(plan, BitmapOr))
		visit_all(((BitmapOr *) plan)->bitmapplans, visitor, argument);
	else if (IsA(plan, Append))
		visit_all(((Append *) plan)->appendplans, visitor, argument);
	else if (IsA(plan, MergeAppend))
		visit_all(((MergeAppend *) plan)->mergeplans, visitor, argument);
	else if (IsA(plan, SubqueryScan))
		visit(((SubqueryScan *) plan)->subplan, visitor, argument);
	else if (IsA(plan, CustomScan))
		visit_all(((CustomScan *) plan)->custom_plans, visitor, argument);
	visit(plan->lefttree, visitor, argument);
	visit(plan->righttree, visitor, argument);
}

/*
 * Shows all nodes of a plan to the visitor.
 */
void
architect_whatif_walk(const PlannedStmt *statement, WhatIfVisitor visitor, void *argument)
{
	visit(statement->planTree, visitor, argument);
	visit_all(statement->subplans, visitor, argument);
}

/* Plans that are being read. */
typedef struct Reading
{
	const WhatIfConfiguration *configuration;	/* NULL: none */
	WhatIfUse  *use;
} Reading;

static void
read_node(Plan *plan, void *argument)
{
	Reading    *reading = argument;
	const WhatIfLeaf *leaf;
	Oid			oid;

	if (IsA(plan, IndexScan))
		oid = ((IndexScan *) plan)->indexid;
	else if (IsA(plan, IndexOnlyScan))
		oid = ((IndexOnlyScan *) plan)->indexid;
	else if (IsA(plan, BitmapIndexScan))
		oid = ((BitmapIndexScan *) plan)->indexid;
	else
		return;
	leaf = architect_whatif_find(reading->configuration, oid);
	if (leaf != NULL)
		reading->use->indexes = list_append_unique_ptr(reading->use->indexes, leaf->index);
	else
		reading->use->real = list_append_unique_oid(reading->use->real, oid);
}

/*
 * Finds which indexes these plans, made under a configuration, use.
 */
void
architect_whatif_find_use(const WhatIfConfiguration *configuration, const List *plans, WhatIfUse *use)
{
	Reading		reading = {.configuration = configuration, .use = use};
	ListCell   *cell;

	use->indexes = NIL;
	use->real = NIL;
	foreach(cell, plans)
		architect_whatif_walk(lfirst(cell), read_node, &reading);
}
