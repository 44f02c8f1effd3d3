/*
 * trial_made.c
 *    A row for a table, or a partition, that has none.
 *
 * It takes what the bounds of the partition ask for, what the caller's sample says,
 * what a row of the same table has, and the defaults of the columns.  What is still
 * missing and must not be NULL is made up.  No sequence is asked for a number, as that
 * would remain.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/syscache.h"

#include "tenant/trial.h"

/* Columns and values, as text, that a row must have to be of a partition. */
typedef struct PartitionValues
{
	ArrayBuildState *columns;
	ArrayBuildState *values;
} PartitionValues;

static const char *const columns_query =
"WITH wanted (name, value) AS (SELECT * FROM unnest($2, $3)),"
" listed AS ("
" SELECT attnum, attname, CASE"
"  WHEN wanted.value IS NOT NULL THEN format('%L::%s', wanted.value, type.name)"
"  WHEN $4::jsonb ? attname THEN format('%L::%s', $4::jsonb ->> attname, type.name)"
"  WHEN attname = $5 THEN format('$4::%s', type.name)"
"  WHEN EXISTS (SELECT FROM pg_attribute AS model JOIN pg_type AS row ON row.typrelid = model.attrelid"
"               WHERE row.oid = $6 AND model.attname = pg_attribute.attname AND NOT model.attisdropped)"
"  THEN format('($1).%I', attname)"
"  WHEN adbin IS NOT NULL AND pg_get_expr(adbin, adrelid) !~ 'nextval\\(' THEN NULL"
"  WHEN NOT attnotnull THEN NULL"
"  WHEN base = 'uuid'::regtype THEN 'pg_catalog.gen_random_uuid()'"
"  WHEN base IN ('json'::regtype, 'jsonb'::regtype) THEN format('''{}''::%s', type.name)"
"  WHEN typcategory = 'D' THEN format('pg_catalog.now()::%s', type.name)"
"  WHEN typcategory = 'E' THEN format('pg_catalog.enum_first(NULL::%s)', type.name)"
"  WHEN base = 'bytea'::regtype THEN ''''''"
"  ELSE format('%L::%s', CASE typcategory WHEN 'N' THEN '1' WHEN 'S' THEN 'a' WHEN 'B' THEN 'false'"
"    WHEN 'T' THEN '1 second' WHEN 'I' THEN '127.0.0.1' WHEN 'A' THEN '{}' WHEN 'R' THEN 'empty'"
"    WHEN 'V' THEN '0' END, type.name)"
" END AS value"
" FROM pg_attribute"
" JOIN pg_type ON pg_type.oid = atttypid"
" CROSS JOIN LATERAL (SELECT format_type(atttypid, atttypmod)) AS type (name)"
" CROSS JOIN LATERAL (SELECT CASE WHEN typbasetype = 0 THEN pg_type.oid ELSE typbasetype END) AS base (base)"
" LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
" LEFT JOIN wanted ON wanted.name = attname"
" WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = '')"
" SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum), string_agg(value, ', ' ORDER BY attnum)"
" FROM listed WHERE value IS NOT NULL";

static void
add_value(PartitionValues *wanted, const char *column, const char *value)
{
	wanted->columns = accumArrayResult(wanted->columns, CStringGetTextDatum(column), false, TEXTOID,
									   CurrentMemoryContext);
	wanted->values = accumArrayResult(wanted->values, CStringGetTextDatum(value), false, TEXTOID,
									  CurrentMemoryContext);
}

static void
add_constant(PartitionValues *wanted, const char *column, Const *constant)
{
	Oid			output;
	bool		is_varlena;

	if (constant->constisnull)
		return;
	getTypeOutputInfo(constant->consttype, &output, &is_varlena);
	add_value(wanted, column, OidOutputFunctionCall(output, constant->constvalue));
}

/*
 * Looks for a value whose hash belongs to the partition; only for a key of one column.
 */
static void
add_hashed(PartitionValues *wanted, const char *column, Oid type, Oid parent, PartitionBoundSpec *bound)
{
	const char *made = type == UUIDOID ? "md5(n::text)::uuid" : psprintf("n::text::%s", format_type_be(type));
	char	   *query = psprintf("SELECT (%s)::text FROM generate_series(1, 10000) AS n"
								 " WHERE satisfies_hash_partition(%u, %d, %d, %s) LIMIT 1",
								 made, parent, bound->modulus, bound->remainder, made);

	architect_tenant_read_catalog(query, 0, NULL, NULL);
	if (SPI_processed > 0)
		add_value(wanted, column, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_freetuptable(SPI_tuptable);
}

/*
 * For a default partition: a value that hardly any other has a place for.
 */
static void
add_extreme(PartitionValues *wanted, const char *column, Oid type)
{
	switch (type)
	{
		case INT2OID:
			return add_value(wanted, column, "32767");
		case INT4OID:
			return add_value(wanted, column, "2147483647");
		case INT8OID:
		case NUMERICOID:
			return add_value(wanted, column, "9223372036854775807");
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return add_value(wanted, column, "infinity");
		case UUIDOID:
			return add_value(wanted, column, "ffffffff-ffff-4fff-bfff-ffffffffffff");
		case TEXTOID:
		case VARCHAROID:
			return add_value(wanted, column, "~");
	}
}

/*
 * Adds what the bound of a partition asks of a row.
 */
static void
add_bound(PartitionValues *wanted, Oid parent, PartitionBoundSpec *bound)
{
	Relation	rel = table_open(parent, AccessShareLock);
	PartitionKey key = RelationGetPartitionKey(rel);

	for (int i = 0; i < key->partnatts; i++)
	{
		char	   *column;

		if (key->partattrs[i] == 0)
			continue;
		column = get_attname(parent, key->partattrs[i], false);
		if (bound->is_default)
			add_extreme(wanted, column, key->parttypid[i]);
		else if (bound->strategy == PARTITION_STRATEGY_LIST)
		{
			ListCell   *cell;

			foreach(cell, bound->listdatums)
			{
				if (!castNode(Const, lfirst(cell))->constisnull)
				{
					add_constant(wanted, column, castNode(Const, lfirst(cell)));
					break;
				}
			}
		}
		else if (bound->strategy == PARTITION_STRATEGY_RANGE)
		{
			PartitionRangeDatum *lower = list_nth_node(PartitionRangeDatum, bound->lowerdatums, i);

			if (lower->kind == PARTITION_RANGE_DATUM_VALUE)
				add_constant(wanted, column, castNode(Const, lower->value));
		}
		else if (key->partnatts == 1)
			add_hashed(wanted, column, key->parttypid[i], parent, bound);
	}
	table_close(rel, NoLock);
}

/*
 * Returns the bound of a partition, or NULL where the table is none.
 */
static PartitionBoundSpec *
read_bound(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	PartitionBoundSpec *bound = NULL;
	Datum		value;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	value = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);
	if (!isnull)
		bound = castNode(PartitionBoundSpec, stringToNode(TextDatumGetCString(value)));
	ReleaseSysCache(tuple);
	return bound;
}

/*
 * Returns what a row must have to be of this table: of a partitioned one, of the first
 * partition that has bounds.
 */
static PartitionValues
find_partition_values(Oid relid)
{
	PartitionValues wanted = {0};
	PartitionBoundSpec *bound;
	ListCell   *cell;

	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
	{
		foreach(cell, find_all_inheritors(relid, AccessShareLock, NULL))
		{
			if (get_rel_relkind(lfirst_oid(cell)) != RELKIND_RELATION)
				continue;
			relid = lfirst_oid(cell);
			bound = read_bound(relid);
			if (bound != NULL && !bound->is_default)
				break;
		}
	}
	while ((bound = read_bound(relid)) != NULL)
	{
		Oid			parent = get_partition_parent(relid, false);

		add_bound(&wanted, parent, bound);
		relid = parent;
	}
	return wanted;
}

static Datum
array_of(ArrayBuildState *built)
{
	if (built == NULL)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	return makeArrayResult(built, CurrentMemoryContext);
}

/*
 * Makes a row of the first tenant, or of whom the partition asks for, and returns it.
 * The model is a row of the same tree, or NULL.
 */
TrialRow *
architect_tenant_make_row(Trial *trial, TrialPath *path, TrialRow *model)
{
	PartitionValues wanted = find_partition_values(path->storage);
	Oid			types[] = {OIDOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID, TEXTOID, OIDOID};
	Datum		values[] = {
		ObjectIdGetDatum(path->storage), array_of(wanted.columns), array_of(wanted.values),
		CStringGetTextDatum(trial->sample != NULL ? trial->sample : "{}"), CStringGetTextDatum(trial->column),
		ObjectIdGetDatum(model != NULL ? model->type : InvalidOid)
	};
	char	   *statement;
	TrialRow   *row;
	int			level;

	architect_tenant_read_catalog(columns_query, lengthof(types), types, values);
	statement = psprintf("INSERT INTO %s AS \"architect row\" (%s) OVERRIDING SYSTEM VALUE VALUES (%s)"
						 " RETURNING ctid, tableoid, \"architect row\".*::%s, \"architect row\".%s::text",
						 path->storage_name, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						 SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2),
						 path->storage_name, quote_identifier(trial->column));
	SPI_freetuptable(SPI_tuptable);

	level = architect_tenant_begin_quiet();
	row = architect_tenant_read_row(statement, model, trial->own);
	architect_tenant_end_quiet(level);
	if (row == NULL || row->tenant == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the row that was made for %s did not stay as it was made", path->storage_name)));
	return row;
}
