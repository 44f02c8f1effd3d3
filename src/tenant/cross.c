/*
 * cross.c
 *    Access across tenants for the few roles that were granted it.
 *
 * Each policy says "... OR architect.tenant_crossing()".  The planner asks this
 * file what to make of that: false, while nobody crosses or for a role that may
 * not, so that only the comparison is left, with its index paths, estimates and
 * parallel plans.  Such a plan can only ever show less, and when a crossing begins
 * all plans are made anew.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/supportnodes.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "core/core.h"
#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(architect_tenant_cross);
PG_FUNCTION_INFO_V1(architect_tenant_crossing);
PG_FUNCTION_INFO_V1(architect_tenant_plan_crossing);

/* Whether this role may cross, until something in the catalogs says otherwise. */
static bool answered = false;
static Oid	answered_role = InvalidOid;
static bool may_cross = false;

static ExecutorStart_hook_type previous_executor_start = NULL;

/* Queries under way that write. */
static int	writing = 0;

static void
forget_answer(Datum arg, int cacheid, uint32 hashvalue)
{
	answered = false;
}

/*
 * True when the current role may execute tenant_cross, which is in this schema.
 */
static bool
role_may_cross(Oid schema)
{
	Oid			types[] = {TEXTOID, BOOLOID};
	Oid			cross;

	if (answered && answered_role == GetUserId())
		return may_cross;

	/* What changes while we look makes us look again the next time. */
	answered = true;
	answered_role = GetUserId();
	may_cross = false;
	cross = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("tenant_cross"),
							PointerGetDatum(buildoidvector(types, lengthof(types))),
							ObjectIdGetDatum(schema));
	may_cross = OidIsValid(cross) &&
		object_aclcheck(ProcedureRelationId, cross, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
	return may_cross;
}

/*
 * True when the current role may see the rows of all tenants whenever it likes.
 */
bool
architect_tenant_may_cross(void)
{
	Oid			schema = architect_schema();

	return OidIsValid(schema) && role_may_cross(schema);
}

/*
 * architect._tenant_plan_crossing(internal)
 *
 * Support function of tenant_crossing(), which may become false and never true.
 */
Datum
architect_tenant_plan_crossing(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify) &&
		(!architect_tenant_crosses() ||
		 !role_may_cross(get_func_namespace(((SupportRequestSimplify *) request)->fcall->funcid))))
		PG_RETURN_POINTER(makeBoolConst(false, false));
	PG_RETURN_POINTER(NULL);
}

/*
 * architect.tenant_crossing()
 */
Datum
architect_tenant_crossing(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(architect_tenant_crosses());
}

/*
 * Keeps who crosses and why: as a row, and in the server's log, which a rollback
 * does not reach.
 */
static void
note_crossing(text *reason, bool read_only)
{
	Oid			types[] = {TEXTOID, TEXTOID, BOOLOID};
	char	   *role = GetUserNameFromId(GetUserId(), false);
	Datum		values[] = {CStringGetTextDatum(role), PointerGetDatum(reason), BoolGetDatum(read_only)};

	(void) architect_run_as_owner("SELECT architect._tenant_note_crossing($1, $2, $3)",
								  lengthof(types), types, values);
	ereport(LOG,
			(errmsg("role \"%s\" crosses tenants to %s", role, read_only ? "read" : "read and write"),
			 errdetail("The session's role is \"%s\". Reason: %s",
					   GetUserNameFromId(GetSessionUserId(), false), text_to_cstring(reason))));
}

/*
 * architect.tenant_cross(reason text, read_only boolean)
 */
Datum
architect_tenant_cross(PG_FUNCTION_ARGS)
{
	TenantState state;
	bool		read_only = PG_ARGISNULL(1) || PG_GETARG_BOOL(1);

	if (PG_ARGISNULL(0) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) == 0)
		ereport(ERROR,
				(errcode(PG_ARGISNULL(0) ? ERRCODE_NULL_VALUE_NOT_ALLOWED : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reason must not be %s", PG_ARGISNULL(0) ? "NULL" : "empty"),
				 errhint("Say for whoever reads the log why rows of all tenants are needed.")));
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot cross tenants in a read-only transaction"),
				 errdetail("It would have to be written to architect.tenant_crossings."),
				 errhint("Begin a transaction that can write; it becomes read only by this call.")));
	if (read_only && writing > 0)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot cross tenants to read in a statement that writes"),
				 errdetail("It has begun to write already, and would go on with the rows of all tenants."),
				 errhint("Call architect.tenant_cross in a statement of its own.")));

	note_crossing(PG_GETARG_TEXT_PP(0), read_only);
	architect_tenant_read_state(&state);
	state.crosses = true;
	state.writes = !read_only;
	architect_tenant_write_state(&state);
	if (read_only)
		(void) set_config_option("transaction_read_only", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
								 true, 0, false);
	PG_RETURN_VOID();
}

static void
end_writing(void *arg)
{
	writing--;
}

/*
 * Counts a query that writes for as long as its memory lasts, which is freed when it
 * ends, however it ends.
 */
static void
note_writing(QueryDesc *query)
{
	MemoryContextCallback *end;

	if (query->operation == CMD_SELECT && !query->plannedstmt->hasModifyingCTE)
		return;
	end = MemoryContextAllocZero(query->estate->es_query_cxt, sizeof(MemoryContextCallback));
	end->func = end_writing;
	MemoryContextRegisterResetCallback(query->estate->es_query_cxt, end);
	writing++;
}

/*
 * Ends a crossing that may only read once the transaction can write again, before
 * a query starts that may have workers: they know nothing of READ ONLY.
 */
static void
start_executor(QueryDesc *query, int flags)
{
	if (architect_tenant_has_lapsed() && !IsInParallelMode())
	{
		TenantState state;

		architect_tenant_read_state(&state);
		state.crosses = false;
		architect_tenant_write_state(&state);
	}

	if (previous_executor_start != NULL)
		previous_executor_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
	note_writing(query);
}

void
architect_tenant_cross_init(void)
{
	previous_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
	CacheRegisterSyscacheCallback(PROCOID, forget_answer, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_answer, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_answer, (Datum) 0);
}
