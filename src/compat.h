/*
 * compat.h
 *    Every difference between the supported PostgreSQL majors.
 *
 * The call sites read as if only the newest server existed; what an older one
 * lacks is supplied here.
 */
#ifndef ARCHITECT_COMPAT_H
#define ARCHITECT_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "commands/explain.h"
#include "commands/sequence.h"
#include "commands/vacuum.h"
#include "common/jsonapi.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "pgstat.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lock.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/guc_tables.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/tuplesort.h"

#if PG_VERSION_NUM >= 160000
#include "nodes/queryjumble.h"
#include "varatt.h"
#else
#include "utils/queryjumble.h"
#endif

#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

#if PG_VERSION_NUM < 150000
#error "pg_architect needs PostgreSQL 15 or newer"
#endif

#if PG_VERSION_NUM < 160000
static inline bool
object_ownercheck(Oid classid, Oid objectid, Oid roleid)
{
	Assert(classid == RelationRelationId);
	return pg_class_ownercheck(objectid, roleid);
}

static inline AclResult
object_aclcheck(Oid classid, Oid objectid, Oid roleid, AclMode mode)
{
	if (classid == DatabaseRelationId)
		return pg_database_aclcheck(objectid, roleid, mode);
	Assert(classid == ProcedureRelationId);
	return pg_proc_aclcheck(objectid, roleid, mode);
}
#endif

/* The server's own record of a setting; NULL when it has none. */
static inline struct config_generic *
architect_find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, DEBUG5);
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
	{
		if (pg_strcasecmp(settings[i]->name, name) == 0)
			return settings[i];
	}
	return NULL;
#endif
}

/* Adds the index entries of a new, plain tuple; raises on a duplicate. */
static inline void
architect_insert_index_entries(ResultRelInfo *relation, TupleTableSlot *slot,
							   EState *estate)
{
#if PG_VERSION_NUM >= 190000
	ExecInsertIndexTuples(relation, estate, 0, slot, NIL, NULL);
#elif PG_VERSION_NUM >= 160000
	ExecInsertIndexTuples(relation, slot, estate, false, false, NULL, NIL, false);
#else
	ExecInsertIndexTuples(relation, slot, estate, false, false, NULL, NIL);
#endif
}

/*
 * Brackets inserts into an index.  What an access method keeps from one insert to
 * the next points into the open index, so it must not outlive the bracket.  From 17
 * on it may keep a buffer pinned as well.
 */
static inline Relation
architect_begin_index_inserts(Oid index, IndexInfo *info)
{
	info->ii_AmCache = NULL;
	info->ii_Context = CurrentMemoryContext;
	return index_open(index, RowExclusiveLock);
}

static inline void
architect_end_index_inserts(Relation index, IndexInfo *info)
{
#if PG_VERSION_NUM >= 170000
	index_insert_cleanup(index, info);
#endif
	index_close(index, NoLock);
}

/* From 18 on a NOT NULL can be NOT VALID, and then says nothing of old rows. */
static inline bool
architect_is_never_null(TupleDesc desc, AttrNumber attnum)
{
#if PG_VERSION_NUM >= 180000
	return TupleDescCompactAttr(desc, attnum - 1)->attnullability == ATTNULLABLE_VALID;
#else
	return TupleDescAttr(desc, attnum - 1)->attnotnull;
#endif
}

/* From 18 on a constraint can be NOT ENFORCED. */
static inline bool
architect_is_enforced(Form_pg_constraint constraint)
{
#if PG_VERSION_NUM >= 180000
	return constraint->conenforced;
#else
	return true;
#endif
}

/* What the WAL calls a sequence by. */
static inline xl_seq_rec
architect_sequence_record(Relation sequence)
{
#if PG_VERSION_NUM >= 160000
	xl_seq_rec	record = {.locator = sequence->rd_locator};
#else
	xl_seq_rec	record = {.node = sequence->rd_node};
#endif

	return record;
}

/* From 18 on a generated column can be virtual: its expression takes its place. */
static inline Node *
architect_expand_generated_columns(Node *expression, Relation rel, int rt_index)
{
#if PG_VERSION_NUM >= 180000
	return expand_generated_columns_in_expr(expression, rel, rt_index);
#else
	return expression;
#endif
}

/* The next datum of a sort, for the caller to free; false at the end. */
static inline bool
architect_next_sorted(Tuplesortstate *sort, Datum *value)
{
	bool		isnull;

#if PG_VERSION_NUM >= 160000
	return tuplesort_getdatum(sort, true, true, value, &isnull, NULL);
#else
	return tuplesort_getdatum(sort, true, value, &isnull, NULL);
#endif
}

static inline bool
architect_is_virtual(TupleDesc desc, int column)
{
#if PG_VERSION_NUM >= 180000
	return TupleDescAttr(desc, column)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL;
#else
	return false;
#endif
}

static inline bool
architect_has_virtual_columns(TupleDesc desc)
{
#if PG_VERSION_NUM >= 180000
	return desc->constr != NULL && desc->constr->has_generated_virtual;
#else
	return false;
#endif
}

/* Fills the virtual columns of a row that stands in the slot. */
static inline void
architect_compute_virtual_columns(Relation rel, TupleTableSlot *slot)
{
#if PG_VERSION_NUM >= 180000
	EState	   *estate;
	ExprContext *context;

	if (!architect_has_virtual_columns(RelationGetDescr(rel)))
		return;
	estate = CreateExecutorState();
	context = GetPerTupleExprContext(estate);
	context->ecxt_scantuple = slot;
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		MemoryContext caller = CurrentMemoryContext;
		ExprState  *state;
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), i);

		if (!architect_is_virtual(RelationGetDescr(rel), i))
			continue;
		state = ExecPrepareExpr((Expr *) build_generation_expression(rel, i + 1), estate);
		slot->tts_values[i] = ExecEvalExprSwitchContext(state, context, &slot->tts_isnull[i]);
		MemoryContextSwitchTo(caller);
		if (!slot->tts_isnull[i])
			slot->tts_values[i] = datumCopy(slot->tts_values[i], attribute->attbyval, attribute->attlen);
	}
	FreeExecutorState(estate);
#endif
}

/* The process that runs this transaction; NULL when it has ended. */
static inline PGPROC *
architect_find_process(VirtualTransactionId transaction)
{
#if PG_VERSION_NUM >= 170000
	return ProcNumberGetProc(transaction.procNumber);
#else
	return BackendIdGetProc(transaction.backendId);
#endif
}

/* From 18 on a scan can skip through the values of a btree index's first columns. */
#define ARCHITECT_CAN_SKIP_SCAN (PG_VERSION_NUM >= 180000)

/* From 17 on MERGE can change rows through a view. */
#define ARCHITECT_CAN_MERGE_VIEWS (PG_VERSION_NUM >= 170000)

/* From 16 on what is called while JSON is read has a result. */
#if PG_VERSION_NUM >= 160000
typedef JsonParseErrorType ArchitectJsonResult;
#define ARCHITECT_JSON_SUCCESS JSON_SUCCESS
#else
typedef void ArchitectJsonResult;
#define ARCHITECT_JSON_SUCCESS
#endif

/* Reads JSON in the database's encoding, escapes too; false where it is none. */
static inline bool
architect_parse_json(char *json, int length, JsonSemAction *actions)
{
#if PG_VERSION_NUM >= 170000
	JsonLexContext *lex = makeJsonLexContextCstringLen(NULL, json, length, GetDatabaseEncoding(), true);
#else
	JsonLexContext *lex = makeJsonLexContextCstringLen(json, length, GetDatabaseEncoding(), true);
#endif

	return pg_parse_json(lex, actions) == JSON_SUCCESS;
}

static inline bool
architect_has_returning(UpdateStmt *update)
{
#if PG_VERSION_NUM >= 180000
	return update->returningClause != NULL;
#else
	return update->returningList != NIL;
#endif
}

/* From 16 on a change that only BRIN indexes see leaves an update heap-only. */
#define ARCHITECT_SUMMARIES_ALLOW_HOT (PG_VERSION_NUM >= 160000)

/* From 16 on the server counts updates whose new version went to another page. */
#define ARCHITECT_COUNTS_NEWPAGE_UPDATES (PG_VERSION_NUM >= 160000)

/* From 18 on the server can show which version of a library is loaded. */
#if PG_VERSION_NUM >= 180000
#define ARCHITECT_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "pg_architect", .version = ARCHITECT_VERSION)
#else
#define ARCHITECT_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* Before 18 this stood behind the declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* Only the ids of utility statements took a text. */
#if PG_VERSION_NUM < 160000
#define JumbleQuery(query) JumbleQuery(query, "")
#endif

/* Runs a started query to its end. */
static inline void
architect_run_executor(QueryDesc *query)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(query, ForwardScanDirection, 0);
#else
	ExecutorRun(query, ForwardScanDirection, 0, true);
#endif
}

/* The columns whose change makes an update not heap-only, for the caller to free. */
static inline Bitmapset *
architect_hot_blocking_columns(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	return RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_HOT_BLOCKING);
#else
	return RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_ALL);
#endif
}

/* Updates of this relation that were heap-only, as counted by this process. */
static inline int64
architect_count_hot_updates(Relation rel)
{
	PgStat_TableStatus *status = rel->pgstat_info;

	if (status == NULL)
		return 0;
#if PG_VERSION_NUM >= 160000
	return status->counts.tuples_hot_updated;
#else
	return status->t_counts.t_tuples_hot_updated;
#endif
}

/* What was set for ANALYZE of a column; -1 is the default, which is NULL from 17 on. */
static inline int
architect_statistics_target(HeapTuple attribute, TupleDesc desc)
{
#if PG_VERSION_NUM >= 170000
	bool		isnull;
	Datum		target = heap_getattr(attribute, Anum_pg_attribute_attstattarget, desc, &isnull);

	return isnull ? -1 : DatumGetInt16(target);
#else
	return ((Form_pg_attribute) GETSTRUCT(attribute))->attstattarget;
#endif
}

/* What the server counted of a relation, or keeps since 16: 0 is not known. */
static inline int64
architect_newpage_updates(const PgStat_StatTabEntry *entry)
{
#if PG_VERSION_NUM >= 160000
	return entry->tuples_newpage_updated;
#else
	return 0;
#endif
}

static inline TimestampTz
architect_last_scan(const PgStat_StatTabEntry *entry)
{
#if PG_VERSION_NUM >= 160000
	return entry->lastscan;
#else
	return 0;
#endif
}

static inline int64
architect_changes_since_analyze(const PgStat_StatTabEntry *entry)
{
#if PG_VERSION_NUM >= 160000
	return entry->mod_since_analyze;
#else
	return entry->changes_since_analyze;
#endif
}

static inline TimestampTz
architect_last_analyze(const PgStat_StatTabEntry *entry)
{
#if PG_VERSION_NUM >= 160000
	return Max(entry->last_analyze_time, entry->last_autoanalyze_time);
#else
	return Max(entry->analyze_timestamp, entry->autovac_analyze_timestamp);
#endif
}

/* Before 17 functions that make statistics look at a row of pg_attribute. */
static inline void
architect_set_default_target(VacAttrStats *stats)
{
#if PG_VERSION_NUM >= 170000
	stats->attstattarget = -1;
#else
	stats->attr = palloc0(sizeof(FormData_pg_attribute));
	stats->attr->attstattarget = -1;
#endif
}

/* Raises 42501 where the current role may not run a plan. */
static inline void
architect_check_rights(const PlannedStmt *plan)
{
#if PG_VERSION_NUM >= 160000
	(void) ExecCheckPermissions(plan->rtable, plan->permInfos, true);
#else
	(void) ExecCheckRTPerms(plan->rtable, true);
#endif
}

/* From 18 on the planner knows whether NULLs are distinct in a unique index. */
static inline void
architect_set_nulls_not_distinct(IndexOptInfo *index, bool value)
{
#if PG_VERSION_NUM >= 180000
	index->nullsnotdistinct = value;
#endif
}

/* From 16 on EXPLAIN knows plans whose parameters have no values; 15 would look for them. */
static inline void
architect_explain_generic(ExplainState *state)
{
#if PG_VERSION_NUM >= 160000
	state->generic = true;
#endif
}

static inline void
architect_forget_pruning(Plan *plan)
{
#if PG_VERSION_NUM < 160000
	if (IsA(plan, Append))
		((Append *) plan)->part_prune_info = NULL;
	else if (IsA(plan, MergeAppend))
		((MergeAppend *) plan)->part_prune_info = NULL;
#endif
}

static inline void
architect_explain_plan(PlannedStmt *plan, ExplainState *state, const char *source, ParamListInfo parameters)
{
#if PG_VERSION_NUM >= 170000
	ExplainOnePlan(plan, NULL, state, source, parameters, NULL, NULL, NULL, NULL);
#else
	ExplainOnePlan(plan, NULL, state, source, parameters, NULL, NULL, NULL);
#endif
}

/* From 17 on a background worker can be connected as a role that has no LOGIN. */
#if PG_VERSION_NUM >= 170000
#define ARCHITECT_CONNECT_WITHOUT_LOGIN BGWORKER_BYPASS_ROLELOGINCHECK
#else
#define ARCHITECT_CONNECT_WITHOUT_LOGIN 0
#endif

/* True when a background worker can be connected as this role. */
static inline bool
architect_can_connect(Oid role)
{
#if PG_VERSION_NUM >= 170000
	return true;
#else
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		result = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
#endif
}

/* From 17 on transactions have a timeout of their own. */
static inline void
architect_lift_transaction_timeout(void)
{
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

/* True for a path key that wants the greatest values first. */
static inline bool
architect_is_descending(const PathKey *pathkey)
{
#if PG_VERSION_NUM >= 180000
	return pathkey->pk_cmptype == COMPARE_GT;
#else
	return pathkey->pk_strategy == BTGreaterStrategyNumber;
#endif
}

/* The members of a class, of a relation that is a child of another; they may be among all members. */
static inline List *
architect_child_members(const EquivalenceClass *class, Index child)
{
#if PG_VERSION_NUM >= 180000
	return class->ec_childmembers != NULL && child < class->ec_childmembers_size ?
		class->ec_childmembers[child] : NIL;
#else
	return NIL;
#endif
}

#endif							/* ARCHITECT_COMPAT_H */
