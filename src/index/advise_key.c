/*
 * advise_key.c
 *    What an index can have as a key, and which access methods find rows by an operator.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_opclass.h"
#include "commands/defrem.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "index/advise_access.h"
#include "index/workload_text.h"

/* A hash index is worth a thought where keys have more bytes. */
#define WIDE_KEY 16

/*
 * Returns a condition or expression of one relation as an index of the table has it, so
 * that it means the same whatever the search_path is.
 */
char *
architect_advise_text(const IndexTable *table, Index position, const Node *node)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "text of a condition", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(scratch);
	Node	   *copy = copyObject(unconstify(Node *, node));
	int			level = NewGUCNestLevel();
	char	   *text;

	ChangeVarNodes(copy, position, 1, 0);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	text = deparse_expression(copy, deparse_context_for(table->name, table->oid), false, false);
	AtEOXact_GUC(true, level);
	(void) MemoryContextSwitchTo(before);
	text = pstrdup(text);
	MemoryContextDelete(scratch);
	return text;
}

/*
 * Adds the attnums of a relation in an expression; true when it has other than columns,
 * as the row as a whole.
 */
bool
architect_advise_columns(Index position, const Node *node, Bitmapset **columns)
{
	Bitmapset  *found = NULL;
	bool		has_more = false;
	int			member = -1;

	pull_varattnos(unconstify(Node *, node), position, &found);
	while ((member = bms_next_member(found, member)) >= 0)
	{
		int			attnum = member + FirstLowInvalidHeapAttributeNumber;

		if (attnum > 0)
			*columns = bms_add_member(*columns, attnum);
		else
			has_more = true;
	}
	return has_more;
}

static bool
has_parameters(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, Param) || expression_tree_walker(node, has_parameters, context);
}

/*
 * True for what an index can have as a key or predicate: it depends on columns of this
 * relation and nothing else, and runs no functions of strangers.
 */
bool
architect_advise_is_fixed(PlannerInfo *root, const IndexTable *table, Index position, Node *node)
{
	Oid			owner = table->owner;
	Relids		relations = pull_varnos(root, node);

	return bms_membership(relations) == BMS_SINGLETON && bms_is_member(position, relations) &&
		!contain_mutable_functions(node) && !contain_subplans(node) && !has_parameters(node, NULL) &&
		!architect_index_runs_strangers(node, &owner);
}

/*
 * Returns how many bytes a column has on average.
 */
double
architect_advise_width(const IndexTable *table, int16 attnum)
{
	const IndexColumn *column = &table->columns[attnum - 1];

	if (column->length > 0)
		return column->length;
	return column->has_statistics ? column->width : get_typavgwidth(column->type, column->typmod);
}

/*
 * Returns the key that a side of a condition is; NULL where an index cannot have it.
 */
AdviseKey *
architect_advise_key(PlannerInfo *root, const IndexTable *table, Index position, Node *node, Oid collation)
{
	AdviseKey  *key = palloc0(sizeof(AdviseKey));
	Oid			own = exprCollation(node);

	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (IsA(node, Var))
	{
		key->attnum = ((Var *) node)->varattno;
		if (((Var *) node)->varno != position || ((Var *) node)->varlevelsup != 0 || key->attnum <= 0)
			return NULL;
		own = table->columns[key->attnum - 1].collation;
		key->text = quote_identifier(table->columns[key->attnum - 1].name);
		key->width = architect_advise_width(table, key->attnum);
	}
	else if (architect_advise_is_fixed(root, table, position, node))
	{
		key->text = architect_advise_text(table, position, node);
		if (!IsA(node, FuncExpr) && !is_opclause(node))
			key->text = psprintf("(%s)", key->text);
		key->width = get_typavgwidth(exprType(node), exprTypmod(node));
	}
	else
		return NULL;
	if (OidIsValid(collation) && OidIsValid(own) && collation != own)
		key->text = psprintf("%s COLLATE %s", key->text, generate_collation_name(collation));
	(void) architect_advise_columns(position, node, &key->columns);
	return key;
}

/*
 * Returns the operator class of a family for a type as CREATE INDEX has it, "" for the
 * default one; NULL where there is none.
 */
static const char *
find_opclass(Oid method, Oid family, Oid type)
{
	CatCList   *list = SearchSysCacheList1(CLAAMNAMENSP, ObjectIdGetDatum(method));
	Oid			standard = GetDefaultOpClass(type, method);
	const char *name = NULL;

	if (OidIsValid(standard) && get_opclass_family(standard) == family)
		name = "";
	for (int i = 0; name == NULL && i < list->n_members; i++)
	{
		Form_pg_opclass opclass = (Form_pg_opclass) GETSTRUCT(&list->members[i]->tuple);

		if (opclass->opcfamily == family && IsBinaryCoercible(type, opclass->opcintype))
			name = quote_qualified_identifier(get_namespace_name(opclass->opcnamespace),
											  NameStr(opclass->opcname));
	}
	ReleaseSysCacheList(list);
	return name;
}

/*
 * Returns the condition that an access method finds rows by, with an operator that is
 * this member of a family; NULL where it is not worth a thought.
 */
static AdviseCondition *
make_condition(const AdviseKey *key, Form_pg_amop member, Oid type)
{
	AdviseCondition *condition;
	const char *opclass;
	bool		is_ordered = member->amopmethod == BTREE_AM_OID || member->amopmethod == HASH_AM_OID ||
		member->amopmethod == BRIN_AM_OID || member->amopmethod == GIST_AM_OID ||
		member->amopmethod == SPGIST_AM_OID;

	if (member->amoppurpose != AMOP_SEARCH || member->amopmethod == SPGIST_AM_OID ||
		(member->amopmethod == HASH_AM_OID && key->width <= WIDE_KEY))
		return NULL;
	opclass = find_opclass(member->amopmethod, member->amopfamily, type);
	if (opclass == NULL || (is_ordered && opclass[0] != '\0'))
		return NULL;

	condition = palloc0(sizeof(AdviseCondition));
	condition->key = memcpy(palloc(sizeof(AdviseKey)), key, sizeof(AdviseKey));
	condition->key->opclass = opclass[0] == '\0' ? NULL : opclass;
	condition->method = get_am_name(member->amopmethod);
	condition->is_range = (member->amopmethod == BTREE_AM_OID && member->amopstrategy != BTEqualStrategyNumber) ||
		member->amopmethod == BRIN_AM_OID;
	return condition;
}

/*
 * Returns the conditions (AdviseCondition) that access methods find rows by, where a key
 * stands left of this operator.
 */
List *
architect_advise_conditions(const AdviseKey *key, Oid operator, Oid type)
{
	CatCList   *list = SearchSysCacheList1(AMOPOPID, ObjectIdGetDatum(operator));
	List	   *conditions = NIL;

	for (int i = 0; i < list->n_members; i++)
	{
		AdviseCondition *condition = make_condition(key, (Form_pg_amop) GETSTRUCT(&list->members[i]->tuple), type);

		if (condition != NULL)
			conditions = lappend(conditions, condition);
	}
	ReleaseSysCacheList(list);
	return conditions;
}
