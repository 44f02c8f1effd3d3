/*
 * advise_drop.c
 *    Which indexes need not stay: every query that uses one is planned without it, with
 *    what is advised.
 */
#include "postgres.h"

#include "index/advise_row.h"
#include "index/candidate.h"
#include "index/cover.h"

/* A query, with what is advised and without what is to be dropped. */
typedef struct Shown
{
	double		cost;
	double		most;			/* that it may cost */
	List	   *real;			/* oids of indexes that it uses */
} Shown;

static Shown
show(const Advice *advice, AdviseQuery *query, List *hidden)
{
	const AdvisePool *pool = &advice->pool;
	WhatIfConfiguration configuration = {.hidden = hidden};
	WhatIfUse	use = {0};
	Shown		shown;
	int			number = -1;

	while ((number = bms_next_member(advice->solution.set, number)) >= 0)
	{
		if (bms_is_member(query->number, pool->candidates[number]->queries))
			configuration.indexes = lappend(configuration.indexes, pool->candidates[number]->index);
	}
	shown.cost = architect_whatif_cost(query->question, &configuration, &use);
	shown.real = use.real;
	return shown;
}

/*
 * True when a foreign key would be without an index that serves its checks.
 */
static bool
leaves_foreign_key(const IndexDefinition *index, List *hidden)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, index->table->foreign_keys)
	{
		bool		is_served = false;

		if (!architect_index_supports(index, lfirst(cell)))
			continue;
		foreach(inner, index->table->indexes)
		{
			const IndexDefinition *other = lfirst(inner);

			is_served |= other != index && architect_index_is_usable(other) &&
				!list_member_oid(hidden, other->oid) && architect_index_supports(other, lfirst(cell));
		}
		if (!is_served)
			return true;
	}
	return false;
}

static int
compare_pages(const ListCell *a, const ListCell *b)
{
	const IndexDefinition *left = lfirst(a);
	const IndexDefinition *right = lfirst(b);

	return left->pages < right->pages ? 1 : left->pages > right->pages ? -1 : 0;
}

/*
 * Returns the indexes of tables that the workload reads or writes, largest first.
 */
static List *
find_indexes(const Advice *advice)
{
	List	   *tables = NIL;
	List	   *indexes = NIL;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, advice->queries)
	{
		foreach(inner, ((AdviseQuery *) lfirst(cell))->accesses)
			tables = list_append_unique_ptr(tables, ((AdviseAccess *) lfirst(inner))->table);
	}
	foreach(cell, tables)
	{
		foreach(inner, ((IndexTable *) lfirst(cell))->indexes)
		{
			const IndexDefinition *index = lfirst(inner);

			if (architect_index_is_for_scans(index) && !index->is_clustered)
				indexes = lappend(indexes, lfirst(inner));
		}
	}
	list_sort(indexes, compare_pages);
	return indexes;
}

/*
 * Returns what writes cost less without the index.
 */
static double
count_saved(const Advice *advice, const IndexDefinition *index)
{
	AdviseWrite sum;

	architect_advise_count_writes(advice, index, (double) index->pages * BLCKSZ, &sum);
	return sum.cost;
}

static bool
uses_one(const Shown *shown, const List *hidden)
{
	ListCell   *cell;

	foreach(cell, shown->real)
	{
		if (list_member_oid(hidden, lfirst_oid(cell)))
			return true;
	}
	return false;
}

/*
 * Plans what uses the index without it; false when it must stay.
 */
static bool
try_drop(Advice *advice, AdviseDrop *drop, List *hidden, Shown *shown)
{
	AdvisePool *pool = &advice->pool;
	double		change = -drop->saved;

	for (int i = 0; i < pool->nqueries; i++)
	{
		AdviseQuery *query = pool->queries[i];
		Shown		without;

		if (!uses_one(&shown[i], hidden))
			continue;
		if (architect_advise_is_late(pool))
			return false;
		without = show(advice, query, hidden);
		without.most = shown[i].most;
		if (without.cost > without.most)
			return false;
		change += query->weight * (without.cost - shown[i].cost);
		drop->users++;
		drop->worst = Max(drop->worst, without.cost / shown[i].cost - 1);
		shown[i] = without;
	}
	drop->change = change;
	return change <= advice->limits.least_gain * advice->solution.cost;
}

/*
 * Returns the indexes (AdviseDrop) without which the workload costs no more.
 */
List *
architect_advise_drops(Advice *advice)
{
	AdvisePool *pool = &advice->pool;
	Size		size = Max(pool->nqueries, 1) * sizeof(Shown);
	Shown	   *shown = palloc(size);
	Shown	   *trial = palloc(size);
	WhatIfConfiguration hidden = {0};
	List	   *drops = NIL;
	ListCell   *cell;

	for (int i = 0; i < pool->nqueries && !architect_advise_is_late(pool); i++)
	{
		shown[i] = show(advice, pool->queries[i], NIL);
		shown[i].most = Max(shown[i].cost, pool->queries[i]->question->cost) * (1 + advice->limits.max_regression);
	}
	foreach(cell, find_indexes(advice))
	{
		AdviseDrop *drop = palloc0(sizeof(AdviseDrop));
		WhatIfConfiguration without = {.hidden = list_copy(hidden.hidden)};

		if (architect_advise_is_late(pool))
			break;
		drop->index = lfirst(cell);
		drop->saved = count_saved(advice, drop->index);
		architect_whatif_hide(&without, drop->index->oid);
		memcpy(trial, shown, size);
		if (leaves_foreign_key(drop->index, hidden.hidden) || !try_drop(advice, drop, without.hidden, trial))
			continue;
		hidden = without;
		memcpy(shown, trial, size);
		drops = lappend(drops, drop);
	}
	return drops;
}
