/*
 * restore.c
 *    architect.audit_restore: one record back to a version of its history.
 *
 * The row that is there now is the one in which the life of that version goes on.
 * Where that life has ended, it is the row that has the version's key, if any.
 */
#include "postgres.h"

#include "access/relation.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "audit/undo.h"

PG_FUNCTION_INFO_V1(architect_audit_restore);

/*
 * Returns the version of this number; raises 22023 where there is none, and
 * 42704 where there is no such record.
 */
static AuditVersion *
find_version(LiveTable *table, List *versions, const char *record_id, int64 number)
{
	if (versions == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("record \"%s\" of table %s is not in the audit log", record_id, table->name),
				 errhint("Name the record as audit_log.record_id does.")));
	if (number < 1 || number > list_length(versions))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record \"%s\" of table %s has no version " INT64_FORMAT, record_id, table->name, number),
				 errdetail("The highest is %d.", list_length(versions)),
				 errhint("architect.audit_history shows the versions.")));
	return list_nth(versions, number - 1);
}

/*
 * The record_id after this event.
 */
static char *
id_after(const AuditLogRow *event)
{
	return event->new_record_id != NULL ? event->new_record_id : event->record_id;
}

/*
 * Returns the id under which the row of the version is, or was last, or would be.
 */
static char *
find_record_id(const AuditVersion *version, const char *asked_for)
{
	AuditLogRow *last = llast(version->life->events);

	if (last->operation != 'D' && last->operation != 'T')
		return id_after(last);
	if (version->event->record_id == NULL)
		return unconstify(char *, asked_for);
	return id_after(version->event);
}

/*
 * Of the version's values, those that the live row does not have, and those that
 * nobody can compare.
 */
static AuditRecord *
different_values(LiveTable *table, const AuditVersion *version, Jsonb *image)
{
	AuditRecord *live = architect_audit_read_record(image);
	AuditRecord *different = architect_audit_make_record();

	for (int i = 0; i < version->record->count; i++)
	{
		AuditField *field = &version->record->fields[i];
		LiveColumn *column = architect_audit_live_column(table, field->name, field->length);
		AuditField *present = architect_audit_get_field(live, field->name, field->length);

		if (column != NULL && column->is_generated)
			continue;
		if (present == NULL || !architect_audit_is_known(field) || !architect_audit_same_field(field, present))
			architect_audit_set_field(different, field);
	}
	return different;
}

/*
 * Returns the step that takes the live row, or NULL for none, to the version; or
 * NULL where it is there already.
 */
static UndoStep *
make_step(LiveTable *table, const AuditVersion *version, const char *record_id, LiveRow *live)
{
	UndoStep   *step = palloc0(sizeof(UndoStep));
	UndoRow    *row = palloc0(sizeof(UndoRow));
	const char *obstacle;

	if (version->record == NULL && live == NULL)
		return NULL;

	step->table = row->table = table;
	step->kind = version->record == NULL ? UNDO_DELETE : live == NULL ? UNDO_INSERT : UNDO_UPDATE;
	step->rows = list_make1(row);
	row->record_id = record_id;
	if (step->kind != UNDO_DELETE)
	{
		row->values = live == NULL ? version->record : different_values(table, version, live->image);
		obstacle = architect_audit_obstacle(table, step->kind, row->values);
		if (obstacle != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("record \"%s\" of table %s cannot be brought back to this version",
							record_id, table->name),
					 errdetail("The reason: %s.", obstacle),
					 errhint("architect.audit_history shows what the log has of it.")));
		step->columns = architect_audit_settable(table, step->kind, row->values);
		if (step->columns == NIL)
			return NULL;
		row->new_record_id = id_after(version->event);
	}
	step->statement = architect_audit_statement(step->kind, table, step->rows, step->columns);
	return step;
}

/*
 * architect.audit_restore(target, record_id, version)
 */
Datum
architect_audit_restore(PG_FUNCTION_ARGS)
{
	char	   *asked_for = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int64		number = PG_GETARG_INT64(2);
	int32		table_id;
	Relation	rel = architect_audit_open_target(PG_GETARG_OID(0), "restore a record of", &table_id);
	LiveTable  *table;
	AuditReader *reader;
	AuditVersion *version;
	char	   *record_id;
	List	   *live;
	UndoStep   *step;

	LockRelationOid(RelationGetRelid(rel), RowExclusiveLock);
	table = architect_audit_live_table(RelationGetRelid(rel), table_id);
	relation_close(rel, NoLock);

	reader = architect_audit_open_log();
	version = find_version(table, architect_audit_versions(reader, table->names, table_id, asked_for),
						   asked_for, number);
	architect_audit_close_log(reader);
	if (!version->complete)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the audit log does not have the whole row of version " INT64_FORMAT " of record \"%s\"",
						number, asked_for),
				 errdetail("Its log begins later, or has a gap, or had values removed."),
				 errhint("architect.audit_history shows what the log has of it; set the row back by hand.")));

	if (architect_audit_is_renamed_row(table->names, version->event))
		architect_audit_refuse_key(table, asked_for);
	record_id = find_record_id(version, asked_for);
	live = architect_audit_live_rows(table, list_make1(record_id), true);
	step = make_step(table, version, record_id, live != NIL ? linitial(live) : NULL);
	if (step == NULL)
	{
		ereport(NOTICE,
				(errmsg("record \"%s\" of table %s is as in version " INT64_FORMAT " already",
						record_id, table->name, number)));
		PG_RETURN_INT64(0);
	}
	PG_RETURN_INT64(architect_audit_run_step(step, false));
}
