/*
 * body.c
 *    The definition of an index, and what it is from USING on with columns or a predicate
 *    added.
 *
 * The server opens the table to write a definition, and would wait for those who have
 * locked it.
 */
#include "postgres.h"

#include "commands/tablespace.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "index/candidate.h"

/*
 * Returns what a function of the server writes of an object.  Where the table of the
 * index is locked, or the object is gone, that is noted, of the whole tree: findings
 * about it will not be shown, and the text is one of the same form.  To write it the
 * server uses many times the memory.
 */
static char *
write_definition(const IndexDefinition *index, PGFunction function, Oid object, int column, int nargs)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(caller, "definition of an index", ALLOCSET_SMALL_SIZES);
	char	   *definition = NULL;

	if (ConditionalLockRelationOid(index->table->oid, AccessShareLock))
	{
		LOCAL_FCINFO(call, 3);
		Datum		written;

		InitFunctionCallInfoData(*call, NULL, nargs, InvalidOid, NULL, NULL);
		call->args[0].value = ObjectIdGetDatum(object);
		call->args[1].value = nargs == 3 ? Int32GetDatum(column) : BoolGetDatum(false);
		call->args[2].value = BoolGetDatum(false);
		call->args[0].isnull = call->args[1].isnull = call->args[2].isnull = false;
		MemoryContextSwitchTo(scratch);
		written = function(call);
		MemoryContextSwitchTo(caller);
		if (!call->isnull)
			definition = TextDatumGetCString(written);
		UnlockRelationOid(index->table->oid, AccessShareLock);
	}
	MemoryContextDelete(scratch);
	if (definition != NULL)
		return definition;
	for (IndexTable *table = index->table; table != NULL; table = table->parent)
		table->is_locked = true;
	return pstrdup("CREATE INDEX nothing ON nothing USING nothing (nothing)");
}

/*
 * Returns the definition of an index, or of one of its columns, from 1.
 */
char *
architect_index_definition(const IndexDefinition *index, int column)
{
	return write_definition(index, pg_get_indexdef_ext, index->oid, column, 3);
}

/*
 * Returns the definition of the constraint that has the index.
 */
char *
architect_index_constraint(const IndexDefinition *index)
{
	return write_definition(index, pg_get_constraintdef_ext, index->constraint, 0, 2);
}

/*
 * Returns where a word begins in a definition: outside of quotes, and of parentheses
 * that do not stand before the place given.
 */
static const char *
find_outside(const char *definition, const char *word)
{
	char		quote = '\0';
	int			depth = 0;

	for (const char *c = definition; *c != '\0'; c++)
	{
		if (quote != '\0')
		{
			quote = *c == quote ? '\0' : quote;
			continue;
		}
		if (depth == 0 && strncmp(c, word, strlen(word)) == 0)
			return c;
		if (*c == '\'' || *c == '"')
			quote = *c;
		depth += *c == '(' ? 1 : *c == ')' ? -1 : 0;
	}
	return NULL;
}

/*
 * Returns the place behind the parentheses that come next in a definition.
 */
static const char *
skip_list(const char *definition)
{
	const char *open = find_outside(definition, "(");
	char		quote = '\0';
	int			depth = 0;

	for (const char *c = open; *c != '\0'; c++)
	{
		if (quote != '\0')
		{
			quote = *c == quote ? '\0' : quote;
			continue;
		}
		if (*c == '\'' || *c == '"')
			quote = *c;
		depth += *c == '(' ? 1 : *c == ')' ? -1 : 0;
		if (depth == 0)
			return c + 1;
	}
	elog(ERROR, "definition of an index does not end");
}

/*
 * Returns what stands in a CREATE INDEX statement from USING on; NULL where that is not
 * in it.
 */
const char *
architect_index_body(const char *statement)
{
	const char *place = find_outside(statement, " USING ");

	return place == NULL ? NULL : place + 1;
}

/*
 * Returns the body of an index with columns (not quoted) added to its INCLUDE, and with
 * a predicate if it has none.
 */
char *
architect_index_extend_body(const IndexDefinition *index, const List *include, const char *predicate)
{
	char	   *definition = architect_index_definition(index, 0);
	const char *body = find_outside(definition, " USING ") + 1;
	const char *rest = skip_list(body);
	const char *where;
	char	   *tablespace = get_tablespace_name(index->tablespace);
	bool		has_include = strncmp(rest, " INCLUDE ", strlen(" INCLUDE ")) == 0;
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	if (has_include)
		rest = skip_list(rest);
	appendBinaryStringInfo(&text, body, rest - body);
	if (has_include && include != NIL)
		text.data[--text.len] = '\0';
	foreach(cell, include)
	{
		appendStringInfoString(&text, has_include || cell != list_head(include) ? ", " : " INCLUDE (");
		appendStringInfoString(&text, quote_identifier(lfirst(cell)));
	}
	if (include != NIL)
		appendStringInfoChar(&text, ')');

	where = find_outside(rest, " WHERE ");
	appendBinaryStringInfo(&text, rest, where == NULL ? strlen(rest) : where - rest);
	if (tablespace != NULL)
		appendStringInfo(&text, " TABLESPACE %s", quote_identifier(tablespace));
	if (where != NULL)
		appendStringInfoString(&text, where);
	else if (predicate != NULL)
		appendStringInfo(&text, " WHERE %s", predicate);
	return text.data;
}
