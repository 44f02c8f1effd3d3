/*
 * candidate.c
 *    What queries do with each table, and with its indexes.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "index/candidate.h"

static IndexTableUses *
find_uses(List *tables, const IndexTable *table)
{
	ListCell   *cell;

	foreach(cell, tables)
	{
		IndexTableUses *found = lfirst(cell);

		if (found->table == table)
			return found;
	}
	return NULL;
}

/*
 * True for tables that the reader may have findings about.
 */
static bool
is_looked_at(const IndexTable *table)
{
	return table->reported && !table->of_extension;
}

/*
 * Returns what queries do with tables (IndexTableUses); where there are no queries,
 * the rule in hand has a doubt.
 */
List *
architect_index_uses(IndexReview *review)
{
	IndexWorkload *workload = architect_index_workload(review);
	List	   *tables = NIL;
	ListCell   *cell;

	if (workload->problem != NULL)
		architect_index_doubt(review, "%s", workload->problem);
	foreach(cell, workload->queries)
	{
		IndexQuery *query = lfirst(cell);
		ListCell   *inner;

		foreach(inner, query->accesses)
		{
			IndexUse   *use = palloc(sizeof(IndexUse));
			IndexTableUses *table;

			use->query = query;
			use->access = lfirst(inner);
			if (!is_looked_at(use->access->table))
				continue;
			table = find_uses(tables, use->access->table);
			if (table == NULL)
			{
				table = palloc0(sizeof(IndexTableUses));
				table->table = use->access->table;
				tables = lappend(tables, table);
			}
			table->uses = lappend(table->uses, use);
		}
	}
	return tables;
}

/*
 * Returns what queries do with one table (IndexUse).
 */
List *
architect_index_uses_of(List *uses, const IndexTable *table)
{
	IndexTableUses *found = find_uses(uses, table);

	return found == NULL ? NIL : found->uses;
}

bool
architect_index_is_usable(const IndexDefinition *index)
{
	return index->is_valid && index->is_ready && index->is_live;
}

/*
 * True for an index that queries alone need, so that another can take its place.
 */
bool
architect_index_is_replaceable(const IndexDefinition *index)
{
	return architect_index_is_usable(index) && index->access_method == BTREE_AM_OID && index->parent == NULL &&
		!index->of_extension && !index->is_unique && index->constraint_type == '\0' && !index->is_clustered &&
		!index->is_replica_identity && index->required_by == NIL;
}

/*
 * True when a key of an index is what the predicate is about.
 */
bool
architect_index_key_is(const IndexDefinition *index, int key, const IndexPredicate *predicate)
{
	if (predicate->expression == NULL || index->attnums[key] != 0)
		return predicate->expression == NULL && index->attnums[key] == predicate->attnum;
	return strcmp(architect_index_column_text(index, key), predicate->expression) == 0;
}

/*
 * Adds the query that shows the keys of the jsonb column in an expression whose constant
 * is not known.
 */
void
architect_index_evidence_keys(IndexFinding *finding, const IndexPredicate *predicate)
{
	const IndexTable *table = finding->table;
	int			attnum = -1;

	while ((attnum = bms_next_member(predicate->columns, attnum)) >= 0)
	{
		const IndexColumn *column = attnum > 0 ? &table->columns[attnum - 1] : NULL;

		if (column == NULL || column->type != JSONBOID)
			continue;
		architect_index_evidence_text(finding, "find_key",
									  psprintf("SELECT key, presence, types, distinct_values, statement "
											   "FROM architect.jsonb_sample(%s, %s);",
											   quote_literal_cstr(architect_index_table_name(table)),
											   quote_literal_cstr(column->name)));
		return;
	}
}
