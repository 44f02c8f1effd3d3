/*
 * whatif_index.c
 *    Indexes that do not exist: one of a table, or, as the server would make them, one
 *    of each partition, with names as the server would choose them.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "index/definition.h"
#include "index/whatif_sample.h"

/* Names of columns take no more of the name of an index (ChooseIndexNameAddition). */
#define MOST_ADDITION NAMEDATALEN

/* There may be thousands of indexes, of some kilobytes each. */
#define LARGEST_BLOCK 2048

/* A leaf, by its own oid or by that of its table. */
typedef struct LeafEntry
{
	Oid			oid;
	WhatIfLeaf *leaf;			/* NULL: the table cannot have the index */
} LeafEntry;

/*
 * Returns an oid that no relation has: from the end, where the counter hardly comes.
 */
static Oid
choose_oid(void)
{
	static Oid	last = InvalidOid;

	do
		last--;
	while (last < FirstNormalObjectId || SearchSysCacheExists1(RELOID, ObjectIdGetDatum(last)));
	return last;
}

/*
 * Returns the name that the server would choose.
 */
static char *
choose_name(const IndexDefinition *index)
{
	StringInfoData columns;

	initStringInfo(&columns);
	for (int i = 0; i < index->ncolumns && columns.len < MOST_ADDITION; i++)
	{
		int16		attnum = index->attnums[i];
		const char *name = attnum > 0 ? index->table->columns[attnum - 1].name : index->columns[i].name;

		appendStringInfo(&columns, "%s%s", i > 0 ? "_" : "", name != NULL ? name : "expr");
	}
	return ChooseRelationName(index->table->name, columns.data, "idx", index->table->schema, false);
}

/*
 * Returns the definition of a partition's index; NULL where the partition lacks a column.
 */
static IndexDefinition *
derive_definition(const IndexDefinition *root, IndexTable *table)
{
	IndexDefinition *index = palloc(sizeof(IndexDefinition));
	AttrMap    *map = make_attrmap(root->table->ncolumns);
	bool		has_whole_row = false;

	*index = *root;
	index->name = NULL;
	index->table = table;
	index->is_partitioned = false;
	index->attnums = palloc0(root->ncolumns * sizeof(int16));
	for (int i = 0; i < root->table->ncolumns; i++)
	{
		if (root->table->columns[i].name != NULL)
			map->attnums[i] = get_attnum(table->oid, root->table->columns[i].name);
	}
	for (int i = 0; i < root->ncolumns; i++)
	{
		if (root->attnums[i] > 0)
			index->attnums[i] = map->attnums[root->attnums[i] - 1];
	}
	if (root->expressions != NULL)
		index->expressions = nodeToString(map_variable_attnos(stringToNode(root->expressions), 1, 0, map, InvalidOid,
															  &has_whole_row));
	if (root->predicate != NULL)
		index->predicate = nodeToString(map_variable_attnos(stringToNode(root->predicate), 1, 0, map, InvalidOid,
															&has_whole_row));
	return has_whole_row ? NULL : index;
}

static WhatIfLeaf *
make_leaf(WhatIfIndex *index, IndexTable *table)
{
	WhatIfLeaf *leaf = palloc0(sizeof(WhatIfLeaf));
	LeafEntry  *entry;

	leaf->definition = palloc(sizeof(IndexDefinition));
	*leaf->definition = *index->definition;
	if (table != index->definition->table)
		leaf->definition = derive_definition(index->definition, table);
	if (leaf->definition == NULL)
		return NULL;
	leaf->index = index;
	leaf->oid = choose_oid();
	leaf->name = table == index->definition->table ? index->name : choose_name(leaf->definition);
	architect_whatif_fill(leaf);
	entry = hash_search(index->world->leaves, &leaf->oid, HASH_ENTER, NULL);
	entry->leaf = leaf;
	return leaf;
}

/*
 * True when a table is that of the index or, at any depth, a partition of it.
 */
static bool
is_in_tree(const WhatIfIndex *index, const IndexTable *table)
{
	while (table != NULL && table != index->definition->table)
		table = table->parent;
	return table != NULL;
}

/*
 * Finds the leaf of a partition, made when it is first asked for.
 */
static WhatIfLeaf *
find_partition(WhatIfIndex *index, Oid relation)
{
	IndexTable *table = architect_index_find_table(index->world->facts, relation);
	MemoryContext before;
	LeafEntry  *entry;
	WhatIfLeaf *leaf;

	if (table == NULL || table->kind == RELKIND_PARTITIONED_TABLE || !is_in_tree(index, table))
		return NULL;
	entry = hash_search(index->leaves, &relation, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->leaf;
	before = MemoryContextSwitchTo(index->context);
	leaf = make_leaf(index, table);
	(void) MemoryContextSwitchTo(before);
	entry = hash_search(index->leaves, &relation, HASH_ENTER, NULL);
	entry->leaf = leaf;
	return leaf;
}

/*
 * Returns what an index is on this table; NULL where it has none there.  The table is
 * locked.
 */
WhatIfLeaf *
architect_whatif_leaf(WhatIfIndex *index, Oid relation)
{
	MemoryContext before;

	if (index->leaves != NULL)
		return find_partition(index, relation);
	if (index->definition->table->oid != relation)
		return NULL;
	if (index->leaf == NULL)
	{
		before = MemoryContextSwitchTo(index->context);
		index->leaf = make_leaf(index, index->definition->table);
		(void) MemoryContextSwitchTo(before);
	}
	return index->leaf;
}

/*
 * Returns what indexes are thought of for: the database as it is now, in the current
 * memory context.
 */
WhatIfWorld *
architect_whatif_begin(void)
{
	WhatIfWorld *world = palloc(sizeof(WhatIfWorld));
	HASHCTL		control = {.keysize = sizeof(Oid), .hcxt = CurrentMemoryContext};

	world->context = CurrentMemoryContext;
	world->facts = architect_index_read_facts();
	control.entrysize = sizeof(LeafEntry);
	world->leaves = hash_create("what-if leaves", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	control.entrysize = sizeof(WhatIfSample);
	world->samples = hash_create("what-if samples", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return world;
}

static void *
copy(const void *array, Size size)
{
	return memcpy(palloc(size), array, size);
}

/*
 * Returns a copy of a definition of ours, on the same table.
 */
static IndexDefinition *
copy_definition(const IndexDefinition *from)
{
	IndexDefinition *index = copy(from, sizeof(IndexDefinition));

	if (from->name != NULL)
		index->name = pstrdup(from->name);
	index->attnums = copy(from->attnums, from->ncolumns * sizeof(int16));
	index->opclasses = copy(from->opclasses, from->ncolumns * sizeof(Oid));
	index->collations = copy(from->collations, from->ncolumns * sizeof(Oid));
	index->options = copy(from->options, from->ncolumns * sizeof(int16));
	index->columns = copy(from->columns, from->ncolumns * sizeof(IndexColumn));
	for (int i = 0; i < from->ncolumns; i++)
	{
		if (from->columns[i].name != NULL)
			index->columns[i].name = pstrdup(from->columns[i].name);
	}
	if (from->expressions != NULL)
		index->expressions = pstrdup(from->expressions);
	if (from->predicate != NULL)
		index->predicate = pstrdup(from->predicate);
	return index;
}

/*
 * Returns an index of this definition in a memory context of its own below the current
 * one.
 */
static WhatIfIndex *
make_index(WhatIfWorld *world, const IndexDefinition *definition)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "what-if index", ALLOCSET_SMALL_MINSIZE,
												  ALLOCSET_SMALL_INITSIZE, LARGEST_BLOCK);
	MemoryContext before = MemoryContextSwitchTo(context);
	WhatIfIndex *index = palloc0(sizeof(WhatIfIndex));
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(LeafEntry), .hcxt = context};

	index->context = context;
	index->world = world;
	index->definition = copy_definition(definition);
	index->name = definition->name != NULL ? index->definition->name : choose_name(definition);
	if (definition->table->kind == RELKIND_PARTITIONED_TABLE)
		index->leaves = hash_create("what-if partitions", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	(void) MemoryContextSwitchTo(before);
	return index;
}

/*
 * Returns the index of a CREATE INDEX statement; raises what is wrong with it.
 */
WhatIfIndex *
architect_whatif_create(WhatIfWorld *world, const char *source)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "what-if statement", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(scratch);
	IndexStmt  *statement = architect_index_parse_statement(source);
	Oid			relation = architect_index_lock_table(statement->relation);
	IndexTable *table = architect_index_find_table(world->facts, relation);
	IndexDefinition *definition;
	WhatIfIndex *index;
	const char *problem;

	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is temporary, or the server's own", statement->relation->relname)));
	definition = architect_index_define(table, statement, source, &problem);
	(void) MemoryContextSwitchTo(before);
	index = make_index(world, definition);
	MemoryContextDelete(scratch);
	return index;
}

/*
 * Returns what has this oid, of the indexes of a configuration; NULL where nothing has.
 */
const WhatIfLeaf *
architect_whatif_find(const WhatIfConfiguration *configuration, Oid oid)
{
	LeafEntry  *entry;

	if (configuration == NULL || configuration->indexes == NIL)
		return NULL;
	entry = hash_search(((WhatIfIndex *) linitial(configuration->indexes))->world->leaves, &oid, HASH_FIND, NULL);
	return entry == NULL ? NULL : entry->leaf;
}

static void
forget_leaf(const WhatIfLeaf *leaf)
{
	if (leaf != NULL)
		(void) hash_search(leaf->index->world->leaves, &leaf->oid, HASH_REMOVE, NULL);
}

/*
 * Frees an index, which is in no configuration any more.
 */
void
architect_whatif_forget(WhatIfIndex *index)
{
	HASH_SEQ_STATUS status;
	LeafEntry  *entry;

	forget_leaf(index->leaf);
	if (index->leaves != NULL)
	{
		hash_seq_init(&status, index->leaves);
		while ((entry = hash_seq_search(&status)) != NULL)
			forget_leaf(entry->leaf);
	}
	MemoryContextDelete(index->context);
}

/*
 * Adds the rows and bytes that an index has on a table and its partitions.
 */
static void
add_up(WhatIfIndex *index, const IndexTable *table, double *rows, double *bytes)
{
	WhatIfLeaf *leaf;
	ListCell   *cell;

	if (table->kind == RELKIND_PARTITIONED_TABLE)
	{
		foreach(cell, table->partitions)
			add_up(index, lfirst(cell), rows, bytes);
		return;
	}
	leaf = architect_whatif_leaf(index, table->oid);
	if (leaf == NULL)
		return;
	*rows += leaf->share * Max(table->rows, 0);
	*bytes += leaf->bytes;
}

/*
 * Returns how many bytes an index would take, on all partitions together, and notes in its
 * definition how many rows of a partial one.
 */
double
architect_whatif_bytes(WhatIfIndex *index)
{
	IndexDefinition *definition = index->definition;
	double		rows = 0;
	double		bytes = 0;

	add_up(index, definition->table, &rows, &bytes);
	if (definition->predicate != NULL && !OidIsValid(definition->oid))
		definition->rows = rows;
	return bytes;
}

/*
 * Has a configuration not see a real index, nor those of its partitions.
 */
void
architect_whatif_hide(WhatIfConfiguration *configuration, Oid index)
{
	configuration->hidden = list_concat_unique_oid(configuration->hidden, find_all_inheritors(index, NoLock, NULL));
}
