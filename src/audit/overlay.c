/*
 * overlay.c
 *    Images of rows laid over one another, and brought under present names.
 *
 * record.c takes images apart; here is what the replay of a log asks of them.
 */
#include "postgres.h"

#include "audit/record.h"
#include "audit/replay.h"

/*
 * Looks a column up; NULL when the image does not have it.
 */
JsonbValue *
architect_audit_get(Jsonb *image, const char *name, int length, JsonbValue *value)
{
	return image == NULL ? NULL : getKeyJsonValueFromContainer(&image->root, name, length, value);
}

/*
 * True when the list of names (char *) has this one.
 */
bool
architect_audit_is_in_list(List *names, const JsonbValue *name)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (strlen(lfirst(cell)) == name->val.string.len &&
			memcmp(lfirst(cell), name->val.string.val, name->val.string.len) == 0)
			return true;
	}
	return false;
}

/*
 * True when the column, whose value is null, holds JSON null and not SQL NULL.
 */
bool
architect_audit_is_json_null(Jsonb *image, const char *name, int length)
{
	return architect_audit_mark_of(image, name, length) == AUDIT_MARK_JSON_NULL;
}

/*
 * True when the value of the column was removed from the log.
 */
bool
architect_audit_is_erased(Jsonb *image, const char *name, int length)
{
	return architect_audit_mark_of(image, name, length) == AUDIT_MARK_ERASED;
}

/*
 * Returns one image laid over another: its columns, and those that only the one
 * below has.  Either may be NULL.
 */
Jsonb *
architect_audit_overlay(Jsonb *below, Jsonb *above)
{
	AuditRecord *record;

	if (below == NULL)
		return above;
	if (above == NULL)
		return below;
	record = architect_audit_read_record(below);
	architect_audit_merge(record, architect_audit_read_record(above));
	return architect_audit_write_record(record);
}

/*
 * Returns the columns of an image that another does not have with the same
 * value; NULL where there is none.
 */
Jsonb *
architect_audit_difference(Jsonb *image, Jsonb *other)
{
	AuditRecord *record;
	AuditRecord *others;
	AuditRecord *result = architect_audit_make_record();

	if (image == NULL || other == NULL)
		return image;
	record = architect_audit_read_record(image);
	others = architect_audit_read_record(other);
	for (int i = 0; i < record->count; i++)
	{
		AuditField *field = &record->fields[i];
		AuditField *same = architect_audit_get_field(others, field->name, field->length);

		if (same == NULL || !architect_audit_same_value(&field->value, &same->value) ||
			(field->mark == AUDIT_MARK_JSON_NULL) != (same->mark == AUDIT_MARK_JSON_NULL))
			architect_audit_set_field(result, field);
	}
	return result->count > 0 ? architect_audit_write_record(result) : NULL;
}

/*
 * Returns the image as the table would show it now: columns under their present
 * names and without those dropped; what was masked is SQL NULL.
 */
Jsonb *
architect_audit_present(Jsonb *image, AuditShape *shape)
{
	AuditRecord *record;
	AuditRecord *result;

	if (image == NULL || shape->is_present)
		return image;
	record = architect_audit_read_record(image);
	result = architect_audit_make_record();
	for (int i = 0; i < record->count; i++)
	{
		AuditField	field = record->fields[i];
		AuditShapeColumn *column = architect_audit_shape_column(shape, &field);

		if (column == NULL || column->present_name == NULL)
			continue;
		field.name = column->present_name;
		field.length = strlen(field.name);
		if (column->masked)
			field.value.type = jbvNull;
		architect_audit_set_field(result, &field);
	}
	return architect_audit_write_record(result);
}
