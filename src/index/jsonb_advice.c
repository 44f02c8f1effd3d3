/*
 * jsonb_advice.c
 *    What to do about a key: give it a column, an index, or statistics.
 *
 * A key that is in nearly all documents, with short values of one type, is a column in
 * disguise.  One of many values is found by an index on the expression.  One of few
 * has the planner guess, as it has no statistics of what is inside documents: there
 * CREATE STATISTICS comes first.  Where it is known what queries ask for, advice is
 * about keys that they ask for, and a column for those that they ask for often.
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "compat.h"
#include "index/jsonb.h"
#include "index/workload.h"

#define LEAST_ROWS 1000			/* of a table, for advice */
#define STABLE_PRESENCE 0.95
#define STABLE_KIND 0.99		/* of values that are not null */
#define COLUMN_BYTES 200		/* of a value */
#define COLUMN_SHARE 0.1		/* of calls, of those to the table */
#define INDEX_BYTES 1000		/* of the longest value seen: an entry has 2704 at most */
#define PARTIAL_PRESENCE 0.5
#define REWRITE_PAGES 1024		/* a table up to this size is rewritten in no time */

/*
 * Returns how a key is asked for: with ->> as text, or with -> as jsonb.  The column
 * is quoted.
 */
char *
architect_jsonb_expression(const char *column, const JsonbKey *key, const char *arrow)
{
	if (key->name == NULL)
		return pstrdup(column);
	if (key->parent == NULL)
		return psprintf("(%s %s %s)", column, arrow, quote_literal_cstr(key->name));
	return psprintf("((%s -> %s) %s %s)", column, quote_literal_cstr(key->parent->name), arrow,
					quote_literal_cstr(key->name));
}

/*
 * Returns a name as the server writes a constant: never as E''.
 */
static char *
stored_constant(const char *name)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '\'');
	for (; *name != '\0'; name++)
	{
		if (SQL_STR_DOUBLE(*name, !standard_conforming_strings))
			appendStringInfoChar(&text, *name);
		appendStringInfoChar(&text, *name);
	}
	appendStringInfoString(&text, "'::text");
	return text.data;
}

/*
 * Returns how a key is asked for, as the server writes it.
 */
static char *
stored_expression(const JsonbColumn *column, const JsonbKey *key, const char *arrow)
{
	const char *name = quote_identifier(column->name);

	if (key->parent == NULL)
		return psprintf("(%s %s %s)", name, arrow, stored_constant(key->name));
	return psprintf("((%s -> %s) %s %s)", name, stored_constant(key->parent->name), arrow,
					stored_constant(key->name));
}

static List *
generated_columns(Relation rel)
{
	TupleConstr *constraint = RelationGetDescr(rel)->constr;
	List	   *context = deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel));
	List	   *texts = NIL;

	for (int i = 0; constraint != NULL && i < constraint->num_defval; i++)
	{
		AttrDefault *value = &constraint->defval[i];

		if (TupleDescAttr(RelationGetDescr(rel), value->adnum - 1)->attgenerated != '\0')
			texts = lappend(texts, deparse_expression(stringToNode(value->adbin), context, false, false));
	}
	return texts;
}

/*
 * Reads what there is on a table already, which is locked.
 */
JsonbPresent *
architect_jsonb_present(const IndexTable *table)
{
	JsonbPresent *present = palloc0(sizeof(JsonbPresent));
	Relation	rel = relation_open(table->oid, NoLock);
	ListCell   *cell;

	foreach(cell, table->indexes)
	{
		IndexDefinition *index = lfirst(cell);

		for (int i = 0; index->expressions != NULL && i < index->nkeys; i++)
		{
			if (index->attnums[i] == 0 && SearchSysCacheExists1(RELOID, ObjectIdGetDatum(index->oid)))
				present->indexes = lappend(present->indexes, architect_index_column_text(index, i));
		}
	}
	foreach(cell, RelationGetStatExtList(rel))
		present->statistics = lappend(present->statistics, pg_get_statisticsobjdef_string(lfirst_oid(cell)));
	present->columns = generated_columns(rel);
	relation_close(rel, NoLock);
	return present;
}

/*
 * True when one of these texts is about a key.
 */
static bool
mentions(const List *texts, const JsonbColumn *column, const JsonbKey *key)
{
	char	   *as_text = stored_expression(column, key, "->>");
	char	   *as_jsonb = stored_expression(column, key, "->");
	ListCell   *cell;

	foreach(cell, texts)
	{
		if (strstr(lfirst(cell), as_text) != NULL || strcmp(lfirst(cell), as_jsonb) == 0)
			return true;
	}
	return false;
}

static bool
is_within(const IndexTable *table, const IndexTable *root)
{
	while (table != root && table->parent != NULL)
		table = table->parent;
	return table == root;
}

/*
 * Sets how often queries that ask for a key are called, -1 where it is not known, and
 * their share of the calls of all that ask for something of the table.
 */
static void
count_calls(IndexReview *review, const JsonbSample *sample, const JsonbColumn *column, const JsonbKey *key,
			JsonbAdvice *advice)
{
	IndexWorkload *workload = architect_index_workload(review);
	char	   *wanted = stored_expression(column, key, "->>");
	double		all = 0;
	double		calls = 0;
	ListCell   *query_cell;
	ListCell   *access_cell;
	ListCell   *cell;

	foreach(query_cell, workload->queries)
	{
		IndexQuery *query = lfirst(query_cell);
		bool		is_about = false;
		bool		asks = false;

		foreach(access_cell, query->accesses)
		{
			IndexAccess *access = lfirst(access_cell);

			if (!is_within(access->table, sample->table))
				continue;
			is_about = true;
			foreach(cell, access->predicates)
			{
				IndexPredicate *predicate = lfirst(cell);

				asks = asks || (predicate->expression != NULL && strstr(predicate->expression, wanted) != NULL);
			}
		}
		all += is_about ? query->calls : 0;
		calls += asks ? query->calls : 0;
	}

	/* pg_stat_statements may have a parameter where a query names its key. */
	advice->calls = calls > 0 ? calls : -1;
	advice->share = calls > 0 ? calls / all : 0;
}

/*
 * Returns what nearly all values are, nulls aside; JSONB_NULL where they are several.
 */
static JsonbKind
main_kind(const JsonbKey *key)
{
	for (int kind = JSONB_STRING; kind < JSONB_KINDS; kind++)
	{
		if (key->kinds[kind] > 0 && key->kinds[kind] >= STABLE_KIND * (key->count - key->kinds[JSONB_NULL]))
			return kind;
	}
	return JSONB_NULL;
}

/*
 * Returns a name that is made of the table's and a key's.
 */
static char *
make_name(const IndexTable *table, const JsonbColumn *column, const JsonbKey *key, const char *label, int attempt)
{
	char	   *second = key->parent == NULL ? psprintf("%s_%s", column->name, key->name) :
		psprintf("%s_%s_%s", column->name, key->parent->name, key->name);

	return makeObjectName(table->name, second, attempt == 0 ? label : psprintf("%s%d", label, attempt));
}

static char *
qualify(const IndexTable *table, const char *name)
{
	return quote_qualified_identifier(get_namespace_name(table->schema), name);
}

/*
 * Likewise, as the server looks names up.
 */
static List *
in_schema(const IndexTable *table, char *name)
{
	return list_make2(makeString(get_namespace_name(table->schema)), makeString(name));
}

/*
 * Proposes statistics of an expression.
 */
static void
propose_statistics(const IndexTable *table, const JsonbColumn *column, const JsonbKey *key, JsonbAdvice *advice)
{
	char	   *name = make_name(table, column, key, "stat", 0);

	for (int i = 1; OidIsValid(get_statistics_object_oid(in_schema(table, name), true)); i++)
		name = make_name(table, column, key, "stat", i);
	advice->advice = "statistics";
	advice->reason = psprintf("It has few values (%d were seen), and the planner knows none of them.", key->nvalues);
	advice->statement = psprintf("CREATE STATISTICS %s ON (%s) FROM %s;\nANALYZE %s;", qualify(table, name),
								 architect_jsonb_expression(quote_identifier(column->name), key, "->>"),
								 architect_index_table_name(table), architect_index_table_name(table));
	advice->undo = psprintf("DROP STATISTICS %s;", qualify(table, name));
	advice->lock = pstrdup("ShareUpdateExclusiveLock on the table");
}

/*
 * Proposes an index of an expression, of the documents that have it where most have not.
 */
static void
propose_index(IndexTable *table, const JsonbColumn *column, const JsonbKey *key, JsonbAdvice *advice)
{
	IndexFinding finding = {.table = table};
	char	   *expression = architect_jsonb_expression(quote_identifier(column->name), key, "->>");
	bool		is_partial = key->count < PARTIAL_PRESENCE * column->all.count;

	architect_index_propose_create(&finding, list_make2(unconstify(char *, column->name), key->name),
								   psprintf("USING btree (%s)%s", expression,
											is_partial ? psprintf(" WHERE %s IS NOT NULL", expression) : ""));
	advice->advice = "index";
	advice->reason = pstrdup("It has many values, so that an index on the expression finds few rows, "
							 "and has its statistics.");
	advice->statement = psprintf("%s\nANALYZE %s;", finding.statement, architect_index_table_name(table));
	advice->undo = finding.undo;
	advice->lock = finding.lock;
}

/*
 * Returns the value of a column for a key, of its type; what is of another becomes NULL.
 */
static char *
column_value(const char *column, const JsonbKey *key, JsonbKind kind, const char **type)
{
	char	   *value = architect_jsonb_expression(column, key, "->");

	*type = kind == JSONB_STRING ? "text" : kind == JSONB_NUMBER ? "numeric" : "boolean";
	if (kind == JSONB_STRING)
		return architect_jsonb_expression(column, key, "->>");
	return psprintf("CASE WHEN jsonb_typeof%s = '%s' THEN %s::%s END", value,
					kind == JSONB_NUMBER ? "number" : "boolean", value, *type);
}

static char *
column_name(const JsonbKey *key)
{
	return key->parent == NULL ? key->name : psprintf("%s_%s", key->parent->name, key->name);
}

/*
 * True when the table has a column of this name, or can have none.
 */
static bool
is_taken(const IndexTable *table, const char *name)
{
	if (SystemAttributeByName(name) != NULL)
		return true;
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (table->columns[i].name != NULL && strcmp(table->columns[i].name, name) == 0)
			return true;
	}
	return false;
}

/*
 * Proposes a column that a trigger fills, and a backfill for the rows that are there.
 */
static void
propose_filled_column(const IndexTable *table, const JsonbColumn *column, const JsonbKey *key, JsonbKind kind,
					  JsonbAdvice *advice)
{
	const char *table_name = architect_index_table_name(table);
	const char *source = quote_identifier(column->name);
	const char *name = quote_identifier(column_name(key));
	char	   *function = make_name(table, column, key, "fill", 0);
	const char *full;
	const char *type;
	char	   *body;
	char	   *assignment;

	for (int i = 1; OidIsValid(LookupFuncName(in_schema(table, function), 0, NULL, true)) ||
		 OidIsValid(get_trigger_oid(table->oid, function, true)); i++)
		function = make_name(table, column, key, "fill", i);
	full = qualify(table, function);
	body = psprintf("BEGIN NEW.%s := %s; RETURN NEW; END", name,
					column_value(psprintf("NEW.%s", source), key, kind, &type));
	assignment = psprintf("%s = %s", name, column_value(source, key, kind, &type));
	advice->statement = psprintf("ALTER TABLE %s ADD COLUMN %s %s;\n"
								 "CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql AS %s;\n"
								 "CREATE TRIGGER %s BEFORE INSERT OR UPDATE OF %s ON %s "
								 "FOR EACH ROW EXECUTE FUNCTION %s();\n"
								 "CALL architect.backfill(%s, set => %s);",
								 table_name, name, type, full, quote_literal_cstr(body),
								 quote_identifier(function), source, table_name, full,
								 quote_literal_cstr(table_name), quote_literal_cstr(assignment));
	advice->undo = psprintf("DROP TRIGGER %s ON %s;\nDROP FUNCTION %s();\nALTER TABLE %s DROP COLUMN %s;",
							quote_identifier(function), table_name, full, table_name, name);
	advice->lock = pstrdup("AccessExclusiveLock on the table for an instant, ShareRowExclusiveLock for another; "
						   "rows, while they are filled");
}

/*
 * Proposes a column.  That of a small table is a generated one: the table is rewritten.
 */
static void
propose_column(const IndexTable *table, const JsonbSample *sample, const JsonbColumn *column, const JsonbKey *key,
			   JsonbKind kind, JsonbAdvice *advice)
{
	const char *table_name = architect_index_table_name(table);
	const char *name = quote_identifier(column_name(key));
	const char *type;
	char	   *value = column_value(quote_identifier(column->name), key, kind, &type);

	advice->advice = "column";
	advice->reason = pstrdup("Nearly all documents have it, with short values of one type: as a column "
							 "it has statistics, and is read without the document.");
	if (sample->pages > REWRITE_PAGES)
	{
		propose_filled_column(table, column, key, kind, advice);
		return;
	}
	advice->statement = psprintf("ALTER TABLE %s ADD COLUMN %s %s GENERATED ALWAYS AS (%s) STORED;\nANALYZE %s;",
								 table_name, name, type, value, table_name);
	advice->undo = psprintf("ALTER TABLE %s DROP COLUMN %s;", table_name, name);
	advice->lock = pstrdup("AccessExclusiveLock on the table while it is rewritten");
}

/*
 * True when a key's name can stand in statements, one of which is a line.
 */
static bool
can_be_named(const JsonbKey *key)
{
	for (int i = 0; i < key->length; i++)
	{
		if ((unsigned char) key->name[i] < ' ')
			return false;
	}
	return key->length > 0 && (key->parent == NULL || can_be_named(key->parent));
}

static bool
can_have_column(const IndexTable *table, const JsonbColumn *column, const JsonbKey *key)
{
	return table->kind != RELKIND_MATVIEW && !table->is_partition && table->heirs == NIL &&
		!table->has_foreign_partitions && table->columns[column->attnum - 1].generated == '\0' &&
		strlen(column_name(key)) < NAMEDATALEN;
}

/*
 * Returns why there is nothing to be done about a key; NULL where there may be.
 */
static const char *
find_objection(const JsonbSample *sample, const JsonbColumn *column, const JsonbKey *key, const JsonbPresent *present,
			   JsonbKind kind)
{
	if (kind == JSONB_OBJECT)
		return key->parent == NULL ? "It is an object; the keys in it are listed by themselves." : "It is an object.";
	if (kind == JSONB_ARRAY || kind == JSONB_CONTAINER)
		return "It is no single value; index_gin_candidate says where queries look into it.";
	if (kind == JSONB_NULL)
		return "Its values are of several types.";
	if (sample->rows * sample->pages < LEAST_ROWS * sample->share * sample->pages_read)
		return "The table is too small for it to matter.";
	if (key->nvalues <= 1 && !architect_jsonb_has_many_values(key))
		return "It has one value.";
	if (!can_be_named(key))
		return "Its name cannot stand in a statement of one line.";
	if (mentions(present->columns, column, key))
		return "A generated column has it.";
	if (is_taken(sample->table, column_name(key)))
		return "The table has a column of this name.";
	if (mentions(present->indexes, column, key))
		return "An index has it, and so the planner has its statistics.";
	return NULL;
}

/*
 * Notes what statements make, by the lines that undo them; false where others of the
 * table make something of the same name.
 */
static bool
give_names(JsonbPresent *present, const char *undo)
{
	List	   *lines = NIL;
	ListCell   *cell;
	char	   *rest = pstrdup(undo);
	char	   *line;

	while ((line = strsep(&rest, "\n")) != NULL)
		lines = lappend(lines, makeString(line));
	foreach(cell, lines)
	{
		if (list_member(present->given, lfirst(cell)))
			return false;
	}
	present->given = list_concat(present->given, lines);
	return true;
}

/*
 * Says what to do about a key, if anything.
 */
void
architect_jsonb_advise(IndexReview *review, const JsonbSample *sample, const JsonbColumn *column, const JsonbKey *key,
					   JsonbPresent *present, JsonbAdvice *advice)
{
	JsonbKind	kind = main_kind(key);
	const char *objection = find_objection(sample, column, key, present, kind);
	bool		is_stable = key->count >= STABLE_PRESENCE * column->all.count &&
		key->value_bytes <= COLUMN_BYTES * key->count;
	bool		has_many_values = architect_jsonb_has_many_values(key);

	count_calls(review, sample, column, key, advice);
	if (objection == NULL && is_stable && can_have_column(sample->table, column, key) &&
		(advice->calls < 0 ? has_many_values : advice->share >= COLUMN_SHARE))
		propose_column(sample->table, sample, column, key, kind, advice);
	else if (objection == NULL && key->nvalues <= JSONB_MOST_VALUES && has_many_values)
		objection = "Its documents are too large for its values to be looked at.";
	else if (objection == NULL && has_many_values && key->most_bytes <= INDEX_BYTES)
		propose_index(sample->table, column, key, advice);
	else if (objection == NULL && has_many_values)
		objection = "Its values are too long for an index.";
	else if (objection == NULL && mentions(present->statistics, column, key))
		objection = "The planner has its statistics.";
	else if (objection == NULL)
		propose_statistics(sample->table, column, key, advice);
	if (objection == NULL && !give_names(present, advice->undo))
	{
		advice->advice = advice->statement = advice->undo = advice->lock = NULL;
		objection = "What would be made for it has the name of what is made for another key: that comes first.";
	}
	if (objection != NULL)
		advice->reason = pstrdup(objection);
	else
		advice->confidence = advice->calls > 0 ? "likely" : "hint";
}

/*
 * Says what there is to say about the documents themselves, if anything.
 */
void
architect_jsonb_remark(const JsonbColumn *column, int64 nothers, JsonbAdvice *advice)
{
	const JsonbKey *all = &column->all;

	advice->calls = -1;
	if (column->is_map)
		advice->reason = pstrdup("Keys differ from document to document: they are data, "
								 "and belong into rows of a table of their own.");
	else if (nothers > 0)
		advice->reason = psprintf(INT64_FORMAT " rarer keys are not listed.", nothers);
	else if (all->key_bytes > all->value_bytes)
		advice->reason = psprintf("The names of keys take %.0f %% of the documents.",
								  100 * all->key_bytes / (all->key_bytes + all->value_bytes));
	else if (all->toasted > all->count / 2)
		advice->reason = psprintf("%.0f %% of the documents are stored out of line: "
								  "each is fetched as a whole for any key.",
								  100 * all->toasted / all->count);
}
