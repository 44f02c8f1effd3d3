/*
 * advise_access.c
 *    What the plans of a query ask of tables.
 *
 * The planner has worked out what a text does not show: views and subqueries are pulled
 * up, columns that equal each other are known, and so is what is sorted by.  A hook
 * looks at that where paths are made for each table of the question in hand.
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "index/advise_access.h"

/* A query whose accesses are being looked for. */
typedef struct Looking
{
	IndexFacts *facts;
	const WhatIfQuestion *question;
	MemoryContext context;		/* of the accesses */
	List	   *accesses;
} Looking;

/* One relation of it. */
typedef struct Place
{
	PlannerInfo *root;
	RelOptInfo *rel;
	AdviseAccess *access;
} Place;

static Looking *looking = NULL;
static set_rel_pathlist_hook_type previous_pathlist = NULL;

/*
 * True for a condition without a constant.
 */
static bool
is_flag(Node *clause)
{
	if (is_notclause(clause))
		clause = (Node *) get_notclausearg((Expr *) clause);
	return IsA(clause, NullTest) || IsA(clause, BooleanTest) || IsA(clause, Var);
}

/*
 * Adds a condition as a predicate; where there are parameters, a constant may be the
 * value of one, and will be another in another call.
 */
static void
add_predicate(Place *place, Node *clause, double selectivity)
{
	AdvisePredicate *predicate;

	if ((!is_flag(clause) && place->root->glob->boundParams->numParams > 0) ||
		!architect_advise_is_fixed(place->root, place->access->table, place->rel->relid, clause))
		return;
	predicate = palloc0(sizeof(AdvisePredicate));
	predicate->text = architect_advise_text(place->access->table, place->rel->relid, clause);
	(void) architect_advise_columns(place->rel->relid, clause, &predicate->columns);
	predicate->selectivity = selectivity;
	predicate->is_flag = is_flag(clause);
	predicate->is_equality = (is_opclause(clause) && get_oprrest(((OpExpr *) clause)->opno) == F_EQSEL) ||
		(IsA(clause, ScalarArrayOpExpr) && get_oprrest(((ScalarArrayOpExpr *) clause)->opno) == F_EQSEL);
	place->access->predicates = lappend(place->access->predicates, predicate);
}

static void
add_condition(Place *place, AdviseCondition *condition, Relids partners, double selectivity)
{
	condition->partners = bms_copy(partners);
	condition->selectivity = selectivity;
	place->access->conditions = lappend(place->access->conditions, condition);
}

/*
 * Adds a condition that a btree index finds rows by.
 */
static void
add_btree(Place *place, AdviseKey *key, bool is_range, Relids partners, double selectivity)
{
	AdviseCondition *condition = palloc0(sizeof(AdviseCondition));

	condition->key = key;
	condition->method = "btree";
	condition->is_range = is_range;
	add_condition(place, condition, partners, selectivity);
}

static bool
is_pattern(Oid operator)
{
	RegProcedure function = get_oprrest(operator);

	return function == F_LIKESEL || function == F_REGEXEQSEL;
}

/*
 * Adds what begins with a constant part of a pattern: in the order of bytes that is a
 * range.
 */
static void
add_pattern(Place *place, const AdviseKey *key, Oid type, double selectivity)
{
	AdviseKey  *copy = memcpy(palloc(sizeof(AdviseKey)), key, sizeof(AdviseKey));

	if (type == BPCHAROID)
		copy->opclass = "bpchar_pattern_ops";
	else if (type == TEXTOID || type == VARCHAROID)
		copy->opclass = "text_pattern_ops";
	else
		return;
	add_btree(place, copy, true, NULL, selectivity);
}

/*
 * Adds the conditions of an operator with a key of this relation on the left.
 */
static void
add_operator(Place *place, Node *side, Oid operator, Oid collation, Relids partners, double selectivity)
{
	AdviseKey  *key = architect_advise_key(place->root, place->access->table, place->rel->relid, side, collation);
	ListCell   *cell;
	Oid			type;

	if (key == NULL)
		return;
	while (IsA(side, RelabelType))
		side = (Node *) ((RelabelType *) side)->arg;
	type = getBaseType(exprType(side));
	foreach(cell, architect_advise_conditions(key, operator, type))
		add_condition(place, lfirst(cell), partners, selectivity);
	if (partners == NULL && is_pattern(operator))
		add_pattern(place, key, type, selectivity);
}

static void
read_operator(Place *place, const OpExpr *clause, double selectivity)
{
	Node	   *left = linitial(clause->args);
	Node	   *right = lsecond(clause->args);
	Relids		of_left = pull_varnos(place->root, left);
	Relids		of_right = pull_varnos(place->root, right);
	Oid			commutator = get_commutator(clause->opno);
	Index		relid = place->rel->relid;

	if (bms_is_member(relid, of_left) && !bms_is_member(relid, of_right) && !contain_volatile_functions(right))
		add_operator(place, left, clause->opno, clause->inputcollid, of_right, selectivity);
	else if (bms_is_member(relid, of_right) && !bms_is_member(relid, of_left) && OidIsValid(commutator) &&
			 !contain_volatile_functions(left))
		add_operator(place, right, commutator, clause->inputcollid, of_left, selectivity);
}

/*
 * Reads (a, b) < (1, 2): a range of the first, and the order of all.
 */
static void
read_row_comparison(Place *place, const RowCompareExpr *clause, double selectivity)
{
	List	   *order = NIL;
	ListCell   *cell;

	foreach(cell, clause->largs)
	{
		AdviseKey  *key = architect_advise_key(place->root, place->access->table, place->rel->relid, lfirst(cell),
											   list_nth_oid(clause->inputcollids, foreach_current_index(cell)));

		if (key == NULL)
			break;
		if (order == NIL)
			add_btree(place, key, true, NULL, selectivity);
		order = lappend(order, key);
	}
	if (list_length(order) > 1)
		place->access->orders = lappend(place->access->orders, order);
}

static void
read_null_test(Place *place, NullTest *clause, double selectivity)
{
	AdviseKey  *key = architect_advise_key(place->root, place->access->table, place->rel->relid, (Node *) clause->arg,
										   InvalidOid);

	if (key == NULL || clause->argisrow)
		return;
	add_btree(place, key, clause->nulltesttype == IS_NOT_NULL, NULL, selectivity);
}

/*
 * Reads a clause that is not OR.
 */
static void
read_clause(Place *place, Node *clause, double selectivity)
{
	AdviseKey  *key;

	add_predicate(place, clause, selectivity);
	if (is_opclause(clause) && list_length(((OpExpr *) clause)->args) == 2)
		read_operator(place, (OpExpr *) clause, selectivity);
	else if (IsA(clause, ScalarArrayOpExpr) && ((ScalarArrayOpExpr *) clause)->useOr &&
			 !contain_var_clause(lsecond(((ScalarArrayOpExpr *) clause)->args)))
		add_operator(place, linitial(((ScalarArrayOpExpr *) clause)->args), ((ScalarArrayOpExpr *) clause)->opno,
					 ((ScalarArrayOpExpr *) clause)->inputcollid, NULL, selectivity);
	else if (IsA(clause, NullTest))
		read_null_test(place, (NullTest *) clause, selectivity);
	else if (IsA(clause, RowCompareExpr))
		read_row_comparison(place, (RowCompareExpr *) clause, selectivity);
	else
	{
		if (is_notclause(clause))
			clause = (Node *) get_notclausearg((Expr *) clause);
		else if (IsA(clause, BooleanTest))
			clause = (Node *) ((BooleanTest *) clause)->arg;
		key = IsA(clause, Var) ? architect_advise_key(place->root, place->access->table, place->rel->relid, clause,
													  InvalidOid) : NULL;
		if (key != NULL)
			add_btree(place, key, false, NULL, selectivity);
	}
}

static AdviseAccess *
make_access(Looking *look, IndexTable *table)
{
	AdviseAccess *access = palloc0(sizeof(AdviseAccess));

	access->table = table;
	look->accesses = lappend(look->accesses, access);
	return access;
}

/*
 * Reads one arm of OR: rows that it asks for are found by an index of their own.
 */
static void
read_arm(Place *place, Node *arm)
{
	ListCell   *cell;

	if (IsA(arm, RestrictInfo))
		arm = (Node *) ((RestrictInfo *) arm)->clause;
	if (is_andclause(arm))
	{
		foreach(cell, ((BoolExpr *) arm)->args)
			read_arm(place, lfirst(cell));
		return;
	}
	if (!is_orclause(arm))
		read_clause(place, arm, clause_selectivity(place->root, arm, place->rel->relid, JOIN_INNER, NULL));
}

/*
 * Reads OR: each arm is an access of its own, with what holds for all of them.
 */
static void
read_or(Place *place, const RestrictInfo *info, Looking *look)
{
	ListCell   *cell;
	AdviseAccess *whole = place->access;

	foreach(cell, ((BoolExpr *) info->orclause)->args)
	{
		place->access = make_access(look, whole->table);
		place->access->reads_row = true;
		read_arm(place, lfirst(cell));
		place->access->conditions = list_concat(place->access->conditions, whole->conditions);
	}
	place->access = whole;
	add_predicate(place, (Node *) info->clause, clause_selectivity(place->root, (Node *) info->clause,
																   place->rel->relid, JOIN_INNER, NULL));
}

static void
read_clauses(Place *place, Looking *look)
{
	ListCell   *cell;

	foreach(cell, place->rel->baserestrictinfo)
	{
		RestrictInfo *info = lfirst_node(RestrictInfo, cell);

		if (info->orclause == NULL && !info->pseudoconstant)
			read_clause(place, (Node *) info->clause,
						clause_selectivity(place->root, (Node *) info, place->rel->relid, JOIN_INNER, NULL));
	}
	foreach(cell, place->rel->joininfo)
	{
		RestrictInfo *info = lfirst_node(RestrictInfo, cell);

		if (info->orclause == NULL && is_opclause(info->clause) && list_length(((OpExpr *) info->clause)->args) == 2)
			read_operator(place, (OpExpr *) info->clause, 1);
	}
	foreach(cell, place->rel->baserestrictinfo)
	{
		RestrictInfo *info = lfirst_node(RestrictInfo, cell);

		if (info->orclause != NULL)
			read_or(place, info, look);
	}
}

/*
 * Returns the member of a class that is of this relation alone; NULL where there is none.
 */
static EquivalenceMember *
find_member(const Place *place, const EquivalenceClass *class)
{
	List	   *members = list_concat_copy(class->ec_members, architect_child_members(class, place->rel->relid));
	ListCell   *cell;

	foreach(cell, members)
	{
		EquivalenceMember *member = lfirst(cell);

		if (!member->em_is_const && bms_equal(member->em_relids, place->rel->relids))
			return member;
	}
	return NULL;
}

/*
 * Reads what equals columns of other relations, as the planner knows it.
 */
static void
read_classes(Place *place)
{
	ListCell   *cell;

	foreach(cell, place->root->eq_classes)
	{
		EquivalenceClass *class = lfirst(cell);
		Relids		others = bms_difference(class->ec_relids, place->rel->relids);
		EquivalenceMember *member;
		AdviseKey  *key;

		if (class->ec_has_const || class->ec_has_volatile || bms_is_empty(others))
			continue;
		member = find_member(place, class);
		if (member == NULL)
			continue;
		key = architect_advise_key(place->root, place->access->table, place->rel->relid, (Node *) member->em_expr,
								   class->ec_collation);
		if (key != NULL)
			add_btree(place, key, false, others, 1);
	}
}

/*
 * Reads an order, as far as columns of this relation make it.
 */
static void
read_order(Place *place, List *pathkeys)
{
	List	   *order = NIL;
	ListCell   *cell;

	foreach(cell, pathkeys)
	{
		PathKey    *pathkey = lfirst_node(PathKey, cell);
		EquivalenceMember *member = find_member(place, pathkey->pk_eclass);
		AdviseKey  *key = member == NULL ? NULL :
			architect_advise_key(place->root, place->access->table, place->rel->relid, (Node *) member->em_expr,
								 pathkey->pk_eclass->ec_collation);

		if (key == NULL)
			break;
		key->is_descending = architect_is_descending(pathkey);
		key->nulls_first = pathkey->pk_nulls_first;
		order = lappend(order, key);
	}
	if (order != NIL)
		place->access->orders = lappend(place->access->orders, order);
}

static void
read_orders(Place *place)
{
	const PlannerInfo *root = place->root;
	List	   *all[] = {root->query_pathkeys, root->group_pathkeys, root->window_pathkeys, root->distinct_pathkeys,
	root->sort_pathkeys};

	for (int i = 0; i < lengthof(all); i++)
	{
		bool		is_known = false;

		for (int before = 0; before < i; before++)
			is_known |= all[before] == all[i];
		if (!is_known)
			read_order(place, all[i]);
	}
}

/*
 * Finds the columns that a scan must return, or compare.
 */
static void
read_columns(Place *place)
{
	AdviseAccess *access = place->access;
	ListCell   *cell;

	access->reads_row = architect_advise_columns(place->rel->relid, (Node *) place->rel->reltarget->exprs,
												 &access->columns);
	foreach(cell, place->rel->baserestrictinfo)
		access->reads_row |= architect_advise_columns(place->rel->relid,
													  (Node *) lfirst_node(RestrictInfo, cell)->clause,
													  &access->columns);
}

/*
 * True for a table of the query; a partition belongs to its root.
 */
static bool
is_place(const PlannerInfo *root, RelOptInfo *rel, const RangeTblEntry *entry)
{
	const AppendRelInfo *child;

	if (entry->rtekind != RTE_RELATION || IS_DUMMY_REL(rel))
		return false;
	if (rel->reloptkind == RELOPT_BASEREL)
		return true;
	child = root->append_rel_array == NULL ? NULL : root->append_rel_array[rel->relid];
	return rel->reloptkind == RELOPT_OTHER_MEMBER_REL && child != NULL &&
		(!OidIsValid(child->parent_reloid) || get_rel_relkind(child->parent_reloid) != RELKIND_PARTITIONED_TABLE);
}

static void
look_at(PlannerInfo *root, RelOptInfo *rel, Index position, RangeTblEntry *entry)
{
	Looking    *look = looking;
	MemoryContext before;
	IndexTable *table;
	Place		place = {.root = root, .rel = rel};

	if (previous_pathlist != NULL)
		previous_pathlist(root, rel, position, entry);
	if (look == NULL || root->glob->boundParams != look->question->parameters || !is_place(root, rel, entry))
		return;
	table = architect_index_find_table(look->facts, entry->relid);
	if (table == NULL)
		return;
	looking = NULL;
	before = MemoryContextSwitchTo(look->context);
	place.access = make_access(look, table);
	read_clauses(&place, look);
	read_classes(&place);
	read_orders(&place);
	read_columns(&place);
	MemoryContextSwitchTo(before);
	looking = look;
}

void
architect_advise_access_init(void)
{
	previous_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = look_at;
}

/*
 * Plans a question as things are, shows the plans to the reader, and returns what it
 * asks of tables (AdviseAccess), in the current memory context.
 */
List *
architect_advise_accesses(IndexFacts *facts, WhatIfQuestion *question, WhatIfReader reader, void *argument)
{
	Looking		look = {.facts = facts, .question = question, .context = CurrentMemoryContext};

	looking = &look;
	PG_TRY();
	{
		(void) architect_whatif_read(question, NULL, reader, argument);
	}
	PG_FINALLY();
	{
		looking = NULL;
	}
	PG_END_TRY();
	return look.accesses;
}
