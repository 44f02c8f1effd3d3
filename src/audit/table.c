/*
 * table.c
 *    How a table is audited: read from its trigger, kept for the session.
 *
 * The trigger's argument is a JSON object that architect.audit_enable wrote.
 * Columns stand in it by name, and by number with a witness of the table that
 * the numbers were taken from.  Where the witness fits, numbers count, so a
 * renamed column is followed and a dropped one forgotten; in a restored copy
 * names count, and one that is not there is an error rather than a leak.
 *
 * Entries are keyed by trigger, as each partition has a trigger of its own, and
 * are made anew after an invalidation of the relation, its root or a schema.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "audit/audit.h"
#include "core/core.h"

static MemoryContext audit_tables_context = NULL;
static HTAB *audit_tables = NULL;
static uint64 invalidations = 0;

/* The entry asked for last, as a rule asked for again. */
static AuditTable *latest = NULL;

/*
 * Returns the trigger by which deleted rows of the relation are audited, or
 * NULL when it is not.
 */
Trigger *
architect_audit_find_trigger(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_DELETE(trigger->tgtype) &&
			get_func_namespace(trigger->tgfoid) == architect_schema() &&
			(strcmp(trigger->tgname, AUDIT_ROW_TRIGGER) == 0 ||
			 strcmp(trigger->tgname, AUDIT_DELETE_TRIGGER) == 0))
			return trigger;
	}
	return NULL;
}

static bool
get_option(Jsonb *options, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&options->root, name, strlen(name), value) != NULL;
}

/*
 * Raises: a trigger was made by hand, or meddled with.
 */
static void
refuse_options(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("an audit trigger was not made by architect.audit_enable"),
			 errhint("Drop the trigger and call architect.audit_enable.")));
}

static char *
get_string_option(Jsonb *options, const char *name)
{
	JsonbValue	value;

	if (!get_option(options, name, &value) || value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/*
 * Returns what tells this database from every other, restored copies included.
 */
char *
architect_audit_origin(void)
{
	return psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), MyDatabaseId);
}

/*
 * The same for a table.
 */
char *
architect_audit_witness(Relation root)
{
	return psprintf("%s/%u", architect_audit_origin(), RelationGetRelid(root));
}

/*
 * True when the numbers in the options were taken from this very table.
 */
static bool
fits_witness(Jsonb *options, Relation root)
{
	char	   *witness = get_string_option(options, "source");

	return witness != NULL && strcmp(witness, architect_audit_witness(root)) == 0;
}

/*
 * Returns the array of this name, or NULL when there is none.
 */
static JsonbContainer *
get_array_option(Jsonb *options, const char *name)
{
	JsonbValue	value;

	if (!get_option(options, name, &value))
		return NULL;
	if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
		refuse_options();
	return value.val.binary.data;
}

/*
 * Returns the column that was meant by this number, or that has this name now;
 * InvalidAttrNumber where there is neither.  Sets dropped when it was dropped,
 * and not made anew under its name.
 */
static AttrNumber
find_column(Relation root, const char *name, JsonbValue *number, bool *dropped)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(root), name);
	int			meant;

	*dropped = false;
	if (number == NULL)
		return attnum;
	if (number->type != jbvNumeric)
		refuse_options();

	meant = DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(number->val.numeric)));
	if (meant < 1 || meant > RelationGetDescr(root)->natts)
		refuse_options();
	if (!TupleDescAttr(RelationGetDescr(root), meant - 1)->attisdropped)
		return meant;
	*dropped = attnum == InvalidAttrNumber;
	return attnum;
}

/*
 * Returns the columns of the root table that this option lists, as attribute
 * numbers; raises 42703 when one is not there any more.
 */
static List *
get_columns_option(Jsonb *options, const char *name, Relation root)
{
	List	   *result = NIL;
	JsonbContainer *names = get_array_option(options, name);
	JsonbContainer *numbers = get_array_option(options, psprintf("%s_attnums", name));
	bool		by_number = numbers != NULL && fits_witness(options, root);

	if (names == NULL)
		return NIL;
	if (by_number && JsonContainerSize(names) != JsonContainerSize(numbers))
		refuse_options();

	for (uint32 i = 0; i < JsonContainerSize(names); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(names, i);
		char	   *column;
		AttrNumber	attnum;
		bool		dropped;

		if (element->type != jbvString)
			refuse_options();
		column = pnstrdup(element->val.string.val, element->val.string.len);
		attnum = find_column(root, column,
							 by_number ? getIthJsonbValueFromContainer(numbers, i) : NULL, &dropped);
		if (dropped)
			continue;

		if (attnum <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s\" does not exist, but its audit names it",
							column, RelationGetRelationName(root)),
					 errhint("Call architect.audit_enable again with the columns as they are now.")));
		result = lappend_int(result, attnum);
	}
	return result;
}

static AuditCapture
get_capture_option(Jsonb *options)
{
	char	   *capture = get_string_option(options, "capture");

	if (capture != NULL && strcmp(capture, "full") == 0)
		return AUDIT_CAPTURE_FULL;
	if (capture != NULL && strcmp(capture, "keys") == 0)
		return AUDIT_CAPTURE_KEYS;
	return AUDIT_CAPTURE_CHANGES;
}

static AuditTruncate
get_truncate_option(Jsonb *options)
{
	char	   *truncate = get_string_option(options, "truncate");

	if (truncate != NULL && strcmp(truncate, "rows") == 0)
		return AUDIT_TRUNCATE_ROWS;
	if (truncate != NULL && strcmp(truncate, "refuse") == 0)
		return AUDIT_TRUNCATE_REFUSE;
	return AUDIT_TRUNCATE_EVENT;
}

/*
 * Returns the number under which the table stands in the log, or 0 when it is
 * not registered.
 */
int32
architect_audit_table_id(Oid root)
{
	Relation	registry = table_open(architect_relation("audit_tables", false), AccessShareLock);
	Oid			index = architect_relation("audit_tables_relation_key", false);
	AttrNumber	relation = get_attnum(RelationGetRelid(registry), "relation");
	AttrNumber	table_id = get_attnum(RelationGetRelid(registry), "table_id");
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int32		result = 0;

	ScanKeyInit(&key, relation, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(root));
	scan = systable_beginscan(registry, index, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		result = DatumGetInt32(heap_getattr(tuple, table_id, RelationGetDescr(registry), &isnull));
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return result;
}

/*
 * Adds the generated columns that are computed from a masked one: they would
 * tell what the mask hides.
 */
List *
architect_audit_extend_mask(Relation root, List *mask)
{
	TupleDesc	desc = RelationGetDescr(root);
	List	   *extended = list_copy(mask);

	for (int i = 0; mask != NIL && i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Bitmapset  *used = NULL;
		ListCell   *cell;

		if (attribute->attisdropped || attribute->attgenerated == '\0')
			continue;

		pull_varattnos(build_column_default(root, i + 1), 1, &used);
		foreach(cell, mask)
		{
			if (bms_is_member(lfirst_int(cell) - FirstLowInvalidHeapAttributeNumber, used))
				extended = list_append_unique_int(extended, i + 1);
		}
	}
	return extended;
}

/* JSONB's order of keys: by length, then by bytes. */
static int
compare_columns(const void *left, const void *right)
{
	const AuditColumn *a = left;
	const AuditColumn *b = right;

	if (a->name_length != b->name_length)
		return a->name_length < b->name_length ? -1 : 1;
	return memcmp(a->name, b->name, a->name_length);
}

/*
 * Returns the numbers that columns of the root have in one of its partitions.
 */
static List *
same_columns(Relation root, List *columns, Relation rel)
{
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, columns)
	{
		char	   *name = NameStr(TupleDescAttr(RelationGetDescr(root), lfirst_int(cell) - 1)->attname);

		result = lappend_int(result, get_attnum(RelationGetRelid(rel), name));
	}
	return result;
}

/*
 * Fills in the columns that go into the log, and the key.  Numbers and types
 * are those of rel, names and roles those of its root.
 */
static void
read_columns(AuditTable *table, Relation rel, Relation root, Jsonb *options)
{
	TupleDesc	desc = RelationGetDescr(root);
	List	   *exclude = get_columns_option(options, "exclude", root);
	List	   *mask = architect_audit_extend_mask(root, get_columns_option(options, "mask", root));
	List	   *mask_here = architect_audit_extend_mask(rel, same_columns(root, mask, rel));
	List	   *key = architect_find_key(root, get_columns_option(options, "key", root));
	ListCell   *cell;

	if (key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is audited but has lost its key", RelationGetRelationName(root)),
				 errdetail("The audit names a row by its key."),
				 errhint("Add a primary key, or call architect.audit_enable with another unique key in its \"key\" argument.")));

	foreach(cell, key)
	{
		if (list_member_int(mask, lfirst_int(cell)) || list_member_int(exclude, lfirst_int(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the key of audited table \"%s\" has a masked or excluded column",
							RelationGetRelationName(root)),
					 errdetail("Column \"%s\" would show in audit_log.record_id.",
							   NameStr(TupleDescAttr(desc, lfirst_int(cell) - 1)->attname)),
					 errhint("Call architect.audit_enable again with another key, or without hiding the column.")));
	}

	table->key_is_deferrable = !architect_key_is_immediate(root, key);
	table->columns = palloc0(desc->natts * sizeof(AuditColumn));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		AuditColumn *column = &table->columns[table->ncolumns];
		AttrNumber	attnum;

		/* A virtual generated column holds nothing that could be logged. */
		if (attribute->attisdropped || attribute->attgenerated == 'v' ||
			list_member_int(exclude, i + 1))
			continue;

		attnum = get_attnum(RelationGetRelid(rel), NameStr(attribute->attname));
		if (attnum == InvalidAttrNumber)
			elog(ERROR, "column \"%s\" is missing in partition \"%s\"",
				 NameStr(attribute->attname), RelationGetRelationName(rel));

		column->name = pstrdup(NameStr(attribute->attname));
		column->name_length = strlen(column->name);
		column->index = attnum - 1;
		column->length = attribute->attlen;
		column->by_value = attribute->attbyval;
		column->masked = list_member_int(mask_here, attnum);
		column->in_key = list_member_int(key, i + 1);
		architect_audit_describe_type(&column->type, attribute->atttypid, table->context);
		table->pins |= column->type.pins;
		table->ncolumns++;
	}
	qsort(table->columns, table->ncolumns, sizeof(AuditColumn), compare_columns);

	table->keys = palloc(list_length(key) * sizeof(AuditColumn *));
	foreach(cell, key)
	{
		char	   *name = NameStr(TupleDescAttr(desc, lfirst_int(cell) - 1)->attname);

		for (int i = 0; i < table->ncolumns; i++)
		{
			if (strcmp(table->columns[i].name, name) == 0)
				table->keys[table->nkeys++] = &table->columns[i];
		}
	}
}

/*
 * The table whose audit this trigger belongs to: the ancestor that the trigger
 * was cloned from, or the relation itself.
 */
static Oid
find_root(Relation rel, Trigger *trigger)
{
	ListCell   *cell;

	if (!trigger->tgisclone)
		return RelationGetRelid(rel);

	foreach(cell, get_partition_ancestors(RelationGetRelid(rel)))
	{
		Relation	ancestor = relation_open(lfirst_oid(cell), AccessShareLock);
		Trigger    *original = architect_audit_find_trigger(ancestor);
		bool		found = original != NULL && !original->tgisclone;

		relation_close(ancestor, AccessShareLock);
		if (found)
			return lfirst_oid(cell);
	}
	elog(ERROR, "found no table that trigger \"%s\" of \"%s\" was cloned from",
		 trigger->tgname, RelationGetRelationName(rel));
}

/*
 * True when triggers of others may run after ours, within the statement.
 */
static bool
has_other_after_triggers(Relation rel)
{
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (!trigger->tgisinternal && TRIGGER_FOR_AFTER(trigger->tgtype) &&
			strcmp(trigger->tgname, AUDIT_ROW_TRIGGER) != 0 &&
			strcmp(trigger->tgname, AUDIT_DELETE_TRIGGER) != 0)
			return true;
	}
	return false;
}

/*
 * Reads how the relation is audited into the entry, whose context is current.
 */
static void
read_table(AuditTable *table, Relation rel, Trigger *trigger)
{
	Relation	root;
	Jsonb	   *options;

	if (trigger->tgnargs != 1)
		refuse_options();
	options = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(trigger->tgargs[0])));
	if (!JB_ROOT_IS_OBJECT(options))
		refuse_options();

	table->relation = RelationGetRelid(rel);
	table->root = find_root(rel, trigger);
	table->store_at_once = has_other_after_triggers(rel);
	root = relation_open(table->root, AccessShareLock);

	table->table_id = architect_audit_table_id(table->root);
	if (table->table_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has audit triggers but is not registered",
						RelationGetRelationName(root)),
				 errdetail("This happens when a table is restored without the data of the extension."),
				 errhint("Call architect.audit_enable for the table again.")));

	table->capture = get_capture_option(options);
	table->truncate = get_truncate_option(options);
	table->schema_name = CStringGetTextDatum(get_namespace_name(RelationGetNamespace(root)));
	table->table_name = CStringGetTextDatum(RelationGetRelationName(root));
	read_columns(table, rel, root, options);

	relation_close(root, AccessShareLock);
}

/*
 * Returns how the relation is audited according to this trigger.  The entry
 * belongs to the session; it is good until the next call.
 */
AuditTable *
architect_audit_table(Relation rel, Trigger *trigger)
{
	AuditTable *table;
	bool		found;
	uint64		invalidations_before;
	MemoryContext caller;

	if (latest != NULL && latest->trigger == trigger->tgoid && latest->valid)
		return latest;

	table = hash_search(audit_tables, &trigger->tgoid, HASH_ENTER, &found);
	if (!found)
		memset((char *) table + sizeof(Oid), 0, sizeof(AuditTable) - sizeof(Oid));
	latest = table;
	if (table->valid)
		return table;

	architect_check_version();

	if (table->context != NULL)
		MemoryContextDelete(table->context);
	memset((char *) table + sizeof(Oid), 0, sizeof(AuditTable) - sizeof(Oid));

	table->context = AllocSetContextCreate(audit_tables_context, "architect audit table",
										   ALLOCSET_SMALL_SIZES);
	table->relation = RelationGetRelid(rel);
	invalidations_before = invalidations;
	caller = MemoryContextSwitchTo(table->context);
	read_table(table, rel, trigger);
	MemoryContextSwitchTo(caller);

	table->valid = invalidations == invalidations_before;
	return table;
}

/*
 * Forgets what was read of this relation, or of all for InvalidOid.
 */
static void
forget_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	AuditTable *table;

	invalidations++;
	hash_seq_init(&scan, audit_tables);
	while ((table = hash_seq_search(&scan)) != NULL)
	{
		if (!OidIsValid(relid) || table->relation == relid || table->root == relid)
			table->valid = false;
	}
}

static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_relation(arg, InvalidOid);
}

void
architect_audit_table_init(void)
{
	HASHCTL		info = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(AuditTable)
	};

	audit_tables_context = AllocSetContextCreate(TopMemoryContext, "architect audit tables",
												 ALLOCSET_DEFAULT_SIZES);
	info.hcxt = audit_tables_context;
	audit_tables = hash_create("architect audit tables", 32, &info,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, (Datum) 0);
}
