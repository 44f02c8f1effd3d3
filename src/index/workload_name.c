/*
 * workload_name.c
 *    Tells which tables and columns the names in a text are.
 *
 * No relation is locked or opened: a name that has changed since is not found, which
 * does no harm.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "index/workload_text.h"

/* A table by its name, whatever its schema is. */
typedef struct NamedTable
{
	NameData	name;
	IndexTable *table;			/* NULL: there are several */
} NamedTable;

static HTAB *
collect_tables(IndexFacts *facts)
{
	HASHCTL		control = {
		.keysize = sizeof(NameData),
		.entrysize = sizeof(NamedTable),
		.hcxt = CurrentMemoryContext,
	};
	HTAB	   *tables = hash_create("tables by name", 1024, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	ListCell   *cell;

	foreach(cell, facts->tables)
	{
		IndexTable *table = lfirst(cell);
		bool		found;
		NamedTable *named = hash_search(tables, table->name, HASH_ENTER, &found);

		named->table = found ? NULL : table;
	}
	return tables;
}

/*
 * Returns the relation that the path shows by this name.
 */
static Oid
find_on_path(IndexNames *names, const char *name)
{
	Oid			relation = get_relname_relid(name, PG_CATALOG_NAMESPACE);
	List	   *schemas = NIL;
	ListCell   *cell;

	if (OidIsValid(relation))
		return relation;
	if (!SplitIdentifierString(pstrdup(names->path), ',', &schemas))
		return InvalidOid;
	foreach(cell, schemas)
	{
		char	   *schema = lfirst(cell);
		Oid			namespace;

		if (strcmp(schema, "$user") == 0)
			schema = GetUserNameFromId(names->role, true);
		namespace = schema == NULL ? InvalidOid : get_namespace_oid(schema, true);
		relation = OidIsValid(namespace) ? get_relname_relid(name, namespace) : InvalidOid;
		if (OidIsValid(relation))
			return relation;
	}
	return InvalidOid;
}

/*
 * Returns the table of this name, or NULL.  Without a schema it is the one on the
 * path that sessions begin with, else the only one of that name.
 */
IndexTable *
architect_index_resolve_table(IndexNames *names, const RangeVar *name)
{
	Oid			relation;
	NamedTable *named;

	if (name->schemaname != NULL)
	{
		Oid			namespace = get_namespace_oid(name->schemaname, true);

		relation = OidIsValid(namespace) ? get_relname_relid(name->relname, namespace) : InvalidOid;
		return architect_index_find_table(names->facts, relation);
	}
	relation = find_on_path(names, name->relname);
	if (OidIsValid(relation))
		return architect_index_find_table(names->facts, relation);
	if (names->tables == NULL)
		names->tables = collect_tables(names->facts);
	named = hash_search(names->tables, name->relname, HASH_FIND, NULL);
	return named == NULL ? NULL : named->table;
}

/*
 * Returns the number of a table's column, or 0.
 */
int16
architect_index_resolve_column(const IndexTable *table, const char *name)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (table->columns[i].name != NULL && strcmp(table->columns[i].name, name) == 0)
			return i + 1;
	}
	return 0;
}

static bool
has_name(const List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

/* True when a source has this column; what is not known has every column. */
static bool
has_column(const IndexSource *source, const char *name)
{
	if (source->access != NULL)
		return architect_index_resolve_column(source->access->table, name) != 0;
	return source->columns == NIL || has_name(source->columns, name);
}

static bool
is_named(const IndexSource *source, const char *schema, const char *name)
{
	if (source->name == NULL || strcmp(source->name, name) != 0)
		return false;
	return schema == NULL || source->access == NULL ||
		get_namespace_oid(schema, true) == source->access->table->schema;
}

/*
 * Returns the source with this name; sets whether there may be one.
 */
static IndexSource *
find_source(const IndexScope *scope, const char *schema, const char *name, bool *is_any)
{
	ListCell   *cell;

	*is_any = false;
	foreach(cell, scope->sources)
	{
		IndexSource *source = lfirst(cell);

		if (is_named(source, schema, name))
			return source;
		*is_any = *is_any || source->name == NULL;
	}
	return NULL;
}

/*
 * Returns the only source that has this column; sets whether there is any.
 */
static IndexSource *
find_only(const IndexScope *scope, const char *column, bool *is_any)
{
	IndexSource *only = NULL;
	ListCell   *cell;

	*is_any = false;
	foreach(cell, scope->sources)
	{
		IndexSource *source = lfirst(cell);

		if (!has_column(source, column))
			continue;
		if (*is_any)
			return has_name(scope->merged, column) ? only : NULL;
		*is_any = true;
		only = source;
	}
	return only;
}

static const char *
field_name(const ColumnRef *column, int field)
{
	Node	   *name = list_nth(column->fields, field);

	return IsA(name, String) ? strVal(name) : NULL;
}

/*
 * Returns where a column comes from; NULL where that cannot be told.  Its number is 0
 * where it is not that of a table.
 */
IndexSource *
architect_index_resolve(IndexScope *scope, const ColumnRef *column, int16 *attnum, bool *is_outer)
{
	int			nfields = list_length(column->fields);
	const char *name = field_name(column, nfields - 1);
	const char *qualifier = nfields > 1 ? field_name(column, nfields - 2) : NULL;
	const char *schema = nfields > 2 ? field_name(column, nfields - 3) : NULL;
	IndexSource *source = NULL;
	bool		is_any = false;

	*attnum = 0;
	*is_outer = false;
	if (name == NULL)
		return NULL;
	for (; scope != NULL; scope = scope->sees_outer ? scope->outer : NULL)
	{
		source = qualifier == NULL ? find_only(scope, name, &is_any) :
			find_source(scope, schema, qualifier, &is_any);
		if (source != NULL || is_any)
			break;
		*is_outer = true;
	}
	if (source != NULL && source->access != NULL)
		*attnum = architect_index_resolve_column(source->access->table, name);
	return source;
}

static bool
note_parts(Node *node, void *context)
{
	IndexParts *parts = context;

	if (node == NULL)
		return false;
	if (IsA(node, ColumnRef))
	{
		int16		attnum;
		bool		is_outer;
		IndexSource *source = architect_index_resolve(parts->scope, (ColumnRef *) node, &attnum, &is_outer);

		if (source == NULL || (source->access != NULL && attnum == 0))
			parts->is_obscure = true;
		else if (is_outer)
			parts->has_outer = true;
		else
		{
			parts->sources = bms_add_member(parts->sources, source->number);
			parts->columns = bms_add_member(parts->columns, attnum);
		}
		return false;
	}

	/* Another collation than the column's has another order, and other equal values. */
	if (IsA(node, SubLink) || IsA(node, CollateClause))
		parts->is_obscure = true;
	if (IsA(node, ParamRef))
		parts->has_parameters = true;
	if (IsA(node, SubLink) || IsA(node, SelectStmt))
		return false;
	return raw_expression_tree_walker(node, note_parts, parts);
}

/*
 * Finds what an expression is made of.
 */
void
architect_index_find_parts(Node *expression, IndexParts *parts)
{
	(void) note_parts(expression, parts);
}

static Bitmapset *
map_columns(const Bitmapset *columns, const int16 *map)
{
	Bitmapset  *mapped = NULL;
	int			attnum = -1;

	while ((attnum = bms_next_member(columns, attnum)) >= 0)
		mapped = bms_add_member(mapped, map[attnum]);
	return mapped;
}

/*
 * Has what is done with a partition be done with the whole table: all columns of one are
 * columns of the other, with other numbers perhaps.
 */
void
architect_index_widen(IndexAccess *access)
{
	const IndexTable *partition = access->table;
	int16	   *map;
	ListCell   *cell;

	while (access->table->parent != NULL)
		access->table = access->table->parent;
	if (access->table == partition)
		return;
	map = palloc0((partition->ncolumns + 1) * sizeof(int16));
	for (int i = 0; i < partition->ncolumns; i++)
	{
		if (partition->columns[i].name != NULL)
			map[i + 1] = architect_index_resolve_column(access->table, partition->columns[i].name);
	}
	foreach(cell, access->predicates)
	{
		IndexPredicate *predicate = lfirst(cell);

		predicate->attnum = map[predicate->attnum];
		predicate->columns = map_columns(predicate->columns, map);
	}
	foreach(cell, access->sort)
		((IndexSort *) lfirst(cell))->attnum = map[((IndexSort *) lfirst(cell))->attnum];
	access->unread = map_columns(access->unread, map);
	access->columns = map_columns(access->columns, map);
	access->assigned = map_columns(access->assigned, map);
}

/*
 * Notes that a column is read: of every source that may have it.
 */
void
architect_index_note_column(IndexScope *scope, const ColumnRef *column)
{
	int			nfields = list_length(column->fields);
	const char *name = field_name(column, nfields - 1);
	const char *qualifier = nfields > 1 ? field_name(column, nfields - 2) : NULL;

	for (; scope != NULL; scope = scope->sees_outer ? scope->outer : NULL)
	{
		ListCell   *cell;

		foreach(cell, scope->sources)
		{
			IndexSource *source = lfirst(cell);
			int16		attnum;

			if (source->access == NULL)
				continue;
			if (qualifier != NULL && (source->name == NULL || strcmp(source->name, qualifier) != 0))
				continue;
			attnum = name == NULL ? 0 : architect_index_resolve_column(source->access->table, name);
			if (attnum > 0)
				source->access->columns = bms_add_member(source->access->columns, attnum);
			else if (name == NULL || (qualifier == NULL && source->name != NULL && strcmp(source->name, name) == 0))
				source->reads_all = true;
		}
	}
}
