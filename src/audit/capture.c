/*
 * capture.c
 *    Row trigger that turns each change of an audited table into an event.
 */
#include "postgres.h"

#include "utils/datum.h"
#include "utils/rel.h"

#include "audit/audit.h"

PG_FUNCTION_INFO_V1(architect_audit_capture);

/*
 * True for a varlena that is neither out of line nor compressed.
 */
static inline bool
is_inline(Datum value)
{
	return !VARATT_IS_EXTERNAL(DatumGetPointer(value)) && !VARATT_IS_COMPRESSED(DatumGetPointer(value));
}

/*
 * True when the column has the same bytes in both rows, as far as they would
 * show in the log.
 */
static bool
is_same(const AuditColumn *column, TupleTableSlot *old, TupleTableSlot *new)
{
	bool		old_is_null = old->tts_isnull[column->index];
	bool		new_is_null = new->tts_isnull[column->index];
	Datum		old_value = old->tts_values[column->index];
	Datum		new_value = new->tts_values[column->index];

	if (old_is_null || new_is_null)
		return old_is_null == new_is_null;
	if (column->by_value)
		return old_value == new_value;

	/* The usual case of two varlenas as they are, without a detour. */
	if (column->length == -1 && is_inline(old_value) && is_inline(new_value))
		return VARSIZE_ANY_EXHDR(DatumGetPointer(old_value)) == VARSIZE_ANY_EXHDR(DatumGetPointer(new_value)) &&
			memcmp(VARDATA_ANY(DatumGetPointer(old_value)), VARDATA_ANY(DatumGetPointer(new_value)),
				   VARSIZE_ANY_EXHDR(DatumGetPointer(old_value))) == 0;

	/* A value kept out of line and not touched has the same address. */
	if (column->length == -1 &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(old_value)) &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(new_value)) &&
		memcmp(DatumGetPointer(old_value), DatumGetPointer(new_value),
			   VARSIZE_EXTERNAL(DatumGetPointer(old_value))) == 0)
		return true;

	return datum_image_eq(old_value, new_value, false, column->length);
}

static AuditColumnSet
all_columns(AuditTable *table)
{
	AuditColumnSet set = {.columns = palloc(table->ncolumns * sizeof(int))};

	while (set.count < table->ncolumns)
	{
		set.columns[set.count] = set.count;
		set.count++;
	}
	return set;
}

/*
 * Returns the columns that differ, or of the key only those.
 */
static AuditColumnSet
changed_columns(AuditTable *table, TupleTableSlot *old, TupleTableSlot *new)
{
	AuditColumnSet set = {.columns = palloc(table->ncolumns * sizeof(int))};

	for (int i = 0; i < table->ncolumns; i++)
	{
		if (!is_same(&table->columns[i], old, new))
			set.columns[set.count++] = i;
	}
	return set;
}

/*
 * True when the set has a column of the key.
 */
static bool
has_key_column(AuditTable *table, const AuditColumnSet *set)
{
	for (int i = 0; i < set->count; i++)
	{
		if (table->columns[set->columns[i]].in_key)
			return true;
	}
	return false;
}

/*
 * Reduces the set to columns of the key.
 */
static void
keep_key_columns(AuditTable *table, AuditColumnSet *set)
{
	int			kept = 0;

	for (int i = 0; i < set->count; i++)
	{
		if (table->columns[set->columns[i]].in_key)
			set->columns[kept++] = set->columns[i];
	}
	set->count = kept;
}

/*
 * Logs a row that came or went.
 */
static void
capture_row(AuditTable *table, AuditOperation operation, TupleTableSlot *slot)
{
	AuditEvent	event = {.operation = operation};
	AuditColumnSet set;

	slot_getallattrs(slot);
	event.record_id = architect_audit_record_id(table, slot);

	if (table->capture != AUDIT_CAPTURE_KEYS)
	{
		set = all_columns(table);
		if (operation == AUDIT_OPERATION_INSERT)
			event.new_values = architect_audit_image(table, &set, slot);
		else
			event.old_values = architect_audit_image(table, &set, slot);
	}
	architect_audit_append(table, &event);
}

/*
 * Logs a row that changed, under its old key, unless nothing changed that the
 * log would show.
 */
static void
capture_update(AuditTable *table, TupleTableSlot *old, TupleTableSlot *new)
{
	AuditEvent	event = {.operation = AUDIT_OPERATION_UPDATE};
	AuditColumnSet set;

	slot_getallattrs(old);
	slot_getallattrs(new);
	set = changed_columns(table, old, new);
	if (set.count == 0)
		return;

	event.record_id = architect_audit_record_id(table, old);
	if (has_key_column(table, &set))
		event.new_record_id = architect_audit_record_id(table, new);
	if (table->key_is_deferrable && table->capture == AUDIT_CAPTURE_CHANGES)
	{
		AuditColumnSet all = all_columns(table);

		event.context = architect_audit_make_row_context(architect_audit_image(table, &all, old));
	}
	if (table->capture == AUDIT_CAPTURE_FULL)
		set = all_columns(table);
	else if (table->capture == AUDIT_CAPTURE_KEYS)
		keep_key_columns(table, &set);

	if (set.count > 0)
	{
		event.old_values = architect_audit_image(table, &set, old);
		event.new_values = architect_audit_image(table, &set, new);
	}
	architect_audit_append(table, &event);
}

/*
 * architect.audit_capture(): AFTER ROW trigger.
 */
Datum
architect_audit_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	AuditTable *table;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("architect.audit_capture must be called as an AFTER ROW trigger"),
				 errhint("Call architect.audit_enable, which makes the triggers.")));

	table = architect_audit_table(trigger->tg_relation, trigger->tg_trigger);

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		capture_row(table, AUDIT_OPERATION_INSERT, trigger->tg_trigslot);
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		capture_row(table, AUDIT_OPERATION_DELETE, trigger->tg_trigslot);
	else
		capture_update(table, trigger->tg_trigslot, trigger->tg_newslot);

	return PointerGetDatum(NULL);
}
