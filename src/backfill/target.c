/*
 * target.c
 *    Whether a relation is one that can be backfilled, and what it is made of.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "backfill/backfill.h"
#include "compat.h"
#include "core/core.h"

#define PURPOSE "backfill"

static void
refuse_foreign(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot " PURPOSE " \"%s\"", get_rel_name(relid)),
			 errdetail("It is a foreign table."),
			 errhint("Change its rows on the server where they are, and name the other partitions one by one.")));
}

/*
 * Refuses a relation whose owner lets rules decide what an UPDATE does.
 */
static void
check_no_rule(Relation rel)
{
	for (int i = 0; rel->rd_rules != NULL && i < rel->rd_rules->numLocks; i++)
	{
		if (rel->rd_rules->rules[i]->event == CMD_UPDATE && rel->rd_rules->rules[i]->enabled != RULE_DISABLED)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot " PURPOSE " \"%s\"", RelationGetRelationName(rel)),
					 errdetail("It has a rule for UPDATE."),
					 errhint("Drop or disable the rule, or make it a trigger.")));
	}
}

/*
 * Refuses a relation of which the role sees and changes only some rows.
 */
static void
check_no_row_security(Relation rel, Oid owner)
{
	if (check_enable_rls(RelationGetRelid(rel), owner, true) != RLS_ENABLED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("cannot " PURPOSE " \"%s\"", RelationGetRelationName(rel)),
			 errdetail("Its row security policies apply to role \"%s\" and would hide rows from it.",
					   GetUserNameFromId(owner, false)),
			 errhint("Run it as a role with BYPASSRLS that has the rights of the owner, or as a superuser.")));
}

/*
 * Raises unless the role has the rights of the relation's owner.
 */
static void
check_rights(Relation rel, Oid owner)
{
	if (!object_ownercheck(RelationRelationId, RelationGetRelid(rel), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" must be owner of table %s", GetUserNameFromId(owner, false),
						RelationGetRelationName(rel))));
}

/*
 * Refuses a relation whose pages are not what the walk takes them for.
 */
static void
check_heap(Relation rel)
{
	if (rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot " PURPOSE " \"%s\"", RelationGetRelationName(rel)),
				 errdetail("It is not stored as a heap."),
				 errhint("Use UPDATE.")));
}

/*
 * Raises where a relation with rows of its own, open and locked, cannot be worked on
 * by this role.  It may be a partition that came later.
 */
void
architect_backfill_check_leaf(Relation leaf, Oid owner)
{
	if (leaf->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		refuse_foreign(RelationGetRelid(leaf));
	architect_check_plain_table(leaf, PURPOSE);
	check_heap(leaf);
	check_rights(leaf, owner);
	check_no_rule(leaf);
	check_no_row_security(leaf, owner);
}

/*
 * Returns the relation and those below it, locked against being dropped until the
 * transaction ends.  Without temporary tables of other sessions: no UPDATE sees them.
 */
static List *
members_of(Oid target)
{
	List	   *members = NIL;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(target, AccessShareLock, NULL))
	{
		Oid			member = lfirst_oid(cell);

		if (get_rel_persistence(member) != RELPERSISTENCE_TEMP || isTempNamespace(get_rel_namespace(member)))
			members = lappend_oid(members, member);
	}
	return members;
}

/*
 * The same for the target of a request, and for everything below it.
 */
void
architect_backfill_check_target(Relation rel, Oid owner)
{
	Oid			extension = getExtensionOfObject(RelationRelationId, RelationGetRelid(rel));
	ListCell   *cell;

	architect_check_plain_table(rel, PURPOSE);
	if (OidIsValid(extension))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot " PURPOSE " \"%s\"", RelationGetRelationName(rel)),
				 errdetail("It belongs to extension \"%s\".", get_extension_name(extension)),
				 errhint("Name a table of your own.")));

	foreach(cell, members_of(RelationGetRelid(rel)))
	{
		Relation	member = table_open(lfirst_oid(cell), NoLock);

		architect_backfill_check_leaf(member, owner);
		table_close(member, NoLock);
	}
}

/*
 * Returns the relations with rows of their own: the partitions, or the table and those
 * that inherit from it.  They stay locked as above.
 */
List *
architect_backfill_leaves(Oid target)
{
	List	   *leaves = NIL;
	ListCell   *cell;

	foreach(cell, members_of(target))
	{
		char		kind = get_rel_relkind(lfirst_oid(cell));

		if (kind == RELKIND_FOREIGN_TABLE)
			refuse_foreign(lfirst_oid(cell));
		if (kind == RELKIND_RELATION)
			leaves = lappend_oid(leaves, lfirst_oid(cell));
	}
	return leaves;
}
