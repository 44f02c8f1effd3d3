/*
 * target.c
 *    An audited table with its shapes, for those who read its log.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/timestamp.h"

#include "audit/replay.h"
#include "core/core.h"

static char *
text_or_null(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * Returns the elements of an array of texts in column; NULLs stay NULL.
 */
static char **
read_texts(HeapTuple tuple, TupleDesc desc, int column, int *count)
{
	bool		isnull;
	ArrayType  *array = DatumGetArrayTypeP(SPI_getbinval(tuple, desc, column, &isnull));
	Datum	   *elements;
	bool	   *nulls;
	char	  **texts;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, count);
	texts = palloc0(*count * sizeof(char *));
	for (int i = 0; i < *count; i++)
		texts[i] = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
	return texts;
}

/*
 * Fills in a shape from a row of the query below.
 */
static void
read_shape(AuditShape *shape, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	char	  **names = read_texts(tuple, desc, 9, &shape->ncolumns);
	char	  **present_names = read_texts(tuple, desc, 10, &shape->ncolumns);
	char	  **types = read_texts(tuple, desc, 11, &shape->ncolumns);
	char	  **hidden = read_texts(tuple, desc, 12, &shape->ncolumns);

	shape->log_id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
	shape->changed_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 2, &isnull));
	shape->is_after = DatumGetBool(SPI_getbinval(tuple, desc, 3, &isnull));
	shape->capture = text_or_null(tuple, desc, 4);
	shape->condition = text_or_null(tuple, desc, 5);
	shape->gap = text_or_null(tuple, desc, 6);
	shape->whole = DatumGetBool(SPI_getbinval(tuple, desc, 7, &isnull));
	shape->key = text_or_null(tuple, desc, 8);
	shape->origin = text_or_null(tuple, desc, 13);
	shape->is_present = true;
	shape->columns = palloc0(shape->ncolumns * sizeof(AuditShapeColumn));
	for (int i = 0; i < shape->ncolumns; i++)
	{
		AuditShapeColumn *column = &shape->columns[i];

		column->name = names[i];
		column->name_length = strlen(names[i]);
		column->present_name = present_names[i];
		column->type = types[i];
		column->excluded = hidden[i] != NULL && strcmp(hidden[i], "exclude") == 0;
		column->masked = hidden[i] != NULL && strcmp(hidden[i], "mask") == 0;
		shape->is_present &= !column->masked && present_names[i] != NULL &&
			strcmp(names[i], present_names[i]) == 0;
	}
}

/*
 * Reads the shapes of the table, and which came after the moment, if one is given.
 */
static void
read_shapes(AuditTarget *target, const AuditMoment *moment)
{
	MemoryContext caller = CurrentMemoryContext;
	int			pin_level = architect_audit_pin(AUDIT_PIN_QUERY);
	Oid			types[3] = {INT4OID};
	Datum		values[3] = {Int32GetDatum(target->table_id)};
	MemoryContext spi;
	char	   *query;

	if (moment != NULL)
		architect_audit_moment_parameters(moment, types + 1, values + 1);
	query = psprintf("SELECT shape.log_id, shape.changed_at, %s, shape.capture, shape.condition, shape.gap,"
					 "       shape.whole, shape.key,"
					 "       list.names, list.present_names, list.types, list.hidden, shape.origin"
					 " FROM " ARCHITECT_SCHEMA ".audit_shapes AS shape"
					 " CROSS JOIN LATERAL (SELECT coalesce(array_agg(name), '{}'),"
					 "       coalesce(array_agg(present_name), '{}'),"
					 "       coalesce(array_agg(type), '{}'), coalesce(array_agg(hidden), '{}')"
					 "     FROM " ARCHITECT_SCHEMA ".audit_columns AS one"
					 "     WHERE one.table_id = shape.table_id AND one.shape_id = shape.shape_id)"
					 "     AS list (names, present_names, types, hidden)"
					 " WHERE shape.table_id = $1 ORDER BY shape.shape_id",
					 moment != NULL ? architect_audit_after(moment, 2) : "true");

	SPI_connect();
	if (SPI_execute_with_args(query, moment != NULL ? 3 : 1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of: %s", query);
	spi = MemoryContextSwitchTo(caller);
	target->nshapes = SPI_processed;
	target->shapes = palloc0(target->nshapes * sizeof(AuditShape));
	for (int i = 0; i < target->nshapes; i++)
		read_shape(&target->shapes[i], SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	architect_audit_unpin(pin_level);
}

/*
 * Opens the log of a table that the caller owns, and stores what is pending for
 * it; raises 42501 for others and 55000 for a table that was never audited.  The
 * purpose completes "cannot ...".
 */
AuditTarget *
architect_audit_read_target(Oid relid, const AuditMoment *moment, const char *purpose)
{
	AuditTarget *target = palloc0(sizeof(AuditTarget));
	Relation	rel = try_relation_open(relid, AccessShareLock);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", relid),
				 errhint("Name the table, as in 'public.orders'.")));
	architect_check_plain_table(rel, purpose);
	architect_check_owner(rel);
	target->relation = relid;
	target->owner = rel->rd_rel->relowner;
	target->name = pstrdup(RelationGetRelationName(rel));
	target->table_id = architect_audit_table_id(relid);
	relation_close(rel, NoLock);

	architect_audit_store_pending();
	if (target->table_id != 0)
	{
		read_shapes(target, moment);
		target->removed_before =
			architect_audit_query_time("SELECT removed_before FROM " ARCHITECT_SCHEMA ".audit_tables"
									   " WHERE table_id = $1", INT4OID, Int32GetDatum(target->table_id), DT_NOBEGIN);
	}
	if (target->nshapes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot %s \"%s\"", purpose, target->name),
				 errdetail("It was never audited under this name."),
				 errhint("Call architect.audit_enable for the table; of a partition, name the partitioned table.")));
	return target;
}

/*
 * The shape under which an event was logged.
 */
AuditShape *
architect_audit_shape_at(AuditTarget *target, int64 log_id)
{
	int			place = target->nshapes - 1;

	while (place > 0 && target->shapes[place].log_id >= log_id)
		place--;
	return &target->shapes[place];
}

/*
 * True when record_id means another under these shapes.  A copy has the same key,
 * if by other numbers.
 */
bool
architect_audit_has_other_key(const AuditShape *left, const AuditShape *right)
{
	return strcmp(left->origin, right->origin) == 0 && strcmp(left->key, right->key) != 0;
}

/*
 * Begins to read values by the input functions of the table's types.  These may
 * run code of its owner, which must not get the rights of a caller who is not.
 */
void
architect_audit_begin_reading(AuditTarget *target, AuditReading *reading)
{
	GetUserIdAndSecContext(&reading->user, &reading->security);
	if (reading->user != target->owner)
		SetUserIdAndSecContext(target->owner, reading->security | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
	reading->level = architect_audit_pin(AUDIT_PIN_INPUT);
}

void
architect_audit_end_reading(AuditReading *reading)
{
	architect_audit_unpin(reading->level);
	SetUserIdAndSecContext(reading->user, reading->security);
}

/*
 * How this table, or partition, is audited; raises 55000 where it is not, which
 * the shapes of its root do not tell.
 */
AuditTable *
architect_audit_capture_of(Relation rel)
{
	Trigger    *trigger = architect_audit_find_trigger(rel);

	if (trigger == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not audited any more", RelationGetRelationName(rel)),
				 errdetail("It has not the triggers of architect.audit_enable."),
				 errhint("Call architect.audit_enable for the table, or for the partitioned table at the top.")));
	return architect_audit_table(rel, trigger);
}

/*
 * Returns the tables that hold the rows: the table itself, or its partitions at
 * the bottom, locked.
 */
List *
architect_audit_tables_of(Relation root)
{
	List	   *tables = NIL;
	ListCell   *cell;

	if (root->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return list_make1_oid(RelationGetRelid(root));
	foreach(cell, find_all_inheritors(RelationGetRelid(root), AccessShareLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_RELATION)
			tables = lappend_oid(tables, lfirst_oid(cell));
	}
	return tables;
}

/*
 * The rows of a table by its statistics.
 */
double
architect_audit_estimate_rows(Relation root)
{
	double		rows = 0;
	ListCell   *cell;

	foreach(cell, architect_audit_tables_of(root))
	{
		Relation	rel = relation_open(lfirst_oid(cell), AccessShareLock);

		rows += Max(rel->rd_rel->reltuples, 0);
		relation_close(rel, NoLock);
	}
	return rows;
}

/*
 * Raises unless the caller sees all rows of the table, as its log does.
 */
void
architect_audit_check_row_security(AuditTarget *target)
{
	if (check_enable_rls(target->relation, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot compare table \"%s\" with its log", target->name),
				 errdetail("Row-level security applies to you on this table, and its policies cannot be asked of rows of the past."),
				 errhint("Use a role that row-level security does not apply to.")));
}
