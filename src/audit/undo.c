/*
 * undo.c
 *    architect.audit_undo and audit_undo_plan: everything that a transaction did
 *    to audited tables, set back in reverse order.
 *
 * The plan is made with the rights and settings of the caller, and its statements
 * are what audit_undo runs, so that triggers of the tables see the session as it
 * is.  Before it compares, audit_undo locks the rows; after each statement it
 * checks that as many rows were changed as there should be.
 */
#include "postgres.h"

#include "access/relation.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/xid8.h"

#include "audit/undo.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_undo);
PG_FUNCTION_INFO_V1(architect_audit_undo_plan);

/*
 * Returns the table with this number, which the undo has opened.
 */
LiveTable *
architect_audit_undo_table(Undo *undo, int32 table_id)
{
	ListCell   *cell;

	foreach(cell, undo->tables)
	{
		if (((LiveTable *) lfirst(cell))->table_id == table_id)
			return lfirst(cell);
	}
	return NULL;
}

/*
 * Locks and describes a table that the transaction changed, for its owner.
 */
static void
open_table(Undo *undo, int32 table_id, LOCKMODE lockmode)
{
	Oid			relid = architect_audit_table_of(table_id);
	Relation	rel = OidIsValid(relid) ? try_relation_open(relid, lockmode) : NULL;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a table that the transaction changed does not exist any more"),
				 errdetail("Its number in the log is %d.", table_id),
				 errhint("Set back by hand what is left.")));
	architect_check_owner(rel);
	relation_close(rel, NoLock);
	undo->tables = lappend(undo->tables, architect_audit_live_table(relid, table_id));
}

/*
 * Reads what the transaction did, and opens the tables to which it did it, in the
 * order of their numbers.
 */
static void
read_transaction(Undo *undo, LOCKMODE lockmode)
{
	List	   *table_ids = NIL;
	ListCell   *cell;

	foreach(cell, architect_audit_transaction_rows(undo->transaction))
	{
		AuditLogRow *event = lfirst(cell);

		if (strchr("IUDT", event->operation) == NULL)
			continue;
		undo->events = lappend(undo->events, event);
		table_ids = list_append_unique_int(table_ids, event->table_id);
	}

	if (undo->events == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("transaction " UINT64_FORMAT " has no changes in the audit log",
						U64FromFullTransactionId(undo->transaction)),
				 errhint("Look up audit_log.transaction_id; what retention has removed cannot be undone.")));

	list_sort(table_ids, list_int_cmp);
	foreach(cell, table_ids)
		open_table(undo, lfirst_int(cell), lockmode);
	foreach(cell, undo->events)
	{
		AuditLogRow *event = lfirst(cell);
		LiveTable  *table = architect_audit_undo_table(undo, event->table_id);

		if (architect_audit_is_renamed_row(table->names, event))
			architect_audit_refuse_key(table, event->record_id);
		architect_audit_rename_event(table->names, event);
	}
}

static int
compare_record_ids(const ListCell *left, const ListCell *right)
{
	return strcmp(lfirst(left), lfirst(right));
}

/*
 * Finds the live rows of every key that the transaction touched.
 */
static void
read_live_rows(Undo *undo, LiveTable *table, bool lock)
{
	List	   *record_ids = NIL;
	ListCell   *cell;

	foreach(cell, undo->states)
	{
		NetState   *state = lfirst(cell);

		if (state->table == table)
			record_ids = lappend(record_ids, unconstify(char *, state->record_id));
	}
	list_sort(record_ids, compare_record_ids);
	foreach(cell, architect_audit_live_rows(table, record_ids, lock))
	{
		LiveRow    *row = lfirst(cell);

		architect_audit_state(undo, table, row->record_id)->live = row->image;
	}
}

/*
 * Of the old values, those that the event changed.
 */
static AuditRecord *
changed_values(const AuditLogRow *event)
{
	AuditRecord *old = architect_audit_read_record(event->old_values);
	AuditRecord *new = architect_audit_read_record(event->new_values);
	AuditRecord *changed = architect_audit_make_record();

	if (!architect_audit_is_full(old, new))
		return old;
	for (int i = 0; i < old->count; i++)
	{
		AuditField *field = architect_audit_get_field(new, old->fields[i].name, old->fields[i].length);

		if (field == NULL || !architect_audit_same_field(&old->fields[i], field))
			architect_audit_set_field(changed, &old->fields[i]);
	}
	return changed;
}

static AuditRecord *
without_key(LiveTable *table, const AuditRecord *values)
{
	AuditRecord *others = architect_audit_make_record();

	for (int i = 0; i < values->count; i++)
	{
		bool		in_key = false;

		for (int k = 0; k < table->nkeys; k++)
			in_key |= architect_audit_live_column(table, values->fields[i].name,
												  values->fields[i].length) == table->keys[k];
		if (!in_key)
			architect_audit_set_field(others, &values->fields[i]);
	}
	return others;
}

/*
 * Returns the row that undoes the event.
 */
static UndoRow *
make_row(Undo *undo, LiveTable *table, AuditLogRow *event)
{
	UndoRow    *row = palloc0(sizeof(UndoRow));
	NetState   *state;

	row->table = table;
	row->event = event;
	row->record_id = event->record_id;
	switch (event->operation)
	{
		case 'I':
			row->kind = UNDO_DELETE;
			break;
		case 'U':
			row->kind = UNDO_UPDATE;
			row->values = changed_values(event);
			if (event->new_record_id != NULL)
			{
				row->record_id = event->new_record_id;
				row->new_record_id = event->record_id;
			}
			break;
		default:
			row->kind = UNDO_INSERT;
			row->values = architect_audit_read_record(event->old_values);
			if (!undo->force || event->record_id == NULL)
				break;

			/* Over a row that has come since. */
			state = architect_audit_state(undo, table, event->record_id);
			if (state->rows == NIL && state->live != NULL && state->event == event)
			{
				row->kind = UNDO_UPDATE;
				row->values = without_key(table, row->values);
			}
			break;
	}
	return row;
}

/*
 * Returns why the log cannot tell what was before the event, or NULL.
 */
static const char *
find_obstacle(const UndoRow *row)
{
	const AuditLogRow *event = row->event;

	if (event->record_id == NULL)
		return "TRUNCATE was logged without the rows";
	if (row->kind == UNDO_DELETE)
		return NULL;
	if (event->old_values == NULL ||
		(row->kind == UNDO_UPDATE && (event->is_renamed ? event->keys_only : row->table->keys_only)))
		return "only keys were logged";
	return architect_audit_obstacle(row->table, row->kind, row->values);
}

/*
 * True when rows with these columns have to be set one after the other, lest one
 * takes a unique value that another is still to give up.
 */
static bool
must_go_alone(const UndoRow *row, List *columns)
{
	ListCell   *cell;

	if (row->kind != UNDO_UPDATE)
		return false;
	if (row->table->order_matters)
		return true;
	foreach(cell, columns)
	{
		if (((LiveColumn *) lfirst(cell))->is_unique)
			return true;
	}
	return false;
}

/*
 * True when the step has a change of the same row already.
 */
static bool
has_row(const UndoStep *step, const UndoRow *row)
{
	ListCell   *cell;

	foreach(cell, step->rows)
	{
		if (((UndoRow *) lfirst(cell))->event->row == row->event->row)
			return true;
	}
	return false;
}

static bool
equal_columns(List *left, List *right)
{
	ListCell   *left_cell;
	ListCell   *right_cell;

	if (list_length(left) != list_length(right))
		return false;
	forboth(left_cell, left, right_cell, right)
	{
		if (lfirst(left_cell) != lfirst(right_cell))
			return false;
	}
	return true;
}

/*
 * True when the row can be set back by the same statement.
 */
static bool
fits_step(const UndoStep *step, const UndoRow *row, List *columns)
{
	return step != NULL && step->table == row->table && step->kind == row->kind && step->why == NULL &&
		list_length(step->rows) < AUDIT_STEP_ROWS &&
		!must_go_alone(row, columns) &&
		equal_columns(step->columns, columns) &&
		(row->kind != UNDO_UPDATE || !has_row(step, row));
}

static UndoStep *
add_step(Undo *undo, const UndoRow *row)
{
	UndoStep   *step = palloc0(sizeof(UndoStep));

	step->kind = row->kind;
	step->table = row->table;
	undo->steps = lappend(undo->steps, step);
	return step;
}

/*
 * Says of an event that no statement can undo it.
 */
static UndoStep *
add_obstacle(Undo *undo, const UndoRow *row, const char *obstacle)
{
	AuditLogRow *event = row->event;
	UndoStep   *step = add_step(undo, row);

	step->why = psprintf("cannot undo the %s with id " INT64_FORMAT " in the log: %s",
						 TextDatumGetCString(event->values[LOG_OPERATION]), event->id, obstacle);
	architect_audit_add_problem(undo, step, event->record_id, obstacle);
	return step;
}

/*
 * Notes which step undoes the event, for conflicts of its row.
 */
static void
note_step(const UndoRow *row, UndoStep *step)
{
	NetRow	   *net = row->event->row;

	row->event->step = step;
	if (net != NULL && net->step == NULL)
		net->step = step;
}

/*
 * Makes the steps: one for each run of rows that one statement can set back.
 */
static void
make_steps(Undo *undo)
{
	UndoStep   *step = NULL;
	ListCell   *cell;

	foreach(cell, undo->rows)
	{
		UndoRow    *row = lfirst(cell);
		const char *obstacle = find_obstacle(row);
		List	   *columns;

		CHECK_FOR_INTERRUPTS();
		if (obstacle != NULL)
		{
			step = add_obstacle(undo, row, obstacle);
			note_step(row, step);
			continue;
		}

		columns = row->kind == UNDO_DELETE ? NIL : architect_audit_settable(row->table, row->kind, row->values);
		if (row->kind == UNDO_UPDATE && columns == NIL)
			continue;
		if (!fits_step(step, row, columns))
			step = add_step(undo, row);
		step->rows = lappend(step->rows, row);
		step->columns = columns;
		note_step(row, step);
	}
}

/*
 * Makes the rows to be set back, from the last event to the first.
 */
static void
make_rows(Undo *undo)
{
	for (int i = list_length(undo->events) - 1; i >= 0; i--)
	{
		AuditLogRow *event = list_nth(undo->events, i);
		UndoRow    *row = make_row(undo, architect_audit_undo_table(undo, event->table_id), event);

		undo->rows = lappend(undo->rows, row);
		if (event->operation == 'U')
			event->row->updates = lappend(event->row->updates, row);
	}
}

static char *
explain(const UndoStep *step)
{
	static const char *const verbs[] = {
		[UNDO_DELETE] = "takes back what was inserted",
		[UNDO_INSERT] = "brings back what was deleted",
		[UNDO_UPDATE] = "sets back what was changed"
	};
	int64		first = ((UndoRow *) linitial(step->rows))->event->id;
	int64		last = first;
	ListCell   *cell;

	foreach(cell, step->rows)
	{
		first = Min(first, ((UndoRow *) lfirst(cell))->event->id);
		last = Max(last, ((UndoRow *) lfirst(cell))->event->id);
	}
	if (first == last)
		return psprintf("%s: id " INT64_FORMAT " in the log", verbs[step->kind], last);
	return psprintf("%s: %d rows, ids " INT64_FORMAT " to " INT64_FORMAT " in the log",
					verbs[step->kind], list_length(step->rows), first, last);
}

static UndoStep *
constraint_step(const char *names, const char *mode, const char *why)
{
	UndoStep   *step = palloc0(sizeof(UndoStep));

	step->statement = psprintf("SET CONSTRAINTS %s %s", names, mode);
	step->why = why;
	return step;
}

/*
 * Writes the statements, and around them what makes deferrable constraints wait.
 */
static void
write_steps(Undo *undo)
{
	char	   *deferrable = undo->steps != NIL ? architect_audit_deferrable(undo) : NULL;
	ListCell   *cell;

	foreach(cell, undo->steps)
	{
		UndoStep   *step = lfirst(cell);

		if (step->why != NULL)
			continue;
		step->why = explain(step);
		step->statement = architect_audit_statement(step->kind, step->table, step->rows, step->columns);
	}
	if (deferrable != NULL)
	{
		undo->steps = lcons(constraint_step(deferrable, "DEFERRED", "rows may depend on rows that come later"),
							undo->steps);
		undo->steps = lappend(undo->steps,
							  constraint_step(deferrable, "IMMEDIATE", "checks what was deferred"));
	}
}

/*
 * Makes the plan; with the rows locked, if they are to be changed.
 */
static Undo *
plan_undo(FullTransactionId transaction, bool force, bool lock)
{
	Undo	   *undo = palloc0(sizeof(Undo));
	ListCell   *cell;

	undo->transaction = transaction;
	undo->force = force;
	read_transaction(undo, lock ? RowExclusiveLock : AccessShareLock);
	architect_audit_count_states(undo);
	foreach(cell, undo->tables)
		read_live_rows(undo, lfirst(cell), lock);
	architect_audit_find_states(undo);
	make_rows(undo);
	architect_audit_order_rows(undo);
	make_steps(undo);
	architect_audit_find_conflicts(undo);
	write_steps(undo);
	return undo;
}

static Datum
conflicts_of(const UndoStep *step)
{
	JsonbParseState *state = NULL;
	ListCell   *cell;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, step->conflicts)
	{
		Jsonb	   *conflict = lfirst(cell);
		JsonbValue	value = {.type = jbvBinary};

		value.val.binary.data = &conflict->root;
		value.val.binary.len = VARSIZE(conflict) - VARHDRSZ;
		(void) pushJsonbValue(&state, WJB_ELEM, &value);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}

/*
 * architect.audit_undo_plan(transaction_id, force)
 */
Datum
architect_audit_undo_plan(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Undo	   *undo;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	undo = plan_undo(PG_GETARG_FULLTRANSACTIONID(0), PG_GETARG_BOOL(1), false);
	foreach(cell, undo->steps)
	{
		UndoStep   *step = lfirst(cell);
		Datum		values[6] = {0};
		bool		nulls[6] = {false};

		values[0] = Int32GetDatum(foreach_current_index(cell) + 1);
		nulls[1] = step->statement == NULL;
		if (step->statement != NULL)
			values[1] = CStringGetTextDatum(psprintf("%s;", step->statement));
		values[2] = CStringGetTextDatum(step->why);
		nulls[3] = nulls[4] = step->table == NULL || step->statement == NULL;
		if (!nulls[3])
		{
			values[3] = CStringGetTextDatum(psprintf("ROW EXCLUSIVE on %s", step->table->name));
			values[4] = CStringGetTextDatum("audit_undo of the transaction that ran it");
		}
		nulls[5] = step->conflicts == NIL;
		if (!nulls[5])
			values[5] = conflicts_of(step);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Raises where the undo cannot be, or is not to be, done.
 */
static void
check_plan(Undo *undo)
{
	if (undo->impossible != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("transaction " UINT64_FORMAT " cannot be undone",
						U64FromFullTransactionId(undo->transaction)),
				 errdetail("%s", undo->impossible),
				 errhint("architect.audit_undo_plan shows what can be; run those statements by hand if that helps.")));
	if (undo->nconflicts > 0 && !undo->force)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg_plural("transaction " UINT64_FORMAT " was not undone: %d conflict with what was changed since",
							   "transaction " UINT64_FORMAT " was not undone: %d conflicts with what was changed since",
							   undo->nconflicts, U64FromFullTransactionId(undo->transaction), undo->nconflicts),
				 errdetail("The first is %s.", undo->first_conflict),
				 errhint("architect.audit_undo_plan shows all of them; force => true sets the rows back regardless.")));
}

/*
 * True when the row is as the step would make it, as it is where the server has
 * followed a reference already.
 */
static bool
is_done(const UndoStep *step, const UndoRow *row)
{
	const char *record_id = row->new_record_id != NULL ? row->new_record_id : row->record_id;
	List	   *live = architect_audit_live_rows(step->table, list_make1(unconstify(char *, record_id)), true);
	AuditRecord *record;
	ListCell   *cell;

	if (step->kind == UNDO_DELETE || live == NIL)
		return step->kind == UNDO_DELETE && live == NIL;
	record = architect_audit_read_record(((LiveRow *) linitial(live))->image);
	foreach(cell, step->columns)
	{
		LiveColumn *column = lfirst(cell);
		AuditField *wanted = architect_audit_get_field(row->values, column->name, column->length);
		AuditField *present = architect_audit_get_field(record, column->name, column->length);

		if (present != NULL && !architect_audit_same_field(wanted, present))
			return false;
	}
	return true;
}

/*
 * Raises unless what the statement did not change is as it should be; by force
 * it is only told.
 */
static void
check_count(const UndoStep *step, uint64 changed, bool force)
{
	int			missing = 0;
	ListCell   *cell;

	if (changed == list_length(step->rows))
		return;
	foreach(cell, step->rows)
		missing += !is_done(step, lfirst(cell));
	if (missing == 0 && changed < list_length(step->rows))
		return;

	if (!force)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg_plural("could not set back %d row of table %s", "could not set back %d rows of table %s",
							   missing, missing, step->table->name),
				 errdetail_plural("It was changed meanwhile, or a trigger of the table kept it as it is.",
								  "They were changed meanwhile, or a trigger of the table kept them as they are.",
								  missing),
				 errhint("Try again.")));
	ereport(NOTICE,
			(errmsg_plural("%d row of table %s was not set back", "%d rows of table %s were not set back",
						   missing, missing, step->table->name),
			 errdetail_plural("It is gone, or a trigger of the table kept it as it is.",
							  "They are gone, or a trigger of the table kept them as they are.", missing)));
}

/*
 * Runs the statement of a step as the caller; returns how many rows it changed.
 */
int64
architect_audit_run_step(const UndoStep *step, bool force)
{
	int			pin_level = step->table != NULL ? architect_audit_pin(step->table->pins) : 0;
	uint64		changed;

	SPI_connect();
	if (SPI_execute(step->statement, false, 0) < 0)
		elog(ERROR, "unexpected result of: %s", step->statement);
	changed = step->table != NULL ? SPI_processed : 0;
	SPI_finish();
	architect_audit_unpin(pin_level);

	if (step->table != NULL)
		check_count(step, changed, force);
	return changed;
}

/*
 * architect.audit_undo(transaction_id, force)
 */
Datum
architect_audit_undo(PG_FUNCTION_ARGS)
{
	bool		force = PG_GETARG_BOOL(1);
	Undo	   *undo = plan_undo(PG_GETARG_FULLTRANSACTIONID(0), force, true);
	int64		changed = 0;
	ListCell   *cell;

	check_plan(undo);
	foreach(cell, undo->steps)
		changed += architect_audit_run_step(lfirst(cell), force);
	PG_RETURN_INT64(changed);
}
