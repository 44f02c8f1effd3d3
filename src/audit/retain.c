/*
 * retain.c
 *    architect.audit_retain, audit_hold and audit_release: how long log rows
 *    of a table are kept.
 *
 * Whoever owns the table decides.  The policy stands in a table of the
 * extension, so each of these checks the caller and goes on as its owner.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "audit/audit.h"
#include "audit/record.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_retain);
PG_FUNCTION_INFO_V1(architect_audit_hold);
PG_FUNCTION_INFO_V1(architect_audit_release);
PG_FUNCTION_INFO_V1(architect_audit_maintain);
PG_FUNCTION_INFO_V1(architect_audit_default_rows);

/*
 * Returns the number of the table in the first argument, which the caller owns
 * and which was audited; raises otherwise.
 */
static Datum
owned_table(FunctionCallInfo fcinfo, const char *purpose)
{
	Relation	rel;
	int32		table_id;

	rel = architect_audit_open_target(architect_target_argument(fcinfo), purpose, &table_id);
	relation_close(rel, NoLock);
	return Int32GetDatum(table_id);
}

/*
 * architect.audit_retain(target, keep)
 */
Datum
architect_audit_retain(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT4OID, INTERVALOID};
	Datum		values[] = {owned_table(fcinfo, "retain log rows of"), PG_GETARG_DATUM(1)};

	if (PG_ARGISNULL(1))
		architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_retain($1, NULL)", 1, types, values);
	else
		architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_retain($1, $2)", 2, types, values);
	PG_RETURN_VOID();
}

/*
 * architect.audit_hold(target, reason)
 */
Datum
architect_audit_hold(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID};
	Datum		values[] = {owned_table(fcinfo, "hold log rows of"), PG_GETARG_DATUM(1), (Datum) 0};
	Datum		session_role;
	Datum		context;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reason must not be NULL"),
				 errhint("Say why log rows must stay: whoever wants to release them will ask.")));

	architect_audit_actor(&values[2], &session_role, &context);
	architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_hold($1, $2, $3)", 3, types, values);
	PG_RETURN_VOID();
}

/*
 * architect.audit_release(target)
 */
Datum
architect_audit_release(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {owned_table(fcinfo, "release log rows of")};

	architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_release($1)", 1, types, values);
	PG_RETURN_VOID();
}

/*
 * architect.audit_maintain()
 */
Datum
architect_audit_maintain(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_maintain()", 0, NULL, NULL));
}

/*
 * architect.audit_default_rows(), which tells how many there are and no more.
 */
Datum
architect_audit_default_rows(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_default_rows()", 0, NULL, NULL));
}
