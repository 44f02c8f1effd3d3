/*
 * enable.c
 *    architect.tenant_enable, tenant_enable_plan and tenant_disable.
 *
 * What is to be done is planned in SQL (tenant_plan.sql), which reads catalogs
 * and the register as the extension's owner.  The statements of the plan are run
 * here with the rights of the caller, who must own every table of the tree.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "core/core.h"
#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(architect_tenant_enable);
PG_FUNCTION_INFO_V1(architect_tenant_enable_plan);
PG_FUNCTION_INFO_V1(architect_tenant_disable);
PG_FUNCTION_INFO_V1(architect_tenant_invalidate);

/* True while statements of a plan run, which guards must let through. */
bool		architect_tenant_is_changing = false;

/* The columns of architect._tenant_steps and _tenant_undo. */
typedef enum StepColumn
{
	STEP_RELATION,
	STEP_STATEMENT,
	STEP_WHY,
	STEP_LOCK,
	STEP_UNDO,
	STEP_TRANSACTIONAL,
	STEP_INSIDE,
	STEP_RULE,
	STEP_UNDO_TEMPLATE
} StepColumn;

/*
 * Opens the table for a caller who owns it and all tables below it; raises
 * otherwise.  The purpose completes "cannot ...".
 */
Relation
architect_tenant_open(Oid target, const char *purpose)
{
	Relation	rel = try_relation_open(target, AccessShareLock);
	ListCell   *cell;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", target),
				 errhint("Name the table, as in 'public.orders'.")));

	architect_check_plain_table(rel, purpose);
	foreach(cell, find_all_inheritors(target, AccessShareLock, NULL))
	{
		Relation	member = relation_open(lfirst_oid(cell), NoLock);

		architect_check_owner(member);
		relation_close(member, NoLock);
	}
	return rel;
}

/*
 * Refuses a table whose protection is that of its parent.
 */
static void
check_is_top(Relation rel, const char *purpose)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(RelationGetRelid(rel))};
	List	   *rows = architect_read_latest_as_owner("SELECT parent.relation::regclass"
											   " FROM pg_catalog.pg_inherits AS child"
											   " JOIN " ARCHITECT_SCHEMA ".tenant_registry AS parent"
											   " ON parent.relation = child.inhparent"
											   " WHERE child.inhrelid = $1",
											   1, types, values, NULL);

	if (rows != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s \"%s\" by itself", purpose, RelationGetRelationName(rel)),
				 errdetail("It is protected as a part of table %s.", ((char **) linitial(rows))[0]),
				 errhint("Call it for that table, or detach this one from it first.")));
}

/*
 * Says that no policy can protect a foreign table, but those of a table above it,
 * whose name is NULL where it is not known.
 */
void
architect_tenant_warn_of_foreign(Oid relid, const char *above)
{
	ereport(WARNING,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("foreign table \"%s\" cannot be protected when it is addressed by itself", get_rel_name(relid)),
			 errdetail("The server has no row-level security for foreign tables."),
			 above == NULL ? errhint("Revoke all privileges on it, and read it through its parent only.") :
			 errhint("Revoke all privileges on it, and read it through \"%s\" only.", above)));
}

static void
warn_of_foreign_tables(Relation rel)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_FOREIGN_TABLE)
			architect_tenant_warn_of_foreign(lfirst_oid(cell), RelationGetRelationName(rel));
	}
}

/*
 * True where the transaction has something to run for this step.  An empty text
 * says that nothing is needed there, NULL that the step is left to the caller.
 */
static bool
runs_inside(char **step)
{
	return step[STEP_INSIDE] != NULL && step[STEP_INSIDE][0] != '\0';
}

/*
 * True where any of the steps has to be run, by whom ever.
 */
static bool
has_work(List *steps)
{
	ListCell   *cell;

	foreach(cell, steps)
	{
		char	  **step = lfirst(cell);

		if (step[STEP_INSIDE] == NULL || runs_inside(step))
			return true;
	}
	return false;
}

/*
 * Locks the whole tree, if there is anything to run, as strongly as it will need:
 * to take a stronger lock later would invite a deadlock.  Returns whether it did.
 */
static bool
lock_tree(Oid target, List *steps)
{
	ListCell   *cell;

	foreach(cell, steps)
	{
		if (runs_inside(lfirst(cell)))
		{
			LockRelationOid(target, AccessExclusiveLock);
			find_all_inheritors(target, AccessExclusiveLock, NULL);
			return true;
		}
	}
	return false;
}

/*
 * Runs the steps as the current user.  No relation may be held open by the
 * caller: ALTER TABLE would refuse to work on it.  Names are looked up where the
 * plan means them, but data is changed under the caller's own settings, as his
 * triggers expect, and what they do to other tables is none of ours.
 */
static void
run_steps(List *steps)
{
	ListCell   *cell;
	int			level;

	SPI_connect();
	PG_TRY();
	{
		foreach(cell, steps)
		{
			char	  **step = lfirst(cell);
			bool		changes_data = step[STEP_RULE] != NULL && strcmp(step[STEP_RULE], "fill") == 0;

			if (!runs_inside(step))
				continue;
			level = NewGUCNestLevel();
			if (!changes_data)
				architect_pin_path();
			architect_tenant_is_changing = !changes_data;
			if (SPI_execute(step[STEP_INSIDE], false, 0) < 0)
				elog(ERROR, "could not run: %s", step[STEP_INSIDE]);
			AtEOXact_GUC(true, level);
		}
	}
	PG_FINALLY();
	{
		architect_tenant_is_changing = false;
	}
	PG_END_TRY();
	SPI_finish();
}

/*
 * Returns the tables of the tree that can be protected, as oid[].
 */
static Datum
members_of(Oid target)
{
	ArrayBuildState *result = initArrayResult(OIDOID, CurrentMemoryContext, true);
	ListCell   *cell;

	foreach(cell, find_all_inheritors(target, NoLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(cell)) != RELKIND_FOREIGN_TABLE)
			result = accumArrayResult(result, ObjectIdGetDatum(lfirst_oid(cell)), false, OIDOID,
									  CurrentMemoryContext);
	}
	return makeArrayResult(result, CurrentMemoryContext);
}

/*
 * Returns a column of the steps that were run here and can be undone, as an array.
 */
static Datum
text_array(List *steps, StepColumn column, Oid type)
{
	ArrayBuildState *result = initArrayResult(type, CurrentMemoryContext, true);
	ListCell   *cell;

	foreach(cell, steps)
	{
		char	  **step = lfirst(cell);
		if (!runs_inside(step) || step[STEP_UNDO_TEMPLATE] == NULL)
			continue;
		result = accumArrayResult(result,
								  type == OIDOID ? ObjectIdGetDatum(atooid(step[column])) :
								  CStringGetTextDatum(step[column]),
								  false, type, CurrentMemoryContext);
	}
	return makeArrayResult(result, CurrentMemoryContext);
}

/*
 * True where the step is one of the rule book, which is done only where asked for.
 */
static bool
is_fix(char **step)
{
	const char *rule = step[STEP_RULE];

	return rule != NULL && strcmp(rule, "column") != 0 && strcmp(rule, "fill") != 0;
}

/*
 * Returns the steps that are asked for; adds to rules, where it is not NULL, the
 * rules of which the steps are left out.
 */
static List *
plan_steps(TenantRequest *request, List **rules)
{
	static const int arguments[] = {0, 1, 2, 3, 4, 5, 7};
	Oid			types[] = {REGCLASSOID, NAMEOID, NAMEARRAYOID, BOOLOID, REGTYPEOID, NAMEARRAYOID, BOOLOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1];
	NullableDatum fix = request->arguments[6];
	List	   *steps = NIL;
	ListCell   *cell;

	for (int i = 0; i < lengthof(types); i++)
	{
		values[i] = request->arguments[arguments[i]].value;
		nulls[i] = request->arguments[arguments[i]].isnull ? 'n' : ' ';
	}
	foreach(cell, architect_read_latest_as_owner("SELECT * FROM " ARCHITECT_SCHEMA
										  "._tenant_steps($1, $2, $3, $4, $5, $6, $7)",
										  lengthof(types), types, values, nulls))
	{
		char	  **step = lfirst(cell);

		if (!is_fix(step) || (!fix.isnull && DatumGetBool(fix.value)))
			steps = lappend(steps, step);
		else if (rules != NULL && strncmp(step[STEP_STATEMENT], "--", 2) != 0)
			*rules = list_append_unique(*rules, makeString(step[STEP_RULE]));
	}
	return steps;
}

/*
 * Returns the steps that take back what is registered of the tree, but for what
 * is kept; sets kept_column where that is a column.
 */
static List *
plan_undo(Oid target, bool keep_column, bool keep_fixes, bool *kept_column)
{
	Oid			types[] = {REGCLASSOID};
	Datum		values[] = {ObjectIdGetDatum(target)};
	List	   *steps = NIL;
	ListCell   *cell;

	foreach(cell, architect_read_latest_as_owner("SELECT * FROM " ARCHITECT_SCHEMA "._tenant_undo($1)",
										  lengthof(types), types, values, NULL))
	{
		char	  **step = lfirst(cell);
		const char *rule = step[STEP_RULE];
		bool		is_column = rule != NULL && strcmp(rule, "column") == 0;

		if (is_column && keep_column)
			*kept_column = true;
		else if (rule == NULL || is_column || !keep_fixes)
			steps = lappend(steps, step);
	}
	return steps;
}

/*
 * Enters the tree in the register; returns how many of its rows changed.
 */
static int
register_tree(TenantRequest *request, List *steps)
{
	Oid			types[] = {REGCLASSOID, NAMEOID, NAMEARRAYOID, OIDARRAYOID, OIDARRAYOID, TEXTARRAYOID};
	Datum		values[] = {
		request->arguments[0].value, request->arguments[1].value, request->arguments[2].value,
		members_of(DatumGetObjectId(request->arguments[0].value)),
		text_array(steps, STEP_RELATION, OIDOID), text_array(steps, STEP_UNDO_TEMPLATE, TEXTOID)
	};
	char		nulls[] = {
		' ', request->arguments[1].isnull ? 'n' : ' ', request->arguments[2].isnull ? 'n' : ' ', ' ', ' ', ' ', '\0'
	};
	List	   *rows = architect_read_as_owner("SELECT " ARCHITECT_SCHEMA "._tenant_register($1, $2, $3, $4, $5, $6)",
											   lengthof(types), types, values, nulls);

	return pg_strtoint32(((char **) linitial(rows))[0]);
}

/*
 * Says what is left to the caller; raises where the column is, without which
 * there is nothing to protect the table by.
 */
static void
notice_left(const char *name, List *steps)
{
	StringInfoData left;
	int			count = 0;
	ListCell   *cell;

	initStringInfo(&left);
	foreach(cell, steps)
	{
		char	  **step = lfirst(cell);

		if (step[STEP_INSIDE] == NULL && step[STEP_RULE] != NULL && !is_fix(step))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" is too large to get its tenant column in one transaction", name),
					 errdetail("It would be locked for as long as it takes to fill the column."),
					 errhint("Run the first statements of architect.tenant_enable_plan, each by itself, and then make this call again; or make it with online => false.")));
		if (step[STEP_INSIDE] == NULL)
			appendStringInfo(&left, "%s%s;", count++ > 0 ? "\n" : "", step[STEP_STATEMENT]);
	}
	if (count > 0)
		ereport(NOTICE,
				(errmsg_plural("%d statement for table \"%s\" is left to you",
							   "%d statements for table \"%s\" are left to you", count, count, name),
				 errdetail_internal("%s", left.data),
				 errhint("Run them in this order, each by itself, and then make this call again; "
						 "or let it do all in its transaction: online => false.")));
}

/*
 * Says which rules of the rule book are not followed.
 */
static void
notice_rules(const char *name, List *rules)
{
	StringInfoData said;
	ListCell   *cell;

	if (rules == NIL)
		return;
	initStringInfo(&said);
	foreach(cell, rules)
		appendStringInfo(&said, "%s%s", said.len > 0 ? ", " : "", strVal(lfirst(cell)));
	ereport(NOTICE,
			(errmsg("table \"%s\" does not follow the rules for: %s", name, said.data),
			 errhint("See architect.tenant_enable_plan with fix => true.")));
}

/*
 * Does what is asked for, as the current user, to a table that he owns; returns
 * whether that changed anything.
 */
bool
architect_tenant_protect(TenantRequest *request, bool says_rules)
{
	Oid			target = DatumGetObjectId(request->arguments[0].value);
	Relation	rel = architect_tenant_open(target, "protect");
	char	   *name = pstrdup(RelationGetRelationName(rel));
	List	   *rules = NIL;
	List	   *steps;

	steps = plan_steps(request, &rules);
	if (lock_tree(target, steps))
	{
		/* Once more, now that it stands still. */
		relation_close(rel, NoLock);
		rel = architect_tenant_open(target, "protect");
		rules = NIL;
		steps = plan_steps(request, &rules);
	}
	warn_of_foreign_tables(rel);
	relation_close(rel, NoLock);

	notice_left(name, steps);
	run_steps(steps);
	if (register_tree(request, steps) == 0 && !has_work(steps))
		return false;
	if (says_rules)
		notice_rules(name, rules);
	return true;
}

/*
 * Takes back what was done to a table that the current user owns; returns whether
 * there was anything.
 */
bool
architect_tenant_unprotect(Oid target, bool keep_column, bool keep_fixes)
{
	Oid			types[] = {REGCLASSOID};
	Datum		values[] = {ObjectIdGetDatum(target)};
	Relation	rel = architect_tenant_open(target, "end the protection of");
	char	   *name = pstrdup(RelationGetRelationName(rel));
	bool		kept_column = false;

	(void) lock_tree(target, plan_undo(target, keep_column, keep_fixes, &kept_column));
	relation_close(rel, NoLock);

	/* Once more, now that it stands still. */
	rel = architect_tenant_open(target, "end the protection of");
	relation_close(rel, NoLock);
	run_steps(plan_undo(target, keep_column, keep_fixes, &kept_column));
	if (kept_column)
		ereport(NOTICE,
				(errmsg("the column that tenant_enable added to table \"%s\" stays, with its values", name),
				 errhint("To drop it, use ALTER TABLE; or call architect.tenant_disable with keep_column => false.")));
	return architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._tenant_unregister($1)", 1, types, values) > 0;
}

/*
 * Takes the arguments of a function: of those that have a default, NULL means it.
 */
static TenantRequest
requested(FunctionCallInfo fcinfo)
{
	TenantRequest request;

	for (int i = 0; i < lengthof(request.arguments); i++)
		request.arguments[i] = fcinfo->args[i];
	return request;
}

/*
 * architect.tenant_enable(target, tenant_column, roles, add_column, column_type,
 *                         path, fix, online)
 */
Datum
architect_tenant_enable(PG_FUNCTION_ARGS)
{
	TenantRequest request = requested(fcinfo);
	Relation	rel = architect_tenant_open(architect_target_argument(fcinfo), "protect");
	char	   *name = pstrdup(RelationGetRelationName(rel));

	architect_check_version();
	check_is_top(rel, "protect");
	relation_close(rel, NoLock);

	if (!architect_tenant_protect(&request, true))
		ereport(NOTICE,
				(errmsg("table \"%s\" is protected in this way already", name)));
	PG_RETURN_VOID();
}

/*
 * architect.tenant_enable_plan(the same)
 */
Datum
architect_tenant_enable_plan(PG_FUNCTION_ARGS)
{
	TenantRequest request = requested(fcinfo);
	Relation	rel = architect_tenant_open(architect_target_argument(fcinfo), "protect");
	ReturnSetInfo *result;
	ListCell   *cell;
	int			number = 0;

	check_is_top(rel, "protect");
	relation_close(rel, NoLock);

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	foreach(cell, plan_steps(&request, NULL))
	{
		static const StepColumn columns[] = {
			STEP_STATEMENT, STEP_WHY, STEP_LOCK, STEP_UNDO, STEP_TRANSACTIONAL, STEP_INSIDE
		};
		char	  **step = lfirst(cell);
		Datum		values[lengthof(columns) + 1];
		bool		nulls[lengthof(columns) + 1] = {false};

		values[0] = Int32GetDatum(++number);
		for (int i = 0; i < lengthof(columns); i++)
		{
			char	   *value = step[columns[i]];

			nulls[i + 1] = value == NULL;
			if (columns[i] == STEP_TRANSACTIONAL)
				values[i + 1] = BoolGetDatum(value[0] == 't');
			else if (value != NULL)
				values[i + 1] = CStringGetTextDatum(value);
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}

/*
 * architect.tenant_disable(target, keep_column, keep_fixes)
 */
Datum
architect_tenant_disable(PG_FUNCTION_ARGS)
{
	Oid			target = architect_target_argument(fcinfo);
	Relation	rel = architect_tenant_open(target, "end the protection of");
	char	   *name = pstrdup(RelationGetRelationName(rel));

	check_is_top(rel, "end the protection of");
	relation_close(rel, NoLock);

	if (!architect_tenant_unprotect(target, PG_ARGISNULL(1) || PG_GETARG_BOOL(1),
									!PG_ARGISNULL(2) && PG_GETARG_BOOL(2)))
		ereport(NOTICE,
				(errmsg("table \"%s\" is not protected", name)));
	PG_RETURN_VOID();
}

/*
 * architect._tenant_invalidate(target): all sessions read anew how the table is
 * protected.  True, also where there is no such table any more.
 */
Datum
architect_tenant_invalidate(PG_FUNCTION_ARGS)
{
	Oid			target = PG_GETARG_OID(0);

	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(target)))
		CacheInvalidateRelcacheByRelid(target);
	PG_RETURN_BOOL(true);
}
