/*
 * jsonb.c
 *    Gives what jsonb columns are made of as rows: one for the documents of a column,
 *    and one for each key.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "index/jsonb.h"
#include "index/workload.h"

PG_FUNCTION_INFO_V1(architect_jsonb_sample);

#define MOST_TABLES 100			/* are sampled where none is named, the largest */
#define MOST_ROWS 100			/* keys of a column that are listed */
#define NCOLUMNS 19
#define VIRTUAL_PROBLEM "it is a virtual generated column, which is not stored"

static const char *const kind_names[] = {
	[JSONB_NULL] = "null",
	[JSONB_STRING] = "string",
	[JSONB_NUMBER] = "number",
	[JSONB_BOOLEAN] = "boolean",
	[JSONB_ARRAY] = "array",
	[JSONB_OBJECT] = "object",
	[JSONB_CONTAINER] = "container",
};

static bool
is_jsonb(const IndexColumn *column)
{
	return column->name != NULL &&
		(column->type == JSONBOID || (column->type >= FirstNormalObjectId && getBaseType(column->type) == JSONBOID));
}

/*
 * Returns the numbers of a table's jsonb columns.
 */
static List *
find_columns(const IndexTable *table)
{
	List	   *attnums = NIL;

	for (int i = 0; i < table->ncolumns; i++)
	{
		if (is_jsonb(&table->columns[i]))
			attnums = lappend_int(attnums, i + 1);
	}
	return attnums;
}

/*
 * True when a column is not stored.
 */
static bool
is_virtual(const IndexTable *table, int attnum)
{
	char		generated = table->columns[attnum - 1].generated;

	return generated != '\0' && generated != ATTRIBUTE_GENERATED_STORED;
}

static bool
may_read(const IndexTable *table, int attnum)
{
	bool		is_missing = false;

	return pg_class_aclcheck_ext(table->oid, GetUserId(), ACL_SELECT, &is_missing) == ACLCHECK_OK ||
		(!is_missing &&
		 pg_attribute_aclcheck_ext(table->oid, attnum, GetUserId(), ACL_SELECT, &is_missing) == ACLCHECK_OK);
}

static void
set_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	if (text != NULL)
		*value = CStringGetTextDatum(text);
}

static void
set_number(Datum *value, bool *isnull, double number)
{
	*isnull = isnan(number) || isinf(number);
	*value = Float8GetDatum(number);
}

/*
 * Returns the share of each type, as jsonb.
 */
static Datum
make_types(const JsonbKey *key)
{
	IndexFinding shares = {0};

	(void) pushJsonbValue(&shares.evidence, WJB_BEGIN_OBJECT, NULL);
	for (int kind = 0; kind < JSONB_KINDS; kind++)
	{
		if (key->kinds[kind] > 0)
			architect_index_evidence(&shares, kind_names[kind], key->kinds[kind] / key->count);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&shares.evidence, WJB_END_OBJECT, NULL)));
}

/*
 * Returns the name of a key, behind that of the object which it is in.
 */
static char *
make_path(const JsonbKey *key)
{
	if (key->parent == NULL)
		return key->name;
	return psprintf("%s.%s", key->parent->name, key->name);
}

/*
 * Gives a row: of the whole column where the key is that of its documents.
 */
static void
put_key(ReturnSetInfo *result, const JsonbSample *sample, const JsonbColumn *column, const JsonbKey *key,
		const JsonbAdvice *advice)
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS] = {false};
	bool		is_all = key == &column->all;

	values[0] = ObjectIdGetDatum(sample->table->oid);
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(column->name));
	set_text(&values[2], &nulls[2], make_path(key));
	set_number(&values[3], &nulls[3], is_all ? key->count / sample->rows : key->count / column->all.count);
	set_number(&values[4], &nulls[4], is_all ? NAN : architect_jsonb_presence_error(sample, column, key));
	nulls[5] = key->count == 0;
	values[5] = nulls[5] ? (Datum) 0 : make_types(key);
	nulls[6] = is_all || architect_jsonb_has_many_values(key);
	values[6] = Int64GetDatum(key->nvalues);
	set_number(&values[7], &nulls[7], key->value_bytes / key->count);
	set_number(&values[8], &nulls[8], key->key_bytes / key->count);
	set_number(&values[9], &nulls[9], key->toasted / key->count);
	values[10] = Int64GetDatum(is_all ? (int64) sample->rows : (int64) column->all.count);
	set_number(&values[11], &nulls[11], advice->calls < 0 ? NAN : advice->calls);
	set_text(&values[12], &nulls[12], architect_jsonb_expression(quote_identifier(column->name), key, "->>"));
	set_text(&values[13], &nulls[13], advice->advice);
	set_text(&values[14], &nulls[14], advice->confidence);
	set_text(&values[15], &nulls[15], advice->reason);
	set_text(&values[16], &nulls[16], advice->statement);
	set_text(&values[17], &nulls[17], advice->undo);
	set_text(&values[18], &nulls[18], advice->lock);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Gives one row that says why a column was not read.
 */
static void
put_problem(ReturnSetInfo *result, IndexTable *table, int attnum, const char *problem)
{
	JsonbSample sample = {.table = table};
	JsonbColumn column = {.attnum = attnum, .name = table->columns[attnum - 1].name};
	JsonbAdvice advice = {.calls = -1, .reason = psprintf("It was not read: %s.", problem)};

	put_key(result, &sample, &column, &column.all, &advice);
}

static void
put_column(ReturnSetInfo *result, IndexReview *review, JsonbSample *sample, JsonbColumn *column,
		   JsonbPresent *present)
{
	int64		nothers;
	List	   *keys = architect_jsonb_keys(column, MOST_ROWS, &nothers);
	JsonbAdvice remark = {0};
	ListCell   *cell;

	architect_jsonb_remark(column, nothers, &remark);
	put_key(result, sample, column, &column->all, &remark);
	foreach(cell, keys)
	{
		JsonbAdvice advice = {0};

		architect_jsonb_advise(review, sample, column, lfirst(cell), present, &advice);
		put_key(result, sample, column, lfirst(cell), &advice);
	}
}

/*
 * Samples these columns of a table.  Raises nothing about what cannot be read.
 */
static void
put_table(ReturnSetInfo *result, IndexReview *review, IndexTable *table, List *attnums, double percent, bool waits)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jsonb sample", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller;
	const char *problem = architect_jsonb_lock(table->oid, waits);
	JsonbSample *sample;
	ListCell   *cell;

	/* The workload is read once, for all tables. */
	(void) architect_index_workload(review);
	caller = MemoryContextSwitchTo(context);
	if (problem == NULL)
	{
		sample = architect_jsonb_read(table, attnums, percent, waits);
		problem = sample->problem;
		if (problem == NULL)
		{
			JsonbPresent *present = architect_jsonb_present(table);

			for (int i = 0; i < sample->ncolumns; i++)
				put_column(result, review, sample, &sample->columns[i], present);
		}
		UnlockRelationOid(table->oid, AccessShareLock);
	}
	if (problem != NULL)
	{
		foreach(cell, attnums)
			put_problem(result, table, lfirst_int(cell), problem);
	}
	(void) MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* The largest table first. */
static int
compare_tables(const ListCell *left, const ListCell *right)
{
	const IndexTable *one = lfirst(left);
	const IndexTable *other = lfirst(right);

	if (one->pages != other->pages)
		return one->pages > other->pages ? -1 : 1;
	return one->oid < other->oid ? -1 : one->oid > other->oid;
}

/*
 * Returns why a column is not to be read; NULL where it may be.
 */
static const char *
find_problem(const IndexTable *table, int attnum, int nread)
{
	if (!may_read(table, attnum))
		return "you have no right to";
	if (check_enable_rls(table->oid, InvalidOid, true) == RLS_ENABLED)
		return "row-level security would hide rows from you";
	if (is_virtual(table, attnum))
		return VIRTUAL_PROBLEM;
	if (nread >= MOST_TABLES)
		return "there are many larger tables; jsonb_sample reads it";
	return NULL;
}

/*
 * Samples the jsonb columns of all tables that the reader hears about.
 */
static void
put_all(ReturnSetInfo *result, IndexReview *review, double percent)
{
	int			nread = 0;
	ListCell   *cell;
	ListCell   *inner;

	list_sort(review->facts->tables, compare_tables);
	foreach(cell, review->facts->tables)
	{
		IndexTable *table = lfirst(cell);
		List	   *readable = NIL;

		if (!table->reported || table->of_extension || table->parent != NULL)
			continue;
		foreach(inner, find_columns(table))
		{
			const char *problem = find_problem(table, lfirst_int(inner), nread);

			if (problem == NULL)
				readable = lappend_int(readable, lfirst_int(inner));
			else
				put_problem(result, table, lfirst_int(inner), problem);
		}
		if (readable == NIL)
			continue;
		put_table(result, review, table, readable, percent, false);
		nread++;
	}
}

/*
 * Raises 42501 unless the column may be read, and as a whole.
 */
static void
check_readable(const IndexTable *table, int attnum)
{
	if (!may_read(table, attnum))
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(table->kind), table->name);
	if (check_enable_rls(table->oid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security would hide rows of table \"%s\" from you", table->name),
				 errhint("Ask the owner of the table, or a role with BYPASSRLS.")));
}

static List *
choose_columns(const IndexTable *table, const char *name)
{
	int			attnum = get_attnum(table->oid, name);

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", name, table->name)));
	if (attnum > table->ncolumns || !is_jsonb(&table->columns[attnum - 1]))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is not of type jsonb", name, table->name)));
	return list_make1_int(attnum);
}

/*
 * Samples one table, and waits for it if need be.
 */
static void
put_one(ReturnSetInfo *result, IndexReview *review, Oid relation, const char *column, double percent)
{
	IndexTable *table = architect_index_find_table(review->facts, relation);
	List	   *stored = NIL;
	ListCell   *cell;

	if (table == NULL && get_rel_name(relation) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", relation)));
	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation \"%s\" cannot be sampled", get_rel_name(relation)),
				 errdetail("It is no table, partitioned table or materialized view, or it is temporary or the server's own.")));
	foreach(cell, column == NULL ? find_columns(table) : choose_columns(table, column))
	{
		check_readable(table, lfirst_int(cell));
		if (is_virtual(table, lfirst_int(cell)))
			put_problem(result, table, lfirst_int(cell), VIRTUAL_PROBLEM);
		else
			stored = lappend_int(stored, lfirst_int(cell));
	}
	if (stored != NIL)
		put_table(result, review, table, stored, percent, true);
}

/*
 * architect.jsonb_sample(target regclass, target_column name, percent float8) → one row a key
 */
Datum
architect_jsonb_sample(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *column = PG_ARGISNULL(1) ? NULL : NameStr(*PG_GETARG_NAME(1));
	double		percent = PG_ARGISNULL(2) ? NAN : PG_GETARG_FLOAT8(2);
	IndexReview *review = palloc0(sizeof(IndexReview));

	if (!PG_ARGISNULL(2) && !(percent > 0 && percent <= 100))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("percent must be above 0, and at most 100")));
	if (PG_ARGISNULL(0) && column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("target_column cannot be given without a target")));
	InitMaterializedSRF(fcinfo, 0);
	review->facts = architect_index_read_facts();
	if (PG_ARGISNULL(0))
		put_all(result, review, percent);
	else
		put_one(result, review, PG_GETARG_OID(0), column, percent);
	return (Datum) 0;
}
