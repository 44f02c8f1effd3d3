/*
 * expression.c
 *    Assignment and filter as texts that mean the same whoever reads them.
 *
 * What the user wrote is read once, under his own search_path.  It is written again in
 * canonical form: every name in full wherever the pinned search_path would not find it,
 * columns under the alias, constants in forms that no setting changes.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "backfill/backfill.h"
#include "backfill/expression.h"
#include "compat.h"
#include "core/core.h"

static void
set_while_writing(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Until the GUC nest level of the caller ends: constants are written, and read again,
 * in the same way everywhere.
 */
static void
pin_forms(void)
{
	architect_pin_path();
	set_while_writing("datestyle", "ISO");
	set_while_writing("intervalstyle", "postgres");
	set_while_writing("extra_float_digits", "3");
}

/*
 * Returns the canonical text.  What the server adds by itself where a value is assigned
 * is not in it: as a cast it would mean something else.
 */
static char *
write_expression(Relation rel, Node *expression)
{
	return deparse_expression(architect_backfill_canonical(rel, expression),
							  deparse_context_for(BACKFILL_ALIAS, RelationGetRelid(rel)), true, false);
}

static char *
write_set_list(Relation rel, List *targets)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), target->resno - 1);

		appendStringInfo(&text, "%s%s = %s", foreach_current_index(cell) > 0 ? ", " : "",
						 quote_identifier(NameStr(attribute->attname)),
						 write_expression(rel, (Node *) target->expr));
	}
	return text.data;
}

static bool
note_function(Oid function, void *functions)
{
	*(List **) functions = list_append_unique_oid(*(List **) functions, function);
	return false;
}

static bool
note_functions(Node *node, void *functions)
{
	if (node == NULL)
		return false;
	check_functions_in_node(node, note_function, functions);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, note_functions, functions, 0);
	return expression_tree_walker(node, note_functions, functions);
}

/*
 * Raises unless the canonical text calls the same functions as what the user wrote: some
 * constructs have operators in them that the text cannot name.
 */
static void
check_same(const char *argument, Node *expression, Node *canonical)
{
	List	   *before = NIL;
	List	   *after = NIL;

	note_functions(expression, &before);
	note_functions(canonical, &after);
	if (list_difference_oid(before, after) == NIL && list_difference_oid(after, before) == NIL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("argument \"%s\" depends on the search_path in a way that cannot be kept", argument),
			 errdetail("An operator that is not the server's own is used by a construct that does not name it, such as IS DISTINCT FROM or JOIN with USING."),
			 errhint("Write the operator itself, as in OPERATOR(public.=).")));
}

/*
 * Returns the columns that are assigned, with those that are generated from them.
 */
static Bitmapset *
changed_columns(Relation rel, List *targets)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *assigned = NULL;
	Bitmapset  *changed;
	ListCell   *cell;

	foreach(cell, targets)
		assigned = bms_add_member(assigned,
								  lfirst_node(TargetEntry, cell)->resno - FirstLowInvalidHeapAttributeNumber);

	changed = bms_copy(assigned);
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attgenerated == '\0' || TupleDescAttr(desc, i)->attisdropped)
			continue;
		if (bms_overlap(assigned, architect_backfill_columns_of(rel, build_column_default(rel, i + 1))))
			changed = bms_add_member(changed, i + 1 - FirstLowInvalidHeapAttributeNumber);
	}
	return changed;
}

/*
 * Fills in the texts, and reads them again to see that they mean the same.
 */
static void
write_texts(const BackfillExpressions *what, bool allows_subqueries, BackfillAssignment *result)
{
	int			level = NewGUCNestLevel();
	Node	   *guard = architect_backfill_guard(what);

	pin_forms();
	result->set_list = write_set_list(what->rel, what->targets);
	check_same("set", (Node *) what->targets,
			   (Node *) architect_backfill_parse_set(what->rel, BACKFILL_ALIAS, result->set_list, allows_subqueries));
	if (what->condition != NULL)
	{
		result->condition = write_expression(what->rel, what->condition);
		check_same("filter", what->condition,
				   architect_backfill_parse_filter(what->rel, BACKFILL_ALIAS, result->condition, allows_subqueries));
	}
	if (guard != NULL)
	{
		result->guard = write_expression(what->rel, guard);
		check_same("set", guard,
				   architect_backfill_parse_filter(what->rel, BACKFILL_ALIAS, result->guard, allows_subqueries));
	}
	AtEOXact_GUC(false, level);
}

/*
 * Analyses an assignment and a filter, which may be NULL, as the current user writes
 * them.  Raises what the server's parser raises, with the place in the argument, and
 * refuses what a backfill cannot do.
 */
BackfillAssignment
architect_backfill_analyze(Relation rel, const char *assignment, const char *filter, bool allows_subqueries)
{
	BackfillAssignment result = {0};
	BackfillExpressions what = {.rel = rel};
	ListCell   *cell;

	what.targets = architect_backfill_parse_set(rel, NULL, assignment, allows_subqueries);
	if (filter != NULL)
		what.condition = architect_backfill_parse_filter(rel, NULL, filter, allows_subqueries);
	what.changed = changed_columns(rel, what.targets);

	result.closes = architect_backfill_closes(&what);
	result.repeatable = architect_backfill_is_repeatable(&what);
	foreach(cell, what.targets)
	{
		AttrNumber	attnum = lfirst_node(TargetEntry, cell)->resno;

		result.columns = lappend(result.columns,
								 pstrdup(NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname)));
	}
	write_texts(&what, allows_subqueries, &result);
	return result;
}
