/*
 * rule_covering.c
 *    Indexes that would answer queries alone if they had one or a few columns more.
 *
 * An index-only scan pays where many entries are read at a time, and where the
 * visibility map says of nearly all pages that the table need not be asked.  An index
 * that is to lose most of its entries is left to the partial rule.
 */
#include "postgres.h"

#include "catalog/pg_am.h"

#include "index/candidate.h"
#include "index/rules.h"

#define MIN_VISIBLE			0.8
#define MIN_ROWS_PER_SCAN	20
#define MAX_COLUMNS			3
#define MAX_BYTES			64

/* What an index lacks. */
typedef struct Extension
{
	IndexDefinition *index;
	Bitmapset  *columns;
	List	   *queries;		/* IndexQuery, those that lack them */
} Extension;

static const IndexPredicate *
find_predicate(const IndexAccess *access, const IndexDefinition *index, int key)
{
	ListCell   *cell;
	const IndexPredicate *found = NULL;

	foreach(cell, access->predicates)
	{
		const IndexPredicate *predicate = lfirst(cell);

		if (predicate->kind > INDEX_RANGE || !architect_index_key_is(index, key, predicate))
			continue;
		if (predicate->kind == INDEX_EQUALITY)
			return predicate;
		found = predicate;
	}
	return found;
}

/*
 * Returns how many keys of an index a query searches by: those it compares for equality,
 * and one more.
 */
static int
count_searched(const IndexAccess *access, const IndexDefinition *index)
{
	for (int i = 0; i < index->nkeys; i++)
	{
		const IndexPredicate *predicate = find_predicate(access, index, i);

		if (predicate == NULL)
			return i;
		if (predicate->kind != INDEX_EQUALITY)
			return i + 1;
	}
	return index->nkeys;
}

static Bitmapset *
find_missing(const IndexAccess *access, const IndexDefinition *index)
{
	Bitmapset  *missing = bms_copy(access->columns);

	for (int i = 0; i < index->ncolumns; i++)
		missing = bms_del_member(missing, index->attnums[i]);
	return missing;
}

/*
 * Returns the index that a query searches by the most keys, and of these the one that
 * lacks the fewest columns.
 */
static IndexDefinition *
find_searched(const IndexAccess *access, int *missing)
{
	IndexDefinition *best = NULL;
	int			most = 0;
	ListCell   *cell;

	foreach(cell, access->table->indexes)
	{
		IndexDefinition *index = lfirst(cell);
		int			searched;
		int			lacks;

		if (!architect_index_is_usable(index) || index->access_method != BTREE_AM_OID || index->predicate != NULL)
			continue;
		searched = count_searched(access, index);
		lacks = bms_num_members(find_missing(access, index));
		if (searched > most || (searched > 0 && searched == most && lacks < *missing))
		{
			best = index;
			most = searched;
			*missing = lacks;
		}
	}
	return best;
}

static Extension *
find_extension(List **extensions, IndexDefinition *index)
{
	Extension  *extension;
	ListCell   *cell;

	foreach(cell, *extensions)
	{
		extension = lfirst(cell);
		if (extension->index == index)
			return extension;
	}
	extension = palloc0(sizeof(Extension));
	extension->index = index;
	*extensions = lappend(*extensions, extension);
	return extension;
}

/*
 * Returns the bytes that these columns add to an entry; -1 where that is not known.
 */
static int
count_bytes(const IndexTable *table, const Bitmapset *columns)
{
	int			attnum = -1;
	int			bytes = 0;

	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		if (attnum == 0 || attnum > table->ncolumns || !table->columns[attnum - 1].has_statistics)
			return -1;
		bytes += table->columns[attnum - 1].width;
	}
	return bytes;
}

/*
 * True when an UPDATE of those seen sets one of the columns: with them in an index it
 * would no longer be heap-only.
 */
static bool
is_assigned(List *uses, const Bitmapset *columns)
{
	ListCell   *cell;

	foreach(cell, uses)
	{
		if (bms_overlap(((IndexUse *) lfirst(cell))->access->assigned, columns))
			return true;
	}
	return false;
}

/*
 * Takes what one query lacks into what its index is to be extended by.
 */
static void
add_use(IndexReview *review, List **extensions, List *uses, const IndexUse *use)
{
	int			lacks = 0;
	IndexDefinition *index = use->access->columns == NULL ? NULL : find_searched(use->access, &lacks);
	Extension  *extension;
	Bitmapset  *columns;
	int			bytes;

	if (index == NULL || lacks == 0 || lacks > MAX_COLUMNS || index->expressions != NULL ||
		!architect_index_is_replaceable(index))
		return;
	extension = find_extension(extensions, index);
	columns = bms_union(extension->columns, find_missing(use->access, index));
	bytes = count_bytes(index->table, columns);
	if (bytes < 0)
		architect_index_doubt(review, "a column has no statistics, or they may not be read");
	if (bytes < 0 || bytes > MAX_BYTES || bms_num_members(columns) > MAX_COLUMNS || is_assigned(uses, columns))
		return;
	extension->columns = columns;
	extension->queries = list_append_unique_ptr(extension->queries, use->query);
}

static List *
name_columns(const IndexTable *table, const Bitmapset *columns)
{
	List	   *names = NIL;
	int			attnum = -1;

	while ((attnum = bms_next_member(columns, attnum)) >= 0)
		names = lappend(names, table->columns[attnum - 1].name);
	return names;
}

static void
report(IndexReview *review, const Extension *extension, List *uses)
{
	IndexDefinition *index = extension->index;
	IndexTable *table = index->table;
	double		rows = index->counts.index_rows / Max(index->counts.index_scans, 1);
	double		visible = table->all_visible / (double) Max(table->pages, 1);
	List	   *names = name_columns(table, extension->columns);
	IndexFinding *finding;

	if (extension->columns == NULL || rows < MIN_ROWS_PER_SCAN || index->counts.index_rows < table->rows ||
		architect_index_lacks_predicate(index, uses))
		return;
	finding = architect_index_finding(review, table->pages < INDEX_LARGE_PAGES ? INDEX_HINT : INDEX_WARNING,
									  INDEX_CONFIDENCE_LIKELY, table, index);
	finding->columns = list_concat(architect_index_column_texts(index), names);
	architect_index_reason(finding, "A scan of the index reads %.0f rows, and the queries that search it need only "
						   "%d %s more, which INCLUDE would spare them to fetch from the table.", rows,
						   list_length(names), list_length(names) == 1 ? "column" : "columns");
	architect_index_evidence(finding, "scans", index->counts.index_scans);
	architect_index_evidence(finding, "rows_per_scan", rows);
	architect_index_evidence(finding, "visible_share", visible);
	architect_index_evidence(finding, "table_bytes", (double) table->pages * BLCKSZ);
	architect_index_evidence(finding, "added_bytes", count_bytes(table, extension->columns) * Max(table->rows, 0));
	architect_index_evidence_queries(finding, extension->queries);
	architect_index_evidence_counts(review, finding);
	architect_index_propose_replace(finding, index, names, architect_index_extend_body(index, names, NULL));
}

void
architect_index_rule_covering(IndexReview *review)
{
	ListCell   *cell;

	foreach(cell, architect_index_uses(review))
	{
		IndexTableUses *table = lfirst(cell);
		List	   *extensions = NIL;
		ListCell   *inner;

		if (table->table->pages < INDEX_SMALL_PAGES || table->table->all_visible < MIN_VISIBLE * table->table->pages)
			continue;
		foreach(inner, table->uses)
			add_use(review, &extensions, table->uses, lfirst(inner));
		foreach(inner, extensions)
			report(review, lfirst(inner), table->uses);
	}
}
