/*
 * shape.c
 *    What DDL does to audited tables: their shapes, and gaps in their log.
 *
 * A shape is what columns a table has and how it is audited, from one number of
 * the log on (architect.audit_shapes); it lets values be read under the names and
 * types that they were logged with.  A gap is a moment at which the table may have
 * changed without a trigger seeing it; it is an event of the log.
 *
 * All of it is noted by event triggers, with the rights of the extension's owner:
 * whoever alters the table cannot write our tables.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "audit/audit.h"
#include "audit/log.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_number_all);
PG_FUNCTION_INFO_V1(architect_audit_masked);
PG_FUNCTION_INFO_V1(architect_audit_key);
PG_FUNCTION_INFO_V1(architect_audit_follow_changes);
PG_FUNCTION_INFO_V1(architect_audit_follow_drops);
PG_FUNCTION_INFO_V1(architect_audit_follow_rewrites);

/*
 * architect._audit_number_all(): gives all events so far their numbers.
 */
Datum
architect_audit_number_all(PG_FUNCTION_ARGS)
{
	architect_audit_store_pending();
	PG_RETURN_VOID();
}

/*
 * architect._audit_masked(target, mask): the masked columns, with those that are
 * generated from them.
 */
Datum
architect_audit_masked(PG_FUNCTION_ARGS)
{
	Relation	rel = relation_open(PG_GETARG_OID(0), AccessShareLock);
	List	   *mask = NIL;
	Datum	   *names;
	int			count;
	ArrayBuildState *result = initArrayResult(TEXTOID, CurrentMemoryContext, true);
	ListCell   *cell;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &count);
	for (int i = 0; i < count; i++)
		mask = lappend_int(mask, get_attnum(RelationGetRelid(rel), TextDatumGetCString(names[i])));

	foreach(cell, architect_audit_extend_mask(rel, mask))
	{
		char	   *name = get_attname(RelationGetRelid(rel), lfirst_int(cell), false);

		result = accumArrayResult(result, CStringGetTextDatum(name), false, TEXTOID, CurrentMemoryContext);
	}
	relation_close(rel, AccessShareLock);
	PG_RETURN_DATUM(makeArrayResult(result, CurrentMemoryContext));
}

/*
 * Types whose values have the same text are one for a key.
 */
static const char *
key_type(Oid type, int32 typmod)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return "integer";
		case VARCHAROID:
		case TEXTOID:
			return "text";
		default:
			return format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
	}
}

/*
 * architect._audit_key(target, columns): number and type of each column of the
 * key, in order, where these columns or none were asked for; empty without a key.
 */
Datum
architect_audit_key(PG_FUNCTION_ARGS)
{
	Relation	rel = relation_open(PG_GETARG_OID(0), AccessShareLock);
	List	   *asked = NIL;
	Datum	   *names;
	int			count;
	StringInfoData key;
	ListCell   *cell;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &count);
	for (int i = 0; i < count; i++)
		asked = lappend_int(asked, get_attnum(RelationGetRelid(rel), TextDatumGetCString(names[i])));

	initStringInfo(&key);
	foreach(cell, architect_find_key(rel, asked))
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), lfirst_int(cell) - 1);

		appendStringInfo(&key, "%s%d %s", key.len > 0 ? ", " : "", attribute->attnum,
						 key_type(attribute->atttypid, attribute->atttypmod));
	}
	relation_close(rel, AccessShareLock);
	PG_RETURN_TEXT_P(cstring_to_text(key.data));
}

/*
 * Notes a gap for the audited table that this relation is, or is a partition of.
 */
static void
note_gap(Oid relid, const char *kind, const char *detail)
{
	Oid			types[] = {REGCLASSOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		ObjectIdGetDatum(relid),
		CStringGetTextDatum(kind),
		CStringGetTextDatum(detail)
	};

	architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_note_gap($1, $2, $3)", 3, types, values);
}

static bool
has_rows(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		found = false;

	if (RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))
	{
		TupleTableSlot *slot = table_slot_create(rel, NULL);
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);

		found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
		table_endscan(scan);
		UnregisterSnapshot(snapshot);
		ExecDropSingleTupleTableSlot(slot);
	}
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * True when the relation or a partition below it has a row.
 */
static bool
tree_has_rows(Oid relid)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		if (has_rows(lfirst_oid(cell)))
			return true;
	}
	return false;
}

/*
 * Notes the table's shape, if it is another than before; says whether its audit
 * was enabled just now.
 */
void
architect_audit_note_shape(Oid target, bool enabled)
{
	Oid			types[] = {REGCLASSOID, BOOLOID, BOOLOID};
	Datum		values[] = {
		ObjectIdGetDatum(target),
		BoolGetDatum(enabled),
		BoolGetDatum(enabled && !tree_has_rows(target))
	};

	architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_note_shape($1, $2, $3)", 3, types, values);
}

/*
 * True for an expression that is the column itself or a cast of it.
 */
static bool
is_same_column(Node *expression, const char *name)
{
	while (expression != NULL && IsA(expression, TypeCast))
		expression = ((TypeCast *) expression)->arg;
	return expression != NULL && IsA(expression, ColumnRef) &&
		list_length(((ColumnRef *) expression)->fields) == 1 &&
		strcmp(strVal(linitial(((ColumnRef *) expression)->fields)), name) == 0;
}

/*
 * Notes gaps that show in the text of an ALTER TABLE only: rows that come or go
 * with a partition, and values computed anew.
 */
static void
note_altered(Oid relid, AlterTableStmt *command)
{
	ListCell   *cell;

	foreach(cell, command->cmds)
	{
		AlterTableCmd *part = lfirst(cell);

		if (part->subtype == AT_AttachPartition || part->subtype == AT_DetachPartition)
		{
			RangeVar   *name = ((PartitionCmd *) part->def)->name;
			Oid			partition = RangeVarGetRelid(name, AccessShareLock, true);

			if (OidIsValid(partition) && tree_has_rows(partition))
				note_gap(relid, "partition",
						 psprintf("%s PARTITION %s with rows",
								  part->subtype == AT_AttachPartition ? "ATTACH" : "DETACH", name->relname));
		}
		else if (part->subtype == AT_AlterColumnType && IsA(part->def, ColumnDef) &&
				 ((ColumnDef *) part->def)->raw_default != NULL &&
				 !is_same_column(((ColumnDef *) part->def)->raw_default, part->name))
			note_gap(relid, "values", psprintf("ALTER COLUMN %s TYPE with USING", part->name));
	}
}

/*
 * Notes partitions that are about to be dropped by name.
 */
static void
note_dropped(DropStmt *command)
{
	ListCell   *cell;

	foreach(cell, command->objects)
	{
		RangeVar   *name = makeRangeVarFromNameList(lfirst(cell));
		Oid			relid = RangeVarGetRelid(name, NoLock, true);

		if (OidIsValid(relid) && get_rel_relispartition(relid) && tree_has_rows(relid))
			note_gap(relid, "partition", psprintf("DROP TABLE %s", name->relname));
	}
}

/*
 * Event trigger around commands that alter tables.
 */
Datum
architect_audit_follow_changes(PG_FUNCTION_ARGS)
{
	Node	   *command = architect_ddl_command(fcinfo);

	if (architect_audit_is_changing)
		return PointerGetDatum(NULL);

	if (IsA(command, DropStmt))
		note_dropped((DropStmt *) command);
	else
	{
		architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_note_shapes()", 0, NULL, NULL);
		if (IsA(command, AlterTableStmt) && ((AlterTableStmt *) command)->objtype == OBJECT_TABLE)
		{
			AlterTableStmt *alter = (AlterTableStmt *) command;
			Oid			relid = RangeVarGetRelid(alter->relation, NoLock, true);

			if (OidIsValid(relid))
				note_altered(relid, alter);
		}
	}
	return PointerGetDatum(NULL);
}

/*
 * Event trigger after something was dropped.
 */
Datum
architect_audit_follow_drops(PG_FUNCTION_ARGS)
{
	(void) architect_ddl_command(fcinfo);
	if (!architect_audit_is_changing)
		architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_note_drops()", 0, NULL, NULL);
	return PointerGetDatum(NULL);
}

/*
 * Event trigger before a table is rewritten.
 */
Datum
architect_audit_follow_rewrites(PG_FUNCTION_ARGS)
{
	(void) architect_ddl_command(fcinfo);
	architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_note_rewrite()", 0, NULL, NULL);
	return PointerGetDatum(NULL);
}
