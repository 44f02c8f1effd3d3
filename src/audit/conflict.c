/*
 * conflict.c
 *    What a transaction left, and where that is not what is there now.
 *
 * The events of the transaction are gone through from the first to the last, so
 * that of each key only what it left at the end is compared: the columns that it
 * set, or that there is no row.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/numeric.h"

#include "audit/undo.h"

typedef struct StateEntry
{
	uint64		hash;
	NetState   *states;
} StateEntry;

/*
 * Returns the state of a key, made on first use.
 */
NetState *
architect_audit_state(Undo *undo, LiveTable *table, const char *record_id)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) record_id, strlen(record_id), table->table_id);
	bool		found;
	StateEntry *entry;
	NetState   *state;

	if (undo->index == NULL)
	{
		HASHCTL		info = {
			.keysize = sizeof(uint64),
			.entrysize = sizeof(StateEntry),
			.hcxt = CurrentMemoryContext
		};

		undo->index = hash_create("architect audit undo", 256, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}

	entry = hash_search(undo->index, &hash, HASH_ENTER, &found);
	for (state = found ? entry->states : NULL; state != NULL; state = state->next)
	{
		if (state->table == table && strcmp(state->record_id, record_id) == 0)
			return state;
	}

	state = palloc0(sizeof(NetState));
	state->table = table;
	state->record_id = record_id;
	state->next = found ? entry->states : NULL;
	entry->states = state;
	undo->states = lappend(undo->states, state);
	return state;
}

static NetRow *
make_net_row(void)
{
	NetRow	   *row = palloc0(sizeof(NetRow));

	row->values = architect_audit_make_record();
	return row;
}

/*
 * Takes from the state the row that this event is about: the one it fits, else
 * the one that came first, else one that the transaction has not touched yet.
 */
static NetRow *
take_row(NetState *state, const AuditLogRow *event)
{
	AuditRecord *old = architect_audit_read_record(event->old_values);
	NetRow	   *row = NULL;
	ListCell   *cell;

	foreach(cell, state->rows)
	{
		NetRow	   *candidate = lfirst(cell);

		row = row == NULL ? candidate : row;
		if (!architect_audit_contradicts(candidate->values, old))
		{
			row = candidate;
			break;
		}
	}
	state->rows = list_delete_ptr(state->rows, row);
	return row != NULL ? row : make_net_row();
}

/*
 * Takes the states over one event.
 */
static void
apply_event(Undo *undo, LiveTable *table, AuditLogRow *event)
{
	NetState   *state = architect_audit_state(undo, table, event->record_id);
	NetRow	   *row;

	row = event->operation == 'I' ? make_net_row() : take_row(state, event);
	event->row = row;
	if (event->operation == 'D' || event->operation == 'T')
	{
		state->event = event;
		return;
	}
	if (event->new_record_id != NULL)
	{
		state->event = event;
		state = architect_audit_state(undo, table, event->new_record_id);
	}
	architect_audit_merge(row->values, architect_audit_read_record(event->new_values));
	state->rows = lappend(state->rows, row);
}

/*
 * Makes the states of all keys that the transaction touched, and counts the rows
 * that came and went.
 */
void
architect_audit_count_states(Undo *undo)
{
	ListCell   *cell;

	foreach(cell, undo->events)
	{
		AuditLogRow *event = lfirst(cell);
		LiveTable  *table = architect_audit_undo_table(undo, event->table_id);

		if (event->record_id == NULL)
			continue;
		if (event->operation == 'I')
			architect_audit_state(undo, table, event->record_id)->came++;
		else
			architect_audit_state(undo, table, event->record_id)->went +=
				event->operation != 'U' || event->new_record_id != NULL;
		if (event->new_record_id != NULL)
			architect_audit_state(undo, table, event->new_record_id)->came++;
	}
}

/*
 * Finds what the transaction left under each key that it touched.  Where more
 * rows went from a key than came to it, one was there before, also where the
 * first event is one that brings another: while a key is deferred, both are there.
 */
void
architect_audit_find_states(Undo *undo)
{
	ListCell   *cell;

	foreach(cell, undo->states)
	{
		NetState   *state = lfirst(cell);

		if (state->came > 0 && state->went > 0 && !state->table->keys[0]->is_unique &&
			(state->live != NULL) - state->came + state->went > 0)
			state->rows = list_make1(make_net_row());
	}

	foreach(cell, undo->events)
	{
		AuditLogRow *event = lfirst(cell);

		if (event->record_id != NULL)
			apply_event(undo, architect_audit_undo_table(undo, event->table_id), event);
	}
}

static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	(void) pushJsonbValue(state, WJB_KEY, &key);
}

static void
push_value(JsonbParseState **state, const char *name, const JsonbValue *value)
{
	JsonbValue	copy = {.type = jbvNull};

	if (value != NULL)
		copy = *value;
	push_key(state, name);
	(void) pushJsonbValue(state, WJB_VALUE, &copy);
}

static void
push_text(JsonbParseState **state, const char *name, const char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	push_value(state, name, &value);
}

/*
 * Pushes an image, or null for NULL.
 */
static void
push_image(JsonbParseState **state, const char *name, Jsonb *image)
{
	JsonbValue	value = {.type = jbvBinary};

	if (image != NULL)
	{
		value.val.binary.data = &image->root;
		value.val.binary.len = VARSIZE(image) - VARHDRSZ;
	}
	push_value(state, name, image != NULL ? &value : NULL);
}

/*
 * Ends the object and puts it among the conflicts of the step.
 */
static void
add_conflict(Undo *undo, UndoStep *step, JsonbParseState **state)
{
	Jsonb	   *conflict = JsonbValueToJsonb(pushJsonbValue(state, WJB_END_OBJECT, NULL));

	if (step != NULL)
		step->conflicts = lappend(step->conflicts, conflict);
	if (undo->nconflicts++ == 0)
		undo->first_conflict = JsonbToCString(NULL, &conflict->root, VARSIZE(conflict));
}

/*
 * Notes what no statement can undo.
 */
void
architect_audit_add_problem(Undo *undo, UndoStep *step, const char *record_id, const char *problem)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (record_id != NULL)
		push_text(&state, "record_id", record_id);
	push_text(&state, "table", step->table->name);
	push_text(&state, "problem", problem);
	add_conflict(undo, step, &state);
	if (undo->impossible == NULL)
		undo->impossible = psprintf("%s: %s", step->table->name, problem);
}

/*
 * Returns the values as the log shows them, without columns that are gone.
 */
static AuditRecord *
logged_values(const AuditRecord *values)
{
	AuditRecord *logged = architect_audit_make_record();

	for (int i = 0; i < values->count; i++)
	{
		AuditField	field = values->fields[i];

		if (architect_audit_is_gone(&field))
			continue;
		if (field.mark == AUDIT_MARK_MASKED)
			field.mark = AUDIT_MARK_NONE;
		architect_audit_set_field(logged, &field);
	}
	return logged;
}

/*
 * A row is there that should not be, or the other way round.
 */
static void
add_row_conflict(Undo *undo, NetState *state, UndoStep *step, const AuditRecord *logged)
{
	JsonbParseState *json = NULL;

	(void) pushJsonbValue(&json, WJB_BEGIN_OBJECT, NULL);
	push_text(&json, "record_id", state->record_id);
	push_image(&json, "logged", logged != NULL ? architect_audit_write_record(logged_values(logged)) : NULL);
	push_image(&json, "live", state->live);
	add_conflict(undo, step, &json);
}

/*
 * Compares the columns that the transaction set with the live row.
 */
static void
compare_row(Undo *undo, NetState *state, const NetRow *row)
{
	AuditRecord *live = architect_audit_read_record(state->live);

	for (int i = 0; i < row->values->count; i++)
	{
		AuditField *logged = &row->values->fields[i];
		LiveColumn *column = architect_audit_live_column(state->table, logged->name, logged->length);
		AuditField *present = architect_audit_get_field(live, logged->name, logged->length);
		JsonbParseState *json = NULL;

		if (column == NULL || column->is_masked || column->is_generated || present == NULL ||
			!architect_audit_is_known(logged) || architect_audit_same_field(logged, present))
			continue;

		(void) pushJsonbValue(&json, WJB_BEGIN_OBJECT, NULL);
		push_text(&json, "record_id", state->record_id);
		push_text(&json, "column", column->name);
		push_value(&json, "logged", &logged->value);
		push_value(&json, "live", &present->value);
		add_conflict(undo, row->step, &json);
	}
}

/*
 * Notes rows of another table that refer to rows which are to be deleted.
 */
void
architect_audit_add_reference(Undo *undo, UndoStep *step, Oid relid, const char *constraint, int64 count)
{
	JsonbParseState *json = NULL;
	JsonbValue	number = {.type = jbvNumeric};

	number.val.numeric = int64_to_numeric(count);
	(void) pushJsonbValue(&json, WJB_BEGIN_OBJECT, NULL);
	push_text(&json, "table", architect_audit_relation_name(relid));
	push_text(&json, "constraint", constraint);
	push_value(&json, "rows", &number);
	add_conflict(undo, step, &json);
}

/*
 * Compares what the transaction left with what is there now.  A row of which
 * nothing is set back, as where only columns were set that are gone, is left alone.
 */
void
architect_audit_find_conflicts(Undo *undo)
{
	ListCell   *cell;

	foreach(cell, undo->states)
	{
		NetState   *state = lfirst(cell);
		NetRow	   *row = state->rows != NIL ? llast(state->rows) : NULL;

		if (row == NULL && state->live != NULL && state->event->step != NULL)
			add_row_conflict(undo, state, state->event->step, NULL);
		else if (row != NULL && row->step != NULL && state->live == NULL)
			add_row_conflict(undo, state, row->step, row->values);
		else if (row != NULL && row->step != NULL)
			compare_row(undo, state, row);
	}
	foreach(cell, undo->tables)
		architect_audit_find_references(undo, lfirst(cell));
}
