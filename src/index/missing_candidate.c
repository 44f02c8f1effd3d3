/*
 * missing_candidate.c
 *    The index that a query asks for, and whether one that is there serves as well.
 *
 * Its columns are those compared for equality, the most selective first, then those of
 * the order if the query stops after some rows, then one that is compared for a range.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "utils/lsyscache.h"

#include "index/missing.h"

/* Shares of the rows, where nothing better is known. */
#define SHARE_OF_EQUALITY 0.005
#define SHARE_OF_RANGE 0.33
#define SHARE_OF_INTERVAL 0.05

/* An index that finds more than this share of the rows is not worth it. */
#define LARGEST_SHARE 0.2

/* As many rows are found in no time. */
#define FEW_ROWS 100

/* A column that the query compares. */
typedef struct Compared
{
	int16		attnum;
	bool		is_list;		/* with several values */
	double		share;			/* of the rows that are found by it */
} Compared;

/* What a query asks of a table. */
typedef struct Need
{
	const IndexAccess *access;
	List	   *equal;			/* Compared, the most selective first */
	List	   *ranges;			/* likewise */
	bool		is_covered;		/* there are no other conditions */
	bool		has_statistics; /* of what is compared for equality */
} Need;

static bool
can_be_indexed(const IndexTable *table, int16 attnum)
{
	return attnum > 0 && OidIsValid(GetDefaultOpClass(table->columns[attnum - 1].type, BTREE_AM_OID));
}

static double
share_of_equality(const IndexTable *table, const IndexPredicate *predicate)
{
	const IndexColumn *column = &table->columns[predicate->attnum - 1];
	double		distinct;

	if (!column->has_statistics)
		return SHARE_OF_EQUALITY;
	if (strcmp(predicate->operator, "IS NULL") == 0)
		return column->null_share;
	distinct = column->distinct < 0 ? -column->distinct * Max(table->rows, 1) : column->distinct;
	return (1 - column->null_share) / Max(distinct, 1);
}

static Compared *
find_compared(const List *compared, int16 attnum)
{
	ListCell   *cell;

	foreach(cell, compared)
	{
		if (((Compared *) lfirst(cell))->attnum == attnum)
			return lfirst(cell);
	}
	return NULL;
}

static void
add_compared(List **compared, int16 attnum, double share, bool is_list)
{
	Compared   *column = find_compared(*compared, attnum);

	if (column != NULL)
	{
		/* The two ends of an interval. */
		column->share = Min(column->share, SHARE_OF_INTERVAL);
		column->is_list = column->is_list && is_list;
		return;
	}
	column = palloc(sizeof(Compared));
	column->attnum = attnum;
	column->share = share;
	column->is_list = is_list;
	*compared = lappend(*compared, column);
}

static int
compare_shares(const ListCell *left, const ListCell *right)
{
	const Compared *one = lfirst(left);
	const Compared *other = lfirst(right);

	if (one->share != other->share)
		return one->share < other->share ? -1 : 1;
	return one->attnum - other->attnum;
}

/*
 * Collects what is compared.  The values of a join can be searched for only where
 * another table gives some of them; the conditions that stand alone come first.
 */
static void
collect_compared(Need *need, bool joins)
{
	const IndexTable *table = need->access->table;
	ListCell   *cell;

	need->equal = need->ranges = NIL;
	need->is_covered = bms_is_empty(need->access->unread);
	need->has_statistics = true;
	foreach(cell, need->access->predicates)
	{
		const IndexPredicate *predicate = lfirst(cell);

		if (predicate->is_join && !joins)
			continue;
		if (predicate->kind == INDEX_EQUALITY && can_be_indexed(table, predicate->attnum))
		{
			add_compared(&need->equal, predicate->attnum, share_of_equality(table, predicate),
						 predicate->is_list);
			need->has_statistics = need->has_statistics && table->columns[predicate->attnum - 1].has_statistics;
		}
		else if (predicate->kind == INDEX_RANGE && can_be_indexed(table, predicate->attnum))
			add_compared(&need->ranges, predicate->attnum, SHARE_OF_RANGE, false);
		else
			need->is_covered = false;
	}
	list_sort(need->equal, compare_shares);
	list_sort(need->ranges, compare_shares);
}

/* True when the query has another table whose rows are few, to join from. */
static bool
is_driven(const IndexQuery *query, const IndexAccess *access)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, query->accesses)
	{
		const IndexAccess *other = lfirst(cell);

		foreach(inner, other == access ? NIL : other->predicates)
		{
			const IndexPredicate *predicate = lfirst(inner);

			if (!predicate->is_join && predicate->kind == INDEX_EQUALITY)
				return true;
		}
	}
	return false;
}

static IndexSort *
add_column(IndexCandidate *candidate, int16 attnum)
{
	IndexSort  *column;

	for (int i = 0; i < candidate->ncolumns; i++)
	{
		if (candidate->columns[i].attnum == attnum)
			return &candidate->columns[i];
	}
	if (candidate->ncolumns == MOST_COLUMNS)
		return NULL;
	column = &candidate->columns[candidate->ncolumns++];
	column->attnum = attnum;
	column->is_descending = column->nulls_first = false;
	return column;
}

/* True when an index in ascending order, read from its end, gives this order. */
static bool
is_backward(const List *sort)
{
	ListCell   *cell;

	foreach(cell, sort)
	{
		const IndexSort *key = lfirst(cell);

		if (!key->is_descending || !key->nulls_first)
			return false;
	}
	return true;
}

/* True when the rows of several values would have to be put in order. */
static bool
has_list(const List *compared)
{
	ListCell   *cell;

	foreach(cell, compared)
	{
		if (((Compared *) lfirst(cell))->is_list)
			return true;
	}
	return false;
}

/*
 * Adds the columns of the order; false where they do not fit.
 */
static bool
add_sort(IndexCandidate *candidate, const Need *need)
{
	const List *sort = need->access->sort;
	bool		is_plain = is_backward(sort);
	ListCell   *cell;

	foreach(cell, sort)
	{
		const IndexSort *key = lfirst(cell);
		IndexSort  *column;

		if (find_compared(need->equal, key->attnum) != NULL)
			continue;
		column = can_be_indexed(candidate->table, key->attnum) ? add_column(candidate, key->attnum) : NULL;
		if (column == NULL)
			return false;
		if (!is_plain)
			*column = *key;
	}
	return true;
}

/*
 * Returns the index that would serve best, or NULL where none would do much.
 */
static IndexCandidate *
compose(const Need *need)
{
	const IndexTable *table = need->access->table;
	IndexCandidate *candidate = palloc0(sizeof(IndexCandidate));
	ListCell   *cell;

	candidate->table = unconstify(IndexTable *, table);
	candidate->share = 1;
	foreach(cell, need->equal)
	{
		const Compared *column = lfirst(cell);

		if (candidate->share * table->rows < 2)
			break;
		if (add_column(candidate, column->attnum) != NULL)
			candidate->share *= column->share;
	}
	if (need->access->is_limited && need->access->sort != NIL && !has_list(need->equal) &&
		candidate->share * table->rows > FEW_ROWS)
		candidate->nsorted = add_sort(candidate, need) ? candidate->ncolumns : 0;
	if (need->ranges != NIL && candidate->share * table->rows > FEW_ROWS)
	{
		const Compared *range = linitial(need->ranges);

		if (add_column(candidate, range->attnum) != NULL)
			candidate->share *= range->share;
	}
	if (candidate->ncolumns == 0 || (candidate->share > LARGEST_SHARE && !(candidate->nsorted > 0 && need->is_covered)))
		return NULL;
	return candidate;
}

/*
 * True when a key of an index has the column's collation and, where the order counts, the
 * one of its type.
 */
static bool
compares_alike(const IndexDefinition *index, int key, bool in_order)
{
	const IndexColumn *column = &index->table->columns[index->attnums[key] - 1];

	if (index->collations[key] != column->collation)
		return false;
	return !in_order || index->access_method != BTREE_AM_OID ||
		get_opclass_family(index->opclasses[key]) ==
		get_opclass_family(GetDefaultOpClass(column->type, BTREE_AM_OID));
}

/*
 * Returns the share of the rows that is read by an index that is there; sets how many of
 * the columns are used.
 */
static double
share_of_index(const Need *need, const IndexDefinition *index, int *used)
{
	double		share = 1;

	for (*used = 0; *used < index->nkeys; (*used)++)
	{
		const Compared *equal = find_compared(need->equal, index->attnums[*used]);
		const Compared *range = find_compared(need->ranges, index->attnums[*used]);

		if ((equal == NULL && range == NULL) || !compares_alike(index, *used, equal == NULL))
			break;
		share *= equal != NULL ? equal->share : range->share;
		if (equal == NULL)
		{
			(*used)++;
			break;
		}
	}
	return share;
}

/*
 * True when an index begins as the candidate does, up to the last column of the order,
 * and has the order, read from one end or the other.
 */
static bool
begins_alike(const Need *need, const IndexDefinition *index, const IndexCandidate *candidate)
{
	int			ncolumns = candidate->nsorted > 0 ? candidate->nsorted : candidate->ncolumns;
	bool		forward = true;
	bool		backward = true;

	if (index->access_method != BTREE_AM_OID || index->nkeys < ncolumns)
		return false;
	for (int i = 0; i < ncolumns; i++)
	{
		const IndexSort *column = &candidate->columns[i];
		bool		same_direction = ((index->options[i] & INDOPTION_DESC) != 0) == column->is_descending;
		bool		same_nulls = ((index->options[i] & INDOPTION_NULLS_FIRST) != 0) == column->nulls_first;

		if (index->attnums[i] != column->attnum ||
			!compares_alike(index, i, find_compared(need->equal, column->attnum) == NULL))
			return false;
		if (candidate->nsorted == 0 || find_compared(need->equal, column->attnum) != NULL)
			continue;
		forward = forward && same_direction && same_nulls;
		backward = backward && !same_direction && !same_nulls;
	}
	return forward || backward;
}

/*
 * True when an index that is there does about as well.
 */
static bool
is_served_by(const Need *need, const IndexDefinition *index, const IndexCandidate *candidate)
{
	double		rows = need->access->table->rows;
	int			used;
	double		share;

	if (!index->is_valid || index->access_method == BRIN_AM_OID)
		return false;
	if (begins_alike(need, index, candidate))
		return true;
	share = share_of_index(need, index, &used);
	if (used == 0 || (index->access_method == HASH_AM_OID && used < index->nkeys))
		return false;
	if (share * rows <= FEW_ROWS)
		return true;
	return candidate->nsorted == 0 && share <= Max(10 * candidate->share, 0.001);
}

/*
 * True when one of the table's indexes serves the query; of a partial one that depends on
 * the values, which the text does not have.
 */
static bool
is_served(IndexReview *review, const Need *need, const IndexCandidate *candidate)
{
	bool		is_partial = false;
	ListCell   *cell;

	foreach(cell, need->access->table->indexes)
	{
		const IndexDefinition *index = lfirst(cell);

		if (!is_served_by(need, index, candidate))
			continue;
		if (index->predicate == NULL)
			return true;
		is_partial = true;
	}
	if (is_partial)
		architect_index_doubt(review, "a partial index may serve, which depends on values that are not in the text of "
							  "the query");
	return is_partial;
}

/*
 * True when this is what a foreign key needs, which is another rule's finding.
 */
static bool
is_of_foreign_key(const IndexCandidate *candidate)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, candidate->table->foreign_keys)
	{
		const IndexForeignKey *key = lfirst(cell);
		int			found = 0;
		bool		is_supported = false;

		for (int i = 0; i < key->ncolumns; i++)
		{
			for (int j = 0; j < Min(key->ncolumns, candidate->ncolumns); j++)
				found += key->attnums[i] == candidate->columns[j].attnum;
		}
		foreach(inner, candidate->table->indexes)
			is_supported = is_supported || architect_index_supports(lfirst(inner), key);
		if (found == key->ncolumns && !is_supported)
			return true;
	}
	return false;
}

/*
 * Returns the index that this access asks for, and does not have; NULL where there is
 * none.
 */
IndexCandidate *
architect_index_candidate(IndexReview *review, const IndexQuery *query, const IndexAccess *access)
{
	Need		need = {.access = access};
	IndexCandidate *candidate;

	collect_compared(&need, false);
	candidate = compose(&need);
	if (candidate == NULL && is_driven(query, access))
	{
		collect_compared(&need, true);
		candidate = compose(&need);
	}
	if (candidate == NULL && !bms_is_empty(access->unread))
		architect_index_doubt(review, "a query has conditions that are not understood, as OR of several columns");
	if (candidate == NULL || is_served(review, &need, candidate) || is_of_foreign_key(candidate))
		return NULL;
	if (!need.has_statistics)
	{
		architect_index_doubt(review, "columns have no statistics, or they cannot be read");
		return NULL;
	}
	candidate->queries = list_make1(unconstify(IndexQuery *, query));
	candidate->calls = query->calls;
	candidate->milliseconds = query->milliseconds;
	return candidate;
}
