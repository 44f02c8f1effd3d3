/*
 * facts.c
 *    Reads all tables and indexes of the database, as the rules need them.
 *
 * The catalogs are read from end to end, each once: many times faster, and smaller,
 * than to open the relations, or to ask the caches for each.  No relation but the
 * catalogs is locked or read.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "compat.h"
#include "index/facts.h"

/*
 * Reads a catalog from end to end.
 */
void
architect_index_read_catalog(IndexFacts *facts, Oid catalog, IndexReader reader)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		reader(facts, tuple, RelationGetDescr(rel));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static IndexRelation *
find_relation(IndexFacts *facts, Oid oid)
{
	return hash_search(facts->relations, &oid, HASH_FIND, NULL);
}

/*
 * Returns the table of this oid, or NULL where it is none that we know.
 */
IndexTable *
architect_index_find_table(IndexFacts *facts, Oid relation)
{
	IndexRelation *found = find_relation(facts, relation);

	return found == NULL ? NULL : found->table;
}

IndexDefinition *
architect_index_find_index(IndexFacts *facts, Oid relation)
{
	IndexRelation *found = find_relation(facts, relation);

	return found == NULL ? NULL : found->index;
}

static IndexRelation *
add_relation(IndexFacts *facts, Oid oid)
{
	IndexRelation *relation = hash_search(facts->relations, &oid, HASH_ENTER, NULL);

	relation->table = NULL;
	relation->index = NULL;
	return relation;
}

/*
 * True for what is the server's own, and for temporary tables.
 */
static bool
is_passed_by(Form_pg_class class)
{
	return class->relpersistence == RELPERSISTENCE_TEMP ||
		IsCatalogNamespace(class->relnamespace) || IsToastNamespace(class->relnamespace) ||
		class->oid < FirstNormalObjectId;
}

/*
 * Takes what storage options say of the pages of a relation; index is NULL for a table.
 */
void
architect_index_take_options(List *options, int *fillfactor, IndexDefinition *index)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, "fillfactor") == 0)
			*fillfactor = pg_strtoint32(defGetString(option));
		else if (index != NULL && strcmp(option->defname, "deduplicate_items") == 0)
			index->deduplicates = defGetBoolean(option);
		else if (index != NULL && strcmp(option->defname, "pages_per_range") == 0)
			index->pages_per_range = pg_strtoint32(defGetString(option));
	}
}

static void
read_options(HeapTuple tuple, TupleDesc desc, int *fillfactor, IndexDefinition *index)
{
	bool		isnull;
	Datum		options = heap_getattr(tuple, Anum_pg_class_reloptions, desc, &isnull);

	if (!isnull)
		architect_index_take_options(untransformRelOptions(options), fillfactor, index);
}

/*
 * True when the reader may read all columns of a table.
 */
static bool
is_readable(const IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Oid			owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	bool		isnull;
	Datum		acl = heap_getattr(tuple, Anum_pg_class_relacl, desc, &isnull);

	if (facts->reads_all)
		return true;
	if (isnull)
		return has_privs_of_role(GetUserId(), owner);
	return aclmask(DatumGetAclP(acl), GetUserId(), owner, ACL_SELECT, ACLMASK_ANY) != ACL_NO_RIGHTS;
}

static void
read_table(IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);
	IndexTable *table = palloc0(sizeof(IndexTable));

	table->oid = class->oid;
	table->schema = class->relnamespace;
	table->name = pstrdup(NameStr(class->relname));
	table->owner = class->relowner;
	table->kind = class->relkind;
	table->persistence = class->relpersistence;
	table->is_partition = class->relispartition;
	table->reported = facts->is_monitor || has_privs_of_role(GetUserId(), class->relowner);
	table->is_readable = is_readable(facts, tuple, desc);
	table->is_filtered = class->relrowsecurity && check_enable_rls(class->oid, GetUserId(), true) == RLS_ENABLED;
	table->toast = class->reltoastrelid;
	table->fillfactor = HEAP_DEFAULT_FILLFACTOR;
	read_options(tuple, desc, &table->fillfactor, NULL);
	table->ncolumns = class->relnatts;
	table->columns = palloc0(Max(class->relnatts, 1) * sizeof(IndexColumn));
	if (class->relkind != RELKIND_PARTITIONED_TABLE)
	{
		table->pages = class->relpages;
		table->rows = class->reltuples;
		table->all_visible = class->relallvisible;
	}
	add_relation(facts, class->oid)->table = table;
	facts->tables = lappend(facts->tables, table);
}

static void
read_index_relation(IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);
	IndexDefinition *index = palloc0(sizeof(IndexDefinition));

	index->oid = class->oid;
	index->name = pstrdup(NameStr(class->relname));
	index->access_method = class->relam;
	index->tablespace = class->reltablespace;
	index->is_partitioned = class->relkind == RELKIND_PARTITIONED_INDEX;
	index->deduplicates = true;
	read_options(tuple, desc, &index->fillfactor, index);
	index->columns = palloc0(Max(class->relnatts, 1) * sizeof(IndexColumn));
	if (!index->is_partitioned)
	{
		index->pages = class->relpages;
		index->rows = class->reltuples;
	}
	add_relation(facts, class->oid)->index = index;
}

static void
read_relation(IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);

	if (is_passed_by(class))
		return;
	switch (class->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_MATVIEW:
			read_table(facts, tuple, desc);
			break;
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			read_index_relation(facts, tuple, desc);
			break;
	}
}

/*
 * Returns a node tree that stands in a catalog, as text; NULL where there is none.
 */
static char *
read_node_tree(HeapTuple tuple, int column, TupleDesc desc)
{
	bool		isnull;
	Datum		tree = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(tree);
}

static void
read_index(IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);
	IndexDefinition *index = architect_index_find_index(facts, form->indexrelid);
	IndexTable *table = architect_index_find_table(facts, form->indrelid);
	bool		isnull;
	oidvector  *opclasses;
	oidvector  *collations;
	int2vector *options;

	if (index == NULL)
		return;
	if (table == NULL)
	{
		/* Of a table of the server's own that is not. */
		(void) hash_search(facts->relations, &form->indexrelid, HASH_REMOVE, NULL);
		return;
	}

	opclasses = (oidvector *) DatumGetPointer(heap_getattr(tuple, Anum_pg_index_indclass, desc, &isnull));
	collations = (oidvector *) DatumGetPointer(heap_getattr(tuple, Anum_pg_index_indcollation, desc, &isnull));
	options = (int2vector *) DatumGetPointer(heap_getattr(tuple, Anum_pg_index_indoption, desc, &isnull));
	index->table = table;
	index->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	index->ncolumns = form->indnatts;
	index->nkeys = form->indnkeyatts;

	/* There are many indexes: one piece of memory for all four. */
	index->opclasses = palloc(index->nkeys * (2 * sizeof(Oid) + sizeof(int16)) + index->ncolumns * sizeof(int16));
	index->collations = index->opclasses + index->nkeys;
	index->options = (int16 *) (index->collations + index->nkeys);
	index->attnums = index->options + index->nkeys;
	memcpy(index->opclasses, opclasses->values, index->nkeys * sizeof(Oid));
	memcpy(index->collations, collations->values, index->nkeys * sizeof(Oid));
	memcpy(index->options, options->values, index->nkeys * sizeof(int16));
	memcpy(index->attnums, form->indkey.values, index->ncolumns * sizeof(int16));
	index->is_unique = form->indisunique;
	index->nulls_not_distinct = form->indnullsnotdistinct;
	index->is_primary = form->indisprimary;
	index->is_exclusion = form->indisexclusion;
	index->is_immediate = form->indimmediate;
	index->is_clustered = form->indisclustered;
	index->is_replica_identity = form->indisreplident;
	index->is_valid = form->indisvalid;
	index->is_ready = form->indisready;
	index->is_live = form->indislive;
	index->expressions = read_node_tree(tuple, Anum_pg_index_indexprs, desc);
	index->predicate = read_node_tree(tuple, Anum_pg_index_indpred, desc);
	table->indexes = lappend(table->indexes, index);
}

/*
 * Links partitions, and heirs, to their parents.
 */
static void
read_parent(IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_inherits form = (Form_pg_inherits) GETSTRUCT(tuple);
	IndexRelation *child = find_relation(facts, form->inhrelid);
	IndexRelation *parent = find_relation(facts, form->inhparent);

	if (child == NULL && parent != NULL && parent->table != NULL)
		parent->table->has_foreign_partitions = true;
	if (child == NULL || parent == NULL)
		return;
	if (child->index != NULL && parent->index != NULL)
	{
		child->index->parent = parent->index;
		parent->index->partitions = lappend(parent->index->partitions, child->index);
	}
	else if (child->table != NULL && parent->table != NULL && child->table->is_partition)
	{
		child->table->parent = parent->table;
		parent->table->partitions = lappend(parent->table->partitions, child->table);
	}
	else if (child->table != NULL && parent->table != NULL)
		parent->table->heirs = lappend(parent->table->heirs, child->table);
}

static void
add_counts(IndexCounts *sum, const IndexCounts *counts)
{
	sum->seq_scans += counts->seq_scans;
	sum->seq_rows += counts->seq_rows;
	sum->index_scans += counts->index_scans;
	sum->index_rows += counts->index_rows;
	sum->inserts += counts->inserts;
	sum->updates += counts->updates;
	sum->hot_updates += counts->hot_updates;
	sum->newpage_updates += counts->newpage_updates;
	sum->deletes += counts->deletes;
	sum->changes_since_analyze += counts->changes_since_analyze;
	sum->blocks += counts->blocks;
	sum->last_scan = Max(sum->last_scan, counts->last_scan);
}

/*
 * Adds up the partitions of a table.  What was not seen in one is not known of the whole.
 */
static void
sum_table(IndexTable *table)
{
	ListCell   *cell;
	bool		is_known = true;

	foreach(cell, table->partitions)
	{
		IndexTable *partition = lfirst(cell);

		sum_table(partition);
		table->pages += partition->pages;
		table->all_visible += partition->all_visible;
		table->rows += partition->rows;
		is_known = is_known && partition->rows >= 0;
		add_counts(&table->counts, &partition->counts);
		if (cell == list_head(table->partitions) || partition->counts.last_analyze < table->counts.last_analyze)
			table->counts.last_analyze = partition->counts.last_analyze;
	}
	if (!is_known)
		table->rows = -1;
}

static void
sum_index(IndexDefinition *index)
{
	ListCell   *cell;
	bool		is_known = true;

	foreach(cell, index->partitions)
	{
		IndexDefinition *partition = lfirst(cell);

		sum_index(partition);
		index->pages += partition->pages;
		index->rows += partition->rows;
		is_known = is_known && partition->rows >= 0;
		add_counts(&index->counts, &partition->counts);
	}
	if (!is_known)
		index->rows = -1;
}

/*
 * Has partitioned tables and indexes stand for their partitions.
 */
static void
sum_partitions(IndexFacts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->tables)
	{
		IndexTable *table = lfirst(cell);
		ListCell   *inner;

		if (table->parent == NULL)
			sum_table(table);
		foreach(inner, table->indexes)
		{
			IndexDefinition *index = lfirst(inner);

			if (index->parent == NULL)
				sum_index(index);
		}
	}
}

/*
 * Reads the facts, which live as long as the current memory context.  A context of their
 * own has no room to spare in each of the many pieces.
 */
IndexFacts *
architect_index_read_facts(void)
{
	MemoryContext context = GenerationContextCreate(CurrentMemoryContext, "facts of index advice",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	IndexFacts *facts = palloc0(sizeof(IndexFacts));
	HASHCTL		control = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(IndexRelation),
		.hcxt = context,
	};

	facts->is_monitor = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	facts->reads_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA);
	facts->relations = hash_create("relations of index advice", 1024, &control,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	architect_index_read_catalog(facts, RelationRelationId, read_relation);
	architect_index_read_catalog(facts, IndexRelationId, read_index);
	architect_index_read_catalog(facts, InheritsRelationId, read_parent);
	architect_index_read_columns(facts);
	architect_index_read_keys(facts);
	architect_index_read_usage(facts);
	MemoryContextSwitchTo(caller);

	/* These fill in, and free what they need themselves. */
	architect_index_read_statistics(facts);
	architect_index_read_counts(facts);
	sum_partitions(facts);
	return facts;
}
