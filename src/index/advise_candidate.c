/*
 * advise_candidate.c
 *    Which indexes a query may want for what it asks of a table.
 *
 * A btree index has columns that are compared for equality first, then one range or an
 * order.  Every such index is there with the other columns that the query reads too, so
 * that it need not read the table, and without the rows that its conditions leave out.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "index/advise_access.h"
#include "index/advise_pool.h"

#define MOST_KEYS 5
#define MOST_INCLUDED 8

/* Included columns may be a share of the row, and have so many bytes in any case. */
#define INCLUDED_SHARE 0.5
#define INCLUDED_WIDTH 24

/* A column whose values have more bytes on average is likely to have some that no index entry can take. */
#define WIDEST 64

/* A constant that a column has but a few of is likely to be there in other calls. */
#define FEW_VALUES 12

/* A partial index must leave out some rows to be worth it. */
#define PARTIAL_SHARE 0.8

/* Of several columns that are compared for equality, one that leaves more of the rows does not come first. */
#define FIRST_SHARE 0.2

/* A BRIN index needs a table with so many pages, in about the column's order. */
#define BRIN_PAGES 1280
#define BRIN_CORRELATION 0.9

/* An access whose candidates are being made. */
typedef struct Proposing
{
	AdvisePool *pool;
	const AdviseAccess *access;
	List	   *candidates;		/* AdviseCandidate */
} Proposing;

static bool
has_key(const List *keys, const AdviseKey *key)
{
	ListCell   *cell;

	foreach(cell, keys)
	{
		if (strcmp(((AdviseKey *) lfirst(cell))->text, key->text) == 0)
			return true;
	}
	return false;
}

/*
 * Returns keys with those of other ones that are not among them.
 */
static List *
with_keys(const List *keys, const List *more)
{
	List	   *all = list_copy(keys);
	ListCell   *cell;

	foreach(cell, more)
	{
		if (list_length(all) < MOST_KEYS && !has_key(all, lfirst(cell)))
			all = lappend(all, lfirst(cell));
	}
	return all;
}

static double
row_width(const IndexTable *table)
{
	return table->rows > 0 ? (double) table->pages * BLCKSZ / table->rows : 0;
}

/*
 * True for a column that may have values which do not fit into an entry of a btree
 * index: rows with those could not be written any more.
 */
static bool
is_wide(const IndexTable *table, int16 attnum)
{
	const IndexColumn *column = &table->columns[attnum - 1];
	Oid			type = getBaseType(column->type);

	return column->length < 0 && (type == JSONBOID || type == JSONOID || type == BYTEAOID || type == XMLOID ||
								  type == TSVECTOROID || OidIsValid(get_element_type(type)) ||
								  architect_advise_width(table, attnum) > WIDEST);
}

/*
 * Returns the columns that an index with these keys must include for the query to need
 * nothing else; NULL where there are none, or they are too much.
 */
static Bitmapset *
find_included(const AdviseAccess *access, const List *keys)
{
	Bitmapset  *included = bms_copy(access->columns);
	double		width = 0;
	int			attnum = -1;
	ListCell   *cell;

	if (access->reads_row)
		return NULL;
	foreach(cell, keys)
	{
		if (((AdviseKey *) lfirst(cell))->attnum > 0)
			included = bms_del_member(included, ((AdviseKey *) lfirst(cell))->attnum);
	}
	while ((attnum = bms_next_member(included, attnum)) >= 0)
	{
		if (is_wide(access->table, attnum))
			return NULL;
		width += architect_advise_width(access->table, attnum);
	}
	if (bms_num_members(included) > MOST_INCLUDED || width > Max(INCLUDED_SHARE * row_width(access->table),
																 INCLUDED_WIDTH))
		return NULL;
	return included;
}

static void
propose(Proposing *proposing, const char *method, List *keys, Bitmapset *included, const AdvisePredicate *predicate)
{
	proposing->candidates =
		list_append_unique_ptr(proposing->candidates,
							   architect_advise_candidate(proposing->pool, proposing->access->table, method, keys,
														  included, predicate));
}

/*
 * Proposes a btree index of these keys, alone and with all that the query reads.
 */
static void
propose_btree(Proposing *proposing, List *keys, const AdvisePredicate *predicate)
{
	Bitmapset  *included;
	ListCell   *cell;

	if (keys == NIL)
		return;
	foreach(cell, keys)
	{
		const AdviseKey *key = lfirst(cell);

		if (key->attnum > 0 && is_wide(proposing->access->table, key->attnum))
			return;
	}
	propose(proposing, "btree", keys, NULL, predicate);
	included = find_included(proposing->access, keys);
	if (included != NULL)
		propose(proposing, "btree", keys, included, predicate);
}

/*
 * Returns the keys (AdviseKey) of btree conditions: equality with what is not of other
 * relations, or is of these; or ranges.
 */
static List *
find_keys(const AdviseAccess *access, bool is_range, Relids partners)
{
	List	   *keys = NIL;
	ListCell   *cell;

	foreach(cell, access->conditions)
	{
		const AdviseCondition *condition = lfirst(cell);

		if (strcmp(condition->method, "btree") == 0 && condition->is_range == is_range &&
			bms_equal(condition->partners, partners) && !has_key(keys, condition->key))
			keys = lappend(keys, condition->key);
	}
	return keys;
}

static int
compare_selectivity(const ListCell *a, const ListCell *b)
{
	const AdviseCondition *left = lfirst(a);
	const AdviseCondition *right = lfirst(b);

	return left->selectivity < right->selectivity ? -1 : left->selectivity > right->selectivity;
}

/*
 * Proposes what begins with these keys: then ranges, or the orders.
 */
static void
propose_beginning(Proposing *proposing, const List *keys, bool sorts, const AdvisePredicate *predicate)
{
	ListCell   *cell;

	propose_btree(proposing, list_copy(keys), predicate);
	foreach(cell, find_keys(proposing->access, true, NULL))
		propose_btree(proposing, with_keys(keys, list_make1(lfirst(cell))), predicate);
	if (!sorts)
		return;
	foreach(cell, proposing->access->orders)
		propose_btree(proposing, with_keys(keys, lfirst(cell)), predicate);
}

/*
 * Returns the keys without those that the predicate makes the same in all rows.
 */
static List *
without_fixed(const List *keys, const AdvisePredicate *predicate)
{
	List	   *rest = NIL;
	ListCell   *cell;

	foreach(cell, keys)
	{
		if (predicate == NULL || !bms_is_subset(((AdviseKey *) lfirst(cell))->columns, predicate->columns))
			rest = lappend(rest, lfirst(cell));
	}
	return rest;
}

/*
 * True when equality of this key leaves a small part of the rows.
 */
static bool
is_selective(const AdviseAccess *access, const AdviseKey *key)
{
	ListCell   *cell;

	foreach(cell, access->conditions)
	{
		const AdviseCondition *condition = lfirst(cell);

		if (condition->key == key)
			return condition->selectivity <= FIRST_SHARE;
	}
	return false;
}

/*
 * Proposes btree indexes for all conditions, those of each pair of relations too.
 */
static void
propose_beginnings(Proposing *proposing, const AdvisePredicate *predicate)
{
	const AdviseAccess *access = proposing->access;
	List	   *equal = without_fixed(find_keys(access, false, NULL), predicate);
	List	   *seen = NIL;
	ListCell   *cell;

	/* The most selective one in front, or another: other queries may share the index. */
	foreach(cell, equal)
	{
		if (cell == list_head(equal) || is_selective(access, lfirst(cell)))
			propose_beginning(proposing, with_keys(list_make1(lfirst(cell)), equal), true, predicate);
	}
	propose_beginning(proposing, NIL, true, predicate);

	foreach(cell, access->conditions)
	{
		Relids		partners = ((AdviseCondition *) lfirst(cell))->partners;
		List	   *joined = without_fixed(find_keys(access, false, partners), predicate);

		if (partners == NULL || joined == NIL || list_member_ptr(seen, linitial(joined)))
			continue;
		seen = lappend(seen, linitial(joined));
		propose_beginning(proposing, joined, false, predicate);
		if (equal == NIL)
			continue;
		propose_beginning(proposing, with_keys(joined, equal), false, predicate);
		propose_beginning(proposing, with_keys(equal, joined), false, predicate);
	}
}

/*
 * True when queries to come are likely to have the condition too.
 */
static bool
is_lasting(const AdviseAccess *access, const AdvisePredicate *predicate)
{
	const IndexColumn *column;
	int			attnum;

	if (predicate->selectivity > PARTIAL_SHARE || !bms_get_singleton_member(predicate->columns, &attnum))
		return false;
	column = &access->table->columns[attnum - 1];
	return predicate->is_flag || (predicate->is_equality && column->has_statistics && column->distinct >= 1 &&
								  column->distinct <= FEW_VALUES &&
								  predicate->selectivity * access->table->rows >= 1);
}

/*
 * Proposes partial indexes; where the predicate is all there is, of its first column.
 */
static void
propose_partial(Proposing *proposing)
{
	const AdviseAccess *access = proposing->access;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, access->predicates)
	{
		const AdvisePredicate *predicate = lfirst(cell);

		if (!is_lasting(access, predicate))
			continue;
		propose_beginnings(proposing, predicate);
		foreach(inner, access->conditions)
		{
			const AdviseCondition *condition = lfirst(inner);

			if (strcmp(condition->method, "btree") == 0 && bms_is_subset(condition->key->columns, predicate->columns))
				propose_btree(proposing, list_make1(condition->key), predicate);
		}
	}
}

static bool
is_in_order(const AdviseAccess *access, const AdviseKey *key)
{
	const IndexColumn *column = key->attnum > 0 ? &access->table->columns[key->attnum - 1] : NULL;

	return column != NULL && access->table->pages >= BRIN_PAGES && column->has_statistics &&
		fabs(column->correlation) >= BRIN_CORRELATION;
}

static void
propose_others(Proposing *proposing)
{
	ListCell   *cell;

	foreach(cell, proposing->access->conditions)
	{
		const AdviseCondition *condition = lfirst(cell);

		if (strcmp(condition->method, "btree") == 0 ||
			(strcmp(condition->method, "brin") == 0 && !is_in_order(proposing->access, condition->key)))
			continue;
		propose(proposing, condition->method, list_make1(condition->key), NULL, NULL);
	}
}

/*
 * Returns the indexes (AdviseCandidate) that may be of use for an access.
 */
List *
architect_advise_propose(AdvisePool *pool, AdviseAccess *access)
{
	Proposing	proposing = {.pool = pool, .access = access};
	ListCell   *cell;

	list_sort(access->conditions, compare_selectivity);
	foreach(cell, access->conditions)
	{
		const AdviseCondition *condition = lfirst(cell);

		if (strcmp(condition->method, "btree") == 0)
			propose_btree(&proposing, list_make1(condition->key), NULL);
	}
	propose_beginnings(&proposing, NULL);
	propose_partial(&proposing);
	propose_others(&proposing);
	return proposing.candidates;
}
