/*
 * moment.c
 *    Moments in the life of the database, as conditions on the log.
 *
 * A mark is a moment exactly: a snapshot says which transactions had committed.
 * A time is one as nearly as the log knows when transactions committed, which is
 * told in commit.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "audit/replay.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_mark);
PG_FUNCTION_INFO_V1(architect_audit_unmark);

/*
 * Runs a query of ours that gives one row, which stays until SPI_finish; false
 * when it gives none.
 */
static bool
query_row(const char *query, int nargs, Oid *types, Datum *values)
{
	if (SPI_execute_with_args(query, nargs, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of: %s", query);
	return SPI_processed == 1;
}

static Datum
column_value(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}

/*
 * Runs a query of ours that gives one time for one argument; returns it, or
 * if_null where it gives none.
 */
TimestampTz
architect_audit_query_time(const char *query, Oid type, Datum value, TimestampTz if_null)
{
	int			pin_level = architect_audit_pin(AUDIT_PIN_QUERY);
	TimestampTz result = if_null;
	bool		isnull;

	SPI_connect();
	if (query_row(query, 1, &type, &value))
	{
		Datum		time = column_value(1, &isnull);

		if (!isnull)
			result = DatumGetTimestampTz(time);
	}
	SPI_finish();
	architect_audit_unpin(pin_level);
	return result;
}

/*
 * Returns the moment that it was this time.
 */
AuditMoment *
architect_audit_moment_at(TimestampTz at)
{
	AuditMoment *moment = palloc0(sizeof(AuditMoment));
	MemoryContext caller = CurrentMemoryContext;
	int			pin_level = architect_audit_pin(AUDIT_PIN_QUERY);
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(at)};
	bool		isnull;
	MemoryContext spi;

	moment->at = at;
	SPI_connect();
	if (!query_row("SELECT coalesce(array_agg(transaction_id), '{}'), least($1, min(began_at))"
				   " FROM " ARCHITECT_SCHEMA ".audit_commits"
				   " WHERE committed_at > $1 AND committed_at <> 'infinity' AND began_at <= $1",
				   1, types, values))
		elog(ERROR, "an aggregate gave no row");
	spi = MemoryContextSwitchTo(caller);
	moment->late = PointerGetDatum(PG_DETOAST_DATUM_COPY(column_value(1, &isnull)));
	moment->since = DatumGetTimestampTz(column_value(2, &isnull));
	MemoryContextSwitchTo(spi);
	SPI_finish();
	architect_audit_unpin(pin_level);
	return moment;
}

static void
refuse_mark(const char *name, bool is_foreign)
{
	if (is_foreign)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mark \"%s\" was set in another database", name),
				 errdetail("This one is a copy, in which transactions are numbered anew."),
				 errhint("Pass the time of the mark instead: it is in architect.audit_marks.")));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("mark \"%s\" does not exist", name),
			 errhint("Marks are listed in architect.audit_marks; architect.audit_mark sets one.")));
}

/*
 * Returns the moment of a mark; raises 42704 when there is none of this name.
 */
AuditMoment *
architect_audit_moment_of_mark(const char *name)
{
	AuditMoment *moment = palloc0(sizeof(AuditMoment));
	MemoryContext caller = CurrentMemoryContext;
	int			pin_level = architect_audit_pin(AUDIT_PIN_QUERY);
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	bool		isnull;
	MemoryContext spi;

	SPI_connect();

	/* What a transaction in progress had changed by then is older than the mark. */
	if (!query_row("SELECT mark.snapshot::text, mark.marked_at, mark.origin,"
				   "       least(mark.marked_at - interval '1 minute', min(late.began_at))"
				   " FROM " ARCHITECT_SCHEMA ".audit_marks AS mark"
				   " LEFT JOIN " ARCHITECT_SCHEMA ".audit_commits AS late"
				   "   ON late.committed_at > mark.marked_at - interval '1 minute'"
				   "  AND late.began_at < mark.marked_at"
				   "  AND NOT pg_visible_in_snapshot(late.transaction_id, mark.snapshot)"
				   " WHERE mark.name = $1 GROUP BY mark.name", 1, types, values))
		refuse_mark(name, false);
	spi = MemoryContextSwitchTo(caller);
	moment->mark = pstrdup(name);
	moment->snapshot = TextDatumGetCString(column_value(1, &isnull));
	moment->at = DatumGetTimestampTz(column_value(2, &isnull));
	moment->since = DatumGetTimestampTz(column_value(4, &isnull));
	moment->late = PointerGetDatum(construct_empty_array(XID8OID));
	if (strcmp(TextDatumGetCString(column_value(3, &isnull)), architect_audit_origin()) != 0)
		refuse_mark(name, true);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	architect_audit_unpin(pin_level);
	return moment;
}

/*
 * Returns a condition on changed_at and transaction_id: that a change came after
 * the moment.  It has two parameters, from the given number on.
 */
char *
architect_audit_after(const AuditMoment *moment, int first_parameter)
{
	if (moment->snapshot != NULL)
		/* What is from before its xmin is visible; an index can tell. */
		return psprintf("(transaction_id >= pg_snapshot_xmin($%d::pg_snapshot)"
						" AND NOT pg_visible_in_snapshot(transaction_id, $%d::pg_snapshot)"
						" AND $%d::xid8[] IS NOT NULL)",
						first_parameter, first_parameter, first_parameter + 1);
	return psprintf("(changed_at > $%d::timestamptz OR transaction_id = ANY ($%d))",
					first_parameter, first_parameter + 1);
}

/*
 * Gives the types and values of those two parameters.
 */
void
architect_audit_moment_parameters(const AuditMoment *moment, Oid *types, Datum *values)
{
	bool		is_mark = moment->snapshot != NULL;

	types[0] = is_mark ? TEXTOID : TIMESTAMPTZOID;
	values[0] = is_mark ? CStringGetTextDatum(moment->snapshot) : TimestampTzGetDatum(moment->at);
	types[1] = get_array_type(XID8OID);
	values[1] = moment->late;
}

/*
 * architect.audit_mark(name): its snapshot.
 */
Datum
architect_audit_mark(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[2];
	LOCAL_FCINFO(snapshot_call, 0);
	Datum		snapshot;

	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a mark must be set before the first change of its transaction"),
				 errdetail("What this transaction has changed already is neither before nor after a mark set now."),
				 errhint("Call architect.audit_mark first, or in a transaction of its own.")));

	InitFunctionCallInfoData(*snapshot_call, NULL, 0, InvalidOid, NULL, NULL);
	snapshot = pg_current_snapshot(snapshot_call);
	values[0] = PG_GETARG_DATUM(0);
	values[1] = CStringGetTextDatum(OidOutputFunctionCall(F_PG_SNAPSHOT_OUT, snapshot));
	architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_mark($1, $2)", 2, types, values);
	PG_RETURN_DATUM(snapshot);
}

/*
 * architect.audit_unmark(name)
 */
Datum
architect_audit_unmark(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {
		PG_GETARG_DATUM(0),
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false))
	};

	architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_unmark($1, $2)", 2, types, values);
	PG_RETURN_VOID();
}
