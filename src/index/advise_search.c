/*
 * advise_search.c
 *    Which set of candidates lowers the cost of the workload most, within the limits.
 *
 * Greedy, by the gain and by the gain for a byte, whichever comes out better; then each
 * index in turn is taken away, and what fits instead is put in; and what does not fit is
 * put in, and others taken away until it does, as long as that helps.
 * A move is asked about only while what it may gain is more than what others gain: that
 * does not grow with the set, and does not change where no query may use both what it
 * adds and what has been added.  Whenever time is over, the best set so far is there.
 */
#include "postgres.h"

#include <math.h>

#include "index/advise_pool.h"

/* An index is taken to have a page at least: an empty one gains nothing for nothing. */
#define LEAST_BYTES BLCKSZ

/* A search. */
typedef struct Search
{
	AdvisePool *pool;
	const AdviseLimits *limits;
	List	   *moves;			/* AdviseMove */
} Search;

/* A move in one run. */
typedef struct Option
{
	AdviseMove *move;
	double		gain;			/* at most */
	bool		is_exact;		/* it is that */
} Option;

/*
 * Returns the queries that may use some of what one of two sets has more than the other.
 */
static Bitmapset *
find_affected(const AdvisePool *pool, const Bitmapset *before, const Bitmapset *after)
{
	Bitmapset  *gone = bms_difference(before, after);
	Bitmapset  *changed = bms_add_members(bms_difference(after, before), gone);
	Bitmapset  *queries = NULL;
	int			number = -1;

	while ((number = bms_next_member(changed, number)) >= 0)
		queries = bms_add_members(queries, pool->candidates[number]->queries);
	bms_free(gone);
	bms_free(changed);
	return queries;
}

/*
 * Returns a set, with what is known of a solution that it was made from.
 */
static AdviseSolution
begin_solution(const AdvisePool *pool, const AdviseSolution *from, Bitmapset *set)
{
	AdviseSolution solution = {.set = set, .costs = from->costs};
	int			number = -1;

	while ((number = bms_next_member(set, number)) >= 0)
	{
		solution.bytes += pool->candidates[number]->bytes;
		solution.writes += pool->candidates[number]->write_cost;
	}
	solution.cost = from->cost - from->writes + solution.writes;
	return solution;
}

/*
 * Finds what a set costs; infinite where a query gets too much worse.
 */
static AdviseSolution
measure(const Search *search, const AdviseSolution *from, Bitmapset *set)
{
	AdvisePool *pool = search->pool;
	AdviseSolution solution = begin_solution(pool, from, set);
	Bitmapset  *queries = find_affected(pool, from->set, set);
	int			number = -1;

	while (!isinf(solution.cost) && (number = bms_next_member(queries, number)) >= 0)
	{
		AdviseQuery *query = pool->queries[number];
		double		cost = architect_advise_estimate(pool, query, set);

		if (cost > query->question->cost * (1 + search->limits->max_regression))
			solution.cost = INFINITY;
		else
			solution.cost += query->weight * (cost - from->costs[number]);
	}
	bms_free(queries);
	return solution;
}

/*
 * Finds what each query costs with a set, and the workload: estimated, or planned.
 */
static void
measure_anew(const Search *search, AdviseSolution *solution, bool is_planned)
{
	AdvisePool *pool = search->pool;

	solution->costs = palloc(Max(pool->nqueries, 1) * sizeof(double));
	solution->cost = solution->writes;
	for (int i = 0; i < pool->nqueries; i++)
	{
		AdviseQuery *query = pool->queries[i];

		solution->costs[i] = is_planned ? architect_advise_cost(pool, query, solution->set, NULL) :
			architect_advise_estimate(pool, query, solution->set);
		solution->cost += pool->queries[i]->weight * solution->costs[i];
	}
}

/*
 * Returns a query that gets too much worse; NULL where there is none.
 */
static AdviseQuery *
find_worse(const Search *search, const AdviseSolution *solution)
{
	for (int i = 0; i < search->pool->nqueries; i++)
	{
		AdviseQuery *query = search->pool->queries[i];

		if (solution->costs[i] > query->question->cost * (1 + search->limits->max_regression))
			return query;
	}
	return NULL;
}

static bool
is_allowed(const AdviseLimits *limits, const AdviseSolution *solution)
{
	return solution->bytes <= limits->budget && solution->writes <= limits->max_writes &&
		bms_num_members(solution->set) <= limits->max_indexes;
}

/*
 * Returns the set with a move made: an index that begins with the keys of another takes
 * its place.
 */
static Bitmapset *
make_move(const AdvisePool *pool, const Bitmapset *set, const AdviseMove *move)
{
	Bitmapset  *after = bms_union(set, move->adds);
	int			number = -1;
	int			added;

	while ((number = bms_next_member(set, number)) >= 0)
	{
		for (added = -1; (added = bms_next_member(move->adds, added)) >= 0;)
		{
			if (added != number &&
				architect_advise_begins_with(pool->candidates[added], pool->candidates[number]))
				after = bms_del_member(after, number);
		}
	}
	return after;
}

/*
 * True when a set has an index that begins with the keys of one to be added: beside it,
 * that would be of little use.
 */
static bool
is_covered(const AdvisePool *pool, const Bitmapset *set, const AdviseMove *move)
{
	int			added = -1;
	int			number;

	while ((added = bms_next_member(move->adds, added)) >= 0)
	{
		for (number = -1; (number = bms_next_member(set, number)) >= 0;)
		{
			if (list_length(pool->candidates[number]->keys) > list_length(pool->candidates[added]->keys) &&
				architect_advise_begins_with(pool->candidates[number], pool->candidates[added]))
				return true;
		}
	}
	return false;
}

static double
find_worth(const AdvisePool *pool, const AdviseSolution *from, const Option *option, bool by_bytes)
{
	double		bytes = 0;
	int			number = -1;

	if (!by_bytes)
		return option->gain;
	while ((number = bms_next_member(option->move->adds, number)) >= 0)
		bytes += bms_is_member(number, from->set) ? 0 : pool->candidates[number]->bytes;
	return option->gain / Max(bytes, LEAST_BYTES);
}

static Option *
find_best(const Search *search, const AdviseSolution *from, Option *options, bool by_bytes)
{
	Option	   *best = NULL;
	double		most = 0;
	int			count = list_length(search->moves);

	for (int i = 0; i < count; i++)
	{
		double		worth;

		if (options[i].gain <= search->limits->least_gain * from->cost)
			continue;
		worth = find_worth(search->pool, from, &options[i], by_bytes);
		if (best == NULL || worth > most)
		{
			best = &options[i];
			most = worth;
		}
	}
	return best;
}

/*
 * Has what options gain be exact no more, where a query may use them and what has changed.
 */
static void
mark_changed(const Search *search, Option *options, const Bitmapset *before, const Bitmapset *after)
{
	Bitmapset  *queries = find_affected(search->pool, before, after);

	for (int i = 0; i < list_length(search->moves); i++)
		options[i].is_exact &= !bms_overlap(options[i].move->queries, queries);
	bms_free(queries);
}

/*
 * Adds to a set what gains most, as long as that is enough.
 */
static AdviseSolution
add_greedily(const Search *search, AdviseSolution solution, Option *options, bool by_bytes)
{
	AdvisePool *pool = search->pool;
	Option	   *best;

	while (!architect_advise_is_late(pool) && (best = find_best(search, &solution, options, by_bytes)) != NULL)
	{
		Bitmapset  *set = make_move(pool, solution.set, best->move);
		AdviseSolution next = begin_solution(pool, &solution, set);

		if (!is_allowed(search->limits, &next) || is_covered(pool, solution.set, best->move))
		{
			best->gain = -INFINITY;
			bms_free(set);
			continue;
		}
		next = measure(search, &solution, set);
		if (architect_advise_is_late(pool))
			break;
		if (best->is_exact)
		{
			best->gain = -INFINITY;
			measure_anew(search, &next, false);
			mark_changed(search, options, solution.set, set);
			solution = next;
			continue;
		}
		best->gain = solution.cost - next.cost;
		best->is_exact = true;
		if (bms_is_empty(solution.set))
			best->move->bound = best->gain;
		bms_free(set);
	}
	return solution;
}

static Option *
copy_options(const Search *search, const Option *options)
{
	Size		size = Max(list_length(search->moves), 1) * sizeof(Option);

	return memcpy(palloc(size), options, size);
}

/*
 * Returns what each move gains beside a set at most.
 */
static Option *
begin_options(const Search *search)
{
	Option	   *options = palloc0(Max(list_length(search->moves), 1) * sizeof(Option));
	ListCell   *cell;

	foreach(cell, search->moves)
	{
		Option	   *option = &options[foreach_current_index(cell)];

		option->move = lfirst(cell);
		option->gain = option->move->bound;
	}
	return options;
}

/*
 * Finds what each move gains beside a set, whatever the limits are.
 */
static void
ask_all(const Search *search, const AdviseSolution *solution, Option *options)
{
	for (int i = 0; i < list_length(search->moves) && !architect_advise_is_late(search->pool); i++)
	{
		Option	   *option = &options[i];
		Bitmapset  *set;

		if (option->is_exact)
			continue;
		set = make_move(search->pool, solution->set, option->move);
		option->gain = solution->cost - measure(search, solution, set).cost;
		option->is_exact = true;
		bms_free(set);
	}
}

/*
 * Returns the options beside a set without one index: what is left of the gain is as it
 * was, unless a query may use both; then it is greater by what the index gained at most.
 */
static Option *
options_without(const Search *search, const Option *options, int number, double loss)
{
	Option	   *without = copy_options(search, options);
	const Bitmapset *queries = search->pool->candidates[number]->queries;

	for (int i = 0; i < list_length(search->moves); i++)
	{
		if (bms_is_member(number, without[i].move->adds))
			without[i].gain = -INFINITY;
		else if (bms_overlap(without[i].move->queries, queries))
		{
			without[i].gain += loss;
			without[i].is_exact = false;
		}
	}
	return without;
}

static bool
is_better(const Search *search, const AdviseSolution *solution, const AdviseSolution *than)
{
	return solution->cost <= (1 - search->limits->least_gain) * than->cost ||
		(solution->cost <= than->cost && solution->bytes < than->bytes);
}

static AdviseSolution
take_away(const Search *search, const AdviseSolution *solution, int number)
{
	return measure(search, solution, bms_del_member(bms_copy(solution->set), number));
}

/*
 * Puts in the best of what fits instead of an index; true when that is better.
 */
static bool
replace(const Search *search, AdviseSolution *solution, Option *options, int number)
{
	AdviseSolution without = take_away(search, solution, number);

	if (isinf(without.cost))
		return false;
	measure_anew(search, &without, false);
	for (int by_bytes = 0; by_bytes <= 1; by_bytes++)
	{
		Option	   *others = options_without(search, options, number, without.cost - solution->cost);
		AdviseSolution other = add_greedily(search, without, others, by_bytes);

		pfree(others);
		if (architect_advise_is_late(search->pool))
			return false;
		if (!is_better(search, &other, solution))
			continue;
		mark_changed(search, options, solution->set, other.set);
		*solution = other;
		return true;
	}
	return false;
}

/*
 * Takes away, of all but these, what loses least for a byte; false where there is nothing.
 */
static bool
make_room(const Search *search, AdviseSolution *solution, const Bitmapset *kept)
{
	AdviseSolution best = {.set = NULL};
	double		least = INFINITY;
	int			number = -1;

	while ((number = bms_next_member(solution->set, number)) >= 0)
	{
		AdviseSolution without;
		double		loss;

		if (bms_is_member(number, kept))
			continue;
		without = take_away(search, solution, number);
		loss = (without.cost - solution->cost) / Max(search->pool->candidates[number]->bytes, LEAST_BYTES);
		if (loss >= least)
			continue;
		least = loss;
		best = without;
	}
	if (isinf(least))
		return false;
	measure_anew(search, &best, false);
	*solution = best;
	return true;
}

/*
 * Makes a move that the limits do not allow, and room for it; true when that is better.
 */
static bool
squeeze_in(const Search *search, AdviseSolution *solution, Option *options)
{
	for (int i = 0; i < list_length(search->moves) && !architect_advise_is_late(search->pool); i++)
	{
		const AdviseMove *move = options[i].move;
		AdviseSolution other;

		if (options[i].gain <= search->limits->least_gain * solution->cost ||
			is_covered(search->pool, solution->set, move))
			continue;
		other = begin_solution(search->pool, solution, make_move(search->pool, solution->set, move));
		if (is_allowed(search->limits, &other))
			continue;
		measure_anew(search, &other, false);
		while (!is_allowed(search->limits, &other) && is_better(search, &other, solution) &&
			   make_room(search, &other, move->adds))
			;
		if (architect_advise_is_late(search->pool) || !is_allowed(search->limits, &other) ||
			!is_better(search, &other, solution) || find_worse(search, &other) != NULL)
			continue;
		mark_changed(search, options, solution->set, other.set);
		*solution = other;
		return true;
	}
	return false;
}

/*
 * Replaces indexes, each in turn, until that helps with none of them.
 */
static AdviseSolution
improve(const Search *search, AdviseSolution solution)
{
	Option	   *options = begin_options(search);
	bool		is_improved;

	do
	{
		Bitmapset  *set = solution.set;
		int			number = -1;

		is_improved = false;
		while (!architect_advise_is_late(search->pool) && (number = bms_next_member(set, number)) >= 0)
		{
			if (!bms_is_member(number, solution.set))
				continue;
			ask_all(search, &solution, options);
			is_improved |= replace(search, &solution, options, number);
		}
		ask_all(search, &solution, options);
		is_improved |= squeeze_in(search, &solution, options);
	} while (is_improved && !architect_advise_is_late(search->pool));
	pfree(options);
	return solution;
}

/*
 * Takes away what makes queries too much worse: of what they use, the least loss first.
 */
static void
keep_to_regression(const Search *search, AdviseSolution *solution)
{
	AdviseQuery *query;

	while ((query = find_worse(search, solution)) != NULL && !architect_advise_is_late(search->pool))
	{
		AdviseSolution best = {.cost = INFINITY};
		Bitmapset  *used;
		int			number = -1;

		(void) architect_advise_cost(search->pool, query, solution->set, &used);
		while ((number = bms_next_member(used, number)) >= 0)
		{
			AdviseSolution without = begin_solution(search->pool, solution,
													bms_del_member(bms_copy(solution->set), number));

			measure_anew(search, &without, true);
			if (without.cost < best.cost)
				best = without;
		}
		if (isinf(best.cost))
			break;
		*solution = best;
	}
}

/*
 * Takes a set instead of another if it is better, once it has been planned with all that
 * queries may use of it.
 */
static bool
take_better(const Search *search, AdviseSolution *best, AdviseSolution other)
{
	(void) architect_advise_show(search->pool, other.set);
	measure_anew(search, &other, true);
	keep_to_regression(search, &other);
	if (other.cost >= best->cost || find_worse(search, &other) != NULL)
		return false;
	*best = other;
	return true;
}

/*
 * Takes away what gains too little beside the others, the least first.
 */
static void
drop_weak(const Search *search, AdviseSolution *solution)
{
	while (!architect_advise_is_late(search->pool))
	{
		double		least = search->limits->least_gain * solution->cost;
		AdviseSolution best = {.set = NULL};
		int			number = -1;
		bool		is_found = false;

		while ((number = bms_next_member(solution->set, number)) >= 0)
		{
			AdviseSolution without = take_away(search, solution, number);

			if (without.cost - solution->cost >= least)
				continue;
			least = without.cost - solution->cost;
			best = without;
			is_found = true;
		}
		if (!is_found || architect_advise_is_late(search->pool))
			break;
		measure_anew(search, &best, true);
		*solution = best;
	}
}

/*
 * Takes away what no query uses.  Where time is over, a little more is there for it.
 */
static void
drop_unused(AdvisePool *pool, AdviseSolution *solution)
{
	Bitmapset  *all = NULL;

	architect_advise_begin_part(pool, ADVISE_ANSWER);
	for (int i = 0; i < pool->nqueries; i++)
	{
		Bitmapset  *used;

		(void) architect_advise_cost(pool, pool->queries[i], solution->set, &used);
		all = bms_join(all, used);
	}
	if (!architect_advise_is_late(pool))
		solution->set = bms_intersect(solution->set, all);
}

/*
 * Returns the best set that is found.
 */
AdviseSolution
architect_advise_search(AdvisePool *pool, const AdviseLimits *limits, List *moves)
{
	Search		search = {.pool = pool, .limits = limits, .moves = moves};
	AdviseSolution none = {0};
	AdviseSolution best;

	measure_anew(&search, &none, true);
	best = none;
	for (int by_bytes = 1; by_bytes >= 0; by_bytes--)
		take_better(&search, &best, add_greedily(&search, none, begin_options(&search), by_bytes));
	while (!architect_advise_is_late(pool) && take_better(&search, &best, improve(&search, best)))
		;
	drop_weak(&search, &best);
	drop_unused(pool, &best);
	return best;
}
