/*
 * partition.c
 *    Partitions of the audit log, and how rows get into them.
 *
 * The partition is found from the time of the event.  Rows are written by the
 * table access method directly: the log needs no grants, and has none.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/timestamp.h"

#include "audit/audit.h"
#include "audit/log.h"
#include "core/core.h"

const AuditLogColumn architect_audit_log_columns[LOG_COLUMNS] = {
	[LOG_ID] = {"id", INT8OID},
	[LOG_CHANGED_AT] = {"changed_at", TIMESTAMPTZOID},
	[LOG_TRANSACTION_ID] = {"transaction_id", XID8OID},
	[LOG_TABLE_ID] = {"table_id", INT4OID},
	[LOG_OPERATION] = {"operation", TEXTOID},
	[LOG_TABLE_SCHEMA] = {"table_schema", TEXTOID},
	[LOG_TABLE_NAME] = {"table_name", TEXTOID},
	[LOG_RECORD_ID] = {"record_id", TEXTOID, true},
	[LOG_CHANGED_BY] = {"changed_by", TEXTOID},
	[LOG_SESSION_ROLE] = {"session_role", TEXTOID, true},
	[LOG_OLD_VALUES] = {"old_values", JSONBOID, true},
	[LOG_NEW_VALUES] = {"new_values", JSONBOID, true},
	[LOG_CONTEXT] = {"context", JSONBOID, true},
	[LOG_NEW_RECORD_ID] = {"new_record_id", TEXTOID, true},
};

/* An index of the partition that needs no executor. */
typedef struct PlainIndex
{
	Oid			index;
	IndexInfo  *info;
	AttrNumber	only_not_null;	/* rows where this column is NULL are left out; or 0 */
} PlainIndex;

/* The partition used last, and the times that belong there: [lower, upper). */
static struct
{
	bool		valid;
	uint64		changes;		/* of the relations, seen so far */
	Oid			log;
	Oid			partition;
	TimestampTz lower;
	TimestampTz upper;

	/* What an administrator has added that can refuse a row. */
	bool		has_constraints;

	/* Its indexes, where all are plain; otherwise the executor's way. */
	bool		plain_indexes;
	List	   *indexes;		/* of PlainIndex * */
	MemoryContext context;		/* owns the list */
}			target = {false};

static int
count_columns(TupleDesc desc)
{
	int			count = 0;

	for (int i = 0; i < desc->natts; i++)
		count += !TupleDescAttr(desc, i)->attisdropped;
	return count;
}

/*
 * Raises unless the partition is a plain table of the columns that we write.
 */
static void
check_shape(Relation partition)
{
	TupleDesc	desc = RelationGetDescr(partition);

	if (partition->rd_rel->relkind != RELKIND_RELATION || count_columns(desc) != LOG_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not a partition that the audit log can use",
						RelationGetRelationName(partition)),
				 errdetail("It must be an ordinary table with just the %d columns of the log.", LOG_COLUMNS),
				 errhint("Drop columns that were added to it; keep data of your own in a table of your own.")));

	for (int i = 0; i < LOG_COLUMNS; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped ||
			attribute->atttypid != architect_audit_log_columns[i].type ||
			strcmp(NameStr(attribute->attname), architect_audit_log_columns[i].name) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" has not the columns of the audit log",
							RelationGetRelationName(partition)),
					 errdetail("Column %d must be \"%s\" of type %s.", i + 1, architect_audit_log_columns[i].name,
							   format_type_be(architect_audit_log_columns[i].type)),
					 errhint("Bring the column back as it was.")));
	}
}

/*
 * Returns a relation of the log, which the first audit_enable made.
 */
Oid
architect_audit_log_relation(const char *name)
{
	Oid			relid = architect_relation(name, true);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", ARCHITECT_SCHEMA, name),
				 errdetail("An audited change has to be written there."),
				 errhint("Restore the log from a backup, or call architect.audit_enable for the table again, which makes a new one.")));
	return relid;
}

/*
 * Finds the log's partition for this time, and the times that share it.
 */
static void
find_partition(TimestampTz at)
{
	Relation	log;
	PartitionKey key;
	PartitionDesc parts;
	PartitionBoundInfo bounds;
	Datum		value = TimestampTzGetDatum(at);
	bool		is_equal;
	int			below;
	int			index;

	target.lower = DT_NOBEGIN;
	target.upper = DT_NOEND;

	log = table_open(target.log, NoLock);
	key = RelationGetPartitionKey(log);
	parts = RelationGetPartitionDesc(log, true);
	bounds = parts->boundinfo;
	if (key == NULL || parts->nparts == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"architect.audit_log\" has no partition"),
				 errhint("Call architect.audit_maintain.")));

	below = partition_range_datum_bsearch(key->partsupfunc, key->partcollation, bounds,
										  1, &value, &is_equal);
	index = bounds->ndatums > 0 ? bounds->indexes[below + 1] : -1;
	if (index < 0)
		index = bounds->default_index;
	if (index < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"architect.audit_log\" has no partition for now, and no default partition"),
				 errhint("Call architect.audit_maintain.")));

	if (below >= 0 && bounds->kind[below][0] == PARTITION_RANGE_DATUM_VALUE)
		target.lower = DatumGetTimestampTz(bounds->datums[below][0]);
	if (below + 1 < bounds->ndatums && bounds->kind[below + 1][0] == PARTITION_RANGE_DATUM_VALUE)
		target.upper = DatumGetTimestampTz(bounds->datums[below + 1][0]);
	target.partition = parts->oids[index];
	table_close(log, NoLock);
}

/*
 * The column of a predicate that says no more than that it IS NOT NULL, or 0.
 */
static AttrNumber
only_not_null(List *predicate)
{
	NullTest   *test = list_length(predicate) == 1 ? linitial(predicate) : NULL;

	if (test == NULL || !IsA(test, NullTest) || test->nulltesttype != IS_NOT_NULL || !IsA(test->arg, Var))
		return InvalidAttrNumber;
	return ((Var *) test->arg)->varattno;
}

/*
 * True when an entry of the index depends on nothing but columns, and cannot
 * be refused.
 */
static bool
is_plain_index(Relation index, IndexInfo *info)
{
	return (index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == BRIN_AM_OID) &&
		!info->ii_Unique && info->ii_Expressions == NIL &&
		(info->ii_Predicate == NIL || only_not_null(info->ii_Predicate) > 0) &&
		info->ii_ExclusionOps == NULL && info->ii_ReadyForInserts;
}

/*
 * True when the partition has a CHECK, or a NOT NULL where we may write NULL.
 */
static bool
has_constraints(Relation partition)
{
	TupleDesc	desc = RelationGetDescr(partition);

	if (desc->constr != NULL && desc->constr->num_check > 0)
		return true;
	for (int i = 0; i < LOG_COLUMNS; i++)
	{
		if (architect_audit_log_columns[i].nullable && TupleDescAttr(desc, i)->attnotnull)
			return true;
	}
	return false;
}

/*
 * Reads what the indexes of the target partition need.
 */
static void
describe_indexes(Relation partition)
{
	List	   *oids = RelationGetIndexList(partition);
	MemoryContext caller;
	ListCell   *cell;

	MemoryContextReset(target.context);

	caller = MemoryContextSwitchTo(target.context);
	target.plain_indexes = true;
	target.indexes = NIL;
	foreach(cell, oids)
	{
		PlainIndex *plain = palloc(sizeof(PlainIndex));
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);

		plain->index = lfirst_oid(cell);
		plain->info = BuildIndexInfo(index);
		plain->only_not_null = only_not_null(plain->info->ii_Predicate);
		target.plain_indexes &= is_plain_index(index, plain->info);
		target.indexes = lappend(target.indexes, plain);
		index_close(index, NoLock);
	}
	MemoryContextSwitchTo(caller);
}

/*
 * Opens the partition for this time, locked against DDL until the transaction
 * ends, and gives the times that share it: [lower, upper).  Waiting for the
 * lock may show that the partition is another by now.
 */
Relation
architect_audit_open_partition(TimestampTz at, TimestampTz *lower, TimestampTz *upper)
{
	for (;;)
	{
		bool		known = target.valid && at >= target.lower && at < target.upper;
		uint64		changes = target.changes;
		Relation	partition;

		if (!target.valid)
			target.log = architect_audit_log_relation("audit_log");

		/* The parent first, as everybody does. */
		LockRelationOid(target.log, AccessShareLock);
		if (target.changes != changes)
			continue;
		if (!known)
		{
			target.valid = false;
			find_partition(at);
		}

		LockRelationOid(target.partition, RowExclusiveLock);
		if (target.changes != changes)
			continue;

		partition = table_open(target.partition, NoLock);
		if (!known)
		{
			check_shape(partition);
			target.has_constraints = has_constraints(partition);
			describe_indexes(partition);
			target.valid = target.changes == changes;
		}
		*lower = target.lower;
		*upper = target.upper;
		return partition;
	}
}

/*
 * Adds index entries for rows that are stored, one index after the other.
 */
static void
insert_plain_entries(Relation partition, TupleTableSlot **slots, int nrows)
{
	ListCell   *cell;

	foreach(cell, target.indexes)
	{
		PlainIndex *plain = lfirst(cell);
		Relation	index = NULL;
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		for (int i = 0; i < nrows; i++)
		{
			if (plain->only_not_null > 0 && slot_attisnull(slots[i], plain->only_not_null))
				continue;
			if (index == NULL)
				index = architect_begin_index_inserts(plain->index, plain->info);
			FormIndexDatum(plain->info, slots[i], NULL, values, nulls);
			index_insert(index, values, nulls, &slots[i]->tts_tid, partition,
						 UNIQUE_CHECK_NO, false, plain->info);
		}
		if (index != NULL)
			architect_end_index_inserts(index, plain->info);
	}
}

/*
 * Checks rows against what an administrator has added to the log, and adds
 * their index entries, as the executor would.
 */
static void
insert_general_entries(ResultRelInfo *result_rel, EState *estate, TupleTableSlot **slots, int nrows)
{
	ExecOpenIndices(result_rel, false);
	for (int i = 0; i < nrows; i++)
	{
		architect_insert_index_entries(result_rel, slots[i], estate);
		ResetPerTupleExprContext(estate);
	}
	ExecCloseIndices(result_rel);
}

/*
 * Stores the rows in the slots, which belong to this partition and were captured
 * under this command, with their index entries.
 */
void
architect_audit_store(Relation partition, TupleTableSlot **slots, int nrows, CommandId command)
{
	EState	   *estate = NULL;
	ResultRelInfo *result_rel = NULL;

	if (target.has_constraints || !target.plain_indexes)
	{
		estate = CreateExecutorState();
		result_rel = makeNode(ResultRelInfo);
		InitResultRelInfo(result_rel, partition, 0, NULL, 0);
	}
	for (int i = 0; target.has_constraints && i < nrows; i++)
		ExecConstraints(result_rel, slots[i], estate);

	if (nrows == 1)
		table_tuple_insert(partition, slots[0], command, 0, NULL);
	else
		table_multi_insert(partition, slots, nrows, command, 0, NULL);

	if (target.plain_indexes)
		insert_plain_entries(partition, slots, nrows);
	else
		insert_general_entries(result_rel, estate, slots, nrows);

	if (estate != NULL)
		FreeExecutorState(estate);
}

static void
forget_partition(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == target.log || relid == target.partition)
	{
		target.valid = false;
		target.changes++;
	}
}

void
architect_audit_partition_init(void)
{
	target.context = AllocSetContextCreate(TopMemoryContext, "architect audit log partition",
										   ALLOCSET_SMALL_SIZES);
	CacheRegisterRelcacheCallback(forget_partition, (Datum) 0);
}
