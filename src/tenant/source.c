/*
 * source.c
 *    Where the tenant comes from: a setting that the application sets or, in
 *    trusted mode, a hidden one that only our own code sets.
 *
 * Both are settings of the server's, so that it takes a value back at the end of
 * its transaction or savepoint, and hands it to parallel workers.  Nothing is
 * parsed when a value changes, only when somebody asks after that: whatever may
 * change the tenant moves architect_tenant_generation on.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#include "compat.h"
#include "tenant/tenant.h"

#define DEFAULT_SETTING "app.tenant_id"
#define OWN_PREFIX "architect."
#define TRUSTED_SETTING "architect.tenant_trusted"
#define STATE_SETTING "architect.tenant_state"

/* A setting that is, or was, named by architect.tenant_setting. */
typedef struct Source
{
	char	   *name;
	char	   *value;			/* the server's, changes with the setting */
	struct Source *next;
} Source;

uint64		architect_tenant_generation = 1;

static Source *sources = NULL;
static Source *source = NULL;	/* the one that counts; NULL: taken by another library */
static char *source_setting = NULL;
static bool trusted_setting = false;

static char *state_setting = NULL;
static bool writing_state = false;
static bool crosses = false;

static void
move_on(const char *value, void *extra)
{
	architect_tenant_generation++;
}

static void
move_on_bool(bool value, void *extra)
{
	architect_tenant_generation++;
}

static Source *
find_source(const char *name)
{
	Source	   *known = sources;

	while (known != NULL && pg_strcasecmp(known->name, name) != 0)
		known = known->next;
	return known;
}

/*
 * Makes the setting one of ours; a value that it was given before is kept.
 */
static void
add_source(const char *name)
{
	Source	   *added = MemoryContextAllocZero(TopMemoryContext, sizeof(Source));

	added->name = MemoryContextStrdup(TopMemoryContext, name);
	DefineCustomStringVariable(added->name,
							   "Tenant whose rows are seen and written.",
							   "It counts unless architect.tenant_trusted is on. Empty: no tenant.",
							   &added->value, "", PGC_USERSET, GUC_NOT_IN_SAMPLE,
							   NULL, move_on, NULL);
	added->next = sources;
	sources = added;
}

/*
 * True when the server or another library has a setting of this name, as opposed
 * to one that was merely SET by somebody.
 */
static bool
is_taken(const char *name)
{
	struct config_generic *found = architect_find_setting(name);

	return found != NULL && (found->flags & GUC_CUSTOM_PLACEHOLDER) == 0;
}

/*
 * True for identifiers with a dot between each two, as the server asks of a
 * setting that it does not know.
 */
static bool
is_setting_name(const char *name)
{
	bool		at_start = true;
	bool		has_dot = false;

	for (const char *at = name; *at != '\0'; at++)
	{
		bool		is_letter = isalpha((unsigned char) *at) || *at == '_' || IS_HIGHBIT_SET(*at);

		if (*at == '.')
		{
			if (at_start)
				return false;
			has_dot = at_start = true;
		}
		else if (is_letter || (!at_start && (isdigit((unsigned char) *at) || *at == '$')))
			at_start = false;
		else
			return false;
	}
	return has_dot && !at_start;
}

/*
 * Every name that the setting can take has been here, so that here is the place
 * where it becomes a setting of ours.
 */
static bool
check_source_setting(char **newval, void **extra, GucSource origin)
{
	const char *name = *newval;

	if (!is_setting_name(name) || pg_strncasecmp(name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0)
	{
		GUC_check_errdetail("It must name a setting by a prefix of your own, a dot and a name.");
		GUC_check_errhint("Choose for example \"%s\".", DEFAULT_SETTING);
		return false;
	}
	if (origin == PGC_S_DEFAULT || find_source(name) != NULL)
		return true;
	if (is_taken(name))
	{
		GUC_check_errdetail("\"%s\" is a setting of another library.", name);
		return false;
	}
	if (origin == PGC_S_TEST)
		return true;

	/* The server would not let us take the value over. */
	if (IsInParallelMode())
	{
		GUC_check_errdetail("It cannot be changed during a parallel operation.");
		return false;
	}
	add_source(name);
	return true;
}

static void
assign_source_setting(const char *value, void *extra)
{
	source = find_source(value);
	architect_tenant_generation++;
}

/*
 * Lets nobody in but our own code and a worker that takes over what its leader
 * has; nothing at all is for everybody.
 */
static bool
check_state(char **newval, void **extra, GucSource origin)
{
	if ((*newval)[0] == '\0' || writing_state || InitializingParallelWorker)
		return true;
	GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
	GUC_check_errmsg("parameter \"%s\" cannot be set", STATE_SETTING);
	GUC_check_errdetail("It belongs to pg_architect alone.");
	GUC_check_errhint("Call architect.tenant_login() or architect.tenant_set().");
	return false;
}

/*
 * Plans made while nobody crosses would show too little to who does, and the other
 * way round they are slow.
 */
static void
assign_state(const char *value, void *extra)
{
	bool		now_crosses = value != NULL && (value[0] == 'r' || value[0] == 'w');

	if (now_crosses != crosses)
		ResetPlanCache();
	crosses = now_crosses;
	architect_tenant_generation++;
}

static const char *
show_state(void)
{
	return "";
}

/*
 * True when the tenant can be had from a token only.
 */
bool
architect_tenant_is_trusted(void)
{
	return trusted_setting;
}

/*
 * Raises 55000 when there is no setting of ours to read the tenant from.
 */
static void
check_source(void)
{
	if (source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("setting \"%s\" belongs to another library", source_setting),
				 errhint("Name another one in architect.tenant_setting.")));
}

/*
 * Returns the tenant as text in the caller's context; NULL when none is set.
 */
char *
architect_tenant_name(void)
{
	if (trusted_setting)
	{
		TenantState state;

		architect_tenant_read_state(&state);
		return state.tenant;
	}
	check_source();
	return source->value == NULL || source->value[0] == '\0' ? NULL : pstrdup(source->value);
}

/*
 * Returns the name of the setting that the tenant is read from.
 */
const char *
architect_tenant_origin(void)
{
	return trusted_setting ? STATE_SETTING : source_setting;
}

/*
 * True when a crossing that may only read is in a transaction that can write: the
 * server lifts READ ONLY at the end of the savepoint that it was set in and, up to
 * 15, for anybody who says RESET.
 */
bool
architect_tenant_has_lapsed(void)
{
	return crosses && state_setting[0] == 'r' && !XactReadOnly && !IsParallelWorker();
}

/*
 * True when this transaction sees the rows of all tenants.
 */
bool
architect_tenant_crosses(void)
{
	return crosses && !architect_tenant_has_lapsed();
}

/*
 * Sets the application's setting for this transaction; empty for no tenant.
 */
void
architect_tenant_put(const char *tenant)
{
	check_source();
	(void) set_config_option(source->name, tenant, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Reads an item as append_item() writes it; NULL for an empty one.
 */
static char *
read_item(const char **at)
{
	char	   *end;
	size_t		length = strtoul(*at, &end, 10);
	char	   *item = length == 0 ? NULL : pnstrdup(end + 1, length);

	*at = end + 1 + length;
	return item;
}

static void
append_item(StringInfo text, const char *item)
{
	appendStringInfo(text, "%zu:%s", strlen(item), item);
}

/*
 * Gives what the hidden setting carries, in the caller's context.
 */
void
architect_tenant_read_state(TenantState *state)
{
	const char *at = state_setting;

	memset(state, 0, sizeof(TenantState));
	if (*at == '\0')
		return;
	state->crosses = *at != '-';
	state->writes = *at == 'w';
	at++;
	state->tenant = read_item(&at);
	while (*at != '\0')
		state->allowed = lappend(state->allowed, read_item(&at));
}

/*
 * Makes the hidden setting carry this until the end of the transaction, or of the
 * savepoint if that is rolled back.
 */
void
architect_tenant_write_state(const TenantState *state)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	if (state->crosses || state->tenant != NULL || state->allowed != NIL)
	{
		appendStringInfoChar(&text, state->crosses ? (state->writes ? 'w' : 'r') : '-');
		append_item(&text, state->tenant != NULL ? state->tenant : "");
		foreach(cell, state->allowed)
			append_item(&text, lfirst(cell));
	}

	writing_state = true;
	PG_TRY();
	{
		(void) set_config_option(STATE_SETTING, text.data, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	}
	PG_FINALLY();
	{
		writing_state = false;
	}
	PG_END_TRY();
	pfree(text.data);
}

/*
 * Where the library is not preloaded, the server keeps what a client asks for when
 * it connects in place of what the administrator set, and refuses it only now.
 * What the administrator wants is then not to be known, so it is the closed way.
 */
static void
define_trusted(void)
{
	struct config_generic *early = architect_find_setting(TRUSTED_SETTING);
	bool		was_given = early != NULL && early->reset_source != PGC_S_DEFAULT;

	DefineCustomBoolVariable(TRUSTED_SETTING,
							 "Takes the tenant from tokens only.",
							 "Nobody can then become a tenant without a token signed by the application.",
							 &trusted_setting, false, PGC_SUSET, GUC_NO_RESET_ALL,
							 NULL, move_on_bool, NULL);
	if (was_given && architect_find_setting(TRUSTED_SETTING)->reset_source == PGC_S_DEFAULT)
		(void) set_config_option(TRUSTED_SETTING, "on", PGC_SUSET, PGC_S_CLIENT, GUC_ACTION_SET, true, WARNING, false);
}

void
architect_tenant_source_init(void)
{
	/*
	 * Ahead of the setting that names it, as the server cannot take in one setting
	 * while it defines another.
	 */
	if (!is_taken(DEFAULT_SETTING))
		add_source(DEFAULT_SETTING);

	DefineCustomStringVariable("architect.tenant_setting",
							   "Name of the setting that says whose rows are seen and written.",
							   "It does not count while architect.tenant_trusted is on.",
							   &source_setting, DEFAULT_SETTING, PGC_SUSET, 0,
							   check_source_setting, assign_source_setting, NULL);
	define_trusted();
	DefineCustomStringVariable(STATE_SETTING,
							   "What pg_architect itself keeps of the transaction.",
							   NULL,
							   &state_setting, "", PGC_SUSET,
							   GUC_NO_SHOW_ALL | GUC_NO_RESET_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE |
							   GUC_DISALLOW_IN_AUTO_FILE | GUC_SUPERUSER_ONLY,
							   check_state, assign_state, show_state);
}
