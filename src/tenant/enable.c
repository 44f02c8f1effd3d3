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
	List	   *rows = architect_read_as_owner("SELECT parent.relation::regclass"
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
 * Says which foreign tables below the table no policy can protect.
 */
static void
warn_of_foreign_tables(Relation rel)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_FOREIGN_TABLE)
			ereport(WARNING,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("foreign table \"%s\" cannot be protected when it is addressed by itself",
							get_rel_name(lfirst_oid(cell))),
					 errdetail("The server has no row-level security for foreign tables."),
					 errhint("Revoke all privileges on it, and read it through \"%s\" only.",
							 RelationGetRelationName(rel))));
	}
}

/*
 * Locks the whole tree, if there is anything to run, as strongly as it will need:
 * to take a stronger lock later would invite a deadlock.
 */
static void
lock_tree(Oid target, List *steps)
{
	ListCell   *cell;

	foreach(cell, steps)
	{
		if (((char **) lfirst(cell))[STEP_INSIDE] != NULL)
		{
			LockRelationOid(target, AccessExclusiveLock);
			find_all_inheritors(target, AccessExclusiveLock, NULL);
			return;
		}
	}
}

/*
 * Runs the steps as the current user.  No relation may be held open by the
 * caller: ALTER TABLE would refuse to work on it.  Names are looked up where the
 * plan means them, but data is changed under the caller's own settings, as his
 * triggers expect.
 */
static void
run_steps(List *steps)
{
	ListCell   *cell;
	int			level;

	SPI_connect();
	architect_tenant_is_changing = true;
	PG_TRY();
	{
		foreach(cell, steps)
		{
			char	  **step = lfirst(cell);
			bool		changes_data = step[STEP_RULE] != NULL && strcmp(step[STEP_RULE], "fill") == 0;

			if (step[STEP_INSIDE] == NULL)
				continue;
			level = NewGUCNestLevel();
			if (!changes_data)
				(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
										 GUC_ACTION_SAVE, true, 0, false);
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
 * Returns a list of texts as an array.
 */
static Datum
text_array(List *steps, StepColumn column, Oid type)
{
	ArrayBuildState *result = initArrayResult(type, CurrentMemoryContext, true);
	ListCell   *cell;

	foreach(cell, steps)
	{
		char	  **step = lfirst(cell);
		bool		done = step[STEP_INSIDE] != NULL && step[STEP_UNDO_TEMPLATE] != NULL;

		if (!done)
			continue;
		result = accumArrayResult(result,
								  type == OIDOID ? ObjectIdGetDatum(atooid(step[column])) :
								  CStringGetTextDatum(step[column]),
								  false, type, CurrentMemoryContext);
	}
	return makeArrayResult(result, CurrentMemoryContext);
}

/*
 * Enters the tree in the register; returns how many of its rows changed.
 */
static int
register_tree(FunctionCallInfo fcinfo, List *steps)
{
	Oid			types[] = {REGCLASSOID, NAMEOID, NAMEARRAYOID, OIDARRAYOID, TEXTARRAYOID};
	Datum		values[] = {
		PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2),
		text_array(steps, STEP_RELATION, OIDOID), text_array(steps, STEP_UNDO_TEMPLATE, TEXTOID)
	};
	char		nulls[] = {' ', PG_ARGISNULL(1) ? 'n' : ' ', PG_ARGISNULL(2) ? 'n' : ' ', ' ', ' ', '\0'};
	List	   *rows = architect_read_as_owner("SELECT " ARCHITECT_SCHEMA "._tenant_register($1, $2, $3, $4, $5)",
											   5, types, values, nulls);

	return pg_strtoint32(((char **) linitial(rows))[0]);
}

/*
 * Returns the steps that the arguments of the function ask for.
 */
static List *
plan_steps(FunctionCallInfo fcinfo)
{
	Oid			types[] = {REGCLASSOID, NAMEOID, NAMEARRAYOID};
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	char		nulls[] = {' ', PG_ARGISNULL(1) ? 'n' : ' ', PG_ARGISNULL(2) ? 'n' : ' ', '\0'};

	return architect_read_as_owner("SELECT * FROM " ARCHITECT_SCHEMA "._tenant_steps($1, $2, $3)",
								   lengthof(types), types, values, nulls);
}

static Oid
target_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("target must not be NULL"),
				 errhint("Name the table, as in 'public.orders'.")));
	return PG_GETARG_OID(0);
}

/*
 * architect.tenant_enable(target, tenant_column, roles)
 */
Datum
architect_tenant_enable(PG_FUNCTION_ARGS)
{
	Oid			target = target_argument(fcinfo);
	Relation	rel = architect_tenant_open(target, "protect");
	char	   *name = pstrdup(RelationGetRelationName(rel));
	List	   *steps;

	architect_check_version();
	check_is_top(rel, "protect");
	lock_tree(target, plan_steps(fcinfo));
	relation_close(rel, NoLock);

	/* Once more, now that it stands still. */
	rel = architect_tenant_open(target, "protect");
	steps = plan_steps(fcinfo);
	warn_of_foreign_tables(rel);
	relation_close(rel, NoLock);

	run_steps(steps);
	if (register_tree(fcinfo, steps) == 0 && steps == NIL)
		ereport(NOTICE,
				(errmsg("table \"%s\" is protected in this way already", name)));
	PG_RETURN_VOID();
}

/*
 * architect.tenant_enable_plan(target, tenant_column, roles)
 */
Datum
architect_tenant_enable_plan(PG_FUNCTION_ARGS)
{
	Relation	rel = architect_tenant_open(target_argument(fcinfo), "protect");
	ReturnSetInfo *result;
	ListCell   *cell;
	int			number = 0;

	check_is_top(rel, "protect");
	relation_close(rel, NoLock);

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	foreach(cell, plan_steps(fcinfo))
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
 * Returns the steps that take back what is registered of the tree.
 */
static List *
plan_undo(Oid target)
{
	Oid			types[] = {REGCLASSOID};
	Datum		values[] = {ObjectIdGetDatum(target)};

	return architect_read_as_owner("SELECT * FROM " ARCHITECT_SCHEMA "._tenant_undo($1)",
								   lengthof(types), types, values, NULL);
}

/*
 * architect.tenant_disable(target)
 */
Datum
architect_tenant_disable(PG_FUNCTION_ARGS)
{
	Oid			target = target_argument(fcinfo);
	Relation	rel = architect_tenant_open(target, "end the protection of");
	char	   *name = pstrdup(RelationGetRelationName(rel));
	Oid			types[] = {REGCLASSOID};
	Datum		values[] = {ObjectIdGetDatum(target)};

	check_is_top(rel, "end the protection of");
	lock_tree(target, plan_undo(target));
	relation_close(rel, NoLock);

	rel = architect_tenant_open(target, "end the protection of");
	relation_close(rel, NoLock);
	run_steps(plan_undo(target));
	if (architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._tenant_unregister($1)", 1, types, values) == 0)
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
