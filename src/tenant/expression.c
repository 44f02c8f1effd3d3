/*
 * expression.c
 *    What a policy's expression says of the tenant, for the findings.
 *
 * The parsed tree is read, never run, and not its text: what calls a function may
 * look like anything.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "core/core.h"
#include "tenant/expression.h"
#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(architect_tenant_expression);
PG_FUNCTION_INFO_V1(architect_tenant_reads);

/* The columns of architect.tenant_expression. */
enum
{
	FACT_MENTIONS_TENANT,
	FACT_COMPARES_TENANT,
	FACT_ALWAYS_TRUE,
	FACT_SHOWS_OTHERS,
	FACT_OPENS_UNSET,
	FACT_BARE_SETTING,
	FACT_LEAKY,
	FACT_IMMUTABLE,
	FACT_VOLATILE,
	FACT_DEFINER,
	FACT_TABLES,
	FACTS
};

typedef struct Facts
{
	int			depth;			/* sub-selects around the node at hand */
	bool		bare_setting;	/* current_setting that is called again for every row */
	List	   *immutable;		/* functions that the planner runs once for all tenants */
	List	   *volatile_ones;
	List	   *definer;
	List	   *tables;			/* that sub-selects read */
} Facts;

static char *tenant_column;

/*
 * The view reads the setting by its name, so that it works before the library is loaded.
 */
void
architect_tenant_findings_init(void)
{
	DefineCustomStringVariable("architect.tenant_column",
							   "Column by which tenant_findings knows a table of several tenants.",
							   "It counts for tables that tenant_enable has not protected.",
							   &tenant_column, "tenant_id", PGC_USERSET, 0, NULL, NULL, NULL);
}

/*
 * Notes what the function is; never stops the walk.
 */
static bool
note_function(Oid function, void *context)
{
	Facts	   *facts = context;
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->provolatile == PROVOLATILE_VOLATILE)
		facts->volatile_ones = list_append_unique_oid(facts->volatile_ones, function);
	if (form->prosecdef)
		facts->definer = list_append_unique_oid(facts->definer, function);
	ReleaseSysCache(tuple);
	return false;
}

/*
 * True for a call of a user's function that the planner replaces by its result: what
 * it reads of the session is then kept in the plan.
 */
static bool
is_folded(FuncExpr *call)
{
	Node	   *arguments = (Node *) call->args;

	return call->funcid >= FirstNormalObjectId && func_volatile(call->funcid) == PROVOLATILE_IMMUTABLE &&
		!contain_var_clause(arguments) && !contain_mutable_functions(arguments) &&
		!contain_subplans(arguments);
}

static bool
note_facts(Node *node, void *context)
{
	Facts	   *facts = context;

	if (node == NULL)
		return false;

	check_functions_in_node(node, note_function, facts);
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) node;

		if (facts->depth == 0 &&
			(call->funcid == F_CURRENT_SETTING_TEXT || call->funcid == F_CURRENT_SETTING_TEXT_BOOL))
			facts->bare_setting = true;
		if (is_folded(call))
			facts->immutable = list_append_unique_oid(facts->immutable, call->funcid);
	}

	if (IsA(node, Query))
	{
		facts->depth++;
		query_tree_walker((Query *) node, note_facts, facts, QTW_EXAMINE_RTES_BEFORE);
		facts->depth--;
		return false;
	}
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		if (entry->rtekind == RTE_RELATION)
			facts->tables = list_append_unique_oid(facts->tables, entry->relid);
		return false;
	}
	return expression_tree_walker(node, note_facts, facts);
}

/*
 * The OIDs as an array of this type, or NULL for none.
 */
static Datum
oids_or_null(List *oids, Oid type, bool *isnull)
{
	Datum	   *values = palloc(list_length(oids) * sizeof(Datum));
	int			count = 0;
	ListCell   *cell;

	*isnull = oids == NIL;
	if (oids == NIL)
		return (Datum) 0;
	foreach(cell, oids)
		values[count++] = ObjectIdGetDatum(lfirst_oid(cell));
	return PointerGetDatum(construct_array(values, count, type, sizeof(Oid), true, TYPALIGN_INT));
}

/*
 * What the expression lets through.  Open without a tenant is only what would be
 * closed with one, or is open for whatever else the row has.
 */
static void
fill_outcomes(Node *expression, const TenantSubject *subject, Datum *values)
{
	bool		compares = false;
	int			other = architect_tenant_outcome(expression, subject, TENANT_OTHER, &compares);
	int			unset = architect_tenant_outcome(expression, subject, TENANT_UNSET, &compares);
	int			empty = architect_tenant_outcome(expression, subject, TENANT_EMPTY, &compares);
	bool		shows_others = (other & OUTCOME_TRUE) != 0;
	bool		opens = ((unset | empty) & OUTCOME_TRUE) != 0;

	values[FACT_MENTIONS_TENANT] =
		BoolGetDatum(architect_tenant_is_mentioned(expression, subject, 0));
	values[FACT_COMPARES_TENANT] = BoolGetDatum(compares);
	values[FACT_ALWAYS_TRUE] = BoolGetDatum(other == OUTCOME_TRUE);
	values[FACT_SHOWS_OTHERS] = BoolGetDatum(shows_others);
	values[FACT_OPENS_UNSET] =
		BoolGetDatum(other != OUTCOME_TRUE && opens &&
					 (!shows_others || unset == OUTCOME_TRUE || empty == OUTCOME_TRUE));
}

/*
 * architect.tenant_expression(expression pg_node_tree, tenant_column smallint): what
 * the expression says of the tenant, which that column of the row holds.
 */
Datum
architect_tenant_expression(PG_FUNCTION_ARGS)
{
	Node	   *expression = stringToNode(TextDatumGetCString(PG_GETARG_DATUM(0)));
	TenantSubject subject = {.attnum = PG_GETARG_INT16(1), .schema = architect_schema()};
	Facts		facts = {0};
	Datum		values[FACTS];
	bool		nulls[FACTS] = {0};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	/* Where there is none, as in many a catalog, everything is let through. */
	if (expression == NULL)
		expression = makeBoolConst(true, false);
	else if (IsA(expression, List))
		expression = (Node *) make_andclause((List *) expression);

	note_facts(expression, &facts);
	fill_outcomes(expression, &subject, values);
	values[FACT_BARE_SETTING] = BoolGetDatum(facts.bare_setting);
	values[FACT_LEAKY] = BoolGetDatum(contain_leaked_vars(expression));
	values[FACT_IMMUTABLE] = oids_or_null(facts.immutable, REGPROCEDUREOID, &nulls[FACT_IMMUTABLE]);
	values[FACT_VOLATILE] = oids_or_null(facts.volatile_ones, REGPROCEDUREOID, &nulls[FACT_VOLATILE]);
	values[FACT_DEFINER] = oids_or_null(facts.definer, REGPROCEDUREOID, &nulls[FACT_DEFINER]);
	values[FACT_TABLES] = oids_or_null(facts.tables, REGCLASSOID, &nulls[FACT_TABLES]);

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * architect.tenant_reads(query pg_node_tree): the tables and views that a view's rule or
 * a function's parsed body reads or writes, as opposed to those that it merely names.
 */
Datum
architect_tenant_reads(PG_FUNCTION_ARGS)
{
	Facts		facts = {0};
	Datum		tables;
	bool		isnull;

	note_facts(stringToNode(TextDatumGetCString(PG_GETARG_DATUM(0))), &facts);
	tables = oids_or_null(facts.tables, REGCLASSOID, &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(tables);
}
