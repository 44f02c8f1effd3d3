/*
 * cover.c
 *    Whether one index does all that another does: finds as well, and forbids as much.
 *
 * Definitions are compared as the catalogs have them, expressions and predicates as
 * node trees: equal() passes by where in a text a node stood.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "nodes/readfuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "index/cover.h"

/* What turns the order of a column around. */
#define BACKWARD (INDOPTION_DESC | INDOPTION_NULLS_FIRST)

/*
 * Returns the expression of a column of the index.
 */
static Node *
find_expression(const IndexDefinition *index, int column)
{
	int			position = 0;

	for (int i = 0; i < column; i++)
	{
		if (index->attnums[i] == 0)
			position++;
	}
	return list_nth(stringToNode(index->expressions), position);
}

static bool
same_expression(const IndexDefinition *index, int column, const IndexDefinition *other, int other_column)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "comparison", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	bool		same = equal(find_expression(index, column), find_expression(other, other_column));

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
	return same;
}

static bool
same_predicate(const IndexDefinition *index, const IndexDefinition *other)
{
	MemoryContext scratch;
	MemoryContext caller;
	bool		same;

	if (index->predicate == NULL || other->predicate == NULL)
		return index->predicate == other->predicate;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "comparison", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(scratch);
	same = equal(stringToNode(index->predicate), stringToNode(other->predicate));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
	return same;
}

static bool
same_column(const IndexDefinition *index, int column, const IndexDefinition *other, int other_column)
{
	if (index->attnums[column] != other->attnums[other_column])
		return false;
	return index->attnums[column] != 0 || same_expression(index, column, other, other_column);
}

/*
 * True for operator classes that compare alike: the same, or of one family and type.
 */
static bool
same_class(Oid class, Oid other)
{
	return class == other ||
		(get_opclass_family(class) == get_opclass_family(other) &&
		 get_opclass_input_type(class) == get_opclass_input_type(other));
}

/*
 * Returns the options of an operator class, as the catalog has them; an index that does
 * not exist has none.
 */
static Datum
read_class_options(const IndexDefinition *index, int column)
{
	return OidIsValid(index->oid) ? get_attoptions(index->oid, column + 1) : (Datum) 0;
}

static bool
same_class_options(const IndexDefinition *index, int column, const IndexDefinition *other, int other_column)
{
	Datum		options;
	Datum		other_options;

	if (index->access_method == BTREE_AM_OID || index->access_method == HASH_AM_OID)
		return true;
	options = read_class_options(index, column);
	other_options = read_class_options(other, other_column);
	if (options == (Datum) 0 || other_options == (Datum) 0)
		return options == other_options;
	return datum_image_eq(options, other_options, false, -1);
}

/*
 * True when both have the key, and compare it alike.
 */
static bool
same_key(const IndexDefinition *index, int key, const IndexDefinition *other, int other_key)
{
	return same_column(index, key, other, other_key) &&
		index->collations[key] == other->collations[other_key] &&
		same_class(index->opclasses[key], other->opclasses[other_key]) &&
		same_class_options(index, key, other, other_key);
}

/*
 * Counts the keys from the first that both have, in the same places.
 */
static int
count_same_keys(const IndexDefinition *index, const IndexDefinition *other)
{
	int			key = 0;

	while (key < index->nkeys && key < other->nkeys && same_key(index, key, other, key))
		key++;
	return key;
}

static bool
has_key(const IndexDefinition *index, const IndexDefinition *other, int other_key)
{
	for (int i = 0; i < index->nkeys; i++)
	{
		if (same_key(index, i, other, other_key))
			return true;
	}
	return false;
}

static bool
has_all_keys(const IndexDefinition *index, const IndexDefinition *other)
{
	for (int i = 0; i < other->nkeys; i++)
	{
		if (!has_key(index, other, i))
			return false;
	}
	return true;
}

/*
 * True when what the other stores beside its keys can be read from the index.  Of a key
 * that need not be what was put in, but for btree.
 */
static bool
stores_all(const IndexDefinition *index, const IndexDefinition *other)
{
	int			first = index->access_method == BTREE_AM_OID ? 0 : index->nkeys;

	for (int i = other->nkeys; i < other->ncolumns; i++)
	{
		int			column = first;

		while (column < index->ncolumns && index->attnums[column] != other->attnums[i])
			column++;
		if (column == index->ncolumns)
			return false;
	}
	return true;
}

/*
 * True when the keys that both have are in one order, or all of them in the opposite.
 */
static bool
has_order(const IndexDefinition *index, const IndexDefinition *other, int flip)
{
	for (int i = 0; i < other->nkeys; i++)
	{
		if ((index->options[i] ^ flip) != other->options[i])
			return false;
	}
	return true;
}

/*
 * Returns the storage options of an index, as the catalog has them.
 */
static Datum
read_options(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	bool		isnull = true;
	Datum		options = (Datum) 0;

	if (!HeapTupleIsValid(tuple))
		return options;
	options = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	options = isnull ? (Datum) 0 : PointerGetDatum(DatumGetArrayTypePCopy(options));
	ReleaseSysCache(tuple);
	return options;
}

/*
 * True for storage options that are the same; of an index that does not exist only those
 * of BRIN count.
 */
static bool
same_options(const IndexDefinition *index, const IndexDefinition *other)
{
	Datum		options = read_options(index->oid);
	Datum		other_options = read_options(other->oid);

	if (!OidIsValid(index->oid) || !OidIsValid(other->oid))
		return index->pages_per_range == other->pages_per_range;
	if (options == (Datum) 0 || other_options == (Datum) 0)
		return options == other_options;
	return datum_image_eq(options, other_options, false, -1);
}

static IndexCover
cover_sorted(const IndexDefinition *index, const IndexDefinition *other)
{
	bool		forward;

	if (count_same_keys(index, other) < other->nkeys || !stores_all(index, other))
		return INDEX_COVER_NONE;
	forward = has_order(index, other, 0);
	if (!forward && !has_order(index, other, BACKWARD))
		return INDEX_COVER_NONE;
	if (index->nkeys > other->nkeys)
		return INDEX_COVER_PREFIX;
	if (!stores_all(other, index))
		return INDEX_COVER_STORED;
	return forward ? INDEX_COVER_SAME : INDEX_COVER_BACKWARD;
}

/*
 * Likewise for what has no order of its own.  Options are part of what an index of BRIN,
 * or of an access method that we do not know, can do.
 */
static IndexCover
cover_unsorted(const IndexDefinition *index, const IndexDefinition *other)
{
	bool		same = index->nkeys == other->nkeys && count_same_keys(index, other) == other->nkeys;

	switch (index->access_method)
	{
		case GIN_AM_OID:
			break;
		case BRIN_AM_OID:
			if (!same_options(index, other))
				return INDEX_COVER_NONE;
			break;
		case GIST_AM_OID:
			if (count_same_keys(index, other) < other->nkeys || !stores_all(index, other))
				return INDEX_COVER_NONE;
			if (!same)
				return INDEX_COVER_PREFIX;
			return stores_all(other, index) ? INDEX_COVER_SAME : INDEX_COVER_STORED;
		case HASH_AM_OID:
			return same ? INDEX_COVER_SAME : INDEX_COVER_NONE;
		default:
			if (!same || !stores_all(index, other) || !same_options(index, other))
				return INDEX_COVER_NONE;
			return stores_all(other, index) ? INDEX_COVER_SAME : INDEX_COVER_STORED;
	}
	if (!has_all_keys(index, other))
		return INDEX_COVER_NONE;
	return has_all_keys(other, index) ? INDEX_COVER_SAME : INDEX_COVER_SET;
}

/*
 * True when a btree index finds equal values as the hash index does.
 */
static bool
finds_equal(const IndexDefinition *btree, const IndexDefinition *hash)
{
	Oid			type = get_opclass_input_type(hash->opclasses[0]);

	return same_column(btree, 0, hash, 0) &&
		btree->collations[0] == hash->collations[0] &&
		get_opclass_input_type(btree->opclasses[0]) == type &&
		get_opfamily_member(get_opclass_family(btree->opclasses[0]), type, type, BTEqualStrategyNumber) ==
		get_opfamily_member(get_opclass_family(hash->opclasses[0]), type, type, HTEqualStrategyNumber);
}

/*
 * Tells how an index finds all that another of its table finds, with the same order and
 * without going to the table more often.
 */
IndexCover
architect_index_cover(const IndexDefinition *index, const IndexDefinition *other)
{
	IndexCover	cover = INDEX_COVER_NONE;

	if (index->access_method == other->access_method)
		cover = index->access_method == BTREE_AM_OID ? cover_sorted(index, other) : cover_unsorted(index, other);
	else if (index->access_method == BTREE_AM_OID && other->access_method == HASH_AM_OID && finds_equal(index, other))
		cover = INDEX_COVER_EQUALITY;
	return cover != INDEX_COVER_NONE && same_predicate(index, other) ? cover : INDEX_COVER_NONE;
}

static bool
same_constraint(const IndexDefinition *index, const IndexDefinition *other)
{
	if (!index->is_exclusion || index->constraint_type == '\0' || other->constraint_type == '\0')
		return false;
	return strcmp(architect_index_constraint(index), architect_index_constraint(other)) == 0;
}

/*
 * True when all rows that the other index forbids are forbidden by this one too: it is
 * unique by the same columns, or by some of them.
 */
bool
architect_index_enforces(const IndexDefinition *index, const IndexDefinition *other)
{
	if (other->is_exclusion)
		return same_constraint(index, other);
	if (!other->is_unique)
		return true;
	if (!index->is_unique || index->is_exclusion || (other->is_immediate && !index->is_immediate) ||
		(other->nulls_not_distinct && !index->nulls_not_distinct))
		return false;
	return has_all_keys(other, index) && (index->predicate == NULL || same_predicate(index, other));
}

/*
 * True when the index has one column before those of the other, with so few values that
 * a scan can skip from one to the next.
 */
bool
architect_index_skips_to(const IndexDefinition *index, const IndexDefinition *other)
{
	const IndexColumn *first = index->attnums[0] > 0 ? &index->table->columns[index->attnums[0] - 1] :
			&index->columns[0];

	if (index->access_method != BTREE_AM_OID || other->access_method != BTREE_AM_OID || index->nkeys <= other->nkeys)
		return false;
	for (int i = 0; i < other->nkeys; i++)
	{
		if (!same_key(index, i + 1, other, i))
			return false;
	}
	return first->has_statistics && first->distinct > 0 && first->distinct <= 10 &&
		stores_all(index, other) && same_predicate(index, other);
}

/*
 * True when the check of a foreign key is served by the index, and not by the one that
 * stays.
 */
bool
architect_index_is_needed_for_key(const IndexDefinition *index, const IndexDefinition *stays)
{
	for (const IndexTable *table = index->table; table != NULL; table = table->parent)
	{
		ListCell   *cell;

		foreach(cell, table->foreign_keys)
		{
			const IndexForeignKey *key = lfirst(cell);

			if (architect_index_supports(index, key) && !architect_index_supports(stays, key))
				return true;
		}
	}
	return false;
}
