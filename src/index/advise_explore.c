/*
 * advise_explore.c
 *    Which candidates are of use, and for which queries.
 *
 * A plan made with all candidates of a query uses the best of them; one made without
 * those, the next best.  What no such plan uses is not looked at any further.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "index/advise_pool.h"

/* The planner is shown so many at once: more take it too long. */
#define MOST_AT_ONCE 60

/* How often the next best are looked for, in a query with few tables and with many. */
#define ROUNDS 6
#define ROUNDS_OF_JOIN 3
#define ROUNDS_OF_LARGE_JOIN 2
#define ROUNDS_ESTIMATED 1
#define JOIN 2
#define LARGE_JOIN 5

/* Where there are more large joins, what they cost is estimated during the search. */
#define MOST_LARGE_JOINS 20

/* The best are no help where they leave so much of the cost. */
#define HELPED 0.99

/* Merged indexes have so many columns at most. */
#define MOST_MERGED 10

/*
 * Has a query see what may be of use for what it asks of tables; returns that.
 */
static Bitmapset *
propose_all(AdvisePool *pool, AdviseQuery *query)
{
	Bitmapset  *proposed = NULL;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, query->accesses)
	{
		foreach(inner, architect_advise_propose(pool, lfirst(cell)))
		{
			(void) architect_advise_relate(query, lfirst(inner));
			proposed = bms_add_member(proposed, ((AdviseCandidate *) lfirst(inner))->number);
		}
	}
	return proposed;
}

/*
 * Returns those of a set that plans use, which see so many at once.
 */
static Bitmapset *
find_best(AdvisePool *pool, AdviseQuery *query, const Bitmapset *set, double *cost)
{
	Bitmapset  *best = NULL;
	Bitmapset  *part = NULL;
	Bitmapset  *used;
	int			number = -1;

	do
	{
		number = bms_next_member(set, number);
		if (number >= 0)
			part = bms_add_member(part, number);
		if (part == NULL || (number >= 0 && bms_num_members(part) < MOST_AT_ONCE))
			continue;
		*cost = architect_advise_cost(pool, query, part, &used);
		best = bms_add_members(best, used);
		bms_free(part);
		part = NULL;
	} while (number >= 0);

	if (bms_num_members(set) > MOST_AT_ONCE)
	{
		*cost = architect_advise_cost(pool, query, best, &used);
		best = bms_copy(used);
	}
	return best;
}

static bool
has_move(const List *moves, const Bitmapset *adds)
{
	ListCell   *cell;

	foreach(cell, moves)
	{
		if (bms_equal(((AdviseMove *) lfirst(cell))->adds, adds))
			return true;
	}
	return false;
}

static void
add_move(List **moves, Bitmapset *adds)
{
	AdviseMove *move = palloc0(sizeof(AdviseMove));

	move->adds = adds;
	*moves = lappend(*moves, move);
}

static int
count_rounds(const AdviseQuery *query)
{
	int			tables = list_length(query->accesses);

	if (query->is_estimated)
		return ROUNDS_ESTIMATED;
	return tables >= LARGE_JOIN ? ROUNDS_OF_LARGE_JOIN : tables >= JOIN ? ROUNDS_OF_JOIN : ROUNDS;
}

static void
mark_useful(AdvisePool *pool, const Bitmapset *set)
{
	int			number = -1;

	while ((number = bms_next_member(set, number)) >= 0)
		pool->candidates[number]->is_useful = true;
}

/*
 * Finds which of the candidates proposed for a query its plans use; adds moves of those
 * that one plan uses together.
 */
static void
explore_query(AdvisePool *pool, AdviseQuery *query, Bitmapset *rest, List **moves)
{
	int			rounds = count_rounds(query);

	for (int i = 0; i < rounds && !bms_is_empty(rest); i++)
	{
		double		cost = query->question->cost;
		Bitmapset  *best = find_best(pool, query, rest, &cost);

		if (bms_is_empty(best) || cost > HELPED * query->question->cost)
			break;
		mark_useful(pool, best);
		query->used = bms_add_members(query->used, best);
		rest = bms_del_members(rest, best);
		if (bms_membership(best) == BMS_MULTIPLE && !has_move(*moves, best))
			add_move(moves, best);
	}
}

static bool
is_same_key(const AdviseKey *a, const AdviseKey *b)
{
	return strcmp(a->text, b->text) == 0 && a->is_descending == b->is_descending && a->nulls_first == b->nulls_first &&
		(a->opclass == NULL ? b->opclass == NULL : b->opclass != NULL && strcmp(a->opclass, b->opclass) == 0);
}

/*
 * True when an index begins with the keys of another, of the same rows.
 */
bool
architect_advise_begins_with(const AdviseCandidate *candidate, const AdviseCandidate *other)
{
	if (candidate->table != other->table || strcmp(candidate->method, other->method) != 0 ||
		list_length(candidate->keys) < list_length(other->keys) ||
		(candidate->predicate == NULL) != (other->predicate == NULL) ||
		(candidate->predicate != NULL && strcmp(candidate->predicate->text, other->predicate->text) != 0))
		return false;
	for (int i = 0; i < list_length(other->keys); i++)
	{
		if (!is_same_key(list_nth(candidate->keys, i), list_nth(other->keys, i)))
			return false;
	}
	return true;
}

/*
 * Makes one index of two, where one begins with the keys of the other: it includes what
 * either does.
 */
static void
merge(AdvisePool *pool, const AdviseCandidate *longer, const AdviseCandidate *shorter)
{
	Bitmapset  *included = bms_union(longer->included, shorter->included);
	ListCell   *cell;

	foreach(cell, longer->keys)
	{
		if (((AdviseKey *) lfirst(cell))->attnum > 0)
			included = bms_del_member(included, ((AdviseKey *) lfirst(cell))->attnum);
	}
	if (bms_num_members(included) + list_length(longer->keys) <= MOST_MERGED)
		architect_advise_candidate(pool, longer->table, longer->method, longer->keys, included,
								   longer->predicate)->is_useful = true;
}

/*
 * Adds what is like useful candidates: narrower, for a small budget, and merged, for
 * several queries.
 */
static void
add_kin(AdvisePool *pool)
{
	int			ncandidates = pool->ncandidates;
	Bitmapset  *useful = NULL;
	int			number = -1;
	ListCell   *cell;

	for (int i = 0; i < ncandidates; i++)
	{
		if (pool->candidates[i]->is_useful)
			useful = bms_add_member(useful, i);
	}
	while ((number = bms_next_member(useful, number)) >= 0)
	{
		AdviseCandidate *candidate = pool->candidates[number];

		CHECK_FOR_INTERRUPTS();
		foreach(cell, list_copy(architect_advise_candidates_of(pool, candidate->table)))
		{
			AdviseCandidate *other = lfirst(cell);

			if (other == candidate || !architect_advise_begins_with(candidate, other))
				continue;
			if (bms_is_subset(other->included, candidate->included))
				other->is_useful = true;
			else if (bms_is_member(other->number, useful))
				merge(pool, candidate, other);
		}
	}
}

static bool
has_predicate(const AdviseAccess *access, const AdvisePredicate *predicate)
{
	ListCell   *cell;

	if (predicate == NULL)
		return true;
	foreach(cell, access->predicates)
	{
		if (strcmp(((AdvisePredicate *) lfirst(cell))->text, predicate->text) == 0)
			return true;
	}
	return false;
}

/*
 * True when an access has a condition on the first key of an index, or is ordered by it.
 */
static bool
may_use(const AdviseAccess *access, const AdviseCandidate *candidate)
{
	const AdviseKey *first = linitial(candidate->keys);
	ListCell   *cell;

	if (access->table != candidate->table || !has_predicate(access, candidate->predicate))
		return false;
	foreach(cell, access->conditions)
	{
		const AdviseCondition *condition = lfirst(cell);

		if (strcmp(condition->method, candidate->method) == 0 && strcmp(condition->key->text, first->text) == 0)
			return true;
	}
	foreach(cell, access->orders)
	{
		if (strcmp(((AdviseKey *) linitial(lfirst(cell)))->text, first->text) == 0)
			return true;
	}
	return false;
}

/*
 * True when the plans of a query have used an index with the same first key.
 */
static bool
has_used_like(const AdvisePool *pool, const AdviseQuery *query, const AdviseCandidate *candidate)
{
	int			number = -1;

	while ((number = bms_next_member(query->used, number)) >= 0)
	{
		const AdviseCandidate *used = pool->candidates[number];

		if (used->table == candidate->table &&
			strcmp(((AdviseKey *) linitial(used->keys))->text, ((AdviseKey *) linitial(candidate->keys))->text) == 0)
			return true;
	}
	return false;
}

static bool
has_use_for(const AdviseQuery *query, const AdviseCandidate *candidate)
{
	ListCell   *cell;

	foreach(cell, query->accesses)
	{
		if (may_use(lfirst(cell), candidate))
			return true;
	}
	return false;
}

/*
 * Finds the useful candidates that a query may use.
 */
static void
find_candidates(AdvisePool *pool, AdviseQuery *query)
{
	bool		is_large = list_length(query->accesses) >= LARGE_JOIN;

	for (int i = 0; i < pool->ncandidates; i++)
	{
		AdviseCandidate *candidate = pool->candidates[i];

		if (candidate->is_useful && has_use_for(query, candidate) &&
			!(is_large && !has_used_like(pool, query, candidate)))
			(void) architect_advise_relate(query, candidate);
	}
}

/*
 * Has queries see all of a set that they may use; true when one saw less before.
 */
bool
architect_advise_show(AdvisePool *pool, const Bitmapset *set)
{
	bool		is_new = false;
	int			number = -1;

	while ((number = bms_next_member(set, number)) >= 0)
	{
		for (int i = 0; i < pool->nqueries; i++)
		{
			AdviseQuery *query = pool->queries[i];

			if (has_use_for(query, pool->candidates[number]))
				is_new |= architect_advise_relate(query, pool->candidates[number]);
		}
	}
	return is_new;
}

/*
 * Sets how much a move gains at most: all that the queries can, which may use it.
 */
static void
set_bound(const AdvisePool *pool, AdviseMove *move)
{
	int			number = -1;

	while ((number = bms_next_member(move->adds, number)) >= 0)
		move->queries = bms_add_members(move->queries, pool->candidates[number]->queries);
	number = -1;
	while ((number = bms_next_member(move->queries, number)) >= 0)
	{
		const AdviseQuery *query = pool->queries[number];

		move->bound += query->weight * (query->question->cost - architect_advise_least_cost(query));
	}
}

/*
 * Finds the queries that take too long to plan.
 */
static void
choose_estimated(AdvisePool *pool)
{
	int			count = 0;

	for (int i = 0; i < pool->nqueries; i++)
		count += list_length(pool->queries[i]->accesses) >= LARGE_JOIN;
	for (int i = 0; i < pool->nqueries; i++)
		pool->queries[i]->is_estimated = count > MOST_LARGE_JOINS &&
			list_length(pool->queries[i]->accesses) >= LARGE_JOIN;
}

static int
compare_cost(const void *left, const void *right)
{
	const AdviseQuery *one = *(AdviseQuery *const *) left;
	const AdviseQuery *other = *(AdviseQuery *const *) right;
	double		difference = one->weight * one->question->cost - other->weight * other->question->cost;

	return difference > 0 ? -1 : difference < 0 ? 1 : one->number - other->number;
}

/*
 * Returns the queries, the dearest first: time may not be enough for all.
 */
static AdviseQuery **
sort_by_cost(const AdvisePool *pool)
{
	Size		size = pool->nqueries * sizeof(AdviseQuery *);
	AdviseQuery **queries = memcpy(palloc(size), pool->queries, size);

	qsort(queries, pool->nqueries, sizeof(AdviseQuery *), compare_cost);
	return queries;
}

/*
 * Returns the moves (AdviseMove) that a search can make: each useful candidate alone, and
 * those that plans use together.
 */
List *
architect_advise_explore(AdvisePool *pool)
{
	AdviseQuery **queries = sort_by_cost(pool);
	Bitmapset **proposed = palloc0(Max(pool->nqueries, 1) * sizeof(Bitmapset *));
	int			nproposed = 0;
	List	   *moves = NIL;
	ListCell   *cell;

	architect_advise_begin_part(pool, ADVISE_MAKING);
	for (; nproposed < pool->nqueries && !architect_advise_is_late(pool); nproposed++)
		proposed[nproposed] = propose_all(pool, queries[nproposed]);
	architect_advise_make_all(pool);
	architect_advise_begin_part(pool, ADVISE_EXPLORING);
	choose_estimated(pool);
	for (int i = 0; i < pool->nqueries; i++)
	{
		bool		has_none = i < nproposed && proposed[i] == NULL;

		explore_query(pool, queries[i], proposed[i], &moves);
		if (!has_none && queries[i]->accesses != NIL && (i >= nproposed || architect_advise_is_late(pool)))
			queries[i]->statement->problem = "time_limit was over before all indexes for it were looked at";
	}
	add_kin(pool);
	architect_advise_forget_useless(pool);
	for (int i = 0; i < pool->nqueries; i++)
		find_candidates(pool, pool->queries[i]);
	for (int i = 0; i < pool->ncandidates; i++)
	{
		if (pool->candidates[i]->is_useful && architect_advise_make(pool, pool->candidates[i]))
			add_move(&moves, bms_make_singleton(i));
	}
	architect_whatif_forget_samples(pool->world);
	foreach(cell, moves)
		set_bound(pool, lfirst(cell));
	return moves;
}
