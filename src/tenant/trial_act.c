/*
 * trial_act.c
 *    Statements of a trial: as the role under test with a tenant, or as the table's
 *    owner past row security, always in a subtransaction that is rolled back.
 *
 * The owner's part, finding and making rows, needs no right that the owner does not
 * have: foreign keys look at tables in the same way.  Users' triggers do not fire in it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "core/core.h"
#include "tenant/tenant.h"
#include "tenant/trial.h"

static void
set_for_now(const char *setting, const char *value, GucContext context)
{
	(void) set_config_option(setting, value, context, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Until the subtransaction ends: the role, with this tenant or none.  SET ROLE is the
 * server's own, and so is the check that the session may do it.  Code of users, as in
 * triggers, cannot get out of the role, whoever the session belongs to.
 */
void
architect_tenant_act_as_role(Trial *trial, const char *tenant)
{
	Oid			user;
	int			security;

	architect_tenant_assume(tenant);
	set_for_now("row_security", "on", PGC_USERSET);
	if (!trial->triggers)
		set_for_now("session_replication_role", "replica", PGC_SUSET);
	set_for_now("role", trial->role_name, PGC_USERSET);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(user, security | SECURITY_LOCAL_USERID_CHANGE);
}

/*
 * Until the subtransaction ends, or another role is set: the owner of the table, past
 * FORCE ROW LEVEL SECURITY.
 */
void
architect_tenant_act_as_owner(Trial *trial)
{
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(trial->owner,
						   security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
}

/*
 * Brackets what is done as that owner, after which it is whoever it was again.
 */
TrialActor
architect_tenant_begin_owner(Trial *trial)
{
	TrialActor	actor;

	GetUserIdAndSecContext(&actor.user, &actor.security);
	architect_tenant_act_as_owner(trial);
	return actor;
}

void
architect_tenant_end_owner(TrialActor actor)
{
	SetUserIdAndSecContext(actor.user, actor.security);
}

/* The parameters of a statement: a row, its place, and the name of a tenant. */
typedef struct Parameters
{
	Oid			types[4];
	Datum		values[4];
	char		nulls[5];
} Parameters;

static Parameters
make_parameters(TrialRow *row, const char *tenant)
{
	Parameters	made = {
		.types = {row != NULL ? row->type : TEXTOID, TIDOID, OIDOID, TEXTOID},
		.nulls = "nnnn"
	};

	if (row != NULL)
	{
		made.values[0] = row->image;
		made.values[1] = PointerGetDatum(&row->tid);
		made.values[2] = ObjectIdGetDatum(row->table);
		memset(made.nulls, ' ', 3);
	}
	if (tenant != NULL)
	{
		made.values[3] = CStringGetTextDatum(tenant);
		made.nulls[3] = ' ';
	}
	return made;
}

static void
execute(const char *statement, TrialRow *row, const char *tenant)
{
	Parameters	parameters = make_parameters(row, tenant);

	if (SPI_execute_with_args(statement, lengthof(parameters.types), parameters.types, parameters.values,
							  parameters.nulls, false, 0) < 0)
		elog(ERROR, "could not run: %s", statement);
}

/*
 * Opens the cursor TRIAL_CURSOR for a query that gives the row, and moves it there.
 */
void
architect_tenant_point(const char *query, TrialRow *row)
{
	Parameters	parameters = make_parameters(row, NULL);
	Portal		portal = SPI_cursor_open_with_args("architect row", query, lengthof(parameters.types), parameters.types,
												   parameters.values, parameters.nulls, false, CURSOR_OPT_NO_SCROLL);

	SPI_cursor_fetch(portal, true, 1);
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Returns how many rows the statement gave or changed.
 */
uint64
architect_tenant_run(const char *statement, TrialRow *row, const char *tenant)
{
	uint64		processed;

	execute(statement, row, tenant);
	processed = SPI_processed;
	SPI_freetuptable(SPI_tuptable);
	return processed;
}

/*
 * Reads catalogs, whatever the caller's search_path is; names come out qualified.
 * Leaves what it found in SPI_tuptable.
 */
void
architect_tenant_read_catalog(const char *query, int count, Oid *types, Datum *values)
{
	int			level = NewGUCNestLevel();

	architect_pin_path();
	if (SPI_execute_with_args(query, count, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalog: %s", query);
	AtEOXact_GUC(true, level);
}

/*
 * Brackets statements during which users' triggers and foreign keys are off.
 */
int
architect_tenant_begin_quiet(void)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void
architect_tenant_end_quiet(int level)
{
	AtEOXact_GUC(true, level);
}

/*
 * Returns the first row that a statement gives as ctid, tableoid, the row and its
 * tenant; NULL when there is none.
 */
TrialRow *
architect_tenant_read_row(const char *statement, TrialRow *row, const char *tenant)
{
	TrialRow   *found = NULL;

	execute(statement, row, tenant);
	if (SPI_processed > 0)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		found = palloc0(sizeof(TrialRow));
		ItemPointerCopy((ItemPointer) DatumGetPointer(SPI_getbinval(tuple, desc, 1, &isnull)), &found->tid);
		found->table = DatumGetObjectId(SPI_getbinval(tuple, desc, 2, &isnull));
		found->image = datumCopy(SPI_getbinval(tuple, desc, 3, &isnull), false, -1);
		found->type = SPI_gettypeid(desc, 3);
		found->tenant = SPI_getvalue(tuple, desc, 4);
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/*
 * Returns the one value that a query gives, as text; an empty one for NULL.
 */
char *
architect_tenant_read_text(const char *query, const char *tenant)
{
	char	   *text;

	execute(query, NULL, tenant);
	text = SPI_processed == 1 ? SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) : NULL;
	SPI_freetuptable(SPI_tuptable);
	return text != NULL ? text : pstrdup("");
}
