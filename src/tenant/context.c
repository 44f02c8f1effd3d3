/*
 * context.c
 *    Which tenant this transaction acts as: to be asked by policies, and to be set.
 *
 * The tenant is parsed when a transaction first asks for it, and again after a
 * change, so that a row costs the functions that policies compare with no more
 * than a look whether there was one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(architect_tenant_uuid);
PG_FUNCTION_INFO_V1(architect_tenant_bigint);
PG_FUNCTION_INFO_V1(architect_tenant_text);
PG_FUNCTION_INFO_V1(architect_tenant_current);
PG_FUNCTION_INFO_V1(architect_tenant_set);
PG_FUNCTION_INFO_V1(architect_tenant_set_uuid);
PG_FUNCTION_INFO_V1(architect_tenant_set_bigint);
PG_FUNCTION_INFO_V1(architect_tenant_clear);
PG_FUNCTION_INFO_V1(architect_tenant_support);

enum
{
	UNSET_HIDE,
	UNSET_ERROR
};

/* In the order of the enum. */
static const struct config_enum_entry unset_options[] = {
	{"hide", UNSET_HIDE, false},
	{"error", UNSET_ERROR, false},
	{NULL, 0, false}
};

static int	unset_setting = UNSET_HIDE;
static bool switch_setting = false;

/*
 * A type that policies compare with, and the tenant as a value of it, as of a
 * generation of the settings.  The value is the transaction's, and so are those
 * before it: a query may still hold them.
 */
typedef struct TenantType
{
	PGFunction	input;
	uint64		generation;
	Datum		value;
	bool		isnull;
} TenantType;

static TenantType uuid_type = {.input = uuid_in};
static TenantType bigint_type = {.input = int8in};
static TenantType text_type = {.input = textin};

/* The tenants that this transaction was pinned to, the newest first. */
typedef struct Pin
{
	SubTransactionId subxact;
	char	   *tenant;
	struct Pin *outer;
} Pin;

static Pin *pin = NULL;

/*
 * Says where a tenant comes from that is not of the type that a policy asks for.
 */
static void
tell_origin(void *arg)
{
	errcontext("tenant in parameter \"%s\"", (const char *) arg);
}

/*
 * Raises 55000 where the user wants to be told that there is no tenant, and needs one.
 */
static void
check_unset(void)
{
	if (unset_setting == UNSET_HIDE || architect_tenant_crosses())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no tenant is set"),
			 errdetail("Setting architect.tenant_unset makes this an error."),
			 errhint("Call architect.%s at the start of the transaction.",
					 architect_tenant_is_trusted() ? "tenant_login()" : "tenant_set()")));
}

/*
 * Makes the tenant a value of the type, with the errors of its input function.
 */
static void
parse_tenant(TenantType *type)
{
	char	   *name = architect_tenant_name();
	Datum		value = (Datum) 0;

	if (name == NULL)
		check_unset();
	else
	{
		MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
		ErrorContextCallback origin = {.callback = tell_origin, .previous = error_context_stack};

		origin.arg = unconstify(char *, architect_tenant_origin());
		error_context_stack = &origin;
		value = DirectFunctionCall1(type->input, CStringGetDatum(name));
		error_context_stack = origin.previous;
		MemoryContextSwitchTo(caller);
	}
	type->value = value;
	type->isnull = name == NULL;
	type->generation = architect_tenant_generation;
}

static inline Datum
answer(FunctionCallInfo fcinfo, TenantType *type)
{
	if (unlikely(type->generation != architect_tenant_generation))
		parse_tenant(type);
	fcinfo->isnull = type->isnull;
	return type->value;
}

/*
 * architect.tenant_uuid()
 */
Datum
architect_tenant_uuid(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, &uuid_type);
}

/*
 * architect.tenant_bigint()
 */
Datum
architect_tenant_bigint(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, &bigint_type);
}

/*
 * architect.tenant_text()
 */
Datum
architect_tenant_text(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, &text_type);
}

/*
 * architect.tenant_current()
 */
Datum
architect_tenant_current(PG_FUNCTION_ARGS)
{
	char	   *name = architect_tenant_name();

	if (name == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

/*
 * Raises 25001 where this transaction has acted as another tenant already, unless
 * the user allows it.
 */
static void
check_pin(const char *tenant)
{
	if (pin == NULL || switch_setting || strcmp(pin->tenant, tenant) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("this transaction has another tenant already"),
			 errdetail("It was set to \"%s\" and cannot become \"%s\".", pin->tenant, tenant),
			 errhint("Begin a new transaction, or set architect.tenant_switch to on.")));
}

static void
set_pin(const char *tenant)
{
	Pin		   *added;

	if (pin != NULL && strcmp(pin->tenant, tenant) == 0)
		return;
	added = MemoryContextAlloc(TopTransactionContext, sizeof(Pin));
	added->subxact = GetCurrentSubTransactionId();
	added->tenant = MemoryContextStrdup(TopTransactionContext, tenant);
	added->outer = pin;
	pin = added;
}

/*
 * Acts as another of the tenants that the token allows; raises 42501 for any other.
 */
static void
choose_tenant(const char *tenant)
{
	TenantState state;
	ListCell   *cell;

	architect_tenant_read_state(&state);
	foreach(cell, state.allowed)
	{
		if (strcmp(lfirst(cell), tenant) == 0)
		{
			state.tenant = lfirst(cell);
			architect_tenant_write_state(&state);
			return;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for tenant \"%s\"", tenant),
			 state.allowed == NIL ?
			 errdetail("Tenants are taken from tokens, and this transaction has none.") :
			 errdetail("The token of this transaction does not name it."),
			 errhint("Call architect.tenant_login() with a token for it.")));
}

/*
 * Makes this transaction act as the tenant.
 */
static void
set_tenant(const char *tenant)
{
	check_pin(tenant);
	if (architect_tenant_is_trusted())
		choose_tenant(tenant);
	else
		architect_tenant_put(tenant);
	set_pin(tenant);
}

/*
 * Makes this transaction act as the tenant of a token, with others (char *) that it
 * allows, tenant included, to be chosen later.  For trusted mode; the caller has
 * checked the token.  Raises 25001 as tenant_set does.
 */
void
architect_tenant_enter(const char *tenant, List *allowed)
{
	TenantState state;

	check_pin(tenant);
	architect_tenant_read_state(&state);
	state.tenant = unconstify(char *, tenant);
	state.allowed = allowed;
	architect_tenant_write_state(&state);
	set_pin(tenant);
}

/*
 * Makes this transaction act as the tenant, or as none for NULL, past pin and
 * token, and ends a crossing: for trials, which roll everything back.
 */
void
architect_tenant_assume(const char *tenant)
{
	TenantState state = {.tenant = unconstify(char *, tenant)};

	if (!architect_tenant_is_trusted())
	{
		architect_tenant_put(tenant != NULL ? tenant : "");
		state.tenant = NULL;
	}
	architect_tenant_write_state(&state);
}

/*
 * Sets the tenant that the call names, which output turns into text; raises where
 * it names none, as the tenant before would stay.
 */
static Datum
set_argument(FunctionCallInfo fcinfo, PGFunction output)
{
	char	   *tenant = PG_ARGISNULL(0) ? NULL : DatumGetCString(DirectFunctionCall1(output, PG_GETARG_DATUM(0)));

	if (tenant == NULL || tenant[0] == '\0')
		ereport(ERROR,
				(errcode(tenant == NULL ? ERRCODE_NULL_VALUE_NOT_ALLOWED : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tenant must not be %s", tenant == NULL ? "NULL" : "empty"),
				 errhint("To act as no tenant, call architect.tenant_clear().")));
	set_tenant(tenant);
	PG_RETURN_TEXT_P(cstring_to_text(tenant));
}

/*
 * architect.tenant_set(tenant text)
 */
Datum
architect_tenant_set(PG_FUNCTION_ARGS)
{
	return set_argument(fcinfo, textout);
}

/*
 * architect.tenant_set(tenant uuid)
 */
Datum
architect_tenant_set_uuid(PG_FUNCTION_ARGS)
{
	return set_argument(fcinfo, uuid_out);
}

/*
 * architect.tenant_set(tenant bigint)
 */
Datum
architect_tenant_set_bigint(PG_FUNCTION_ARGS)
{
	return set_argument(fcinfo, int8out);
}

/*
 * architect.tenant_clear()
 */
Datum
architect_tenant_clear(PG_FUNCTION_ARGS)
{
	TenantState state;

	architect_tenant_read_state(&state);
	if (state.tenant != NULL || state.crosses)
	{
		state.tenant = NULL;
		state.crosses = false;
		architect_tenant_write_state(&state);
	}
	if (!architect_tenant_is_trusted())
		architect_tenant_put("");
	PG_RETURN_VOID();
}

/*
 * architect._tenant_support(internal)
 *
 * Support function that leaves the call as it is.  It has the library loaded by
 * whoever plans a query, as a parallel worker could no longer take over settings.
 */
Datum
architect_tenant_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(NULL);
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
	{
		pin = NULL;
		architect_tenant_generation++;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (Pin *held = pin; held != NULL && held->subxact == subxact; held = held->outer)
			held->subxact = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (pin != NULL && pin->subxact == subxact)
			pin = pin->outer;
	}
}

static void
assign_unset(int value, void *extra)
{
	architect_tenant_generation++;
}

void
architect_tenant_context_init(void)
{
	DefineCustomBoolVariable("architect.tenant_switch",
							 "Lets tenant_set change the tenant within a transaction.",
							 NULL,
							 &switch_setting, false, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomEnumVariable("architect.tenant_unset",
							 "What policies do when no tenant is set: hide all rows, or raise an error.",
							 NULL,
							 &unset_setting, UNSET_HIDE, unset_options, PGC_USERSET, 0,
							 NULL, assign_unset, NULL);
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
