/*
 * follow.c
 *    Event triggers: what comes below a protected table is protected, new tables
 *    of a schema where that is wanted; new names are followed, and dropped tables
 *    leave the register.
 *
 * A new table is protected by whoever makes it, as it is his; only the register
 * is written with the rights of the extension's owner.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "core/core.h"
#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(architect_tenant_follow_changes);
PG_FUNCTION_INFO_V1(architect_tenant_follow_drops);

/* The setting: new tables of enabled schemas are protected. */
static bool protect_new = false;

/*
 * Enters the new name of a tenant column, or of an enabled schema.
 */
static void
follow_rename(RenameStmt *command)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[2];
	const char *query;

	if (command->renameType == OBJECT_SCHEMA)
		query = "SELECT " ARCHITECT_SCHEMA "._tenant_rename_schema($1, $2)";
	else if (command->renameType == OBJECT_COLUMN || command->renameType == OBJECT_ATTRIBUTE)
		query = "SELECT " ARCHITECT_SCHEMA "._tenant_rename_column($1, $2)";
	else
		return;

	values[0] = CStringGetTextDatum(command->subname);
	values[1] = CStringGetTextDatum(command->newname);
	architect_run_as_owner(query, lengthof(types), types, values);
}

/*
 * Returns the columns that the command adds to a table, as text[].
 */
static Datum
added_columns(Node *command)
{
	ArrayBuildState *result = initArrayResult(TEXTOID, CurrentMemoryContext, true);
	ListCell   *cell;

	foreach(cell, IsA(command, AlterTableStmt) ? ((AlterTableStmt *) command)->cmds : NIL)
	{
		AlterTableCmd *part = lfirst(cell);

		if (part->subtype == AT_AddColumn)
			result = accumArrayResult(result, CStringGetTextDatum(castNode(ColumnDef, part->def)->colname),
									  false, TEXTOID, CurrentMemoryContext);
	}
	return makeArrayResult(result, CurrentMemoryContext);
}

/*
 * Protects a table as its parent or its schema is.
 */
static void
protect(char **row)
{
	static const Oid inputs[] = {REGCLASSOID, NAMEOID, NAMEARRAYOID};
	TenantRequest request;

	if (row[3][0] == 'f')
	{
		architect_tenant_warn_of_foreign(atooid(row[0]), NULL);
		return;
	}

	for (int i = 0; i < lengthof(request.arguments); i++)
	{
		request.arguments[i].isnull = i >= lengthof(inputs);
		request.arguments[i].value = (Datum) 0;
	}
	request.arguments[0].value = ObjectIdGetDatum(atooid(row[0]));
	for (int i = 1; i < lengthof(inputs); i++)
	{
		Oid			input;
		Oid			element;

		getTypeInputInfo(inputs[i], &input, &element);
		request.arguments[i].value = OidInputFunctionCall(input, row[i], element, -1);
	}

	if (architect_tenant_protect(&request, false) && row[4] != NULL)
		ereport(NOTICE,
				(errmsg("table \"%s\" is protected by column \"%s\"", get_rel_name(atooid(row[0])), row[1]),
				 errdetail("It is new in schema \"%s\", and architect.tenant_protect_new is on.", row[4])));
}

/*
 * Event trigger after commands that make and alter tables.
 */
Datum
architect_tenant_follow_changes(PG_FUNCTION_ARGS)
{
	Node	   *command = architect_ddl_command(fcinfo);
	Oid			types[] = {BOOLOID, BOOLOID, TEXTARRAYOID};
	Datum		values[] = {
		BoolGetDatum(protect_new), BoolGetDatum(IsA(command, AlterObjectSchemaStmt)), added_columns(command)
	};
	ListCell   *cell;

	if (architect_tenant_is_changing)
		return PointerGetDatum(NULL);
	if (IsA(command, RenameStmt))
	{
		follow_rename((RenameStmt *) command);
		return PointerGetDatum(NULL);
	}

	foreach(cell, architect_read_latest_as_owner("SELECT * FROM " ARCHITECT_SCHEMA "._tenant_unprotected($1, $2, $3)",
										  lengthof(types), types, values, NULL))
		protect(lfirst(cell));
	return PointerGetDatum(NULL);
}

/*
 * Event trigger after commands that drop tables and schemas.
 */
Datum
architect_tenant_follow_drops(PG_FUNCTION_ARGS)
{
	(void) architect_ddl_command(fcinfo);
	architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._tenant_forget()", 0, NULL, NULL);
	return PointerGetDatum(NULL);
}

void
architect_tenant_follow_init(void)
{
	DefineCustomBoolVariable("architect.tenant_protect_new",
							 "New tables of schemas that tenant_enable_schema was called for are protected.",
							 "Those that have the tenant column, from when they have it.",
							 &protect_new, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
}
