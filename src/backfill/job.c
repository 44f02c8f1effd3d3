/*
 * job.c
 *    A job in the register: made, read, and moved from state to state; its log.
 *
 * All of this happens in the transaction of the caller.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "backfill/register.h"
#include "backfill/backfill.h"
#include "compat.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_backfill_home);

#define MS(parameter) parameter " * interval '1 millisecond'"
#define AS_MS(column) "(extract(epoch FROM " column ") * 1000)::bigint"

/* The parameters of queries that write a job, by their numbers less one. */
typedef enum JobParameter
{
	JOB_TARGET, JOB_ASSIGNMENT, JOB_FILTER, JOB_SET_LIST, JOB_CONDITION, JOB_GUARD, JOB_REPEATABLE, JOB_CLOSES,
	JOB_COLUMNS, JOB_WALK, JOB_KEY, JOB_OWNER, JOB_HOME, JOB_SETTINGS, JOB_SHAPE, JOB_WORKERS, JOB_SUBQUERIES,
	JOB_ON_ERROR, JOB_MAX_REJECTS, JOB_BATCH_TIME, JOB_LOCK_TIMEOUT, JOB_MAX_LAG, JOB_MAX_LAG_BYTES,
	JOB_MAX_SLOT_BYTES, JOB_MAX_WAL_RATE, JOB_MAX_ARCHIVE_QUEUE, JOB_MAX_TRANSACTION_AGE, JOB_MAX_VACUUM_WAIT,
	JOB_MAX_ACTIVE_SESSIONS, JOB_THROTTLE_QUERY, JOB_ID,
	JOB_PARAMETERS
} JobParameter;

static const Oid create_types[JOB_PARAMETERS] = {
	OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, BOOLOID,
	TEXTARRAYOID, TEXTOID, NAMEOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, BOOLOID,
	TEXTOID, INT8OID, INT4OID, INT4OID, INT8OID, INT8OID,
	INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
	INT8OID, TEXTOID, INT8OID
};

static BackfillQuery create_query = BACKFILL_QUERY(create_types,
	"INSERT INTO architect.backfill_register (target, root, assignment, filter, set_list, condition, guard,"
	" repeatable, closes, columns, walk, key_index, owner, home, settings, shape, workers, allow_subqueries,"
	" on_error, max_rejects, batch_time, lock_timeout, max_lag, max_lag_bytes, max_slot_bytes, max_wal_rate,"
	" max_archive_queue, max_transaction_age, max_vacuum_wait, max_active_sessions, throttle_query)"
	" VALUES ($1, architect._backfill_root($1), $2, $3, $4, $5, $6, $7, $8, $9::name[], $10, $11,"
	" (SELECT rolname FROM pg_roles WHERE oid = $12), $13, $14::jsonb, $15::jsonb, $16, $17, $18, $19, "
	MS("$20") ", " MS("$21") ", " MS("$22") ", $23, $24, $25, $26, " MS("$27") ", " MS("$28") ", $29, $30)"
	" ON CONFLICT (root) WHERE state IN ('waiting', 'running', 'paused') DO NOTHING"
	" RETURNING job");

static BackfillQuery store_query = BACKFILL_QUERY(create_types,
	"UPDATE architect.backfill_register SET on_error = $18, max_rejects = $19, batch_time = " MS("$20")
	", lock_timeout = " MS("$21") ", max_lag = " MS("$22") ", max_lag_bytes = $23, max_slot_bytes = $24,"
	" max_wal_rate = $25, max_archive_queue = $26, max_transaction_age = " MS("$27")
	", max_vacuum_wait = " MS("$28") ", max_active_sessions = $29, throttle_query = $30"
	" WHERE job = $31");

/* What LOAD and REFRESH read, in this order. */
#define STEERING "state, phase, on_error, max_rejects, workers, " AS_MS("batch_time") ", " AS_MS("lock_timeout") ", " \
	AS_MS("max_lag") ", max_lag_bytes, max_slot_bytes, max_wal_rate, max_archive_queue, " \
	AS_MS("max_transaction_age") ", " AS_MS("max_vacuum_wait") ", max_active_sessions, throttle_query"
#define STEERING_COLUMNS 16

static const Oid id_types[] = {INT8OID};

static BackfillQuery load_query = BACKFILL_QUERY(id_types,
	"SELECT " STEERING ", target::oid, assignment, filter, set_list, condition, guard, repeatable, closes,"
	" columns::text[], walk, key_index, owner, settings, shape, allow_subqueries"
	" FROM architect.backfill_register WHERE job = $1");

static BackfillQuery refresh_query = BACKFILL_QUERY(id_types,
	"SELECT " STEERING " FROM architect.backfill_register WHERE job = $1");

static BackfillQuery unfinished_query = BACKFILL_QUERY(id_types,
	"SELECT job FROM architect.backfill_register"
	" WHERE root = architect._backfill_root($1::oid) AND state IN ('waiting', 'running', 'paused')");

static const Oid state_types[] = {INT8OID, TEXTOID, TEXTOID};

/* Who pauses or cancels has the last word, not a run that has not heard of it yet. */
static BackfillQuery state_query = BACKFILL_QUERY(state_types,
	"UPDATE architect.backfill_register SET state = $2, error = $3,"
	" started_at = coalesce(started_at, CASE WHEN $2 = 'running' THEN clock_timestamp() END),"
	" finished_at = CASE WHEN $2 IN ('done', 'failed', 'cancelled') THEN clock_timestamp() END"
	" WHERE job = $1 AND state <> 'cancelled' AND NOT (state = 'paused' AND $2 IN ('waiting', 'running'))"
	" RETURNING state");

static const Oid phase_types[] = {INT8OID, TEXTOID};

static BackfillQuery phase_query = BACKFILL_QUERY(phase_types,
	"UPDATE architect.backfill_register SET phase = $2 WHERE job = $1");

static const Oid home_types[] = {INT8OID, TEXTOID};

static BackfillQuery home_query = BACKFILL_QUERY(home_types,
	"UPDATE architect.backfill_register SET home = $2 WHERE job = $1 AND home <> $2 RETURNING 1");

static const Oid log_types[] = {INT8OID, TEXTOID, TEXTOID};

static BackfillQuery log_query = BACKFILL_QUERY(log_types,
	"INSERT INTO architect.backfill_log (job, event, detail) VALUES ($1, $2, $3)");

static BackfillQuery log_once_query = BACKFILL_QUERY(log_types,
	"INSERT INTO architect.backfill_log (job, event, detail) SELECT $1, $2, $3"
	" WHERE NOT EXISTS (SELECT FROM architect.backfill_log AS entry WHERE entry.job = $1 AND entry.event = $2"
	" AND entry.detail IS NOT DISTINCT FROM $3)");

static char *format_detail(const char *format, va_list args) pg_attribute_printf(1, 0);

/*
 * Where jobs that are made here may start by themselves: not in a copy of this
 * database, and not on a standby that was promoted.  NULL during recovery.
 */
char *
architect_backfill_here(void)
{
	if (RecoveryInProgress())
		return NULL;
	return psprintf(UINT64_FORMAT "/%u/%u", GetSystemIdentifier(), MyDatabaseId, GetWALInsertionTimeLine());
}

/*
 * architect._backfill_home()
 */
Datum
architect_backfill_home(PG_FUNCTION_ARGS)
{
	char	   *here = architect_backfill_here();

	if (here == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(here));
}

/*
 * Returns the unfinished job of the table or of the tree that it belongs to; 0 where
 * there is none.
 */
int64
architect_backfill_unfinished(Oid target)
{
	Datum		values[] = {Int64GetDatum(target)};
	List	   *rows = architect_backfill_query(&unfinished_query, values, NULL);

	return rows == NIL ? 0 : strtoi64(((char **) linitial(rows))[0], NULL, 10);
}

/*
 * Raises 55006 where the table, or its tree, has an unfinished job.
 */
void
architect_backfill_check_free(const BackfillJob *job)
{
	int64		id = architect_backfill_unfinished(job->target);

	if (id == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("table \"%s\" has an unfinished backfill, " INT64_FORMAT, get_rel_name(job->target), id),
			 errdetail("Two jobs for one table, or for one tree of partitions, would get in each other's way."),
			 architect_backfill_is_running(id) ?
			 errhint("Wait for it, or end it: SELECT architect.backfill_cancel(" INT64_FORMAT ");", id) :
			 errhint("Resume it: SELECT architect.backfill_resume(" INT64_FORMAT
					 "); or end it: SELECT architect.backfill_cancel(" INT64_FORMAT ");", id, id)));
}

/*
 * Sets a parameter to a text or, where that is none, to NULL.
 */
static void
set_text(Datum *values, char *nulls, JobParameter parameter, const char *text)
{
	nulls[parameter] = text == NULL ? 'n' : ' ';
	if (text != NULL)
		values[parameter] = CStringGetTextDatum(text);
}

static Datum
name_array(List *names)
{
	char	  **texts = palloc(Max(list_length(names), 1) * sizeof(char *));
	int			count = 0;
	ListCell   *cell;

	foreach(cell, names)
		texts[count++] = lfirst(cell);
	return architect_backfill_text_array(count, texts);
}

/*
 * Sets what can change while the job runs.
 */
static void
set_steering(Datum *values, char *nulls, const BackfillJob *job)
{
	set_text(values, nulls, JOB_ON_ERROR, job->skips ? "skip" : "stop");
	set_text(values, nulls, JOB_THROTTLE_QUERY, job->throttle_query);
	values[JOB_MAX_REJECTS] = Int64GetDatum(job->max_rejects);
	values[JOB_BATCH_TIME] = Int32GetDatum(job->batch_time);
	values[JOB_LOCK_TIMEOUT] = Int32GetDatum(job->lock_timeout);
	values[JOB_MAX_LAG] = Int64GetDatum(job->max_lag.value);
	values[JOB_MAX_LAG_BYTES] = Int64GetDatum(job->max_lag_bytes.value);
	values[JOB_MAX_SLOT_BYTES] = Int64GetDatum(job->max_slot_bytes.value);
	values[JOB_MAX_WAL_RATE] = Int64GetDatum(job->max_wal_rate.value);
	values[JOB_MAX_ARCHIVE_QUEUE] = Int64GetDatum(job->max_archive_queue.value);
	values[JOB_MAX_TRANSACTION_AGE] = Int64GetDatum(job->max_transaction_age.value);
	values[JOB_MAX_VACUUM_WAIT] = Int64GetDatum(job->max_vacuum_wait.value);
	values[JOB_MAX_ACTIVE_SESSIONS] = Int64GetDatum(job->max_active_sessions.value);
}

/*
 * Enters a job, which gets its number here.  Raises 55006 where the table has an
 * unfinished one.
 */
int64
architect_backfill_create(BackfillJob *job)
{
	Datum		values[JOB_PARAMETERS] = {0};
	char		nulls[JOB_PARAMETERS + 1];
	List	   *rows;

	memset(nulls, ' ', JOB_PARAMETERS);
	nulls[JOB_ID] = 'n';
	nulls[JOB_PARAMETERS] = '\0';
	values[JOB_TARGET] = ObjectIdGetDatum(job->target);
	set_text(values, nulls, JOB_ASSIGNMENT, job->assignment);
	set_text(values, nulls, JOB_FILTER, job->filter);
	set_text(values, nulls, JOB_SET_LIST, job->what.set_list);
	set_text(values, nulls, JOB_CONDITION, job->what.condition);
	set_text(values, nulls, JOB_GUARD, job->what.guard);
	values[JOB_REPEATABLE] = BoolGetDatum(job->what.repeatable);
	values[JOB_CLOSES] = BoolGetDatum(job->what.closes);
	values[JOB_COLUMNS] = name_array(job->what.columns);
	set_text(values, nulls, JOB_WALK, job->walk == BACKFILL_WALK_KEY ? "key" : "block");
	nulls[JOB_KEY] = job->key == NULL ? 'n' : ' ';
	if (job->key != NULL)
		values[JOB_KEY] = DirectFunctionCall1(namein, CStringGetDatum(job->key));
	values[JOB_OWNER] = ObjectIdGetDatum(job->owner);
	set_text(values, nulls, JOB_HOME, architect_backfill_here());
	set_text(values, nulls, JOB_SETTINGS, job->settings);
	set_text(values, nulls, JOB_SHAPE, job->shape);
	values[JOB_SUBQUERIES] = BoolGetDatum(job->allows_subqueries);
	values[JOB_WORKERS] = Int32GetDatum(job->workers);
	set_steering(values, nulls, job);

	rows = architect_backfill_query(&create_query, values, nulls);
	if (rows == NIL)
	{
		architect_backfill_check_free(job);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another session begins a backfill of table \"%s\"", get_rel_name(job->target)),
				 errhint("Try again.")));
	}
	job->id = strtoi64(((char **) linitial(rows))[0], NULL, 10);
	job->state = pstrdup("waiting");
	job->phase = pstrdup("walk");
	architect_backfill_log(job->id, "created", NULL);
	return job->id;
}

/*
 * Writes the limits of the job, which a run sees before its next batch.
 */
void
architect_backfill_store_limits(const BackfillJob *job)
{
	Datum		values[JOB_PARAMETERS] = {0};
	char		nulls[JOB_PARAMETERS + 1];

	memset(nulls, ' ', JOB_PARAMETERS);
	memset(nulls, 'n', JOB_ON_ERROR);
	nulls[JOB_PARAMETERS] = '\0';
	values[JOB_ID] = Int64GetDatum(job->id);
	set_steering(values, nulls, job);
	(void) architect_backfill_query(&store_query, values, nulls);
}

static int64
read_number(const char *text)
{
	return text == NULL ? 0 : strtoi64(text, NULL, 10);
}

static bool
read_bool(const char *text)
{
	return text[0] == 't';
}

/*
 * Takes over a text, which lives as long as the job, where it has changed.
 */
static void
read_text(const BackfillJob *job, char **field, const char *text)
{
	if (*field != NULL && text != NULL && strcmp(*field, text) == 0)
		return;
	if (*field != NULL)
		pfree(*field);
	*field = text == NULL ? NULL : MemoryContextStrdup(GetMemoryChunkContext(unconstify(BackfillJob *, job)), text);
}

/*
 * Takes over what can change while the job runs.
 */
static void
read_steering(BackfillJob *job, char **row)
{
	read_text(job, &job->state, row[0]);
	read_text(job, &job->phase, row[1]);
	job->skips = strcmp(row[2], "skip") == 0;
	job->max_rejects = read_number(row[3]);
	job->workers = read_number(row[4]);
	job->batch_time = read_number(row[5]);
	job->lock_timeout = read_number(row[6]);
	job->max_lag.value = read_number(row[7]);
	job->max_lag_bytes.value = read_number(row[8]);
	job->max_slot_bytes.value = read_number(row[9]);
	job->max_wal_rate.value = read_number(row[10]);
	job->max_archive_queue.value = read_number(row[11]);
	job->max_transaction_age.value = read_number(row[12]);
	job->max_vacuum_wait.value = read_number(row[13]);
	job->max_active_sessions.value = read_number(row[14]);
	read_text(job, &job->throttle_query, row[15]);
}

/*
 * Takes over what stays as it is.
 */
static void
read_rest(BackfillJob *job, char **row)
{
	int			count;
	char	  **columns = architect_backfill_read_array(row[8], &count);

	job->target = atooid(row[0]);
	job->assignment = row[1];
	job->filter = row[2];
	job->what.set_list = row[3];
	job->what.condition = row[4];
	job->what.guard = row[5];
	job->what.repeatable = read_bool(row[6]);
	job->what.closes = read_bool(row[7]);
	for (int i = 0; i < count; i++)
		job->what.columns = lappend(job->what.columns, columns[i]);
	job->walk = strcmp(row[9], "key") == 0 ? BACKFILL_WALK_KEY : BACKFILL_WALK_BLOCK;
	job->key = row[10];
	job->owner = get_role_oid(row[11], true);
	job->settings = row[12];
	job->shape = row[13];
	job->allows_subqueries = read_bool(row[14]);
}

static void
refuse_unknown(int64 id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no backfill " INT64_FORMAT, id),
			 errdetail("There is none of this number among the jobs that you may see."),
			 errhint("See architect.backfill_jobs.")));
}

/*
 * Returns the job as it stands, made in the caller's context; raises 42704 where there
 * is none.
 */
BackfillJob *
architect_backfill_load(int64 id)
{
	Datum		values[] = {Int64GetDatum(id)};
	List	   *rows = architect_backfill_query(&load_query, values, NULL);
	BackfillJob *job;

	if (rows == NIL)
		refuse_unknown(id);
	job = palloc0(sizeof(BackfillJob));
	job->id = id;
	read_steering(job, linitial(rows));
	read_rest(job, (char **) linitial(rows) + STEERING_COLUMNS);
	return job;
}

/*
 * Brings state, phase and limits of the job up to date; false where it is not there
 * any more.
 */
bool
architect_backfill_refresh(BackfillJob *job)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_architect backfill job",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Datum		values[] = {Int64GetDatum(job->id)};
	List	   *rows = architect_backfill_query(&refresh_query, values, NULL);

	if (rows != NIL)
		read_steering(job, linitial(rows));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return rows != NIL;
}

/*
 * Moves the job to this state, unless somebody paused or cancelled it meanwhile: then
 * it shows that.
 */
void
architect_backfill_set_state(BackfillJob *job, const char *state, const char *error)
{
	Datum		values[] = {Int64GetDatum(job->id), CStringGetTextDatum(state),
							error == NULL ? (Datum) 0 : CStringGetTextDatum(error)};

	if (architect_backfill_query(&state_query, values, error == NULL ? "  n" : "   ") == NIL)
	{
		(void) architect_backfill_refresh(job);
		return;
	}
	read_text(job, &job->state, state);
	if (strcmp(state, "running") == 0)
		architect_backfill_log(job->id, "running", "in process %d", MyProcPid);
}

void
architect_backfill_set_phase(BackfillJob *job, const char *phase)
{
	Datum		values[] = {Int64GetDatum(job->id), CStringGetTextDatum(phase)};

	(void) architect_backfill_query(&phase_query, values, NULL);
	read_text(job, &job->phase, phase);
}

/*
 * Makes a job one of this server's.  In a restored copy rows are in other places.
 */
void
architect_backfill_adopt(BackfillJob *job)
{
	Datum		values[] = {Int64GetDatum(job->id), CStringGetTextDatum(architect_backfill_here())};

	if (architect_backfill_query(&home_query, values, NULL) == NIL)
		return;
	architect_backfill_log(job->id, "moved", "it began in another server, or before a promotion");
	if (job->walk == BACKFILL_WALK_BLOCK)
		architect_backfill_rewind_parts(job);
}

static void
write_log(BackfillQuery *query, int64 id, const char *event, const char *detail)
{
	Datum		values[] = {Int64GetDatum(id), CStringGetTextDatum(event),
							detail == NULL ? (Datum) 0 : CStringGetTextDatum(detail)};

	(void) architect_backfill_query(query, values, detail == NULL ? "  n" : "   ");
}

/*
 * Returns the detail of an event, or NULL where there is none.
 */
static char *
format_detail(const char *format, va_list args)
{
	StringInfoData text;
	int			needed;
	va_list		again;

	if (format == NULL)
		return NULL;
	initStringInfo(&text);
	do
	{
		va_copy(again, args);
		needed = appendStringInfoVA(&text, format, again);
		va_end(again);
		if (needed > 0)
			enlargeStringInfo(&text, needed);
	} while (needed > 0);
	return text.data;
}

/*
 * Adds an event to the log of the job, with no detail where the format is NULL.
 */
void
architect_backfill_log(int64 id, const char *event, const char *detail,...)
{
	va_list		args;

	va_start(args, detail);
	write_log(&log_query, id, event, format_detail(detail, args));
	va_end(args);
}

/*
 * The same, unless the job's log has that already.
 */
void
architect_backfill_log_once(int64 id, const char *event, const char *detail,...)
{
	va_list		args;

	va_start(args, detail);
	write_log(&log_once_query, id, event, format_detail(detail, args));
	va_end(args);
}

/*
 * Raises unless the current user may steer the job: 42501 for one who may but see it,
 * and else as if there was none.
 */
void
architect_backfill_check_right(const BackfillJob *job)
{
	if (superuser() || (OidIsValid(job->owner) && has_privs_of_role(GetUserId(), job->owner)))
		return;
	if (!has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		refuse_unknown(job->id);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for backfill " INT64_FORMAT, job->id),
			 errdetail("Only members of the role that owns the job may steer it."),
			 errhint("See \"owner\" in architect.backfill_jobs.")));
}
