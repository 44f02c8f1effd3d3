/*
 * definition.c
 *    Makes the definition of an index that does not exist of a CREATE INDEX statement,
 *    by what the server would do with it.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parse_utilcmd.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "index/as_owner.h"
#include "index/definition.h"
#include "index/facts.h"

/*
 * Returns the statement; raises 22023 where it is another.
 */
IndexStmt *
architect_index_parse_statement(const char *text)
{
	List	   *statements = raw_parser(text, RAW_PARSE_DEFAULT);

	if (list_length(statements) != 1 || !IsA(linitial_node(RawStmt, statements)->stmt, IndexStmt))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the text is not one CREATE INDEX statement"),
				 errhint("For an index that exists, write index_size_estimate(index => 'name').")));
	return (IndexStmt *) linitial_node(RawStmt, statements)->stmt;
}

/*
 * Opens the way to the table of a statement: raises 42P01, 42501 or 42809.
 */
Oid
architect_index_lock_table(const RangeVar *name)
{
	Oid			relation = RangeVarGetRelid(name, AccessShareLock, false);
	char		kind = get_rel_relkind(relation);
	AclResult	result = pg_class_aclcheck(relation, GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(kind), name->relname);
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot create an index on \"%s\"", name->relname)));
	return relation;
}

/*
 * Returns how many rows the planner takes a condition to let in.  It runs functions and
 * operators of the condition and of the table's indexes: as the owner of the table, as
 * CREATE INDEX does.
 */
static double
estimate_rows(const IndexTable *table, const RangeVar *name, Node *condition, const char *text)
{
	SelectStmt *select = makeNode(SelectStmt);
	RangeVar   *from = copyObject(unconstify(RangeVar *, name));
	RawStmt    *raw = makeNode(RawStmt);
	IndexUser	user;
	Query	   *query;
	double		rows;

	from->inh = table->kind == RELKIND_PARTITIONED_TABLE;
	select->fromClause = list_make1(from);
	select->whereClause = condition;
	raw->stmt = (Node *) select;
	query = parse_analyze_fixedparams(raw, text, NULL, 0, NULL);
	architect_index_begin_as_owner(table, &user);
	rows = pg_plan_query(query, text, 0, NULL)->planTree->plan_rows;
	architect_index_end_as_owner(&user);
	return rows;
}

/*
 * Finds an index with the same expression, of which there are statistics.
 */
static const IndexColumn *
find_same(const IndexTable *table, Node *expression)
{
	ListCell   *cell;

	foreach(cell, table->indexes)
	{
		const IndexDefinition *index = lfirst(cell);
		List	   *expressions = index->expressions == NULL ? NIL : stringToNode(index->expressions);
		int			nfound = 0;

		for (int i = 0; i < index->nkeys && expressions != NIL; i++)
		{
			if (index->attnums[i] == 0 && equal(list_nth(expressions, nfound++), expression) &&
				index->columns[i].has_statistics)
				return &index->columns[i];
		}
	}
	return NULL;
}

/*
 * Guesses the statistics of an expression by those of its columns, where it has none;
 * false when there is no telling, as of a part of a jsonb.
 */
static bool
guess_statistics(const IndexTable *table, Node *expression, IndexColumn *guess)
{
	const IndexColumn *same = find_same(table, expression);
	double		distinct = 1;
	ListCell   *cell;

	if (same != NULL)
	{
		*guess = *same;
		return true;
	}
	guess->width = get_typavgwidth(guess->type, exprTypmod(expression));
	foreach(cell, pull_var_clause(expression, 0))
	{
		Var		   *var = lfirst(cell);
		const IndexColumn *column = var->varattno > 0 ? &table->columns[var->varattno - 1] : NULL;

		if (column == NULL || !column->has_statistics || get_base_element_type(column->type) != InvalidOid ||
			column->type == JSONBOID || column->type == JSONOID || get_typtype(column->type) == TYPTYPE_COMPOSITE)
			return false;
		distinct *= column->distinct < 0 ? Max(-column->distinct * table->rows, 1) : Max(column->distinct, 1);
		guess->null_share = Max(guess->null_share, column->null_share);

		/* A value that is computed has a long header. */
		if (column->type == guess->type && column->length == -1)
			guess->width = column->width + VARHDRSZ - VARHDRSZ_SHORT;
	}
	guess->distinct = distinct < table->rows ? distinct : -1;
	guess->has_statistics = true;
	return true;
}

/*
 * Sets what an index would store in a column, which is of this type.
 */
static void
set_stored(IndexDefinition *index, int number, const IndexElem *element)
{
	IndexColumn *column = &index->columns[number];
	HeapTuple	tuple;
	Form_pg_opclass opclass;

	if (number < index->nkeys)
	{
		index->opclasses[number] = ResolveOpClass(element->opclass, column->type,
												  get_am_name(index->access_method), index->access_method);
		index->collations[number] = element->collation != NIL ? get_collation_oid(element->collation, false) :
			column->collation;
		tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(index->opclasses[number]));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for operator class %u", index->opclasses[number]);
		opclass = (Form_pg_opclass) GETSTRUCT(tuple);
		if (OidIsValid(opclass->opckeytype) && !IsPolymorphicType(opclass->opckeytype))
			column->type = opclass->opckeytype;
		ReleaseSysCache(tuple);
	}
	get_typlenbyvalalign(column->type, &column->length, &column->by_value, &column->align);
	column->storage = get_typstorage(column->type);
}

/*
 * Sets the order of a key.
 */
static void
set_order(IndexDefinition *index, int number, const IndexElem *element)
{
	bool		is_descending = element->ordering == SORTBY_DESC;

	if (is_descending)
		index->options[number] |= INDOPTION_DESC;
	if (element->nulls_ordering == SORTBY_NULLS_FIRST ||
		(element->nulls_ordering == SORTBY_NULLS_DEFAULT && is_descending))
		index->options[number] |= INDOPTION_NULLS_FIRST;
}

/*
 * Raises 42P17 for what changes, and could not be found again in an index.
 */
static void
check_immutable(const IndexTable *table, Node *expression, const char *kind)
{
	IndexUser	user;
	bool		is_mutable;

	architect_index_begin_as_owner(table, &user);
	is_mutable = contain_mutable_functions((Node *) expression_planner((Expr *) copyObject(expression)));
	architect_index_end_as_owner(&user);
	if (is_mutable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("functions in an index %s must be marked IMMUTABLE", kind)));
}

/*
 * Takes an expression; false when there is no telling how wide it is.
 */
static bool
take_expression(IndexDefinition *index, int number, const IndexElem *element, List **expressions)
{
	IndexColumn *column = &index->columns[number];
	Node	   *expression = element->expr;

	column->name = element->indexcolname;
	column->type = exprType(expression);
	column->typmod = exprTypmod(expression);
	column->collation = exprCollation(expression);
	while (IsA(expression, CollateExpr))
		expression = (Node *) ((CollateExpr *) expression)->arg;
	*expressions = lappend(*expressions, expression);
	return guess_statistics(index->table, expression, column);
}

/*
 * Takes a column, or an expression, of the statement; false when there is no telling
 * how wide it is.
 */
static bool
take_element(IndexDefinition *index, int number, const IndexElem *element, List **expressions)
{
	IndexColumn *column = &index->columns[number];
	bool		is_known = true;
	int16		attnum = 0;

	if (element->expr == NULL)
		attnum = get_attnum(index->table->oid, element->name);
	else if (IsA(element->expr, Var))
		attnum = ((Var *) element->expr)->varattno;
	if (attnum > 0)
	{
		*column = index->table->columns[attnum - 1];
		column->has_statistics = false;
		index->attnums[number] = attnum;
	}
	else if (element->expr != NULL)
		is_known = take_expression(index, number, element, expressions);
	else
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", element->name, index->table->name)));
	set_stored(index, number, element);
	if (number < index->nkeys)
		set_order(index, number, element);
	return is_known;
}

/*
 * Raises 0A000 for what the access method cannot do.
 */
static void
check_method(const IndexDefinition *index, const IndexStmt *statement)
{
	IndexAmRoutine *method = GetIndexAmRoutineByAmId(index->access_method, false);
	const char *lacks = NULL;
	ListCell   *cell;

	if (index->is_unique && !method->amcanunique)
		lacks = "unique indexes";
	else if (index->ncolumns > index->nkeys && !method->amcaninclude)
		lacks = "included columns";
	else if (index->nkeys > 1 && !method->amcanmulticol)
		lacks = "multicolumn indexes";
	foreach(cell, statement->indexParams)
	{
		const IndexElem *element = lfirst(cell);

		if (!method->amcanorder &&
			(element->ordering != SORTBY_DEFAULT || element->nulls_ordering != SORTBY_NULLS_DEFAULT))
			lacks = "ASC/DESC and NULLS FIRST/LAST options";
	}
	if (lacks != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"%s\" does not support %s", statement->accessMethod, lacks)));
}

static IndexDefinition *
begin_definition(IndexTable *table, const IndexStmt *statement)
{
	IndexDefinition *index = palloc0(sizeof(IndexDefinition));
	int			ncolumns = list_length(statement->indexParams) + list_length(statement->indexIncludingParams);

	index->table = table;
	index->name = statement->idxname;
	index->access_method = get_index_am_oid(statement->accessMethod, false);
	index->nkeys = list_length(statement->indexParams);
	index->ncolumns = ncolumns;
	index->is_partitioned = table->kind == RELKIND_PARTITIONED_TABLE;
	index->is_unique = statement->unique;
	index->nulls_not_distinct = statement->nulls_not_distinct;
	index->is_immediate = index->is_valid = index->is_ready = index->is_live = true;
	index->attnums = palloc0(ncolumns * sizeof(int16));
	index->opclasses = palloc0(ncolumns * sizeof(Oid));
	index->collations = palloc0(ncolumns * sizeof(Oid));
	index->options = palloc0(ncolumns * sizeof(int16));
	index->columns = palloc0(ncolumns * sizeof(IndexColumn));
	if (statement->tableSpace != NULL)
		index->tablespace = get_tablespace_oid(statement->tableSpace, false);
	index->deduplicates = true;
	architect_index_take_options(statement->options, &index->fillfactor, index);
	return index;
}

/*
 * Returns what a statement says of an index that does not exist, on a table that is
 * locked: nothing is run to know more.  False: there is no telling how wide it is.
 */
IndexDefinition *
architect_index_outline(IndexTable *table, IndexStmt *statement, const char *text, bool *is_known)
{
	List	   *expressions = NIL;
	IndexDefinition *index;
	ListCell   *cell;

	statement = transformIndexStmt(table->oid, statement, text);
	index = begin_definition(table, statement);
	check_method(index, statement);
	*is_known = true;
	foreach(cell, list_concat_copy(statement->indexParams, statement->indexIncludingParams))
	{
		if (!take_element(index, foreach_current_index(cell), lfirst(cell), &expressions))
			*is_known = false;
	}
	if (expressions != NIL)
		index->expressions = nodeToString(expressions);
	if (statement->whereClause != NULL)
		index->predicate = nodeToString(statement->whereClause);
	return index;
}

/*
 * Returns the definition that a statement has, of an index that does not exist on a
 * table that is locked.  The problem says why its size is not known.
 */
IndexDefinition *
architect_index_define(IndexTable *table, IndexStmt *statement, const char *text, const char **problem)
{
	Node	   *condition = copyObject(statement->whereClause);
	bool		is_known;
	IndexDefinition *index = architect_index_outline(table, statement, text, &is_known);

	if (!is_known)
		*problem = "an expression has no statistics";
	if (index->expressions != NULL)
		check_immutable(table, stringToNode(index->expressions), "expression");
	if (condition != NULL)
	{
		check_immutable(table, stringToNode(index->predicate), "predicate");
		index->rows = -1;
		if (has_privs_of_role(GetUserId(), table->owner))
			index->rows = estimate_rows(table, statement->relation, condition, text);
		else
			*problem = "what a predicate lets in is only for the owner of the table to know";
	}
	return index;
}

/*
 * Adds the columns that a node tree has, by number.
 */
static Bitmapset *
add_tree_columns(Bitmapset *columns, const char *tree)
{
	Bitmapset  *found = NULL;
	int			member = -1;

	if (tree == NULL)
		return columns;
	pull_varattnos(stringToNode(tree), 1, &found);
	while ((member = bms_next_member(found, member)) >= 0)
	{
		int			attnum = member + FirstLowInvalidHeapAttributeNumber;

		if (attnum > 0)
			columns = bms_add_member(columns, attnum);
	}
	return columns;
}

/*
 * Returns the columns of the table that decide what is in an index, by number.
 */
Bitmapset *
architect_index_columns(const IndexDefinition *index)
{
	Bitmapset  *columns = NULL;

	for (int i = 0; i < index->ncolumns; i++)
	{
		if (index->attnums[i] > 0)
			columns = bms_add_member(columns, index->attnums[i]);
	}
	columns = add_tree_columns(columns, index->expressions);
	return add_tree_columns(columns, index->predicate);
}

/*
 * Returns the expressions of an index as the planner has them.
 */
List *
architect_index_expressions(const IndexDefinition *index)
{
	List	   *expressions;

	if (index->expressions == NULL)
		return NIL;
	expressions = (List *) eval_const_expressions(NULL, stringToNode(index->expressions));
	fix_opfuncids((Node *) expressions);
	return expressions;
}

/*
 * Returns the predicate of an index, all of whose clauses hold, likewise.
 */
List *
architect_index_predicate(const IndexDefinition *index)
{
	Node	   *predicate;

	if (index->predicate == NULL)
		return NIL;
	predicate = eval_const_expressions(NULL, stringToNode(index->predicate));
	predicate = (Node *) make_ands_implicit((Expr *) canonicalize_qual((Expr *) predicate, false));
	fix_opfuncids(predicate);
	return (List *) predicate;
}
