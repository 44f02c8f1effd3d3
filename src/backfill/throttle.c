/*
 * throttle.c
 *    The throttle query: a user's own reason to wait.
 *
 * It runs as the job's role, under the settings of the call that made the job, READ ONLY
 * and for some seconds at most.  Its plan is kept until another query takes its place.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "backfill/manners.h"

#define LONGEST_RUN 5000		/* ms */

/* The plan kept, and for what. */
static SPIPlanPtr plan;
static char *planned;

/* The session's own statement_timeout, while ours takes its place. */
typedef struct Timer
{
	bool		was_active;
	TimestampTz was_due;
	TimestampTz due;			/* ours */
} Timer;

static void
show_throttle(void *argument)
{
	errcontext("throttle query of the backfill");
}

static void
start_timer(Timer *timer)
{
	timer->was_active = get_timeout_active(STATEMENT_TIMEOUT);
	timer->was_due = timer->was_active ? get_timeout_finish_time(STATEMENT_TIMEOUT) : 0;
	timer->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LONGEST_RUN);
	if (!timer->was_active || timer->due < timer->was_due)
		enable_timeout_at(STATEMENT_TIMEOUT, timer->due);
}

static void
stop_timer(const Timer *timer)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (timer->was_active)
		enable_timeout_at(STATEMENT_TIMEOUT, timer->was_due);
}

/*
 * Until the GUC nest level ends: the settings of a job, a JSON object of texts.
 */
static void
apply_settings(const char *settings)
{
	Jsonb	   *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(settings)));
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	char	   *name = NULL;

	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE && item.type == jbvString)
			(void) set_config_option(name, pnstrdup(item.val.string.val, item.val.string.len),
									 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
}

/*
 * Raises unless the plan is of one SELECT that writes nothing and answers one boolean.
 */
static void
check_plan(SPIPlanPtr checked)
{
	List	   *sources = SPI_plan_get_plan_sources(checked);
	CachedPlanSource *source = list_length(sources) == 1 ? linitial(sources) : NULL;
	Query	   *query = NULL;
	const char *what_to_write = "Write a query that answers true while the backfill shall wait, "
		"such as SELECT count(*) > 1000 FROM queue.";

	if (source != NULL && list_length(source->query_list) == 1)
		query = linitial_node(Query, source->query_list);
	if (query == NULL || query->commandType != CMD_SELECT || query->hasModifyingCTE || query->rowMarks != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("throttle query is not one SELECT that only reads"),
				 errhint("%s", what_to_write)));
	if (source->resultDesc->natts != 1 ||
		getBaseType(TupleDescAttr(source->resultDesc, 0)->atttypid) != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("throttle query does not answer one boolean"),
				 errhint("%s", what_to_write)));
}

/*
 * Plans the query in SPI, which the caller connects to, and checks it.
 */
static SPIPlanPtr
prepare(const char *query)
{
	SPIPlanPtr	made = SPI_prepare(query, 0, NULL);

	if (made == NULL)
		elog(ERROR, "could not prepare the throttle query");
	check_plan(made);
	return made;
}

/*
 * Raises where the query cannot be a throttle query, with the server's own error where
 * it is the server that does not take it.
 */
void
architect_backfill_check_throttle(const char *query)
{
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = show_throttle
	};

	error_context_stack = &context;
	SPI_connect();
	SPI_freeplan(prepare(query));
	SPI_finish();
	error_context_stack = context.previous;
}

static void
keep_plan(const char *query)
{
	SPIPlanPtr	made = prepare(query);

	if (plan != NULL)
		SPI_freeplan(plan);
	plan = NULL;
	if (planned != NULL)
		pfree(planned);
	planned = MemoryContextStrdup(TopMemoryContext, query);
	if (SPI_keepplan(made) != 0)
		elog(ERROR, "could not keep the plan of the throttle query");
	plan = made;
}

/*
 * Runs the query: true where it answers true.  No row, or NULL, is not true.
 */
static bool
answers_true(const char *query)
{
	bool		answer = false;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (plan == NULL || strcmp(planned, query) != 0)
		keep_plan(query);
	if (SPI_execute_plan(plan, NULL, NULL, true, 2) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of the throttle query");
	if (SPI_processed > 1)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("throttle query answers more than one row")));
	if (SPI_processed == 1)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		answer = !isnull && DatumGetBool(value);
	}
	PopActiveSnapshot();
	SPI_finish();
	return answer;
}

/*
 * Says that the job's throttle query wants it to wait; NULL where it does not.  One that
 * takes too long is a reason to wait as well: a server that cannot answer is busy.  What
 * else it raises is raised.
 */
char *
architect_backfill_throttle(const BackfillJob *job)
{
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = show_throttle
	};
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile reason = NULL;
	Timer		timer;

	error_context_stack = &context;
	start_timer(&timer);
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		/* Both end with the subtransaction. */
		apply_settings(job->settings);
		XactReadOnly = true;

		if (answers_true(job->throttle_query))
			reason = "throttle query answers true";
		stop_timer(&timer);
		CHECK_FOR_INTERRUPTS();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		stop_timer(&timer);
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_QUERY_CANCELED || GetCurrentTimestamp() < timer.due)
			ReThrowError(error);
		reason = psprintf("throttle query takes more than %s", architect_backfill_duration(LONGEST_RUN));
	}
	PG_END_TRY();

	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	error_context_stack = context.previous;
	return reason == NULL ? NULL : pstrdup(reason);
}
