/*
 * condition.c
 *    The "condition" argument of architect.audit_enable as a trigger's WHEN.
 *
 * A user writes columns plainly (status <> 'draft'); a trigger wants them with
 * NEW or OLD.  The server's own parser reads the expression against the table,
 * and its own deparser writes it back with the prefix.
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "parser/parse_clause.h"
#include "parser/parse_collate.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "audit/audit.h"

#define PARSED_PREFIX "SELECT "

static bool
is_star(Node *expression)
{
	return IsA(expression, ColumnRef) && IsA(llast(((ColumnRef *) expression)->fields), A_Star);
}

/*
 * Error context: places in the condition are not places in the user's query.
 */
static void
show_condition(void *condition)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position - strlen(PARSED_PREFIX));
		internalerrquery(condition);
	}
	errcontext("condition of the audit: %s", (char *) condition);
}

/*
 * Returns the expression as the parser reads it; raises 42601 when the text is
 * anything but one expression.
 */
static Node *
parse_condition(const char *condition)
{
	List	   *statements = raw_parser(psprintf(PARSED_PREFIX "%s", condition), RAW_PARSE_DEFAULT);
	SelectStmt *select;
	ResTarget  *result;

	if (list_length(statements) == 1)
	{
		select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;

		if (IsA(select, SelectStmt) && list_length(select->targetList) == 1 &&
			select->op == SETOP_NONE && select->distinctClause == NIL &&
			select->intoClause == NULL && select->fromClause == NIL &&
			select->whereClause == NULL && select->groupClause == NIL &&
			select->havingClause == NULL && select->windowClause == NIL &&
			select->valuesLists == NIL && select->sortClause == NIL &&
			select->limitOffset == NULL && select->limitCount == NULL &&
			select->lockingClause == NIL && select->withClause == NULL)
		{
			result = linitial_node(ResTarget, select->targetList);
			if (result->name == NULL && result->indirection == NIL && !is_star(result->val))
				return result->val;
		}
	}

	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("condition is not one expression: %s", condition),
			 errhint("Write a boolean expression over the columns, such as status <> 'draft'.")));
}

/*
 * Returns the condition with each column prefixed by the alias ("new", "old"),
 * ready for CREATE TRIGGER ... WHEN.  Raises what the parser raises, and 42804
 * when the expression is not boolean.
 */
char *
architect_audit_condition(Relation rel, const char *condition, const char *alias)
{
	ParseState *state = make_parsestate(NULL);
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = show_condition,
		.arg = unconstify(char *, condition)
	};
	Node	   *expression;
	ParseNamespaceItem *item;
	int			pin_level;
	char	   *result;

	error_context_stack = &context;
	state->p_sourcetext = psprintf(PARSED_PREFIX "%s", condition);

	item = addRangeTableEntryForRelation(state, rel, AccessShareLock, NULL, false, true);
	addNSItemToQuery(state, item, false, true, true);

	expression = transformExpr(state, parse_condition(condition), EXPR_KIND_TRIGGER_WHEN);
	expression = coerce_to_boolean(state, expression, "condition");
	assign_expr_collations(state, expression);
	error_context_stack = context.previous;

	/* Said so that it means the same under every search_path. */
	pin_level = architect_audit_pin(AUDIT_PIN_NAMES);
	result = deparse_expression(expression, deparse_context_for(alias, RelationGetRelid(rel)),
								true, false);
	architect_audit_unpin(pin_level);
	return result;
}
