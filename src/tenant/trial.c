/*
 * trial.c
 *    architect.tenant_test: tries every command across tenants, and rolls it all back.
 *
 * Each path to the rows (the table, a partition, a view) is tried in a subtransaction,
 * in which rows of two tenants are found or made, and each command in one inside that.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "core/core.h"
#include "tenant/tenant.h"
#include "tenant/trial.h"

PG_FUNCTION_INFO_V1(architect_tenant_test);
PG_FUNCTION_INFO_V1(architect_tenant_test_schema);

#define RESULT_COLUMNS 8

/* What is done in the subtransaction of one path. */
typedef struct PathTrial
{
	Trial	   *trial;
	TrialPath  *path;
	TrialRow   *model;
	List	   *results;
} PathTrial;

static char *
text_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/*
 * Returns the column of that name, or the register's, or tenant_id.
 */
static const char *
find_column(Oid relid, const char *named)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	const char *column = named;

	if (column == NULL)
	{
		architect_tenant_read_catalog("SELECT column_name FROM architect.tenant_registry WHERE relation = $1",
									  lengthof(types), types, values);
		column = SPI_processed > 0 ? SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) : "tenant_id";
		SPI_freetuptable(SPI_tuptable);
	}
	if (get_attnum(relid, column) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table %s has no column \"%s\"", architect_tenant_table_name(relid), column),
				 errhint("Name the column that says whose row it is: tenant_column => '...'.")));
	return column;
}

/*
 * True unless tenant_enable was told to make the policies for other roles.
 */
static bool
is_for_role(const Trial *trial)
{
	Oid			types[] = {OIDOID, OIDOID};
	Datum		values[] = {ObjectIdGetDatum(trial->target), ObjectIdGetDatum(trial->role)};
	bool		isnull;
	bool		found;

	architect_tenant_read_catalog("SELECT coalesce((SELECT"
								  " bool_or(role = 'public' OR pg_has_role($2, rolname, 'USAGE'))"
								  " FROM architect.tenant_registry CROSS JOIN unnest(roles) AS role"
								  " LEFT JOIN pg_roles ON rolname = role WHERE relation = $1), true)",
								  lengthof(types), types, values);
	found = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/*
 * A trial acts as tenants without a token, and what it runs is the caller's: triggers,
 * defaults, views, which may read other tables.  In trusted mode that is for those who
 * may read them in any case.
 */
static void
check_trust(void)
{
	if (architect_tenant_is_trusted() && !architect_tenant_may_cross())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to try tenants without a token"),
				 errdetail("Setting architect.tenant_trusted is on."),
				 errhint("The administrator can grant EXECUTE on architect.tenant_cross(text, boolean).")));
}

/*
 * Reads the arguments after the first; they are the same for a table and a schema.
 */
static void
read_arguments(FunctionCallInfo fcinfo, Trial *trial)
{
	static const char *const names[] = {"target", "role"};

	check_trust();
	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be NULL", names[i]),
					 errhint("Name what to try, and the role that the application connects as.")));
	}
	trial->role_name = pstrdup(NameStr(*PG_GETARG_NAME(1)));
	trial->role = get_role_oid(trial->role_name, false);
	trial->own = text_argument(fcinfo, 2);
	trial->other = text_argument(fcinfo, 3);
	trial->column = PG_ARGISNULL(4) ? NULL : NameStr(*PG_GETARG_NAME(4));
	trial->triggers = PG_ARGISNULL(5) || PG_GETARG_BOOL(5);
	trial->sample = PG_NARGS() < 7 || PG_ARGISNULL(6) ? NULL :
		JsonbToCString(NULL, &PG_GETARG_JSONB_P(6)->root, VARSIZE_ANY(PG_GETARG_JSONB_P(6)));
}

/*
 * Makes a table the subject of the trial; raises 42501 unless the caller owns it.
 */
static void
choose_table(Trial *trial, Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);

	architect_check_plain_table(rel, "try");
	architect_check_owner(rel);
	trial->target = relid;
	trial->owner = rel->rd_rel->relowner;
	trial->column = find_column(relid, trial->column);
	trial->type_oid = get_atttype(relid, get_attnum(relid, trial->column));
	trial->type = format_type_be_qualified(trial->type_oid);
	trial->is_for_role = is_for_role(trial);
	relation_close(rel, NoLock);
}

static void
try_role(void *argument)
{
	architect_tenant_act_as_role(argument, NULL);
}

static void
find_tenants(void *argument)
{
	architect_tenant_act_as_owner(argument);
	architect_tenant_find_tenants(argument);
}

/*
 * Makes the trials of one path.
 */
static void
try_path(void *argument)
{
	PathTrial  *work = argument;
	TrialActor	actor = architect_tenant_begin_owner(work->trial);

	architect_tenant_find_rows(work->trial, work->path, work->model);
	architect_tenant_end_owner(actor);
	if (work->path->relid != work->path->storage)
		architect_tenant_find_shown_rows(work->trial, work->path);
	work->results = architect_tenant_try_commands(work->trial, work->path);
}

/*
 * Raises an error that came out of a subtransaction.
 */
static void
raise_again(ErrorData *error)
{
	if (error != NULL)
		ReThrowError(error);
}

static List *
try_paths(Trial *trial)
{
	List	   *paths = architect_tenant_find_paths(trial);
	List	   *results = NIL;
	TrialRow   *model = NULL;
	ListCell   *cell;

	foreach(cell, paths)
	{
		PathTrial	work = {.trial = trial, .path = lfirst(cell), .model = model};
		ErrorData  *error;

		architect_tenant_read_path(trial, work.path);
		if (work.path->stranger != NULL)
		{
			const char *reason = psprintf("the view belongs to \"%s\", whose functions and triggers would run as"
										  " \"%s\" here", work.path->stranger, trial->role_name);

			results = list_concat(results, architect_tenant_say_untried(trial, work.path, reason));
			continue;
		}
		error = architect_try_out(try_path, &work);
		if (error != NULL)
			work.results = architect_tenant_say_untried(trial, work.path,
														psprintf("no row to try with: %s; see the argument \"sample\"",
																 error->message));
		else if (model == NULL)
			model = work.path->own != NULL ? work.path->own : work.path->other;
		results = list_concat(results, work.results);
	}
	return results;
}

/*
 * Puts one result into the answer.
 */
static void
put_result(ReturnSetInfo *answer, const Trial *trial, const TrialResult *result)
{
	static const char *const tenants[] = {"own", "other", "none"};
	static const char *const seen[] = {"denied", "allowed", "failed", "untried"};
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS] = {false};

	values[0] = ObjectIdGetDatum(trial->target);
	values[1] = ObjectIdGetDatum(result->via);
	values[2] = CStringGetTextDatum(result->command);
	values[3] = CStringGetTextDatum(tenants[result->tenant]);
	values[4] = CStringGetTextDatum(result->is_expected ? "allowed" : "denied");
	values[5] = CStringGetTextDatum(seen[result->seen]);
	values[6] = BoolGetDatum(result->seen == (result->is_expected ? TRIAL_ALLOWED : TRIAL_DENIED));
	values[7] = CStringGetTextDatum(result->detail);
	tuplestore_putvalues(answer->setResult, answer->setDesc, values, nulls);
}

/*
 * Tries one table, and puts what came of it into the answer.  The trial is the caller's
 * own copy.
 */
static void
try_table(ReturnSetInfo *answer, Trial trial, Oid relid)
{
	ListCell   *cell;

	choose_table(&trial, relid);
	raise_again(architect_try_out(try_role, &trial));
	raise_again(architect_try_out(find_tenants, &trial));
	foreach(cell, try_paths(&trial))
		put_result(answer, &trial, lfirst(cell));
}

/*
 * architect.tenant_test(target, role, own, other, tenant_column, triggers, sample)
 */
Datum
architect_tenant_test(PG_FUNCTION_ARGS)
{
	Trial		trial = {0};

	PreventCommandIfReadOnly("architect.tenant_test()");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	read_arguments(fcinfo, &trial);
	try_table((ReturnSetInfo *) fcinfo->resultinfo, trial, PG_GETARG_OID(0));
	SPI_finish();
	return (Datum) 0;
}

/*
 * Returns the tables of a schema that have the tenant column, without those that are
 * tried with their parent; says which have none.
 */
static List *
find_tables(Oid schema, const char *column)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(schema), CStringGetTextDatum(column != NULL ? column : "tenant_id")};
	List	   *tables = NIL;
	StringInfoData without;

	initStringInfo(&without);
	architect_tenant_read_catalog("SELECT pg_class.oid, attname IS NOT NULL FROM pg_class"
								  " LEFT JOIN architect.tenant_registry ON relation = pg_class.oid"
								  " LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0"
								  " AND attname = coalesce(column_name, $2)"
								  " WHERE relnamespace = $1 AND relkind IN ('r', 'p')"
								  " AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid)"
								  " ORDER BY relname", lengthof(types), types, values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Oid			relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)))
			tables = lappend_oid(tables, relid);
		else
			appendStringInfo(&without, "%s%s", without.len > 0 ? ", " : "", architect_tenant_table_name(relid));
	}
	SPI_freetuptable(SPI_tuptable);
	if (without.len > 0)
		ereport(NOTICE,
				(errmsg("tables without a tenant column are not tried"),
				 errdetail("These are: %s.", without.data)));
	return tables;
}

/*
 * architect.tenant_test_schema(schema, role, own, other, tenant_column, triggers)
 */
Datum
architect_tenant_test_schema(PG_FUNCTION_ARGS)
{
	Trial		trial = {0};
	ListCell   *cell;

	PreventCommandIfReadOnly("architect.tenant_test_schema()");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	read_arguments(fcinfo, &trial);
	foreach(cell, find_tables(PG_GETARG_OID(0), trial.column))
		try_table((ReturnSetInfo *) fcinfo->resultinfo, trial, lfirst_oid(cell));
	SPI_finish();
	return (Datum) 0;
}
