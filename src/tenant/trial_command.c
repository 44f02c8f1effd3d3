/*
 * trial_command.c
 *    The commands that are tried, and what is made of how they went.
 *
 * What the role may do with its own tenant's row is tried first, and is the control:
 * where that works and the same command fails for another tenant, it is the tenant
 * that made the difference.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "tenant/trial.h"

typedef enum TrialKind
{
	TRIAL_SELECT, TRIAL_INSERT, TRIAL_CONFLICT, TRIAL_UPDATE, TRIAL_MOVE, TRIAL_TAKE, TRIAL_DELETE,
	TRIAL_MERGE_INSERT, TRIAL_MERGE_UPDATE, TRIAL_MERGE_DELETE,
	TRIAL_COPY_TO, TRIAL_COPY_FROM, TRIAL_TRUNCATE
} TrialKind;

#define FOR_ALL		((1 << TRIAL_OWN) | (1 << TRIAL_OTHER) | (1 << TRIAL_NONE))
#define FOR_OTHER	(1 << TRIAL_OTHER)
#define FOR_OTHERS	((1 << TRIAL_OTHER) | (1 << TRIAL_NONE))

typedef struct TrialCommand
{
	const char *name;
	TrialKind	kind;
	AclMode		needs;			/* privileges without which it is denied to everybody */
	bool		returning;
	int			tenants;
} TrialCommand;

static const TrialCommand commands[] = {
	{"SELECT", TRIAL_SELECT, ACL_SELECT, false, FOR_ALL},
	{"INSERT", TRIAL_INSERT, ACL_INSERT, false, FOR_ALL},
	{"INSERT RETURNING", TRIAL_INSERT, ACL_INSERT | ACL_SELECT, true, FOR_ALL},
	{"INSERT ON CONFLICT", TRIAL_CONFLICT, ACL_INSERT | ACL_UPDATE | ACL_SELECT, false, FOR_ALL},
	{"UPDATE", TRIAL_UPDATE, ACL_UPDATE, false, FOR_ALL},
	{"UPDATE giving away", TRIAL_MOVE, ACL_UPDATE, false, FOR_OTHER},
	{"UPDATE taking over", TRIAL_TAKE, ACL_UPDATE, false, FOR_OTHERS},
	{"UPDATE RETURNING", TRIAL_UPDATE, ACL_UPDATE | ACL_SELECT, true, FOR_ALL},
	{"DELETE", TRIAL_DELETE, ACL_DELETE, false, FOR_ALL},
	{"DELETE RETURNING", TRIAL_DELETE, ACL_DELETE | ACL_SELECT, true, FOR_ALL},
	{"MERGE INSERT", TRIAL_MERGE_INSERT, ACL_INSERT | ACL_SELECT, false, FOR_ALL},
	{"MERGE UPDATE", TRIAL_MERGE_UPDATE, ACL_UPDATE | ACL_SELECT, false, FOR_ALL},
	{"MERGE DELETE", TRIAL_MERGE_DELETE, ACL_DELETE | ACL_SELECT, false, FOR_ALL},
	{"COPY TO", TRIAL_COPY_TO, ACL_SELECT, false, FOR_ALL},
	{"COPY FROM", TRIAL_COPY_FROM, ACL_INSERT, false, FOR_ALL},
	{"TRUNCATE", TRIAL_TRUNCATE, ACL_TRUNCATE, false, FOR_OTHERS}
};

/* One attempt, and what it came to. */
typedef struct Attempt
{
	Trial	   *trial;
	TrialPath  *path;
	const TrialCommand *command;
	TrialTenant tenant;
	TrialRow   *row;
	const char *acting;			/* the tenant, or NULL */
	const char *other;			/* the other of the two */
	bool		has_right;		/* the role has the privileges for it */
	bool		is_control_allowed; /* the own tenant could do it */
	const char *untried;		/* why there was no attempt, or NULL */
	uint64		count;			/* rows given or changed */
	bool		is_touched;		/* the row is not as it was, or not where it was */
	bool		is_reached;		/* it was let in */
	bool		is_compared;	/* it was a view without a key or tenant */
} Attempt;

static bool
is_view(const TrialPath *path)
{
	return path->kind == RELKIND_VIEW || path->kind == RELKIND_MATVIEW;
}

/*
 * False for what the server can do to nobody's rows: there is no trial of that.
 */
static bool
is_possible(const TrialPath *path, const TrialCommand *command)
{
	switch (command->kind)
	{
		case TRIAL_SELECT:
			return true;
		case TRIAL_INSERT:
			return (path->updatable & (1 << CMD_INSERT)) != 0;
		case TRIAL_CONFLICT:
			return (path->updatable & (1 << CMD_INSERT)) != 0 && path->conflict != NULL;
		case TRIAL_UPDATE:
			return (path->updatable & (1 << CMD_UPDATE)) != 0;
		case TRIAL_MOVE:
		case TRIAL_TAKE:
			return (path->updatable & (1 << CMD_UPDATE)) != 0 && path->update_tenant != NULL;
		case TRIAL_DELETE:
			return (path->updatable & (1 << CMD_DELETE)) != 0;
		case TRIAL_MERGE_INSERT:
		case TRIAL_MERGE_UPDATE:
		case TRIAL_MERGE_DELETE:
			return !is_view(path) || (path->updatable != 0 && ARCHITECT_CAN_MERGE_VIEWS);
		case TRIAL_COPY_TO:
			return path->kind == RELKIND_RELATION;
		case TRIAL_COPY_FROM:
		case TRIAL_TRUNCATE:
			return !is_view(path);
	}
	return false;
}

static bool
has_privilege(const Trial *trial, const TrialPath *path, AclMode privilege)
{
	return pg_class_aclcheck(path->relid, trial->role, privilege) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(path->relid, trial->role, privilege, ACLMASK_ANY) == ACLCHECK_OK;
}

static bool
has_privileges(const Trial *trial, const TrialPath *path, AclMode needed)
{
	for (AclMode privilege = 1; privilege <= needed; privilege <<= 1)
	{
		if ((needed & privilege) != 0 && !has_privilege(trial, path, privilege))
			return false;
	}
	return true;
}

/*
 * True when the command should work: the own tenant's row, with the privileges for it.
 */
static bool
is_allowed(const Trial *trial, const TrialPath *path, const TrialCommand *command, TrialTenant tenant)
{
	return tenant == TRIAL_OWN && command->kind != TRIAL_COPY_FROM && trial->is_for_role &&
		has_privileges(trial, path, command->needs);
}

/*
 * True for commands that change a row without reading it.  Policies for SELECT protect
 * a row from whoever names it by its columns, and from nobody else.
 */
static bool
is_blind(const TrialPath *path, const TrialCommand *command)
{
	return !is_view(path) && !command->returning &&
		(command->kind == TRIAL_UPDATE || command->kind == TRIAL_MOVE || command->kind == TRIAL_TAKE ||
		 command->kind == TRIAL_DELETE);
}

/*
 * Returns why the command cannot be put together for this role, or NULL.
 */
static const char *
obstacle(const TrialPath *path, const TrialCommand *command, TrialTenant tenant)
{
	/* To look for rows of any other tenant, none has to be known. */
	if (path->unshown != NULL && (command->kind != TRIAL_SELECT || tenant == TRIAL_OWN || !path->has_tenant))
		return path->unshown;
	switch (command->kind)
	{
		case TRIAL_INSERT:
		case TRIAL_MERGE_INSERT:
			return path->columns == NULL ? "the role may insert no column that the row has" : NULL;
		case TRIAL_CONFLICT:
			if (path->columns == NULL)
				return "the role may insert no column that the row has";
			return path->update == NULL ? "the role may update no column that the row has" : NULL;
		case TRIAL_UPDATE:
		case TRIAL_MERGE_UPDATE:
			if (path->update == NULL)
				return "the role may update no column that the row has";
			/* fall through */
		case TRIAL_MOVE:
		case TRIAL_TAKE:
		case TRIAL_DELETE:
		case TRIAL_MERGE_DELETE:
			return path->where == NULL && !is_blind(path, command) ? "the role may not read a key of the row" : NULL;
		case TRIAL_SELECT:
			if (path->has_tenant || path->where != NULL || path->kind == RELKIND_VIEW)
				return NULL;
			return path->kind == RELKIND_MATVIEW ? "it does not show whose rows it keeps" :
				"the role may read neither the tenant column nor a key of the row";
		case TRIAL_COPY_TO:
			return path->has_tenant ? NULL : "the role may not read the tenant column";
		default:
			return NULL;
	}
}

/*
 * Returns a SELECT of one row: the own tenant's, one that is another's, one of any tenant.
 */
static char *
make_select(const Attempt *attempt)
{
	const TrialPath *path = attempt->path;
	const char *column = quote_identifier(attempt->trial->column);

	if (!path->has_tenant || (attempt->tenant == TRIAL_OWN && path->where != NULL))
		return psprintf("SELECT FROM %s WHERE %s LIMIT 1", path->name, path->where != NULL ? path->where : "false");
	if (attempt->tenant == TRIAL_NONE)
		return psprintf("SELECT FROM %s AS \"architect row\" WHERE \"architect row\".%s IS NOT NULL LIMIT 1",
						path->name, column);
	return psprintf("SELECT FROM %s AS \"architect row\""
					" WHERE (\"architect row\".%s OPERATOR(pg_catalog.=) $4::%s) IS %s LIMIT 1",
					path->name, column, attempt->trial->type, attempt->tenant == TRIAL_OWN ? "true" : "false");
}

/*
 * Returns the statement; $1 is the row, $2 and $3 its place, $4 a tenant's name.
 */
static char *
make_statement(const Attempt *attempt)
{
	const TrialPath *path = attempt->path;
	const char *returning = attempt->command->returning ?
		psprintf(" RETURNING %s", path->readable != NULL ? path->readable : "1") : "";
	const char *where = is_blind(path, attempt->command) ? "CURRENT OF " TRIAL_CURSOR : path->where;
	bool		is_acting = attempt->tenant == TRIAL_OTHER;

	switch (attempt->command->kind)
	{
		case TRIAL_SELECT:
			return make_select(attempt);
		case TRIAL_INSERT:
			return psprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)%s",
							path->name, path->columns, path->values, returning);
		case TRIAL_CONFLICT:
			return psprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)"
							" ON CONFLICT (%s) DO UPDATE SET %s = excluded.%s",
							path->name, path->columns, is_acting ? path->values_acting : path->values,
							path->conflict, path->update, path->update);
		case TRIAL_UPDATE:
			return psprintf("UPDATE %s SET %s = ($1).%s WHERE %s%s",
							path->name, path->update, path->update, where, returning);
		case TRIAL_MOVE:
		case TRIAL_TAKE:
			return psprintf("UPDATE %s SET %s = $4::%s WHERE %s",
							path->name, path->update_tenant, attempt->trial->type, where);
		case TRIAL_DELETE:
			return psprintf("DELETE FROM %s WHERE %s%s", path->name, where, returning);
		case TRIAL_MERGE_INSERT:
			return psprintf("MERGE INTO %s USING (SELECT) AS \"architect source\" ON false"
							" WHEN NOT MATCHED THEN INSERT (%s) OVERRIDING SYSTEM VALUE VALUES (%s)",
							path->name, path->columns, path->values);
		case TRIAL_MERGE_UPDATE:
			return psprintf("MERGE INTO %s USING (SELECT) AS \"architect source\" ON %s"
							" WHEN MATCHED THEN UPDATE SET %s = ($1).%s",
							path->name, path->where, path->update, path->update);
		case TRIAL_MERGE_DELETE:
			return psprintf("MERGE INTO %s USING (SELECT) AS \"architect source\" ON %s"
							" WHEN MATCHED THEN DELETE", path->name, path->where);
		case TRIAL_COPY_TO:
			return psprintf("COPY %s (%s) TO STDOUT", path->name, quote_identifier(attempt->trial->column));
		case TRIAL_COPY_FROM:
			return psprintf("COPY %s (%s) FROM STDIN", path->name,
							path->columns != NULL ? path->columns : quote_identifier(attempt->trial->column));
		case TRIAL_TRUNCATE:
			return psprintf("TRUNCATE %s", path->name);
	}
	return NULL;
}

/*
 * The row is taken away, so that the role can insert the very same: what the table asks
 * of it holds, and no number has to be drawn for it.
 */
static void
take_row_away(const Attempt *attempt)
{
	const TrialPath *path = attempt->path;
	int			level = architect_tenant_begin_quiet();
	TrialActor	actor = architect_tenant_begin_owner(attempt->trial);

	architect_tenant_run(psprintf("DELETE FROM %s WHERE " TRIAL_PLACE, path->storage_name), attempt->row, NULL);
	architect_tenant_end_owner(actor);
	architect_tenant_end_quiet(level);
}

/*
 * Puts a cursor of the owner's on the row, by which the role can reach it unread.
 */
static void
point_at_row(const Attempt *attempt)
{
	TrialActor	actor = architect_tenant_begin_owner(attempt->trial);

	architect_tenant_point(psprintf("SELECT FROM %s WHERE " TRIAL_PLACE, attempt->path->storage_name), attempt->row);
	architect_tenant_end_owner(actor);
}

/*
 * True when the row is where it was.
 */
static bool
is_row_there(const Attempt *attempt)
{
	return architect_tenant_run(psprintf("SELECT FROM %s WHERE " TRIAL_PLACE, attempt->path->storage_name),
								attempt->row, NULL) > 0;
}

/*
 * True when a row with this key is there, as one of its tenant.
 */
static bool
is_row_stored(const Attempt *attempt)
{
	return attempt->path->stored == NULL ||
		architect_tenant_run(psprintf("SELECT FROM %s WHERE %s", attempt->path->storage_name,
									  attempt->path->stored), attempt->row, NULL) > 0;
}

/*
 * A view that does not show whose rows it has: what it gives must not change when the
 * row goes.
 */
static void
compare_outputs(Attempt *attempt)
{
	const TrialPath *path = attempt->path;
	char	   *digest = psprintf("SELECT pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum("
								  "pg_catalog.hashtextextended(ROW(%s)::text, 0))) FROM %s",
								  path->readable, path->name);
	char	   *before[2];
	char	   *after;

	architect_tenant_act_as_role(attempt->trial, attempt->acting);
	for (int i = 0; i < 2; i++)
		before[i] = architect_tenant_read_text(digest, NULL);
	if (strcmp(before[0], before[1]) != 0)
	{
		attempt->untried = "the view gives something else each time";
		return;
	}
	take_row_away(attempt);
	after = architect_tenant_read_text(digest, NULL);
	attempt->is_compared = true;
	attempt->is_reached = strcmp(before[0], after) != 0;
	/* A view may leave the row out for a reason of its own, and then says nothing of tenants. */
	if (!attempt->is_reached && !attempt->is_control_allowed)
		attempt->untried = "what the view gives does not depend on the row that was tried";
}

/*
 * True where the role inserts a row of its own tenant, to come upon the other's: where
 * keys have the tenant in them, it comes in beside it.
 */
static bool
is_beside(const Attempt *attempt)
{
	return attempt->command->kind == TRIAL_CONFLICT && attempt->tenant == TRIAL_OTHER;
}

/*
 * Makes the attempt, and looks at what it did.
 */
static void
run_attempt(void *argument)
{
	Attempt    *attempt = argument;
	TrialPath  *path = attempt->path;
	TrialKind	kind = attempt->command->kind;
	bool		is_insert = kind == TRIAL_INSERT || kind == TRIAL_MERGE_INSERT;
	char	   *statement = make_statement(attempt);

	if (kind == TRIAL_SELECT && !path->has_tenant && path->where == NULL)
	{
		compare_outputs(attempt);
		return;
	}
	if (is_insert)
		take_row_away(attempt);
	else if (is_blind(path, attempt->command))
		point_at_row(attempt);

	architect_tenant_act_as_role(attempt->trial, attempt->acting);
	if (kind == TRIAL_COPY_FROM)
		architect_tenant_try_copy_from(statement);
	else if (kind == TRIAL_COPY_TO)
		attempt->count = architect_tenant_try_copy_to(statement,
													  attempt->tenant == TRIAL_OTHER ? attempt->acting : NULL);
	else
		attempt->count = architect_tenant_run(statement, attempt->row,
											  kind == TRIAL_MOVE || attempt->acting == NULL ?
											  attempt->other : attempt->acting);

	attempt->is_reached = attempt->count > 0;
	if (kind == TRIAL_SELECT || kind == TRIAL_COPY_TO || attempt->tenant == TRIAL_OWN)
		return;
	CommandCounterIncrement();
	architect_tenant_act_as_owner(attempt->trial);
	if (is_insert)
	{
		if (attempt->tenant == TRIAL_OTHER)
			attempt->is_reached = attempt->count > 0 && is_row_stored(attempt);
		return;
	}
	attempt->is_touched = !is_row_there(attempt);
	attempt->is_reached = attempt->is_touched || (attempt->count > 0 && !is_beside(attempt));
}

/*
 * Settles which row is tried, and as whom.
 */
static void
choose_row(Attempt *attempt)
{
	Trial	   *trial = attempt->trial;
	TrialPath  *path = attempt->path;
	bool		is_others = attempt->tenant == TRIAL_OTHER && attempt->command->kind != TRIAL_MOVE;
	const char *counterpart;

	attempt->row = is_others ? path->other : path->own;
	if (attempt->row == NULL)
		attempt->row = is_others ? path->own : path->other;
	counterpart = strcmp(attempt->row->tenant, trial->own) == 0 ? trial->other : trial->own;

	attempt->acting = attempt->tenant == TRIAL_NONE ? NULL : is_others ? counterpart : attempt->row->tenant;
	attempt->other = counterpart;
}

/*
 * What an error says: that the row was kept out, that it was let in and something else
 * was against it, or nothing.
 */
static TrialSeen
judge_error(const Attempt *attempt, const ErrorData *error)
{
	/* Privileges are checked last, when a plan was made. */
	if (!attempt->has_right)
		return TRIAL_DENIED;
	switch (error->sqlerrcode)
	{
		case ERRCODE_SUCCESSFUL_COMPLETION:
			return TRIAL_ALLOWED;
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return TRIAL_DENIED;
		case ERRCODE_FEATURE_NOT_SUPPORTED:
			if (attempt->command->kind == TRIAL_COPY_FROM)
				return TRIAL_DENIED;
			break;
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
			return TRIAL_FAILED;
	}
	/* Constraints come after row security, bounds of partitions, which have no name, before. */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION &&
		!is_beside(attempt) && (error->constraint_name != NULL || error->sqlerrcode == ERRCODE_NOT_NULL_VIOLATION))
		return TRIAL_ALLOWED;
	return attempt->is_control_allowed && attempt->tenant != TRIAL_OWN ? TRIAL_DENIED : TRIAL_FAILED;
}

/*
 * What a row of the result says of an attempt.
 */
static const char *
describe(const Attempt *attempt, const char *what)
{
	const char *whose = attempt->acting != NULL ? psprintf("as tenant \"%s\"", attempt->acting) : "without a tenant";

	return psprintf("%s, row of \"%s\": %s", whose, attempt->row->tenant, what);
}

static const char *
describe_count(const Attempt *attempt)
{
	unsigned long long count = attempt->count;

	if (attempt->is_compared)
		return attempt->is_reached ? "what the view gives depends on the row" :
			"what the view gives is the same without the row";
	if (attempt->is_touched)
		return "the row is not as it was";
	if (count > 0 && !attempt->is_reached)
		return psprintf(count == 1 ? "%llu row, and not that one" : "%llu rows, and not that one", count);
	return psprintf(count == 1 ? "%llu row" : "%llu rows", count);
}

static TrialResult *
make_result(const Attempt *attempt, TrialSeen seen, const char *detail)
{
	TrialResult *result = palloc0(sizeof(TrialResult));

	result->via = attempt->path->relid;
	result->command = attempt->command->name;
	result->tenant = attempt->tenant;
	result->is_expected = is_allowed(attempt->trial, attempt->path, attempt->command, attempt->tenant);
	result->seen = seen;
	result->detail = detail;
	return result;
}

/*
 * Tries one command for one tenant.
 */
static TrialResult *
try_command(Attempt *attempt)
{
	const char *reason = obstacle(attempt->path, attempt->command, attempt->tenant);
	ErrorData  *error;

	choose_row(attempt);
	attempt->has_right = has_privileges(attempt->trial, attempt->path, attempt->command->needs);
	/* No policy has a say in TRUNCATE, and the lock that it takes would stop everybody. */
	if (attempt->command->kind == TRIAL_TRUNCATE && attempt->has_right)
		return make_result(attempt, TRIAL_ALLOWED, "the role has the privilege, and row security"
						   " does not apply; not run, as it would lock the table");
	if (reason != NULL)
		return attempt->has_right ? make_result(attempt, TRIAL_UNTRIED, reason) :
			make_result(attempt, TRIAL_DENIED, "the role lacks the privilege");

	error = architect_try_out(run_attempt, attempt);
	if (error != NULL)
		return make_result(attempt, judge_error(attempt, error),
						   describe(attempt, error->message));
	if (attempt->untried != NULL)
		return make_result(attempt, TRIAL_UNTRIED, attempt->untried);
	return make_result(attempt, attempt->is_reached ? TRIAL_ALLOWED : TRIAL_DENIED,
					   describe(attempt, describe_count(attempt)));
}

/*
 * Tries every command that there is for this path; returns a list of TrialResult.
 */
List *
architect_tenant_try_commands(Trial *trial, TrialPath *path)
{
	List	   *results = NIL;
	bool		is_control_allowed = false;

	for (int i = 0; i < lengthof(commands); i++)
	{
		if ((commands[i].tenants & (1 << TRIAL_OWN)) != 0)
			is_control_allowed = false;
		if (!is_possible(path, &commands[i]))
			continue;
		for (int tenant = TRIAL_OWN; tenant <= TRIAL_NONE; tenant++)
		{
			Attempt		attempt = {.trial = trial, .path = path, .command = &commands[i], .tenant = tenant};
			TrialResult *result;

			if ((commands[i].tenants & (1 << tenant)) == 0)
				continue;
			/* COPY shows rows of that very table, and not of its children. */
			if (commands[i].kind == TRIAL_COPY_TO && tenant == TRIAL_OWN &&
				(path->own != NULL ? path->own : path->other)->table != path->relid)
				continue;
			CHECK_FOR_INTERRUPTS();
			attempt.is_control_allowed = is_control_allowed;
			result = try_command(&attempt);
			is_control_allowed |= tenant == TRIAL_OWN && result->seen == TRIAL_ALLOWED;
			results = lappend(results, result);
		}
	}
	return results;
}

/*
 * Says of every command that there is for this path why it could not be tried.
 */
List *
architect_tenant_say_untried(Trial *trial, TrialPath *path, const char *reason)
{
	List	   *results = NIL;

	for (int i = 0; i < lengthof(commands); i++)
	{
		for (int tenant = TRIAL_OWN; tenant <= TRIAL_NONE; tenant++)
		{
			Attempt		attempt = {.trial = trial, .path = path, .command = &commands[i], .tenant = tenant};

			if ((commands[i].tenants & (1 << tenant)) != 0 && is_possible(path, &commands[i]))
				results = lappend(results, make_result(&attempt, TRIAL_UNTRIED, reason));
		}
	}
	return results;
}
