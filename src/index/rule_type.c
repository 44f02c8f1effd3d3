/*
 * rule_type.c
 *    Indexes of a kind that does not suit their column, and partitions that are not
 *    logged among some that are.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "index/cover.h"
#include "index/rules.h"

/* So many entries of one hash value fill a chain of pages that each insert walks. */
#define MANY_OF_A_VALUE 10000

/* An entry of a btree index must not be longer. */
#define LONGEST_ENTRY 2704

/* Where entries are so long in the mean, some will be too long. */
#define LONG_ENTRY 900

static bool
is_of_range(Oid type)
{
	char		kind = get_typtype(type);

	return kind == TYPTYPE_RANGE || kind == TYPTYPE_MULTIRANGE;
}

/*
 * Returns what a btree index on this type does not serve, and what does; NULL for a type
 * that a btree index suits.
 */
static const char *
find_unserved(const IndexColumn *column, const char **whole, const char **better)
{
	Oid			type = column->type;

	if (column->length != -1 || type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == NUMERICOID ||
		type == BYTEAOID)
		return NULL;
	type = getBaseType(type);
	if (type == JSONBOID)
	{
		*whole = "documents";
		*better = "a GIN index, or one on an expression that takes a value out of it with ->>";
		return "@>, ? or ->>";
	}
	if (type == TSVECTOROID)
	{
		*whole = "vectors";
		*better = "a GIN index";
		return "@@";
	}
	if (OidIsValid(get_element_type(type)))
	{
		*whole = "arrays";
		*better = "a GIN index";
		return "@>, && or = ANY";
	}
	if (is_of_range(type))
	{
		*whole = "ranges";
		*better = "a GiST index";
		return "@>, <@ or &&";
	}
	return NULL;
}

/*
 * True when the index does more than to be searched.
 */
static bool
has_duties(const IndexDefinition *index)
{
	if (index->is_unique || index->constraint_type != '\0' || index->is_replica_identity)
		return true;
	for (const IndexTable *table = index->table; table != NULL; table = table->parent)
	{
		ListCell   *cell;

		foreach(cell, table->foreign_keys)
		{
			if (architect_index_supports(index, lfirst(cell)))
				return true;
		}
	}
	return false;
}

/*
 * Returns how often the index was searched, here and where counts were imported from.
 */
static double
count_scans(const IndexDefinition *index)
{
	return index->counts.index_scans + (index->elsewhere == NULL ? 0 : index->elsewhere->scans);
}

static double
count_changes(const IndexTable *table)
{
	return table->counts.inserts + table->counts.updates - table->counts.hot_updates;
}

static IndexFinding *
add_finding(IndexReview *review, IndexDefinition *index, IndexSeverity severity, IndexConfidence confidence)
{
	IndexTable *table = index->table;
	bool		is_small = architect_index_is_small(table);
	IndexFinding *finding = architect_index_finding(review, is_small ? INDEX_HINT : severity,
													is_small ? INDEX_CONFIDENCE_HINT : confidence, table, index);

	finding->columns = architect_index_column_texts(index);
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "index_bytes", (double) index->pages * BLCKSZ);
	architect_index_evidence(finding, "scans", count_scans(index));
	architect_index_evidence_counts(review, finding);
	return finding;
}

/*
 * A btree index on what is searched by its parts, and that no query has searched yet.
 */
static void
look_at_btree(IndexReview *review, IndexDefinition *index)
{
	const char *whole;
	const char *better;
	const char *unserved = find_unserved(&index->columns[0], &whole, &better);
	bool		is_idle = architect_index_is_idle(review, index);
	IndexFinding *finding;

	if (unserved == NULL || (count_scans(index) > 0 && !is_idle) || has_duties(index))
		return;
	finding = add_finding(review, index, is_idle ? INDEX_WARNING : INDEX_HINT,
						  is_idle ? INDEX_CONFIDENCE_LIKELY : INDEX_CONFIDENCE_HINT);
	architect_index_reason(finding, "A btree index on %s compares whole %s and serves no search by %s: that takes %s.",
						   format_type_be(index->columns[0].type), whole, unserved, better);
	finding->benefit_bytes = (double) index->pages * BLCKSZ;
	finding->benefit_writes = architect_index_daily_writes(review->facts, index);
	architect_index_propose_drop(finding, index);
}

/*
 * Returns the statistics of a column of an index: the table's, or its own where it is an
 * expression.
 */
static const IndexColumn *
find_statistics(const IndexDefinition *index, int column)
{
	const IndexColumn *found = index->attnums[column] > 0 ? &index->table->columns[index->attnums[column] - 1] :
		&index->columns[column];

	return found->has_statistics ? found : NULL;
}

/*
 * A btree index whose entries come near to the length at which an INSERT fails.
 */
static void
look_at_length(IndexReview *review, IndexDefinition *index)
{
	double		width = 0;
	double		size = index->rows > 0 ? (double) index->pages * BLCKSZ / index->rows : 0;
	IndexFinding *finding;

	for (int i = 0; i < index->ncolumns; i++)
	{
		const IndexColumn *column = find_statistics(index, i);

		if (column != NULL)
			width += column->width;
	}
	if (width < LONG_ENTRY || size < LONG_ENTRY || architect_index_is_small(index->table))
		return;
	finding = add_finding(review, index, INDEX_HINT, INDEX_CONFIDENCE_LIKELY);
	architect_index_evidence(finding, "values_width", width);
	architect_index_evidence(finding, "bytes_an_entry", rint(size));
	architect_index_reason(finding, "Entries take %.0f bytes in the mean, and an INSERT with one above %d bytes "
						   "fails (54000): no statement does it alone, but a hash index, or one on md5() of the "
						   "column, takes values of any length.", size, LONGEST_ENTRY);
}

/*
 * A hash index on few values: all entries of one are in one bucket.
 */
static void
look_at_hash(IndexReview *review, IndexDefinition *index)
{
	const IndexColumn *column = find_statistics(index, 0);
	double		each;
	IndexFinding *finding;

	if (column == NULL || column->distinct <= 0 || index->rows <= 0)
		return;
	each = index->rows / column->distinct;
	if (each < MANY_OF_A_VALUE || has_duties(index))
		return;
	finding = add_finding(review, index, INDEX_WARNING, INDEX_CONFIDENCE_LIKELY);
	architect_index_evidence(finding, "values", column->distinct);
	architect_index_evidence(finding, "rows_a_value", rint(each));
	architect_index_reason(finding, "The column has %.0f values, and the entries of one are a chain of pages in a "
						   "hash index, which is walked to insert the next: a btree index holds them in a fraction "
						   "of the space.", column->distinct);
	if (index->predicate == NULL && index->expressions == NULL)
		architect_index_propose_replace(finding, index, NIL, NULL);
}

/*
 * A GiST index for text search that is read more than it is written.
 */
static void
look_at_gist(IndexReview *review, IndexDefinition *index)
{
	double		changes = count_changes(index->table);
	IndexFinding *finding;

	if (index->ncolumns != 1 || index->attnums[0] <= 0 || index->predicate != NULL ||
		index->table->columns[index->attnums[0] - 1].type != TSVECTOROID ||
		count_scans(index) <= changes || has_duties(index))
		return;
	finding = add_finding(review, index, INDEX_HINT, INDEX_CONFIDENCE_HINT);
	architect_index_evidence(finding, "changes", changes);
	architect_index_reason(finding, "A GiST index for text search has false hits, each of which is looked up in the "
						   "table: where it is read more than it is written, a GIN index is faster.");
	architect_index_propose_replace(finding, index, NIL,
									psprintf("USING gin (%s)", quote_identifier(linitial(finding->columns))));
}

static bool
has_logged(const IndexTable *table)
{
	ListCell   *cell;

	if (table->kind != RELKIND_PARTITIONED_TABLE)
		return table->persistence == RELPERSISTENCE_PERMANENT;
	foreach(cell, table->partitions)
	{
		if (has_logged(lfirst(cell)))
			return true;
	}
	return false;
}

/*
 * A partition whose rows, and indexes, are gone after a crash and not on replicas, while
 * those of others are.
 */
static void
look_at_persistence(IndexReview *review, IndexTable *table)
{
	const IndexTable *root = table;
	const char *name;
	IndexFinding *finding;

	if (table->persistence != RELPERSISTENCE_UNLOGGED || table->kind == RELKIND_PARTITIONED_TABLE)
		return;
	while (root->parent != NULL)
		root = root->parent;
	if (!has_logged(root))
		return;
	name = architect_index_table_name(table);
	finding = architect_index_finding(review, INDEX_WARNING, INDEX_CONFIDENCE_PROVEN, table, NULL);
	architect_index_reason(finding, "This partition of %s is not logged, and others are: a crash of the server "
						   "empties it and its indexes, and replicas have nothing of it.",
						   architect_index_table_name(root));
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "table_bytes", (double) table->pages * BLCKSZ);
	finding->statement = psprintf("ALTER TABLE %s SET LOGGED;", name);
	finding->undo = psprintf("ALTER TABLE %s SET UNLOGGED;", name);
	finding->lock = "AccessExclusiveLock on the partition, while it is written anew";
}

void
architect_index_rule_type(IndexReview *review)
{
	ListCell   *cell;

	foreach(cell, review->facts->tables)
	{
		IndexTable *table = lfirst(cell);
		ListCell   *inner;

		if (!table->reported || table->of_extension)
			continue;
		look_at_persistence(review, table);
		foreach(inner, table->indexes)
		{
			IndexDefinition *index = lfirst(inner);

			if (!index->is_valid || index->parent != NULL)
				continue;
			if (index->access_method == BTREE_AM_OID)
			{
				look_at_btree(review, index);
				look_at_length(review, index);
			}
			else if (index->access_method == HASH_AM_OID)
				look_at_hash(review, index);
			else if (index->access_method == GIST_AM_OID)
				look_at_gist(review, index);
		}
	}
}
