/*
 * live.c
 *    Audited tables as they are now: their columns, and their rows as the log
 *    would show them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "audit/replay.h"
#include "audit/undo.h"
#include "core/core.h"

/*
 * The type's name for a cast that checks no length: a value too long for its
 * column must be refused and not cut.
 */
static char *
cast_type(Oid type)
{
	int			pin_level = architect_audit_pin(AUDIT_PIN_QUOTE);
	char	   *name = format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	architect_audit_unpin(pin_level);
	return name;
}

/*
 * The operator, qualified, so that no other can take its place.
 */
char *
architect_audit_operator(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)", architect_audit_quote(get_namespace_name(form->oprnamespace)),
					  NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The operator that says that two values of the type are equal.
 */
static char *
equality_of(Oid type)
{
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;

	if (!OidIsValid(operator))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for type %s", format_type_be(type))));
	return architect_audit_operator(operator);
}

/*
 * Notes which columns must stay unique from row to row.
 */
static void
find_unique_columns(LiveTable *table, Relation rel)
{
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		/* What is deferrable is checked when the statement has ended, at the earliest. */
		for (int i = 0; (form->indisunique || form->indisexclusion) && form->indimmediate && i < form->indnkeyatts; i++)
		{
			for (int c = 0; c < table->ncolumns; c++)
			{
				if (table->columns[c].attnum == form->indkey.values[i])
					table->columns[c].is_unique = true;
			}
			if (form->indkey.values[i] == 0 || RelationGetIndexPredicate(index) != NIL)
				table->order_matters = true;
		}
		index_close(index, AccessShareLock);
	}
}

static void
describe_column(LiveColumn *column, Form_pg_attribute attribute)
{
	Oid			type = getBaseType(attribute->atttypid);

	column->attnum = attribute->attnum;
	column->name = pstrdup(NameStr(attribute->attname));
	column->length = strlen(column->name);
	column->quoted = architect_audit_quote(column->name);
	column->type = cast_type(type);
	column->is_jsonb = type == JSONBOID;
	column->is_generated = attribute->attgenerated != '\0';
	column->is_always_identity = attribute->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
	column->needs_value = attribute->attnotnull && !attribute->atthasdef && attribute->attidentity == '\0';
}

/*
 * Notes what the audit does with each column.
 */
static void
describe_audit(LiveTable *table, Relation rel, AuditTable *audit)
{
	for (int i = 0; i < audit->ncolumns; i++)
	{
		LiveColumn *column = architect_audit_live_column(table, audit->columns[i].name,
														 audit->columns[i].name_length);

		column->is_logged = true;
		column->is_masked = audit->columns[i].masked;
	}

	table->keys_only = audit->capture == AUDIT_CAPTURE_KEYS;
	table->pins = audit->pins & AUDIT_PIN_INPUT;
	table->keys = palloc(audit->nkeys * sizeof(LiveColumn *));
	for (int i = 0; i < audit->nkeys; i++)
	{
		LiveColumn *column = architect_audit_live_column(table, audit->keys[i]->name,
														 audit->keys[i]->name_length);

		column->equals = equality_of(getBaseType(TupleDescAttr(RelationGetDescr(rel),
															   column->attnum - 1)->atttypid));
		table->keys[table->nkeys++] = column;
	}
}

/*
 * Describes an audited table, which must be locked.
 */
LiveTable *
architect_audit_live_table(Oid relid, int32 table_id)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	LiveTable  *table = palloc0(sizeof(LiveTable));

	table->table_id = table_id;
	table->relid = relid;
	table->name = architect_audit_relation_name(relid);
	table->target = rel->rd_rel->relkind == RELKIND_RELATION && has_subclass(relid) ?
		psprintf("ONLY %s", table->name) : table->name;

	table->columns = palloc0(desc->natts * sizeof(LiveColumn));
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			describe_column(&table->columns[table->ncolumns++], TupleDescAttr(desc, i));
	}
	describe_audit(table, rel, architect_audit_capture_of(rel));
	find_unique_columns(table, rel);
	table->names = architect_audit_past_names(relid, table_id);
	relation_close(rel, NoLock);
	return table;
}

/*
 * Returns the column of this name, or NULL.
 */
LiveColumn *
architect_audit_live_column(LiveTable *table, const char *name, int length)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (table->columns[i].length == length && memcmp(table->columns[i].name, name, length) == 0)
			return &table->columns[i];
	}
	return NULL;
}

/*
 * Raises: the log names a row in a way that the present key does not.
 */
void
architect_audit_refuse_key(LiveTable *table, const char *record_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("record \"%s\" of table %s was logged under another key", record_id, table->name),
			 errdetail("Its rows were named by other columns then, or by values of another type."),
			 errhint("Set the row back by hand.")));
}

/*
 * Returns the texts (char *) of the key's columns.
 */
List *
architect_audit_key_texts(LiveTable *table, const char *record_id)
{
	List	   *texts = NIL;
	Jsonb	   *array;

	if (table->nkeys == 1)
		return list_make1(unconstify(char *, record_id));

	if (record_id[0] != '[')
		architect_audit_refuse_key(table, record_id);
	array = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(record_id)));
	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_COUNT(array) != table->nkeys)
		architect_audit_refuse_key(table, record_id);
	for (int i = 0; i < table->nkeys; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(&array->root, i);

		if (element->type != jbvString)
			architect_audit_refuse_key(table, record_id);
		texts = lappend(texts, pnstrdup(element->val.string.val, element->val.string.len));
	}
	return texts;
}

/*
 * The row in the slot as the log would show it.
 */
static LiveRow *
make_live_row(AuditTable *audit, TupleTableSlot *slot)
{
	LiveRow    *row = palloc(sizeof(LiveRow));
	AuditColumnSet set = {.columns = palloc(audit->ncolumns * sizeof(int))};

	while (set.count < audit->ncolumns)
	{
		set.columns[set.count] = set.count;
		set.count++;
	}
	slot_getallattrs(slot);
	row->record_id = text_to_cstring(architect_audit_record_id(audit, slot));
	row->image = architect_audit_image(audit, &set, slot);
	return row;
}

/*
 * Returns the rows that a query has found, in this context.
 */
static List *
collect_rows(LiveTable *table, MemoryContext context)
{
	List	   *rows = NIL;
	MemoryContext caller = MemoryContextSwitchTo(context);
	Relation	rel = relation_open(table->relid, NoLock);
	AuditTable *audit = architect_audit_capture_of(rel);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		HeapTupleHeader header = DatumGetHeapTupleHeader(SPI_getbinval(SPI_tuptable->vals[i],
																	   SPI_tuptable->tupdesc, 1, &isnull));
		HeapTupleData tuple = {
			.t_len = HeapTupleHeaderGetDatumLength(header),
			.t_tableOid = InvalidOid,
			.t_data = header
		};

		ItemPointerSetInvalid(&tuple.t_self);
		ExecForceStoreHeapTuple(&tuple, slot, false);
		rows = lappend(rows, make_live_row(audit, slot));
	}
	ExecDropSingleTupleTableSlot(slot);
	relation_close(rel, NoLock);
	MemoryContextSwitchTo(caller);
	return rows;
}

/*
 * Returns the rows (LiveRow *) of this table that the query gives.
 */
List *
architect_audit_query_rows(LiveTable *table, const char *query, bool read_only)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *rows;

	SPI_connect();
	if (SPI_execute(query, read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of: %s", query);
	rows = collect_rows(table, context);
	SPI_finish();
	return rows;
}

/*
 * A name for a column beside those of the key.
 */
const char *
architect_audit_number_name(LiveTable *table)
{
	char	   *name = pstrdup("n");

	for (int i = 0; i < table->nkeys; i++)
	{
		if (strcmp(table->keys[i]->name, name) == 0)
		{
			name = psprintf("%s_", name);
			i = -1;
		}
	}
	return name;
}

/*
 * Returns the live rows (LiveRow *) of these records (char *), as far as there
 * are any; locked, in the order of the list, if so asked.
 */
List *
architect_audit_live_rows(LiveTable *table, List *record_ids, bool lock)
{
	const char *number = architect_audit_number_name(table);
	List	   *rows = NIL;

	for (int done = 0; done < list_length(record_ids); done += AUDIT_LOOKUP_ROWS)
	{
		List	   *some = list_copy_tail(record_ids, done);
		StringInfoData query;

		some = list_truncate(some, AUDIT_LOOKUP_ROWS);
		initStringInfo(&query);
		appendStringInfo(&query, "SELECT live FROM %s AS live JOIN (VALUES ", table->target);
		architect_audit_append_keys(&query, table, some, number);
		appendStringInfoString(&query, " ON ");
		architect_audit_append_match(&query, table, "");
		if (lock)
			appendStringInfo(&query, " ORDER BY was.%s FOR UPDATE OF live", number);

		rows = list_concat(rows, architect_audit_query_rows(table, query.data, !lock));
	}
	return rows;
}
