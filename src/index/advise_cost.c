/*
 * advise_cost.c
 *    What a query costs with a set of candidates.
 *
 * An answer of the planner holds for more than was asked: where a plan uses some of a
 * set, it is the plan for every part of the set that has those.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_am.h"
#include "utils/memutils.h"

#include "index/advise_pool.h"

/*
 * All rows of the pages that a BRIN index leaves of another's bitmap are looked at, which the planner does not
 * reckon with: such a plan is taken to cost so much more than the one without it.
 */
#define LOSSY_FACTOR 1.5

/* What the planner said; the sets are of places in the list of the query. */
typedef struct AdviseAnswer
{
	Bitmapset  *asked;
	Bitmapset  *used;
	double		cost;
} AdviseAnswer;

/*
 * Returns the answer that holds for a set; NULL where there is none.
 */
static AdviseAnswer *
find_answer(AdviseQuery *query, const Bitmapset *set)
{
	for (int i = 0; i < query->nanswers; i++)
	{
		AdviseAnswer answer = query->answers[i];

		if (!bms_is_subset(answer.used, set) || !bms_is_subset(set, answer.asked))
			continue;
		query->answers[i] = query->answers[0];
		query->answers[0] = answer;
		return &query->answers[0];
	}
	return NULL;
}

static AdviseAnswer *
add_answer(AdviseQuery *query, AdviseAnswer answer)
{
	int			count = query->nanswers++;

	/* Room doubles. */
	if (count == 0)
		query->answers = palloc(sizeof(AdviseAnswer));
	else if ((count & (count - 1)) == 0)
		query->answers = repalloc(query->answers, 2 * count * sizeof(AdviseAnswer));
	query->answers[count] = answer;
	return &query->answers[count];
}

/* Plans that are being read. */
typedef struct Reading
{
	const WhatIfConfiguration *configuration;
	double		cost;
	WhatIfUse	use;
	List	   *lossy;			/* WhatIfIndex, of BRIN, whose bitmap is intersected with others */
} Reading;

static void
note_lossy(Plan *plan, Reading *reading)
{
	const WhatIfLeaf *leaf;

	if (!IsA(plan, BitmapIndexScan))
		return;
	leaf = architect_whatif_find(reading->configuration, ((BitmapIndexScan *) plan)->indexid);
	if (leaf != NULL && leaf->definition->access_method == BRIN_AM_OID)
		reading->lossy = list_append_unique_ptr(reading->lossy, leaf->index);
}

static void
read_node(Plan *plan, void *argument)
{
	ListCell   *cell;

	if (!IsA(plan, BitmapAnd))
		return;
	foreach(cell, ((BitmapAnd *) plan)->bitmapplans)
		note_lossy(lfirst(cell), argument);
}

static void
read_plans(const WhatIfConfiguration *configuration, const List *plans, void *argument)
{
	Reading    *reading = argument;
	ListCell   *cell;

	reading->configuration = configuration;
	reading->cost = architect_whatif_plan_cost(plans);
	architect_whatif_find_use(configuration, plans, &reading->use);
	foreach(cell, plans)
		architect_whatif_walk(lfirst(cell), read_node, reading);
}

static AdviseCandidate *
candidate_at(const AdvisePool *pool, const AdviseQuery *query, int place)
{
	return pool->candidates[list_nth_int(query->candidates, place)];
}

/*
 * Returns the places of those of a set whose indexes are in the list.
 */
static Bitmapset *
find_places(const AdvisePool *pool, const AdviseQuery *query, const Bitmapset *set, const List *indexes)
{
	Bitmapset  *places = NULL;
	int			place = -1;

	while (indexes != NIL && (place = bms_next_member(set, place)) >= 0)
	{
		if (list_member_ptr(indexes, candidate_at(pool, query, place)->index))
			places = bms_add_member(places, place);
	}
	return places;
}

/*
 * Returns a cost that seems greater with indexes than without: what they tell of
 * expressions has the planner expect more rows, say, which would be there without them.
 * So the share of what it would expect then counts.
 */
static double
correct_cost(const AdviseQuery *query, WhatIfConfiguration configuration, double cost)
{
	double		expected;

	configuration.is_knowledge = true;
	expected = architect_whatif_cost(query->question, &configuration, NULL);
	return query->question->cost * (cost < expected && !isinf(expected) ? cost / expected : 1);
}

static AdviseAnswer *answer_for(AdvisePool *pool, AdviseQuery *query, const Bitmapset *set);

static AdviseAnswer *
ask(AdvisePool *pool, AdviseQuery *query, const Bitmapset *set)
{
	AdviseAnswer answer;
	WhatIfConfiguration configuration = {0};
	Reading		reading = {.cost = INFINITY};
	int			place = -1;

	while ((place = bms_next_member(set, place)) >= 0)
	{
		AdviseCandidate *candidate = candidate_at(pool, query, place);

		if (architect_advise_make(pool, candidate))
			configuration.indexes = lappend(configuration.indexes, candidate->index);
	}
	(void) architect_whatif_read(query->question, &configuration, read_plans, &reading);
	answer.cost = reading.cost;
	answer.used = isinf(reading.cost) ? bms_copy(set) : find_places(pool, query, set, reading.use.indexes);
	if (reading.lossy != NIL)
	{
		Bitmapset  *lossy = find_places(pool, query, set, reading.lossy);
		AdviseAnswer *without = answer_for(pool, query, bms_difference(set, lossy));

		answer.cost = LOSSY_FACTOR * (without == NULL ? query->question->cost : without->cost);
		answer.used = without == NULL ? lossy : bms_union(without->used, lossy);
	}
	else if (answer.used == NULL)
		answer.cost = query->question->cost;
	else if (answer.cost > query->question->cost && !isinf(answer.cost))
		answer.cost = correct_cost(query, configuration, answer.cost);
	answer.asked = bms_copy(set);
	list_free(configuration.indexes);
	list_free(reading.use.indexes);
	list_free(reading.use.real);
	return add_answer(query, answer);
}

/*
 * Returns what the planner says of a query with a set; NULL when time is over and it has
 * not been asked.
 */
static AdviseAnswer *
answer_for(AdvisePool *pool, AdviseQuery *query, const Bitmapset *set)
{
	AdviseAnswer *answer = find_answer(query, set);
	AdviseAnswer as_is = {.cost = query->question->cost};
	MemoryContext before;

	if (answer != NULL)
		return answer;
	before = MemoryContextSwitchTo(pool->context);
	if (set == NULL)
		answer = add_answer(query, as_is);
	else if (!architect_advise_is_late(pool))
		answer = ask(pool, query, set);
	(void) MemoryContextSwitchTo(before);
	return answer;
}

/*
 * Returns the places of a set of candidates in a query.
 */
static Bitmapset *
place_set(const AdviseQuery *query, const Bitmapset *set)
{
	Bitmapset  *places = NULL;
	ListCell   *cell;

	foreach(cell, query->candidates)
	{
		if (bms_is_member(lfirst_int(cell), set))
			places = bms_add_member(places, foreach_current_index(cell));
	}
	return places;
}

static int
count_common(const Bitmapset *a, const Bitmapset *b)
{
	Bitmapset  *common = bms_intersect(a, b);
	int			count = bms_num_members(common);

	bms_free(common);
	return count;
}

/*
 * Returns about what a query costs with a set, by what is known of others: with more than
 * the set it costs no more, and with what the plan for another uses, if the set has that,
 * no less.  Between the two it is taken to cost less by each index that the better plan
 * uses; where no plan has seen all of the set, the cheapest is the better one.
 */
static double
estimate(const AdviseQuery *query, const Bitmapset *set)
{
	AdviseAnswer above = {.cost = query->question->cost};
	AdviseAnswer below = {.cost = 0};
	AdviseAnswer cheapest = above;
	int			known;
	int			all;

	for (int i = 0; i < query->nanswers; i++)
	{
		const AdviseAnswer *answer = &query->answers[i];

		if (answer->cost < above.cost && bms_is_subset(answer->used, set))
			above = *answer;
		if (answer->cost > below.cost && bms_is_subset(set, answer->asked))
			below = *answer;
		if (answer->cost < cheapest.cost)
			cheapest = *answer;
	}
	if (below.cost == 0)
		below = cheapest;
	all = bms_num_members(below.used);
	known = count_common(above.used, below.used);
	if (below.cost >= above.cost || known == all)
		return above.cost;
	return above.cost - (above.cost - below.cost) * (count_common(set, below.used) - known) / (all - known);
}

/*
 * Returns what a query costs with a set of candidates; of joins of many tables, where
 * there are many of them, about that.
 */
double
architect_advise_estimate(AdvisePool *pool, AdviseQuery *query, const Bitmapset *set)
{
	Bitmapset  *places = place_set(query, set);
	AdviseAnswer *answer = query->is_estimated ? find_answer(query, places) : answer_for(pool, query, places);
	double		cost = answer != NULL ? answer->cost : estimate(query, places);

	bms_free(places);
	return cost;
}

/*
 * Returns what a query costs with a set of candidates, and those that it uses unless
 * that is NULL.  When time is over only what is known is told: the cost without any.
 */
double
architect_advise_cost(AdvisePool *pool, AdviseQuery *query, const Bitmapset *set, Bitmapset **used)
{
	Bitmapset  *places = place_set(query, set);
	AdviseAnswer *answer = answer_for(pool, query, places);
	int			place = -1;

	bms_free(places);
	if (used != NULL)
	{
		*used = NULL;
		while (answer != NULL && (place = bms_next_member(answer->used, place)) >= 0)
			*used = bms_add_member(*used, list_nth_int(query->candidates, place));
	}
	return answer == NULL ? query->question->cost : answer->cost;
}

/*
 * Returns the least that a query has been said to cost.
 */
double
architect_advise_least_cost(const AdviseQuery *query)
{
	double		least = query->question->cost;

	for (int i = 0; i < query->nanswers; i++)
		least = Min(least, query->answers[i].cost);
	return least;
}

/*
 * Has a query see a candidate that it may use; false when it does so already.
 */
bool
architect_advise_relate(AdviseQuery *query, AdviseCandidate *candidate)
{
	if (bms_is_member(query->number, candidate->queries))
		return false;
	query->candidates = lappend_int(query->candidates, candidate->number);
	candidate->queries = bms_add_member(candidate->queries, query->number);
	return true;
}

/*
 * Returns what a set costs less when a candidate is added, writes and all.
 */
double
architect_advise_gain(AdvisePool *pool, const Bitmapset *set, const AdviseCandidate *candidate)
{
	Bitmapset  *with = bms_add_member(bms_copy(set), candidate->number);
	double		gain = -candidate->write_cost;
	int			number = -1;

	while ((number = bms_next_member(candidate->queries, number)) >= 0)
		gain += pool->queries[number]->weight * (architect_advise_estimate(pool, pool->queries[number], set) -
												 architect_advise_estimate(pool, pool->queries[number], with));
	return gain;
}
