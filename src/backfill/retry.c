/*
 * retry.c
 *    architect.backfill_retry(job): the rejected rows once more.
 *
 * There are few of them, so that all is done in the transaction of the caller, each row
 * in a subtransaction.  The caller must be the role that owns the job: its expressions
 * are not to be run with the rights of anybody else.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "backfill/run.h"

PG_FUNCTION_INFO_V1(architect_backfill_retry);

/* A rejected row, and what becomes of it. */
typedef struct Retry
{
	BackfillRun *run;
	Oid			relation;
	char	   *record_id;
	ItemPointerData place;
	int64		changed;
} Retry;

/*
 * Finds the row, which may have moved since; false when it is gone.
 */
static bool
find_row(Retry *retry)
{
	BackfillLeaf *leaf = retry->run->leaf;
	Datum		value = PointerGetDatum(&retry->place);
	Oid			types[] = {TEXTOID};
	BackfillStatement *search;
	Datum		row;
	bool		found;

	if (architect_backfill_fetch(leaf->identify, &value, &row) &&
		strcmp(TextDatumGetCString(row), retry->record_id) == 0)
		return true;

	search = architect_backfill_prepare(
		psprintf("SELECT " BACKFILL_ALIAS ".ctid FROM ONLY %s AS " BACKFILL_ALIAS " WHERE %s OPERATOR(pg_catalog.=) $1",
				 leaf->name, leaf->record_id),
		lengthof(types), types, retry->relation, InvalidOid, BACKFILL_SCAN_ANY);
	value = CStringGetTextDatum(retry->record_id);
	found = architect_backfill_fetch(search, &value, &row);
	architect_backfill_forget(search);
	if (found)
		retry->place = *(ItemPointer) DatumGetPointer(row);
	return found;
}

static void
change_row(void *argument)
{
	Retry	   *retry = argument;
	BackfillRun *run = retry->run;
	Relation	rel = try_table_open(retry->relation, RowExclusiveLock);
	Datum		value = PointerGetDatum(&retry->place);

	retry->changed = 0;
	if (rel == NULL)
		return;
	architect_backfill_check_leaf(rel, GetUserId());
	architect_backfill_open_leaf(run, rel);
	table_close(rel, NoLock);

	PushActiveSnapshot(GetLatestSnapshot());
	if (find_row(retry))
		retry->changed = architect_backfill_execute(run->leaf->one, &value);
	PopActiveSnapshot();
}

/*
 * Tries one row; returns how many rows were changed by it.
 */
static int64
try_row(Retry *retry)
{
	BackfillRun *run = retry->run;
	ErrorData  *error = architect_backfill_try(change_row, retry);

	if (error == NULL)
	{
		architect_backfill_drop_reject(run->job->id, retry->relation, retry->record_id);
		return retry->changed;
	}
	if (!architect_backfill_is_of_the_row(error))
		ReThrowError(error);
	architect_backfill_add_reject(run->job->id, retry->relation, &retry->place, retry->record_id, error, false);
	return 0;
}

static void
check_owner(const BackfillJob *job)
{
	char	   *owner;

	if (job->owner == GetUserId())
		return;
	architect_backfill_check_right(job);
	owner = OidIsValid(job->owner) ? GetUserNameFromId(job->owner, false) : NULL;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("rows of backfill " INT64_FORMAT " can only be tried by the role that owns it", job->id),
			 errdetail("The expressions of the job would run with the rights of role \"%s\".",
					   GetUserNameFromId(GetUserId(), false)),
			 owner != NULL ? errhint("Do it as that role: SET ROLE %s;", quote_identifier(owner)) :
			 errhint("That role does not exist any more: begin another backfill.")));
}

/*
 * The rejects of the job, but for those that a run will come to again when it goes on.
 */
static List *
read_rejects(int64 id)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(id)};

	return architect_read_as_owner(
		"SELECT relation::oid, record_id, row_place FROM " ARCHITECT_SCHEMA ".backfill_rejected"
		" WHERE job = $1 AND NOT (undone AND EXISTS (SELECT FROM " ARCHITECT_SCHEMA ".backfill_register AS register"
		" WHERE register.job = $1 AND register.state NOT IN ('done', 'cancelled')))"
		" ORDER BY relation::oid, record_id COLLATE \"C\" FOR UPDATE",
		lengthof(types), types, values, NULL);
}

/*
 * architect.backfill_retry(job bigint)
 */
Datum
architect_backfill_retry(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	BackfillRun run = {.job = architect_backfill_load(id), .context = CurrentMemoryContext, .sweeping = true};
	int			level = NewGUCNestLevel();
	char		number[32];
	int64		changed = 0;
	ListCell   *cell;

	PreventCommandIfReadOnly("architect.backfill_retry()");
	check_owner(run.job);
	if (architect_backfill_is_running(id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("backfill " INT64_FORMAT " is running", id),
				 errhint("Retry when it is done, or pause it before.")));

	snprintf(number, sizeof(number), INT64_FORMAT, id);
	(void) set_config_option("architect.backfill_job", number, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
	foreach(cell, read_rejects(id))
	{
		char	  **row = lfirst(cell);
		Retry		retry = {&run, atooid(row[0]), row[1]};

		CHECK_FOR_INTERRUPTS();
		retry.place = *(ItemPointer) DatumGetPointer(OidInputFunctionCall(F_TIDIN, row[2], InvalidOid, -1));
		changed += try_row(&retry);
	}
	architect_backfill_close_leaf(&run);
	AtEOXact_GUC(false, level);
	architect_backfill_log(id, "retry", INT64_FORMAT " rejected rows were changed, " INT64_FORMAT " are left",
						   changed, architect_backfill_count_rejects(id));
	PG_RETURN_INT64(changed);
}
