/*
 * erase.c
 *    architect.audit_erase: takes values of a record out of the log.
 *
 * Whose rows they are and which columns are meant is settled here, with the
 * rights of the caller, who must own the table.  The log and the seals are
 * changed by a private function with those of the extension's owner.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "audit/record.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_erase);
PG_FUNCTION_INFO_V1(architect_audit_erase_values);

static void
refuse_null(const char *argument, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be NULL", argument),
			 errhint("%s", hint)));
}

static ArrayType *
text_array(List *strings)
{
	Datum	   *elements = palloc(list_length(strings) * sizeof(Datum));
	int			count = 0;
	ListCell   *cell;

	foreach(cell, strings)
		elements[count++] = CStringGetTextDatum(lfirst(cell));
	return construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT);
}

static List *
append_new(List *strings, char *string)
{
	ListCell   *cell;

	foreach(cell, strings)
	{
		if (strcmp(lfirst(cell), string) == 0)
			return strings;
	}
	return lappend(strings, string);
}

/*
 * Returns the numbers of the columns that the table has now; the other names
 * may be those of columns that it had.
 */
static List *
present_columns(Relation rel, List *names)
{
	List	   *numbers = NIL;
	ListCell   *cell;

	foreach(cell, names)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), lfirst(cell));

		if (attnum > 0)
			numbers = list_append_unique_int(numbers, attnum);
	}
	return numbers;
}

/*
 * Returns the names of the columns that name a row in the log now.
 */
static List *
key_names(Relation rel)
{
	Trigger    *trigger = architect_audit_find_trigger(rel);
	List	   *names = NIL;
	ListCell   *cell;

	if (trigger != NULL)
	{
		AuditTable *table = architect_audit_table(rel, trigger);

		for (int i = 0; i < table->nkeys; i++)
			names = lappend(names, pstrdup(table->keys[i]->name));
		return names;
	}
	foreach(cell, architect_find_key(rel, NIL))
		names = lappend(names, get_attname(RelationGetRelid(rel), lfirst_int(cell), false));
	return names;
}

/*
 * Raises 22023 for a column of the key: the log would still show it.
 */
static void
check_no_key(Relation rel, List *names)
{
	List	   *keys = key_names(rel);
	ListCell   *cell;

	foreach(cell, names)
	{
		if (list_length(append_new(list_copy(keys), lfirst(cell))) == list_length(keys))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("cannot erase column \"%s\" of table \"%s\"",
							(char *) lfirst(cell), RelationGetRelationName(rel)),
					 errdetail("It belongs to the key, which names the row in architect.audit_log.record_id."),
					 errhint("Use a key that says nothing of a person, or let architect.audit_retain remove the rows.")));
	}
}

/*
 * Returns all that the log has of this record: every row under this record_id,
 * and those under other keys that its rows had before or after.
 */
static List *
find_rows(AuditReader *reader, int32 table_id, const char *record_id)
{
	List	   *table_rows = architect_audit_record_rows(reader, AUDIT_BY_RECORD, table_id, NULL);
	List	   *rows = architect_audit_record_rows(reader, AUDIT_BY_RECORD, table_id, record_id);
	ListCell   *cell;

	rows = list_concat(rows, architect_audit_record_rows(reader, AUDIT_BY_NEW_RECORD, table_id, record_id));
	foreach(cell, architect_audit_lives(reader, NULL, table_id, record_id, table_rows))
		rows = list_concat(rows, ((AuditLife *) lfirst(cell))->events);
	return rows;
}

static bool
has_column(Jsonb *image, const char *name)
{
	return architect_audit_get_field(architect_audit_read_record(image), name, strlen(name)) != NULL;
}

static bool
shows_column(List *rows, const char *name)
{
	ListCell   *cell;

	foreach(cell, rows)
	{
		AuditLogRow *row = lfirst(cell);

		if (has_column(row->old_values, name) || has_column(row->new_values, name) ||
			has_column(architect_audit_updated_row(row), name))
			return true;
	}
	return false;
}

/*
 * Raises 42703 for a column that neither the table has nor the log of this
 * record.
 */
static void
check_known(Relation rel, List *names, List *rows)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		char	   *name = lfirst(cell);

		if (get_attnum(RelationGetRelid(rel), name) <= 0 && !shows_column(rows, name))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s\" does not exist", name, RelationGetRelationName(rel)),
					 errdetail("It is not in the log of this record either."),
					 errhint("Name columns of the table, or those that it had, as the log shows them.")));
	}
}

/*
 * Erases as the extension's owner; returns how many log rows it changed.
 */
static int
erase_rows(int32 table_id, text *record_id, List *names, List *present, List *rows)
{
	static const char *const query = "SELECT " ARCHITECT_SCHEMA "._audit_erase($1, $2, $3, $4, $5, $6)";
	Oid			types[] = {INT4OID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID};
	Datum		values[lengthof(types)];
	List	   *record_ids = NIL;
	Datum	   *ids = palloc(list_length(rows) * sizeof(Datum));
	int			nids = 0;
	ListCell   *cell;

	foreach(cell, rows)
	{
		AuditLogRow *row = lfirst(cell);

		if (row->record_id == NULL)
			continue;
		record_ids = append_new(record_ids, row->record_id);
		ids[nids++] = Int64GetDatum(row->id);
	}

	values[0] = Int32GetDatum(table_id);
	values[1] = PointerGetDatum(record_id);
	values[2] = PointerGetDatum(text_array(names));
	values[3] = PointerGetDatum(text_array(present));
	values[4] = PointerGetDatum(text_array(record_ids));
	values[5] = PointerGetDatum(construct_array(ids, nids, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	return architect_run_as_owner(query, lengthof(types), types, values);
}

/*
 * architect.audit_erase(target, record_id, columns)
 */
Datum
architect_audit_erase(PG_FUNCTION_ARGS)
{
	List	   *names;
	List	   *present = NIL;
	List	   *rows;
	ListCell   *cell;
	AuditReader *reader;
	Relation	rel;
	int32		table_id;
	int			erased;

	if (PG_ARGISNULL(0))
		refuse_null("target", "Name the table, as in 'public.orders'.");
	if (PG_ARGISNULL(1))
		refuse_null("record_id", "Give the key of the row, as architect.audit_log.record_id has it.");
	names = architect_audit_names(fcinfo, 2);
	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no column is named to be erased"),
				 errhint("Name the columns: '{email,phone}'.")));

	rel = architect_audit_open_target(PG_GETARG_OID(0), "erase from the log of", &table_id);
	foreach(cell, architect_audit_extend_mask(rel, present_columns(rel, names)))
		present = lappend(present, get_attname(RelationGetRelid(rel), lfirst_int(cell), false));
	foreach(cell, present)
		names = append_new(names, lfirst(cell));
	check_no_key(rel, names);

	reader = architect_audit_open_log();
	rows = find_rows(reader, table_id, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	architect_audit_close_log(reader);
	check_known(rel, names, rows);
	erased = erase_rows(table_id, PG_GETARG_TEXT_PP(1), names, present, rows);
	relation_close(rel, NoLock);
	PG_RETURN_INT64(erased);
}

static bool
is_in(const AuditField *field, Datum *names, int nnames)
{
	for (int i = 0; i < nnames; i++)
	{
		text	   *name = DatumGetTextPP(names[i]);

		if (VARSIZE_ANY_EXHDR(name) == field->length &&
			memcmp(VARDATA_ANY(name), field->name, field->length) == 0)
			return true;
	}
	return false;
}

/*
 * True when the value says anything.
 */
static bool
has_value(const AuditField *field)
{
	const JsonbValue *value = &field->value;

	if (value->type == jbvNull)
		return false;
	return value->type != jbvString || value->val.string.len != strlen(AUDIT_MASK) ||
		memcmp(value->val.string.val, AUDIT_MASK, strlen(AUDIT_MASK)) != 0;
}

/*
 * architect._audit_erase_values(image, columns): the image without the values
 * of these columns, as they are called there.
 */
Datum
architect_audit_erase_values(PG_FUNCTION_ARGS)
{
	Jsonb	   *image = PG_GETARG_JSONB_P(0);
	AuditRecord *record = architect_audit_read_record(image);
	Datum	   *names;
	int			nnames;
	bool		erased = false;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &nnames);
	for (int i = 0; i < record->count; i++)
	{
		AuditField *field = &record->fields[i];

		if (is_in(field, names, nnames) && has_value(field))
		{
			field->value.type = jbvNull;
			field->mark = AUDIT_MARK_ERASED;
			erased = true;
		}
	}
	if (erased)
		PG_RETURN_JSONB_P(architect_audit_write_record(record));
	PG_RETURN_JSONB_P(image);
}
