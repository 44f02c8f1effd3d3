/*
 * trial_row.c
 *    The tenants and the rows that a trial is made with.
 *
 * Rows that are there are taken where there are any, locked, and what somebody else
 * has locked is passed over.  All of this happens as the owner of the table.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "tenant/trial.h"

#define ROW "\"architect row\""

/*
 * Returns a row for which the condition holds, of which $4 is the tenant.
 */
static TrialRow *
find_row(Trial *trial, const char *name, const char *condition, const char *tenant)
{
	const char *column = quote_identifier(trial->column);

	return architect_tenant_read_row(psprintf("SELECT " ROW ".ctid, " ROW ".tableoid, " ROW ".*::%s, " ROW ".%s::text"
											  " FROM %s AS " ROW " WHERE %s LIMIT 1 FOR UPDATE SKIP LOCKED",
											  name, column, name, condition), NULL, tenant);
}

static TrialRow *
find_row_of(Trial *trial, const char *name, const char *tenant)
{
	return find_row(trial, name,
					psprintf(ROW ".%s OPERATOR(pg_catalog.=) $4::%s", quote_identifier(trial->column), trial->type),
					tenant);
}

static TrialRow *
find_any_row(Trial *trial, const char *name)
{
	return find_row(trial, name, psprintf(ROW ".%s IS NOT NULL", quote_identifier(trial->column)), NULL);
}

/*
 * Returns the tenant next to this one on one side of it, or NULL.  In this way an
 * index serves, and a table of one tenant is not read to its end.
 */
static const char *
find_neighbour(Trial *trial, const char *name, const char *tenant, bool is_above)
{
	const char *column = quote_identifier(trial->column);
	TrialRow   *row;

	row = architect_tenant_read_row(psprintf("SELECT ctid, tableoid, " ROW ".*::%s, " ROW ".%s::text FROM %s AS " ROW
											 " WHERE " ROW ".%s OPERATOR(pg_catalog.%s) $4::%s"
											 " ORDER BY " ROW ".%s %s LIMIT 1",
											 name, column, name, column, is_above ? ">" : "<", trial->type,
											 column, is_above ? "ASC" : "DESC"), NULL, tenant);
	return row != NULL ? row->tenant : NULL;
}

/*
 * Returns the value as the column's type writes it; raises what that type raises.
 */
static const char *
write_tenant(Trial *trial, const char *tenant)
{
	const char *written;

	if (tenant == NULL)
		return NULL;
	if (SPI_execute_with_args(psprintf("SELECT $1::%s::text", trial->type), 1, (Oid[]) {TEXTOID},
							  (Datum[]) {CStringGetTextDatum(tenant)}, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the name of a tenant");
	written = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	SPI_freetuptable(SPI_tuptable);
	return written;
}

/*
 * Returns the first of two made-up tenants that is not this one; raises 22023 for a
 * type of which none is known.
 */
static const char *
make_tenant(Trial *trial, const char *but)
{
	static const char *const numbers[] = {"1", "2"};
	static const char *const words[] = {"a", "b"};
	static const char *const uuids[] = {"00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"};
	const char *const *made;

	switch (getBaseType(trial->type_oid))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
			made = numbers;
			break;
		case TEXTOID:
		case VARCHAROID:
		case NAMEOID:
			made = words;
			break;
		case UUIDOID:
			made = uuids;
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("table %s has no rows of two tenants, and none can be made up",
							architect_tenant_table_name(trial->target)),
					 errdetail("The column \"%s\" is of type %s.", trial->column, trial->type),
					 errhint("Name two tenants: own => '...', other => '...'.")));
	}
	return but != NULL && strcmp(made[0], but) == 0 ? made[1] : made[0];
}

/*
 * Settles who the two tenants are: the caller's, else two that have rows, else made up.
 */
void
architect_tenant_find_tenants(Trial *trial)
{
	const char *name = architect_tenant_table_name(trial->target);

	trial->own = write_tenant(trial, trial->own);
	trial->other = write_tenant(trial, trial->other);
	if (trial->own == NULL && trial->other == NULL)
	{
		TrialRow   *row = find_any_row(trial, name);

		trial->own = row != NULL ? row->tenant : make_tenant(trial, NULL);
	}
	for (int i = 0; i < 2; i++)
	{
		const char **missing = i == 0 ? &trial->own : &trial->other;
		const char *present = i == 0 ? trial->other : trial->own;

		if (*missing == NULL)
			*missing = find_neighbour(trial, name, present, true);
		if (*missing == NULL)
			*missing = find_neighbour(trial, name, present, false);
		if (*missing == NULL)
			*missing = make_tenant(trial, present);
	}
	if (strcmp(trial->own, trial->other) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the two tenants of a trial must differ"),
				 errdetail("Both are \"%s\".", trial->own),
				 errhint("Name two tenants: own => '...', other => '...'.")));
}

/*
 * Finds rows of the two tenants where the path leads.  Where there is one of them, it
 * serves for both; where there is none, one of any tenant, else one is made.
 */
void
architect_tenant_find_rows(Trial *trial, TrialPath *path, TrialRow *model)
{
	TrialRow   *row;

	path->own = find_row_of(trial, path->storage_name, trial->own);
	path->other = find_row_of(trial, path->storage_name, trial->other);
	if (path->own != NULL || path->other != NULL)
		return;

	row = find_any_row(trial, path->storage_name);
	if (row == NULL)
		row = architect_tenant_make_row(trial, path, model);
	if (strcmp(row->tenant, trial->own) == 0)
		path->own = row;
	else
		path->other = row;
}

/* A look through a view as one tenant. */
typedef struct ViewLook
{
	Trial	   *trial;
	TrialPath  *path;
	const char *tenant;
	const char *key;			/* what was found, or empty */
	TrialRow   *row;
} ViewLook;

/*
 * Reads the key of a row that the view shows to the tenant.
 */
static void
look_through_view(void *argument)
{
	ViewLook   *look = argument;
	TrialPath  *path = look->path;
	const char *condition = !path->has_tenant ? "" :
		psprintf(" WHERE %s OPERATOR(pg_catalog.=) $4::%s", quote_identifier(look->trial->column), look->trial->type);

	architect_tenant_act_as_role(look->trial, look->tenant);
	look->key = architect_tenant_read_text(psprintf("SELECT %s FROM %s%s LIMIT 1", path->key, path->name, condition),
										   look->tenant);
}

/*
 * A view may show some rows only: finds, in its table, rows that it shows to the role.
 * Where the role cannot read keys there, those that were found before have to do.
 */
void
architect_tenant_find_shown_rows(Trial *trial, TrialPath *path)
{
	const char *tenants[] = {path->own != NULL ? path->own->tenant : trial->own,
	path->other != NULL ? path->other->tenant : trial->other};
	TrialRow   *shown[lengthof(tenants)] = {NULL};

	if (path->key == NULL)
		return;
	for (int i = 0; i < lengthof(tenants); i++)
	{
		ViewLook	look = {.trial = trial, .path = path, .tenant = tenants[i]};
		TrialActor	actor;

		if (architect_try_out(look_through_view, &look) != NULL || look.key[0] == '\0')
			continue;
		actor = architect_tenant_begin_owner(trial);
		shown[i] = find_row(trial, path->storage_name, path->key_match, look.key);
		architect_tenant_end_owner(actor);
	}
	if (shown[0] != NULL || shown[1] != NULL)
	{
		path->own = shown[0];
		path->other = shown[1];
	}
	else
		path->unshown = "the view shows the role no row of either tenant";
}
