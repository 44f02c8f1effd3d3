/*
 * names.c
 *    Images of a record under the names that its columns have now.
 *
 * Shapes say which column had which name when, and which were masked: what is
 * known of those is marked.  Most tables have but one shape, without masks, and
 * then nothing is to be done.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "audit/record.h"
#include "audit/replay.h"
#include "core/core.h"

/* Marks columns that do not exist any more, as no name of a column can. */
#define GONE "\001"

/*
 * True when these columns of a shape have a masked one among them.
 */
static bool
has_mask(Jsonb *columns)
{
	for (uint32 i = 0; i < JB_ROOT_COUNT(columns); i++)
	{
		JsonbValue *column = getIthJsonbValueFromContainer(&columns->root, i);
		JsonbValue	hidden;

		if (column->type == jbvBinary && JsonContainerIsObject(column->val.binary.data) &&
			getKeyJsonValueFromContainer(column->val.binary.data, "hidden", strlen("hidden"), &hidden) != NULL &&
			hidden.type == jbvString && hidden.val.string.len == strlen("mask") &&
			memcmp(hidden.val.string.val, "mask", strlen("mask")) == 0)
			return true;
	}
	return false;
}

/*
 * True when the images of the table are not all to be taken as they are: it has
 * had several shapes, or masks columns.
 */
static bool
needs_shapes(int32 table_id)
{
	Relation	shapes = table_open(architect_relation("audit_shapes", false), AccessShareLock);
	AttrNumber	columns = get_attnum(RelationGetRelid(shapes), "columns");
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;
	bool		masked = false;
	int			count = 0;

	ScanKeyInit(&key, get_attnum(RelationGetRelid(shapes), "table_id"), BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(table_id));
	scan = systable_beginscan(shapes, architect_relation("audit_shapes_pkey", true),
							  OidIsValid(architect_relation("audit_shapes_pkey", true)),
							  GetActiveSnapshot(), 1, &key);
	while (!masked && count < 2 && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		masked = has_mask(DatumGetJsonbP(heap_getattr(tuple, columns, RelationGetDescr(shapes), &isnull)));
		count++;
	}
	systable_endscan(scan);
	table_close(shapes, AccessShareLock);
	return masked || count > 1;
}

/*
 * Returns the shapes of the table, or NULL where it has always had the same
 * without masks.
 */
AuditTarget *
architect_audit_past_names(Oid relid, int32 table_id)
{
	if (!needs_shapes(table_id))
		return NULL;
	return architect_audit_read_target(relid, NULL, "read the log of");
}

/*
 * True when the log named rows by another key at some moment between these shapes.
 */
static bool
is_key_changed(const AuditShape *earlier, const AuditShape *later)
{
	const AuditShape *audited = NULL;

	for (const AuditShape *shape = earlier; shape <= later; shape++)
	{
		if (shape->capture == NULL)
			continue;
		if (audited != NULL && architect_audit_has_other_key(audited, shape))
			return true;
		audited = shape;
	}
	return false;
}

/*
 * True when a record_id means another row at the second of these ids of the log
 * than at the first; target may be NULL.
 */
bool
architect_audit_renames_rows(AuditTarget *target, int64 earlier, int64 later)
{
	return target != NULL &&
		is_key_changed(architect_audit_shape_at(target, earlier), architect_audit_shape_at(target, later));
}

/*
 * True when the record_id of this event means another row by now; target may be
 * NULL.
 */
bool
architect_audit_is_renamed_row(AuditTarget *target, const AuditLogRow *event)
{
	const AuditShape *shape;
	const AuditShape *last;

	if (target == NULL || event->record_id == NULL)
		return false;
	shape = architect_audit_shape_at(target, event->id);
	last = &target->shapes[target->nshapes - 1];
	if (shape->capture != NULL && last->capture != NULL && strcmp(shape->origin, last->origin) == 0)
		return architect_audit_has_other_key(shape, last);
	return is_key_changed(shape, last);
}

/*
 * Returns the column of a shape that had this name, or NULL.
 */
AuditShapeColumn *
architect_audit_shape_column(AuditShape *shape, const AuditField *field)
{
	for (int i = 0; i < shape->ncolumns; i++)
	{
		if (shape->columns[i].name_length == field->length &&
			memcmp(shape->columns[i].name, field->name, field->length) == 0)
			return &shape->columns[i];
	}
	return NULL;
}

/*
 * The name by which a column of this shape is known now.
 */
static char *
present_name(const AuditShapeColumn *column)
{
	return column->present_name != NULL ? column->present_name : psprintf(GONE "%s", column->name);
}

/*
 * Returns the image under present names, what is masked marked.
 */
static Jsonb *
to_present(Jsonb *image, AuditShape *shape)
{
	AuditRecord *record;

	if (image == NULL || shape->is_present)
		return image;
	record = architect_audit_read_record(image);
	for (int i = 0; i < record->count; i++)
	{
		AuditShapeColumn *column = architect_audit_shape_column(shape, &record->fields[i]);

		if (column == NULL)
			continue;
		record->fields[i].name = present_name(column);
		record->fields[i].length = strlen(record->fields[i].name);
		if (column->masked && record->fields[i].mark != AUDIT_MARK_ERASED)
			record->fields[i].mark = AUDIT_MARK_MASKED;
	}
	return architect_audit_write_record(record);
}

/*
 * Brings the images of an event under present names; target may be NULL.
 */
void
architect_audit_rename_event(AuditTarget *target, AuditLogRow *event)
{
	AuditShape *shape;

	if (target == NULL || event->is_renamed)
		return;
	shape = architect_audit_shape_at(target, event->id);
	event->is_renamed = true;
	event->old_values = to_present(event->old_values, shape);
	event->new_values = to_present(event->new_values, shape);
	event->keys_only = shape->capture != NULL && strcmp(shape->capture, "keys") == 0;
}

/*
 * Returns the record under the names that its columns had at the event, as the
 * log shows it, without those that the table did not have then; target may be NULL.
 */
AuditRecord *
architect_audit_rename_back(AuditTarget *target, const AuditLogRow *event, AuditRecord *record)
{
	AuditRecord *named;
	AuditShape *shape;

	if (target == NULL)
		return record;
	named = architect_audit_make_record();
	shape = architect_audit_shape_at(target, event->id);
	for (int i = 0; i < shape->ncolumns; i++)
	{
		char	   *present = present_name(&shape->columns[i]);
		AuditField *field = architect_audit_get_field(record, present, strlen(present));
		AuditField	copy;

		if (field == NULL)
			continue;
		copy = *field;
		copy.name = shape->columns[i].name;
		copy.length = shape->columns[i].name_length;
		if (copy.mark == AUDIT_MARK_MASKED)
			copy.mark = AUDIT_MARK_NONE;
		architect_audit_set_field(named, &copy);
	}
	return named;
}

/*
 * True for a column that was dropped; takes the mark off its name.
 */
bool
architect_audit_is_gone(AuditField *field)
{
	if (field->length == 0 || field->name[0] != GONE[0])
		return false;
	field->name++;
	field->length--;
	return true;
}
