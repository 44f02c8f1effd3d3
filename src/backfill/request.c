/*
 * request.c
 *    What a call asks for: its arguments, checked and with defaults, as a job that is
 *    not in the register yet.
 */
#include "postgres.h"

#include "access/relation.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "backfill/backfill.h"
#include "core/core.h"

/* The arguments of architect.backfill_start; architect.backfill lacks the workers. */
enum
{
	ARG_TARGET,
	ARG_SET,
	ARG_FILTER,
	ARG_WALK,
	ARG_KEY,
	ARG_BATCH_TIME,
	ARG_WORKERS,
	ARG_ON_ERROR,
	ARG_MAX_REJECTS,
	ARG_MAX_LAG,
	ARG_MAX_LAG_BYTES,
	ARG_MAX_WAL_RATE,
	ARG_MAX_ACTIVE_SESSIONS,
	ARG_THROTTLE_QUERY,
	ARG_LOCK_TIMEOUT,
	ARG_MAX_SLOT_BYTES,
	ARG_MAX_ARCHIVE_QUEUE,
	ARG_MAX_TRANSACTION_AGE,
	ARG_MAX_VACUUM_WAIT,
	ARG_ALLOW_SUBQUERIES,
	ARGS
};

#define DEFAULT_BATCH_TIME 200
#define DEFAULT_LOCK_TIMEOUT 1000
#define DEFAULT_MAX_REJECTS 1000
#define MOST_WORKERS 64

/* In ms, bytes, segments. */
#define DEFAULT_MAX_LAG 10000
#define DEFAULT_MAX_SLOT_BYTES (INT64CONST(1) << 30)
#define DEFAULT_MAX_ARCHIVE_QUEUE 64
#define DEFAULT_MAX_TRANSACTION_AGE (10 * 60 * 1000)
#define DEFAULT_MAX_VACUUM_WAIT (2 * 60 * 1000)

/* What the result of an expression, or the reading of its text, may depend on. */
static const char *const kept_settings[] = {
	"search_path", "TimeZone", "DateStyle", "IntervalStyle", "array_nulls", "bytea_output",
	"default_text_search_config", "extra_float_digits", "lc_monetary", "lc_numeric", "lc_time",
	"standard_conforming_strings", "xmlbinary", "xmloption"
};

/* The arguments by number, as backfill_start has them. */
typedef struct Arguments
{
	NullableDatum values[ARGS];
	bool		foreground;
} Arguments;

static Arguments
read_arguments(FunctionCallInfo fcinfo, bool foreground)
{
	Arguments	arguments = {.foreground = foreground};

	for (int i = 0; i < ARGS; i++)
	{
		if (!foreground || i < ARG_WORKERS)
			arguments.values[i] = fcinfo->args[i];
		else if (i == ARG_WORKERS)
			arguments.values[i].isnull = true;
		else
			arguments.values[i] = fcinfo->args[i - 1];
	}
	return arguments;
}

static char *
text_argument(const Arguments *arguments, int number)
{
	NullableDatum argument = arguments->values[number];

	return argument.isnull ? NULL : TextDatumGetCString(argument.value);
}

static void
refuse_value(const char *name, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"%s\"", name),
			 errhint("%s", expected)));
}

/*
 * Returns an interval in ms, with months of 30 days; at most what fits into an integer.
 */
static int64
to_ms(const Interval *interval)
{
	double		ms = interval->time / 1000.0 +
		(interval->month * (double) DAYS_PER_MONTH + interval->day) * SECS_PER_DAY * 1000.0;

	return ms > PG_INT32_MAX ? PG_INT32_MAX : ms < 0 ? -1 : ms > 0 && ms < 1 ? 1 : (int64) ms;
}

/*
 * Returns a time in ms that must be there.
 */
static int
time_argument(const Arguments *arguments, int number, const char *name, int by_default)
{
	NullableDatum argument = arguments->values[number];
	int64		ms = argument.isnull ? by_default : to_ms(DatumGetIntervalP(argument.value));

	if (ms <= 0 || ms > SECS_PER_HOUR * 1000)
		refuse_value(name, "Use a time of more than 0 and at most an hour, such as '200ms'.");
	return (int) ms;
}

static BackfillLimit
limit_of(NullableDatum argument, int64 value, const char *name, int64 by_default)
{
	BackfillLimit limit = {.value = argument.isnull ? by_default : value, .asked = !argument.isnull};

	if (limit.value < 0)
		refuse_value(name, "Use a limit of more than 0, 0 for none, or NULL for the default.");
	return limit;
}

static BackfillLimit
interval_limit(const Arguments *arguments, int number, const char *name, int64 by_default)
{
	NullableDatum argument = arguments->values[number];

	return limit_of(argument, argument.isnull ? 0 : to_ms(DatumGetIntervalP(argument.value)), name, by_default);
}

static BackfillLimit
bigint_limit(const Arguments *arguments, int number, const char *name, int64 by_default)
{
	NullableDatum argument = arguments->values[number];

	return limit_of(argument, argument.isnull ? 0 : DatumGetInt64(argument.value), name, by_default);
}

static BackfillLimit
integer_limit(const Arguments *arguments, int number, const char *name, int64 by_default)
{
	NullableDatum argument = arguments->values[number];

	return limit_of(argument, argument.isnull ? 0 : DatumGetInt32(argument.value), name, by_default);
}

/*
 * What counts where nothing is asked for.
 */
static void
set_defaults(BackfillJob *job)
{
	job->batch_time = DEFAULT_BATCH_TIME;
	job->lock_timeout = DEFAULT_LOCK_TIMEOUT;
	job->max_rejects = DEFAULT_MAX_REJECTS;
	job->max_lag.value = DEFAULT_MAX_LAG;
	job->max_slot_bytes.value = DEFAULT_MAX_SLOT_BYTES;
	job->max_archive_queue.value = DEFAULT_MAX_ARCHIVE_QUEUE;
	job->max_transaction_age.value = DEFAULT_MAX_TRANSACTION_AGE;
	job->max_vacuum_wait.value = DEFAULT_MAX_VACUUM_WAIT;
}

/*
 * Reads limits; those that are not given stay as the job has them.
 */
static void
read_limits(const Arguments *arguments, BackfillJob *job)
{
	job->max_lag = interval_limit(arguments, ARG_MAX_LAG, "max_lag", job->max_lag.value);
	job->max_lag_bytes = bigint_limit(arguments, ARG_MAX_LAG_BYTES, "max_lag_bytes", job->max_lag_bytes.value);
	job->max_slot_bytes = bigint_limit(arguments, ARG_MAX_SLOT_BYTES, "max_slot_bytes", job->max_slot_bytes.value);
	job->max_wal_rate = bigint_limit(arguments, ARG_MAX_WAL_RATE, "max_wal_rate", job->max_wal_rate.value);
	job->max_archive_queue = integer_limit(arguments, ARG_MAX_ARCHIVE_QUEUE, "max_archive_queue",
										   job->max_archive_queue.value);
	job->max_transaction_age = interval_limit(arguments, ARG_MAX_TRANSACTION_AGE, "max_transaction_age",
											  job->max_transaction_age.value);
	job->max_vacuum_wait = interval_limit(arguments, ARG_MAX_VACUUM_WAIT, "max_vacuum_wait",
										  job->max_vacuum_wait.value);
	job->max_active_sessions = integer_limit(arguments, ARG_MAX_ACTIVE_SESSIONS, "max_active_sessions",
											 job->max_active_sessions.value);
	if (!arguments->values[ARG_THROTTLE_QUERY].isnull)
	{
		job->throttle_query = text_argument(arguments, ARG_THROTTLE_QUERY);
		if (job->throttle_query[0] == '\0')
			job->throttle_query = NULL;
	}
}

/*
 * Reads what says how batches are done; what is not given stays as the job has it.
 */
static void
read_manner(const Arguments *arguments, BackfillJob *job)
{
	char	   *on_error = text_argument(arguments, ARG_ON_ERROR);
	NullableDatum max_rejects = arguments->values[ARG_MAX_REJECTS];

	if (on_error != NULL && strcmp(on_error, "stop") != 0 && strcmp(on_error, "skip") != 0)
		refuse_value("on_error", "Use 'stop' or 'skip'.");
	if (on_error != NULL)
		job->skips = strcmp(on_error, "skip") == 0;

	if (!max_rejects.isnull)
		job->max_rejects = DatumGetInt64(max_rejects.value);
	if (job->max_rejects < 0)
		refuse_value("max_rejects", "Use 0 or more.");

	job->batch_time = time_argument(arguments, ARG_BATCH_TIME, "batch_time", job->batch_time);
	job->lock_timeout = time_argument(arguments, ARG_LOCK_TIMEOUT, "lock_timeout", job->lock_timeout);
}

static void
read_workers(const Arguments *arguments, BackfillJob *job)
{
	NullableDatum workers = arguments->values[ARG_WORKERS];

	job->workers = arguments->foreground ? 0 : workers.isnull ? 1 : DatumGetInt32(workers.value);
	if (!arguments->foreground)
		architect_backfill_check_workers(job->workers);
}

/*
 * Raises 22023 for a number of background workers that cannot be.
 */
void
architect_backfill_check_workers(int workers)
{
	if (workers < 1 || workers > MOST_WORKERS)
		refuse_value("workers", psprintf("Use a number from 1 to %d.", MOST_WORKERS));
}

/*
 * Reads the arguments of architect.backfill_configure into the job.
 */
void
architect_backfill_read_changes(FunctionCallInfo fcinfo, BackfillJob *job)
{
	static const int places[] = {
		ARG_BATCH_TIME, ARG_ON_ERROR, ARG_MAX_REJECTS, ARG_MAX_LAG, ARG_MAX_LAG_BYTES, ARG_MAX_WAL_RATE,
		ARG_MAX_ACTIVE_SESSIONS, ARG_THROTTLE_QUERY, ARG_LOCK_TIMEOUT, ARG_MAX_SLOT_BYTES, ARG_MAX_ARCHIVE_QUEUE,
		ARG_MAX_TRANSACTION_AGE, ARG_MAX_VACUUM_WAIT
	};
	Arguments	arguments;

	for (int i = 0; i < ARGS; i++)
		arguments.values[i].isnull = true;
	for (int i = 0; i < lengthof(places); i++)
		arguments.values[places[i]] = fcinfo->args[i + 1];
	read_manner(&arguments, job);
	read_limits(&arguments, job);
}

/*
 * Refuses an assignment that must not be made twice, where the order cannot prevent it.
 */
static void
refuse_to_repeat(Relation rel, const BackfillJob *job, bool has_key)
{
	const char *help = has_key ? "leave out walk => 'block'" : "add a primary key";

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" must be walked in key order for this assignment", RelationGetRelationName(rel)),
			 errdetail("A row that is changed twice would not be the same, and the filter is not known to keep changed rows out."),
			 job->filter == NULL ?
			 errhint("Give a filter that a changed row does not meet, such as \"done IS NULL\" with \"done = true\", or %s.", help) :
			 errhint("Add a condition that a changed row does not meet, such as \"done IS NULL\" with \"done = true\", or %s.", help)));
}

/*
 * Decides in which order the table is walked.
 */
static void
choose_walk(const Arguments *arguments, Relation rel, BackfillJob *job)
{
	char	   *walk = text_argument(arguments, ARG_WALK);
	NullableDatum key = arguments->values[ARG_KEY];
	Oid			wanted = key.isnull ? InvalidOid : DatumGetObjectId(key.value);
	bool		by_block = walk != NULL && strcmp(walk, "block") == 0;
	bool		by_key = OidIsValid(wanted) || (walk != NULL && strcmp(walk, "key") == 0);

	if (walk != NULL && !by_block && strcmp(walk, "key") != 0)
		refuse_value("walk", "Use 'block' or 'key', or NULL for what suits the assignment.");
	if (by_block && OidIsValid(wanted))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"walk\" and \"key\" contradict each other"),
				 errdetail("A key is for walk => 'key'.")));
	if (by_block && !job->what.repeatable)
		refuse_to_repeat(rel, job, architect_backfill_choose_key(rel, InvalidOid, job->what.columns) != NULL);

	job->walk = BACKFILL_WALK_BLOCK;
	if (by_block)
		return;
	if (by_key || !job->what.repeatable || job->filter == NULL)
		job->key = architect_backfill_choose_key(rel, wanted, job->what.columns);
	if (job->key != NULL)
		job->walk = BACKFILL_WALK_KEY;
	else if (by_key)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no key to be walked by", RelationGetRelationName(rel)),
				 errdetail("It needs a primary key, or a unique index on columns that are NOT NULL and not set."),
				 errhint("Add one, or use walk => 'block'.")));
	else if (!job->what.repeatable)
		refuse_to_repeat(rel, job, false);
}

/*
 * Returns the settings of the caller that workers take over.
 */
static char *
read_settings(void)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < lengthof(kept_settings); i++)
	{
		const char *value = GetConfigOption(kept_settings[i], true, false);

		if (value == NULL)
			continue;
		appendStringInfoString(&json, json.len == 0 ? "{" : ", ");
		escape_json(&json, kept_settings[i]);
		appendStringInfoString(&json, ": ");
		escape_json(&json, value);
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/*
 * Returns as whom the job is done.  A superuser's background work is done as the table's
 * owner.
 */
static Oid
owner_of(Relation rel, bool foreground)
{
	return superuser() && !foreground ? rel->rd_rel->relowner : GetUserId();
}

/*
 * Returns the job that is asked for by the arguments of architect.backfill (foreground)
 * or architect.backfill_start, made in the caller's context.  Raises where it cannot
 * be done.
 */
BackfillJob *
architect_backfill_request(FunctionCallInfo fcinfo, bool foreground)
{
	Arguments	arguments = read_arguments(fcinfo, foreground);
	BackfillJob *job = palloc0(sizeof(BackfillJob));
	NullableDatum subqueries = arguments.values[ARG_ALLOW_SUBQUERIES];
	Relation	rel;

	PreventCommandDuringRecovery("a backfill");
	PreventCommandIfReadOnly("a backfill");
	job->target = architect_target_argument(fcinfo);
	job->assignment = text_argument(&arguments, ARG_SET);
	job->filter = text_argument(&arguments, ARG_FILTER);
	job->allows_subqueries = !subqueries.isnull && DatumGetBool(subqueries.value);
	if (job->assignment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"set\" must not be NULL"),
				 errhint("Write what is assigned, as in set => 'total = price * amount'.")));
	set_defaults(job);
	read_manner(&arguments, job);
	read_workers(&arguments, job);
	read_limits(&arguments, job);

	rel = try_relation_open(job->target, AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", job->target),
				 errhint("Name the table, as in 'public.orders'.")));
	job->owner = owner_of(rel, foreground);
	architect_backfill_check_target(rel, job->owner);
	job->what = architect_backfill_analyze(rel, job->assignment, job->filter, job->allows_subqueries);
	choose_walk(&arguments, rel, job);
	job->settings = read_settings();
	job->shape = architect_backfill_shape(rel);
	job->state = pstrdup("waiting");
	job->phase = pstrdup("walk");
	relation_close(rel, AccessShareLock);
	return job;
}
