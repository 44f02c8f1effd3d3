/*
 * actor.c
 *    Who changes data in this transaction, and in what context.
 *
 * The actor that an application names lives in the transaction's memory and
 * ends with it; a savepoint that is rolled back takes its actor along.  So a
 * pooled connection has nothing to pass on.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc_tables.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "audit/audit.h"

PG_FUNCTION_INFO_V1(architect_audit_set_actor);

/* Set in the transactions of a backfill. */
#define JOB_SETTING "architect.backfill_job"

/* What audit_set_actor said, the newest first. */
typedef struct Actor
{
	SubTransactionId subxact;
	Datum		name;			/* text, or 0 where the session user is meant */
	Datum		context;		/* jsonb or 0 */
	struct Actor *outer;
} Actor;

static Actor *actor = NULL;

/* As they go into the log, made with the first change; reset when outdated. */
static bool resolved = false;
static Datum changed_by_value;
static Datum session_role_value;
static Datum context_value;
static char job_value[24];

/* The session user's name as text, kept for the session. */
static Datum session_user_name = (Datum) 0;
static Oid	session_user_id = InvalidOid;

static char *context_setting = NULL;

static void
forget_resolved(void)
{
	resolved = false;
}

/*
 * Returns left with the members of right added; either may be 0.
 */
static Datum
merge_contexts(Datum left, Datum right)
{
	if (DatumGetPointer(left) == NULL)
		return right;
	if (DatumGetPointer(right) == NULL)
		return left;
	return DirectFunctionCall2(jsonb_concat, left, right);
}

/*
 * Returns {name: value} as jsonb.
 */
Jsonb *
architect_audit_make_context(const char *name, const char *value)
{
	JsonbParseState *state = NULL;
	JsonbValue	string = {.type = jbvString};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	string.val.string.val = unconstify(char *, name);
	string.val.string.len = strlen(name);
	pushJsonbValue(&state, WJB_KEY, &string);
	string.val.string.val = unconstify(char *, value);
	string.val.string.len = strlen(value);
	pushJsonbValue(&state, WJB_VALUE, &string);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Returns the context that tells which row was updated.
 */
Jsonb *
architect_audit_make_row_context(Jsonb *row)
{
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvBinary};

	key.val.string.val = AUDIT_CONTEXT_ROW;
	key.val.string.len = strlen(AUDIT_CONTEXT_ROW);
	value.val.binary.data = &row->root;
	value.val.binary.len = VARSIZE(row) - VARHDRSZ;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, &value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * The address of the client, or NULL for one on this machine's socket.
 */
static char *
client_address(void)
{
	LOCAL_FCINFO(fcinfo, 0);
	Datum		address;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	address = inet_client_addr(fcinfo);
	return fcinfo->isnull ? NULL : DatumGetCString(DirectFunctionCall1(inet_out, address));
}

/*
 * What the server itself knows of this session, as far as the administrator
 * asks for it in architect.audit_context; 0 for nothing.
 */
static Datum
session_context(void)
{
	char	   *list;
	List	   *names;
	ListCell   *cell;
	Datum		context = (Datum) 0;

	if (context_setting[0] == '\0')
		return context;

	list = pstrdup(context_setting);
	if (!SplitIdentifierString(list, ',', &names))
		elog(ERROR, "invalid list in architect.audit_context");

	foreach(cell, names)
	{
		char	   *name = lfirst(cell);
		char	   *value = strcmp(name, "application_name") == 0 ? application_name : client_address();

		if (value != NULL)
			context = merge_contexts(context, JsonbPGetDatum(architect_audit_make_context(name, value)));
	}
	return context;
}

/*
 * The number of the backfill that this transaction belongs to, as text; "" for none.
 */
static const char *
current_job(void)
{
	static struct config_string *setting = NULL;

	if (setting == NULL)
		setting = (struct config_string *) architect_find_setting(JOB_SETTING);
	return setting == NULL || *setting->variable == NULL ? "" : *setting->variable;
}

/*
 * {"backfill_job": number}, or 0 where there is none.
 */
static Datum
job_context(void)
{
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvNumeric};
	int64		job = strtoi64(job_value, NULL, 10);

	if (job <= 0)
		return (Datum) 0;
	key.val.string.val = AUDIT_CONTEXT_JOB;
	key.val.string.len = strlen(AUDIT_CONTEXT_JOB);
	value.val.numeric = int64_to_numeric(job);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, &value);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static Datum
get_session_user_name(void)
{
	if (session_user_id != GetSessionUserId())
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
		Datum		name = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));

		MemoryContextSwitchTo(caller);
		if (DatumGetPointer(session_user_name) != NULL)
			pfree(DatumGetPointer(session_user_name));
		session_user_name = name;
		session_user_id = GetSessionUserId();
	}
	return session_user_name;
}

static void
forget_session_user_name(Datum arg, int cacheid, uint32 hashvalue)
{
	session_user_id = InvalidOid;
	forget_resolved();
}

/*
 * Returns a context without the member of this name, which may be 0 already.
 */
static Datum
take_out(Datum context, const char *name)
{
	if (DatumGetPointer(context) == NULL ||
		getKeyJsonValueFromContainer(&DatumGetJsonbP(context)->root, name, strlen(name), NULL) == NULL)
		return context;
	return DirectFunctionCall2(jsonb_delete, context, CStringGetTextDatum(name));
}

/*
 * Makes what the log says of this transaction's changes from here on.  What the
 * application says must not pass for what we say ourselves.
 */
static void
resolve(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	bool		has_name = actor != NULL && DatumGetPointer(actor->name) != NULL;
	Datum		said = actor != NULL ? actor->context : (Datum) 0;

	changed_by_value = has_name ? actor->name : get_session_user_name();
	session_role_value = has_name ? get_session_user_name() : (Datum) 0;
	strlcpy(job_value, current_job(), sizeof(job_value));
	said = take_out(take_out(said, AUDIT_CONTEXT_ROW), AUDIT_CONTEXT_JOB);
	context_value = merge_contexts(merge_contexts(said, session_context()), job_context());
	MemoryContextSwitchTo(caller);
	resolved = true;
}

/*
 * Gives the log columns changed_by, session_role and context; the last two may
 * be 0 for NULL.  They belong to the transaction.
 */
void
architect_audit_actor(Datum *changed_by, Datum *session_role, Datum *context)
{
	/* The application may have named itself anew since. */
	if (!resolved || session_user_id != GetSessionUserId() || context_setting[0] != '\0' ||
		strcmp(job_value, current_job()) != 0)
		resolve();
	*changed_by = changed_by_value;
	*session_role = session_role_value;
	*context = context_value;
}

/*
 * Returns this transaction's context with the members of another.
 */
Datum
architect_audit_context_with(Jsonb *more)
{
	if (!resolved)
		resolve();
	return merge_contexts(context_value, JsonbPGetDatum(more));
}

/*
 * Returns this transaction's context without the member that would name a partition;
 * 0 for none.
 */
Datum
architect_audit_context_of_whole(void)
{
	if (!resolved)
		resolve();
	return take_out(context_value, AUDIT_CONTEXT_PARTITION);
}

/*
 * architect.audit_set_actor(actor text, context jsonb)
 */
Datum
architect_audit_set_actor(PG_FUNCTION_ARGS)
{
	MemoryContext caller;
	Actor	   *said;

	if (!PG_ARGISNULL(0) && VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("actor must not be empty"),
				 errhint("Pass NULL to go back to the session user.")));
	if (!PG_ARGISNULL(1) && !JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(1)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("context must be a JSON object"),
				 errhint("Pass for example '{\"request\": \"42\"}'.")));

	caller = MemoryContextSwitchTo(TopTransactionContext);
	said = palloc0(sizeof(Actor));
	said->subxact = GetCurrentSubTransactionId();
	if (!PG_ARGISNULL(0))
		said->name = datumCopy(PointerGetDatum(PG_GETARG_TEXT_PP(0)), false, -1);
	if (!PG_ARGISNULL(1))
		said->context = datumCopy(JsonbPGetDatum(PG_GETARG_JSONB_P(1)), false, -1);
	said->outer = actor;
	MemoryContextSwitchTo(caller);

	actor = said;
	forget_resolved();
	PG_RETURN_VOID();
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			actor = NULL;
			forget_resolved();
			break;
		default:
			break;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subxact,
				   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (Actor *said = actor; said != NULL && said->subxact == subxact; said = said->outer)
			said->subxact = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (actor != NULL && actor->subxact == subxact)
			actor = actor->outer;
		forget_resolved();
	}
}

/*
 * Accepts a list of the names that session_context() knows.
 */
static bool
check_context_setting(char **value, void **extra, GucSource source)
{
	char	   *list = pstrdup(*value);
	List	   *names;
	ListCell   *cell;

	if (!SplitIdentifierString(list, ',', &names))
	{
		GUC_check_errdetail("List syntax is invalid.");
		return false;
	}
	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), "application_name") != 0 &&
			strcmp(lfirst(cell), "client_address") != 0)
		{
			GUC_check_errdetail("Unrecognized word: \"%s\".", (char *) lfirst(cell));
			GUC_check_errhint("Available words: application_name, client_address.");
			return false;
		}
	}
	return true;
}

static void
assign_context_setting(const char *value, void *extra)
{
	forget_resolved();
}

void
architect_audit_actor_init(void)
{
	DefineCustomStringVariable("architect.audit_context",
							   "What the server adds to the context of each audited change.",
							   "A list of application_name and client_address.",
							   &context_setting, "", PGC_SUSET, GUC_LIST_INPUT,
							   check_context_setting, assign_context_setting, NULL);
	CacheRegisterSyscacheCallback(AUTHOID, forget_session_user_name, (Datum) 0);
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
