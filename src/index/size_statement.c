/*
 * size_statement.c
 *    The size that an index would have if it were built now: one that there is, or that
 *    of a CREATE INDEX statement, which is not run.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "compat.h"
#include "index/definition.h"
#include "index/size.h"

PG_FUNCTION_INFO_V1(architect_index_size);
PG_FUNCTION_INFO_V1(architect_index_statement_size);

/*
 * Returns the facts, read once for the whole query.
 */
static IndexFacts *
get_facts(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		fcinfo->flinfo->fn_extra = architect_index_read_facts();
		MemoryContextSwitchTo(before);
	}
	return fcinfo->flinfo->fn_extra;
}

/*
 * Returns the size, or NULL with a notice that says why it is not known.
 */
static Datum
return_size(FunctionCallInfo fcinfo, double size, const char *name, const char *problem)
{
	if (problem == NULL)
		PG_RETURN_INT64((int64) size);
	ereport(NOTICE,
			(errmsg("the size of an index on \"%s\" cannot be estimated: %s", name, problem)));
	PG_RETURN_NULL();
}

/*
 * architect.index_size_estimate(index regclass) → bytes
 */
Datum
architect_index_size(PG_FUNCTION_ARGS)
{
	IndexDefinition *index = architect_index_find_index(get_facts(fcinfo), PG_GETARG_OID(0));
	const char *problem;
	double		size;

	if (index == NULL)
		PG_RETURN_NULL();
	size = architect_index_fresh_size(index, &problem);
	return return_size(fcinfo, size, index->table->name, problem);
}

/*
 * architect.index_size_estimate(statement text) → bytes
 */
Datum
architect_index_statement_size(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	IndexStmt  *statement = architect_index_parse_statement(source);
	Oid			relation = architect_index_lock_table(statement->relation);
	IndexTable *table = architect_index_find_table(get_facts(fcinfo), relation);
	const char *problem = NULL;
	IndexDefinition *index;
	double		size;

	if (table == NULL)
		return return_size(fcinfo, 0, statement->relation->relname, "the table is temporary, or the server's own");
	index = architect_index_define(table, statement, source, &problem);
	if (problem != NULL)
		return return_size(fcinfo, 0, table->name, problem);
	size = architect_index_fresh_size(index, &problem);
	return return_size(fcinfo, size, table->name, problem);
}
