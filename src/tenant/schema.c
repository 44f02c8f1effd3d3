/*
 * schema.c
 *    architect.tenant_enable_schema and tenant_disable_schema.
 *
 * What there is in the schema, and what of it can be protected by the caller, is
 * told by _tenant_schema; each table is then protected as by tenant_enable.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "core/core.h"
#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(architect_tenant_enable_schema);
PG_FUNCTION_INFO_V1(architect_tenant_disable_schema);

/*
 * Adds a row to the result: what became of the table, and why.
 */
static void
put_row(ReturnSetInfo *result, Oid relation, const char *outcome, const char *detail)
{
	Datum		values[] = {ObjectIdGetDatum(relation), CStringGetTextDatum(outcome), (Datum) 0};
	bool		nulls[] = {false, false, detail == NULL};

	if (detail != NULL)
		values[2] = CStringGetTextDatum(detail);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Raises unless the caller owns the schema; remembers it, or forgets it where
 * there is no column.
 */
static void
note_schema(Datum schema, NullableDatum column, NullableDatum roles)
{
	Oid			types[] = {OIDOID, OIDOID, NAMEOID, NAMEARRAYOID};
	Datum		values[] = {schema, ObjectIdGetDatum(GetUserId()), column.value, roles.value};
	char		nulls[] = {' ', ' ', column.isnull ? 'n' : ' ', roles.isnull ? 'n' : ' ', '\0'};

	architect_read_as_owner("SELECT " ARCHITECT_SCHEMA "._tenant_note_schema($1, $2, $3, $4)",
							lengthof(types), types, values, nulls);
}

/*
 * Raises where no schema is named.
 */
static void
check_schema(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("schema must not be NULL"),
				 errhint("Name the schema, as in 'public'.")));
}

/*
 * architect.tenant_enable_schema(schema, tenant_column, roles, fix, online)
 */
Datum
architect_tenant_enable_schema(PG_FUNCTION_ARGS)
{
	NullableDatum column = {.value = DirectFunctionCall1(namein, CStringGetDatum("tenant_id"))};
	NullableDatum nothing = {.isnull = true};
	Oid			types[] = {OIDOID, OIDOID, NAMEOID};
	Datum		values[3];
	ListCell   *cell;

	check_schema(fcinfo);
	if (!PG_ARGISNULL(1))
		column.value = PG_GETARG_DATUM(1);
	note_schema(PG_GETARG_DATUM(0), column, fcinfo->args[2]);

	InitMaterializedSRF(fcinfo, 0);
	values[0] = PG_GETARG_DATUM(0);
	values[1] = ObjectIdGetDatum(GetUserId());
	values[2] = column.value;
	foreach(cell, architect_read_latest_as_owner("SELECT * FROM " ARCHITECT_SCHEMA "._tenant_schema($1, $2, $3)",
										  lengthof(types), types, values, NULL))
	{
		char	  **row = lfirst(cell);
		Oid			relation = atooid(row[0]);
		const char *outcome = row[1];

		if (outcome == NULL)
		{
			TenantRequest request = {
				.arguments = {
					{.value = ObjectIdGetDatum(relation)}, column, fcinfo->args[2],
					nothing, nothing, nothing, fcinfo->args[3], fcinfo->args[4]
				}
			};

			outcome = architect_tenant_protect(&request, false) ? "protected" : "was protected";
		}
		put_row((ReturnSetInfo *) fcinfo->resultinfo, relation, outcome, row[2]);
	}
	PG_RETURN_NULL();
}

/*
 * architect.tenant_disable_schema(schema)
 */
Datum
architect_tenant_disable_schema(PG_FUNCTION_ARGS)
{
	NullableDatum nothing = {.isnull = true};
	Oid			types[] = {OIDOID, OIDOID};
	Datum		values[2];
	ListCell   *cell;

	check_schema(fcinfo);
	note_schema(PG_GETARG_DATUM(0), nothing, nothing);

	InitMaterializedSRF(fcinfo, 0);
	values[0] = PG_GETARG_DATUM(0);
	values[1] = ObjectIdGetDatum(GetUserId());
	foreach(cell, architect_read_latest_as_owner("SELECT * FROM " ARCHITECT_SCHEMA "._tenant_schema_protected($1, $2)",
										  lengthof(types), types, values, NULL))
	{
		char	  **row = lfirst(cell);
		const char *outcome = row[1];

		if (outcome == NULL)
			outcome = architect_tenant_unprotect(atooid(row[0]), true, false) ?
				"not protected any more" : "was not protected";
		put_row((ReturnSetInfo *) fcinfo->resultinfo, atooid(row[0]), outcome, row[2]);
	}
	PG_RETURN_NULL();
}
