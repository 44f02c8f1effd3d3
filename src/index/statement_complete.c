/*
 * statement_complete.c
 *    Writes the statements that make the index of a partitioned table valid.
 *
 * It becomes so when the last partition's index is attached.  To attach one that is
 * attached already has the server look again.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "index/index.h"

/*
 * Returns the index of a partition that belongs to this one of the whole table, or NULL.
 */
IndexDefinition *
architect_index_attached(const IndexDefinition *index, const IndexTable *partition)
{
	ListCell   *cell;

	foreach(cell, index->partitions)
	{
		IndexDefinition *attached = lfirst(cell);

		if (attached->table == partition)
			return attached;
	}
	return NULL;
}

/*
 * Returns the definition of an index from USING on.
 */
static const char *
find_body(const IndexDefinition *index)
{
	const char *definition = architect_index_definition(index, 0);
	const char *head = psprintf("CREATE %sINDEX %s ON %s%s ", index->is_unique ? "UNIQUE " : "",
								quote_identifier(index->name), index->is_partitioned ? "ONLY " : "",
								architect_index_table_name(index->table));

	if (index->table->is_locked)
		return "";
	if (strncmp(definition, head, strlen(head)) != 0)
		elog(ERROR, "index definition is not understood: %s", definition);
	return definition + strlen(head);
}

/*
 * Returns an index of the partition that can be attached as it is, or NULL.
 */
static IndexDefinition *
find_same(const IndexDefinition *index, const IndexTable *partition)
{
	const char *body = find_body(index);
	ListCell   *cell;

	foreach(cell, partition->indexes)
	{
		IndexDefinition *other = lfirst(cell);

		if (other->is_valid && other->parent == NULL && other->is_unique == index->is_unique &&
			other->constraint_type == index->constraint_type && other->nkeys == index->nkeys &&
			other->ncolumns == index->ncolumns && strcmp(find_body(other), body) == 0)
			return other;
	}
	return NULL;
}

static char *
choose_name(const IndexFinding *finding, const IndexDefinition *index, const IndexTable *partition)
{
	StringInfoData label;

	initStringInfo(&label);
	for (int i = 0; i < index->ncolumns; i++)
		appendStringInfo(&label, "%s%s", i > 0 ? "_" : "", index->attnums[i] > 0 ?
						 index->table->columns[index->attnums[i] - 1].name : get_attname(index->oid, i + 1, false));
	if (index->is_primary)
		return architect_index_choose_name(finding, partition, NULL, "pkey", true);
	return architect_index_choose_name(finding, partition, label.data, index->constraint_type != '\0' ? "key" : "idx",
									   index->constraint_type != '\0');
}

static char *
qualify(const IndexTable *table, const char *name)
{
	return quote_qualified_identifier(get_namespace_name(table->schema), name);
}

/*
 * Appends what makes the constraint of a partition, its index being built.
 */
static void
append_constraint(StringInfo lines, const IndexDefinition *index, const IndexTable *partition, const char *name)
{
	appendStringInfo(lines, "ALTER TABLE %s ADD CONSTRAINT %s %s USING INDEX %s%s;\n",
					 architect_index_table_name(partition), quote_identifier(name),
					 index->is_primary ? "PRIMARY KEY" : "UNIQUE", quote_identifier(name),
					 architect_index_deferral(index));
}

/*
 * Appends what gives a partition its index of the tree, under this name; taken are those
 * below it that are there.
 */
static void
append_partition(StringInfo lines, const IndexFinding *finding, const IndexDefinition *index,
				 const IndexTable *partition, const char *name, List **taken)
{
	bool		is_parent = partition->kind == RELKIND_PARTITIONED_TABLE;
	ListCell   *cell;

	if (is_parent && index->constraint_type != '\0')
		appendStringInfo(lines, "ALTER TABLE ONLY %s ADD CONSTRAINT %s %s;\n", architect_index_table_name(partition),
						 quote_identifier(name), architect_index_constraint(index));
	else
		appendStringInfo(lines, "CREATE %sINDEX %s%s ON %s%s %s;\n", index->is_unique ? "UNIQUE " : "",
						 is_parent ? "" : "CONCURRENTLY ", quote_identifier(name), is_parent ? "ONLY " : "",
						 architect_index_table_name(partition), find_body(index));
	if (!is_parent && index->constraint_type != '\0')
		append_constraint(lines, index, partition, name);
	foreach(cell, partition->partitions)
	{
		IndexTable *child = lfirst(cell);
		IndexDefinition *same = find_same(index, child);
		const char *child_name = same != NULL ? same->name : choose_name(finding, index, child);

		if (same != NULL)
			*taken = lappend(*taken, same);
		else
			append_partition(lines, finding, index, child, child_name, taken);
		appendStringInfo(lines, "ALTER INDEX %s ATTACH PARTITION %s;\n", qualify(partition, name),
						 qualify(child, child_name));
	}
}

/*
 * Appends what the tree lacks below an index; taken are the indexes that are attached
 * and were not.
 */
static void
append_missing(StringInfo lines, const IndexFinding *finding, const IndexDefinition *index, List **taken)
{
	ListCell   *cell;

	foreach(cell, index->table->partitions)
	{
		IndexTable *partition = lfirst(cell);
		IndexDefinition *attached = architect_index_attached(index, partition);
		IndexDefinition *same = attached == NULL ? find_same(index, partition) : NULL;
		const char *name;

		if (attached != NULL && attached->is_valid)
			continue;
		if (attached != NULL && attached->is_partitioned)
		{
			append_missing(lines, finding, attached, taken);
			continue;
		}
		if (attached != NULL)
		{
			name = architect_index_name(attached);
			appendStringInfo(lines, "REINDEX INDEX CONCURRENTLY %s;\n", name);
		}
		else if (same != NULL)
		{
			name = architect_index_name(same);
			*taken = lappend(*taken, same);
		}
		else
		{
			const char *chosen = choose_name(finding, index, partition);

			append_partition(lines, finding, index, partition, chosen, taken);
			name = qualify(partition, chosen);
		}
		appendStringInfo(lines, "ALTER INDEX %s ATTACH PARTITION %s;\n", architect_index_name(index), name);
	}
}

/*
 * Proposes what makes the index of a partitioned table valid.  An index cannot be
 * detached: to undo it, the tree is dropped and made as it was.
 */
void
architect_index_propose_completion(IndexFinding *finding, IndexDefinition *index)
{
	StringInfoData lines;
	StringInfoData undo;
	List	   *taken = NIL;
	ListCell   *cell;

	if (index->partitions == NIL && index->table->partitions == NIL)
		return;
	initStringInfo(&lines);
	append_missing(&lines, finding, index, &taken);
	if (lines.len == 0)
		appendStringInfo(&lines, "ALTER INDEX %s ATTACH PARTITION %s;\n", architect_index_name(index),
						 architect_index_name(linitial(index->partitions)));

	architect_index_propose_drop(finding, index);
	initStringInfo(&undo);
	appendStringInfo(&undo, "%s\n%s\n", finding->statement, finding->undo);
	foreach(cell, taken)
		architect_index_append_restore(&undo, lfirst(cell));
	finding->statement = architect_index_finish_lines(&lines);
	finding->undo = architect_index_finish_lines(&undo);
	finding->lock = index->constraint_type != '\0' ?
		"ShareUpdateExclusiveLock on one partition after the other, AccessExclusiveLock for an instant" :
		"ShareUpdateExclusiveLock on one partition after the other";
}
