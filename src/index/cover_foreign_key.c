/*
 * cover_foreign_key.c
 *    Whether an index serves a foreign key: finds the rows that refer to a row which is
 *    deleted, or gets another key.
 *
 * The check's query is "SELECT 1 FROM ONLY t WHERE $1 = a AND $2 = b FOR KEY SHARE".
 * What is asked here of an index is what the planner asks, so that the two agree.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/lsyscache.h"

#include "index/index.h"

/*
 * True when the table is that of the key, or a partition of it.
 */
static bool
is_within(const IndexTable *table, const IndexTable *whole)
{
	while (table != NULL && table != whole)
		table = table->parent;
	return table != NULL;
}

/*
 * Returns the number that a column of the key has in this table: partitions may
 * number theirs as they like.
 */
static int16
find_attnum(const IndexTable *table, const IndexForeignKey *key, int position)
{
	int16		attnum = key->attnums[position];
	const char *name = key->table->columns[attnum - 1].name;

	if (table == key->table)
		return attnum;
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (table->columns[i].name != NULL && name != NULL && strcmp(table->columns[i].name, name) == 0)
			return i + 1;
	}
	return 0;
}

/*
 * Returns the collation that the check compares a column by: the column's own, unless
 * rows that are equal there may not be equal in the referenced table.
 */
Oid
architect_index_check_collation(const IndexForeignKey *key, int position)
{
	Oid			own = key->table->columns[key->attnums[position] - 1].collation;
	Oid			referenced = key->referenced->columns[key->referenced_attnums[position] - 1].collation;

	if (OidIsValid(referenced) && referenced != own && !get_collation_isdeterministic(referenced))
		return referenced;
	return own;
}

/*
 * True when the check compares a column of the key as it is: neither it nor an index
 * on it can be used where its values are first turned into another type.
 */
bool
architect_index_compares_column(const IndexForeignKey *key, int position)
{
	Oid			left;
	Oid			right;

	op_input_types(key->operators[position], &left, &right);
	return IsBinaryCoercible(key->table->columns[key->attnums[position] - 1].type, right);
}

/*
 * True when a column of the index can be searched by a column of the key.
 */
static bool
serves_column(const IndexDefinition *index, int column, const IndexForeignKey *key, int position)
{
	Oid			commutator;

	if (index->attnums[column] != find_attnum(index->table, key, position))
		return false;
	if (OidIsValid(index->collations[column]) &&
		index->collations[column] != architect_index_check_collation(key, position))
		return false;
	commutator = get_commutator(key->operators[position]);
	return OidIsValid(commutator) && op_in_opfamily(commutator, get_opclass_family(index->opclasses[column])) &&
		architect_index_compares_column(key, position);
}

/*
 * True when all rows that have a key are in the index.
 */
static bool
holds_all_keys(const IndexDefinition *index, const IndexForeignKey *key)
{
	List	   *known = NIL;

	if (index->predicate == NULL)
		return true;
	for (int i = 0; i < key->ncolumns; i++)
	{
		const IndexColumn *column = &key->table->columns[key->attnums[i] - 1];
		NullTest   *test = makeNode(NullTest);

		test->arg = (Expr *) makeVar(1, find_attnum(index->table, key, i), column->type, column->typmod,
									 column->collation, 0);
		test->nulltesttype = IS_NOT_NULL;
		test->argisrow = false;
		test->location = -1;
		known = lappend(known, test);
	}
	return predicate_implied_by(make_ands_implicit(stringToNode(index->predicate)), known, false);
}

/*
 * Returns how many columns of the index, from the first, are searched by the key.
 */
static int
count_leading(const IndexDefinition *index, const IndexForeignKey *key)
{
	int			column;

	for (column = 0; column < index->nkeys; column++)
	{
		int			position = 0;

		while (position < key->ncolumns && !serves_column(index, column, key, position))
			position++;
		if (position == key->ncolumns)
			break;
	}
	return column;
}

/*
 * Returns how many columns of the key the index can be searched by at once: 0 where it is
 * not of a kind, or not in a state, to be searched at all.
 */
int
architect_index_serves(const IndexDefinition *index, const IndexForeignKey *key)
{
	int			leading;
	int			served = 0;

	if (!index->is_valid || !index->is_ready || !index->is_live || !is_within(index->table, key->table))
		return 0;
	if (index->access_method != BTREE_AM_OID && index->access_method != GIST_AM_OID &&
		index->access_method != HASH_AM_OID)
		return 0;
	leading = count_leading(index, key);
	if (leading == 0 || !holds_all_keys(index, key))
		return 0;
	for (int i = 0; i < key->ncolumns; i++)
	{
		int16		attnum = find_attnum(index->table, key, i);
		int			column = 0;

		while (column < leading && index->attnums[column] != attnum)
			column++;
		if (column < leading)
			served++;
	}
	return served;
}

/*
 * True when the check of the key finds its rows by the index alone: by all columns of
 * the key, which come first in the index in any order, or by those of a unique index.
 * The index is one of the key's table, or of a partition of it.
 */
bool
architect_index_supports(const IndexDefinition *index, const IndexForeignKey *key)
{
	int			served = architect_index_serves(index, key);

	return served == key->ncolumns || (served > 0 && index->is_unique && count_leading(index, key) == index->nkeys);
}
