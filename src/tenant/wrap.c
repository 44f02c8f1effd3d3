/*
 * wrap.c
 *    Writes a policy's expression so that settings are read once a query, and not once
 *    a row.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "core/core.h"
#include "tenant/expression.h"

PG_FUNCTION_INFO_V1(architect_tenant_expression_wrapped);

static bool
reads_setting(Node *node, void *context)
{
	if (node == NULL || IsA(node, SubLink))
		return false;
	if (IsA(node, FuncExpr) && (((FuncExpr *) node)->funcid == F_CURRENT_SETTING_TEXT ||
								((FuncExpr *) node)->funcid == F_CURRENT_SETTING_TEXT_BOOL))
		return true;
	return expression_tree_walker(node, reads_setting, context);
}

/*
 * What a cast, or nullif(…, ''), is made of; the node itself when it is neither.
 */
static Node *
strip_one(Node *node)
{
	switch (nodeTag(node))
	{
		case T_CoerceViaIO:
			return (Node *) ((CoerceViaIO *) node)->arg;
		case T_RelabelType:
			return (Node *) ((RelabelType *) node)->arg;
		case T_NullIfExpr:
			return linitial(((NullIfExpr *) node)->args);
		default:
			return node;
	}
}

/*
 * True when the node is the setting that our accessors read, cast to some type.
 */
static bool
is_tenant_setting(Node *node)
{
	Node	   *inner;
	const char *setting = GetConfigOption("architect.tenant_setting", true, false);
	Const	   *name;

	while ((inner = strip_one(node)) != node)
		node = inner;
	if (setting == NULL || !IsA(node, FuncExpr) || !reads_setting(node, NULL))
		return false;
	name = linitial(((FuncExpr *) node)->args);
	return IsA(name, Const) && !name->constisnull &&
		pg_strcasecmp(TextDatumGetCString(name->constvalue), setting) == 0;
}

/*
 * A call of our accessor of this type, or NULL where there is none.
 */
static Node *
make_accessor(Oid type)
{
	const char *name;
	Oid			function;

	switch (type)
	{
		case UUIDOID:
			name = "tenant_uuid";
			break;
		case INT8OID:
		case INT4OID:
			name = "tenant_bigint";
			type = INT8OID;
			break;
		case TEXTOID:
			name = "tenant_text";
			break;
		default:
			return NULL;
	}

	function = LookupFuncName(list_make2(makeString(ARCHITECT_SCHEMA), makeString(pstrdup(name))), 0, NULL, true);
	if (!OidIsValid(function))
		return NULL;
	return (Node *) makeFuncExpr(function, type, NIL, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static Node *
make_subselect(Node *expression)
{
	Query	   *query = makeNode(Query);
	SubLink    *link = makeNode(SubLink);

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->jointree = makeFromExpr(NIL, NULL);
	query->targetList = list_make1(makeTargetEntry((Expr *) expression, 1, pstrdup("?column?"), false));
	link->subLinkType = EXPR_SUBLINK;
	link->subselect = (Node *) query;
	link->location = -1;
	return (Node *) link;
}

/*
 * Puts a sub-select, which is run once, or our accessor, around each largest part that
 * reads a setting and nothing of the row.
 */
static Node *
wrap(Node *node, void *context)
{
	Node	   *accessor;

	if (node == NULL)
		return NULL;
	if (IsA(node, SubLink))
		return copyObject(node);
	if (contain_var_clause(node) || !reads_setting(node, NULL) || !OidIsValid(exprType(node)))
		return expression_tree_mutator(node, wrap, context);

	accessor = is_tenant_setting(node) ? make_accessor(exprType(node)) : NULL;
	return accessor != NULL ? accessor : make_subselect(copyObject(node));
}

/*
 * architect.tenant_expression_wrapped(expression pg_node_tree, target oid): the text of
 * a policy's expression in which settings are read once a query.
 */
Datum
architect_tenant_expression_wrapped(PG_FUNCTION_ARGS)
{
	Node	   *expression = stringToNode(TextDatumGetCString(PG_GETARG_DATUM(0)));
	Oid			relid = PG_GETARG_OID(1);
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		PG_RETURN_NULL();
	expression = wrap(expression, NULL);
	PG_RETURN_TEXT_P(cstring_to_text(deparse_expression(expression, deparse_context_for(name, relid), false, false)));
}
