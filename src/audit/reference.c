/*
 * reference.c
 *    Constraints between rows that an undo has to mind.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "audit/undo.h"

/*
 * Returns an array of a constraint as C array.
 */
static Datum *
constraint_array(HeapTuple tuple, int column, Oid type, int *count)
{
	bool		isnull;
	Datum		array = SysCacheGetAttr(CONSTROID, tuple, column, &isnull);
	Datum	   *elements;

	if (isnull)
		elog(ERROR, "a foreign key has no columns");
	deconstruct_array(DatumGetArrayTypeP(array), type, type == OIDOID ? sizeof(Oid) : sizeof(int16), true,
					  type == OIDOID ? TYPALIGN_INT : TYPALIGN_SHORT, &elements, NULL, count);
	return elements;
}

/*
 * Returns the query for the rows that refer to these (record ids, char *) by the
 * foreign key.
 */
static char *
reference_query(LiveTable *table, List *record_ids, HeapTuple tuple)
{
	Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	int			count;
	Datum	   *theirs = constraint_array(tuple, Anum_pg_constraint_conkey, INT2OID, &count);
	Datum	   *ours = constraint_array(tuple, Anum_pg_constraint_confkey, INT2OID, &count);
	Datum	   *operators = constraint_array(tuple, Anum_pg_constraint_conpfeqop, OIDOID, &count);
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT referring FROM %s AS live JOIN (VALUES ", table->target);
	architect_audit_append_keys(&query, table, record_ids, architect_audit_number_name(table));
	appendStringInfoString(&query, " ON ");
	architect_audit_append_match(&query, table, "");
	appendStringInfo(&query, " JOIN %s AS referring ON ", architect_audit_relation_name(constraint->conrelid));
	for (int i = 0; i < count; i++)
		appendStringInfo(&query, "%slive.%s %s referring.%s", i > 0 ? " AND " : "",
						 architect_audit_quote(get_attname(table->relid, DatumGetInt16(ours[i]), false)),
						 architect_audit_operator(DatumGetObjectId(operators[i])),
						 architect_audit_quote(get_attname(constraint->conrelid, DatumGetInt16(theirs[i]), false)));
	return query.data;
}

/*
 * Returns the table if the transaction changed it, or NULL.
 */
static LiveTable *
find_table(Undo *undo, Oid relid)
{
	ListCell   *cell;

	foreach(cell, undo->tables)
	{
		if (((LiveTable *) lfirst(cell))->relid == relid)
			return lfirst(cell);
	}
	return NULL;
}

static int64
count_rows(const char *query)
{
	int64		count;

	SPI_connect();
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of: %s", query);
	count = SPI_processed;
	SPI_finish();
	return count;
}

/*
 * Counts the rows that refer by this foreign key to rows which are to be deleted,
 * without those that the undo itself sets back.
 */
static int64
count_references(Undo *undo, LiveTable *table, List *record_ids, HeapTuple tuple)
{
	char	   *query = reference_query(table, record_ids, tuple);
	LiveTable  *other = find_table(undo, ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid);
	int64		count = 0;
	ListCell   *cell;

	if (other == NULL)
		return count_rows(query);
	foreach(cell, architect_audit_query_rows(other, query, true))
	{
		NetState   *state = architect_audit_state(undo, other, ((LiveRow *) lfirst(cell))->record_id);

		if (state->rows == NIL)
			count++;
	}
	return count;
}

/*
 * Returns the constraints of the database that no other was derived from, as
 * tuples.
 */
static List *
read_constraints(void)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *tuples = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (!OidIsValid(((Form_pg_constraint) GETSTRUCT(tuple))->conparentid))
			tuples = lappend(tuples, heap_copytuple(tuple));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return tuples;
}

/*
 * Notes rows that came to refer to rows of this table which are to be deleted:
 * the server would delete them along, or empty the reference, or refuse.
 */
void
architect_audit_find_references(Undo *undo, LiveTable *table)
{
	UndoStep   *first = NULL;
	List	   *record_ids = NIL;
	ListCell   *cell;
	ListCell   *row_cell;

	foreach(cell, undo->steps)
	{
		UndoStep   *step = lfirst(cell);

		if (step->table != table || step->kind != UNDO_DELETE)
			continue;
		first = first == NULL ? step : first;
		foreach(row_cell, step->rows)
			record_ids = lappend(record_ids, unconstify(char *, ((UndoRow *) lfirst(row_cell))->record_id));
	}
	if (first == NULL)
		return;
	if (undo->constraints == NIL)
		undo->constraints = read_constraints();

	foreach(cell, undo->constraints)
	{
		HeapTuple	tuple = lfirst(cell);
		Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);
		int64		count = 0;

		if (constraint->contype != CONSTRAINT_FOREIGN || constraint->confrelid != table->relid)
			continue;

		for (int done = 0; done < list_length(record_ids); done += AUDIT_LOOKUP_ROWS)
			count += count_references(undo, table, list_truncate(list_copy_tail(record_ids, done),
																 AUDIT_LOOKUP_ROWS), tuple);
		if (count > 0)
			architect_audit_add_reference(undo, first, constraint->conrelid, NameStr(constraint->conname), count);
	}
}

static LiveColumn *
column_by_number(LiveTable *table, AttrNumber attnum)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (table->columns[i].attnum == attnum)
			return &table->columns[i];
	}
	elog(ERROR, "column %d of table %s not found", attnum, table->name);
}

static UndoReference *
make_reference(LiveTable *child, LiveTable *parent, HeapTuple tuple)
{
	UndoReference *reference = palloc0(sizeof(UndoReference));
	Datum	   *theirs = constraint_array(tuple, Anum_pg_constraint_conkey, INT2OID, &reference->count);
	Datum	   *ours = constraint_array(tuple, Anum_pg_constraint_confkey, INT2OID, &reference->count);

	reference->child = child;
	reference->parent = parent;
	reference->child_columns = palloc(reference->count * sizeof(LiveColumn *));
	reference->parent_columns = palloc(reference->count * sizeof(LiveColumn *));
	for (int i = 0; i < reference->count; i++)
	{
		reference->child_columns[i] = column_by_number(child, DatumGetInt16(theirs[i]));
		reference->parent_columns[i] = column_by_number(parent, DatumGetInt16(ours[i]));
	}
	return reference;
}

/*
 * Returns the foreign keys (UndoReference *) between tables that the transaction
 * changed.
 */
List *
architect_audit_references(Undo *undo)
{
	List	   *references = NIL;
	ListCell   *cell;

	if (undo->constraints == NIL)
		undo->constraints = read_constraints();
	foreach(cell, undo->constraints)
	{
		Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT((HeapTuple) lfirst(cell));
		LiveTable  *child = find_table(undo, constraint->conrelid);
		LiveTable  *parent = find_table(undo, constraint->confrelid);

		if (constraint->contype == CONSTRAINT_FOREIGN && child != NULL && parent != NULL)
			references = lappend(references, make_reference(child, parent, lfirst(cell)));
	}
	return references;
}

/*
 * True when SET CONSTRAINTS would take this name for a constraint as well that
 * cannot be deferred, and fail.
 */
static bool
is_ambiguous(Undo *undo, Form_pg_constraint constraint)
{
	ListCell   *cell;

	foreach(cell, undo->constraints)
	{
		Form_pg_constraint other = (Form_pg_constraint) GETSTRUCT((HeapTuple) lfirst(cell));

		if (!other->condeferrable && other->connamespace == constraint->connamespace &&
			strcmp(NameStr(other->conname), NameStr(constraint->conname)) == 0)
			return true;
	}
	return false;
}

/*
 * Returns the names of the constraints on these tables that wait for the end of
 * the transaction only if they are told to, as a list in SQL; NULL if there are
 * none.
 */
char *
architect_audit_deferrable(Undo *undo)
{
	StringInfoData names;
	ListCell   *cell;

	if (undo->constraints == NIL)
		undo->constraints = read_constraints();
	initStringInfo(&names);
	foreach(cell, undo->constraints)
	{
		Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT((HeapTuple) lfirst(cell));

		if (constraint->condeferrable && !constraint->condeferred &&
			(find_table(undo, constraint->conrelid) != NULL || find_table(undo, constraint->confrelid) != NULL) &&
			!is_ambiguous(undo, constraint))
			appendStringInfo(&names, "%s%s.%s", names.len > 0 ? ", " : "",
							 architect_audit_quote(get_namespace_name(constraint->connamespace)),
							 architect_audit_quote(NameStr(constraint->conname)));
	}
	return names.len > 0 ? names.data : NULL;
}
