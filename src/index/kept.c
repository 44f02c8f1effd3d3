/*
 * kept.c
 *    Reads the advice that the reader has kept, and finds what has become of it: an index
 *    is known by its definition, whatever its name.
 *
 * It is kept by names in the table index_advice_kept: when a dump is restored, its rows
 * come before the indexes.  The table is for nobody to read, as texts of queries are not.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

#include "core/core.h"
#include "index/candidate.h"
#include "index/cover.h"
#include "index/definition.h"
#include "index/kept.h"

PG_FUNCTION_INFO_V1(architect_index_kept);

/* Columns of architect.index_advice_kept. */
enum
{
	KEPT_ID,
	KEPT_ADVISED_AT,
	KEPT_ADVISED_BY,
	KEPT_ACTION,
	KEPT_SCHEMA_NAME,
	KEPT_TABLE_NAME,
	KEPT_STATEMENT,
	KEPT_UNDO,
	KEPT_SIZE_BYTES,
	KEPT_COST_BEFORE,
	KEPT_COST_AFTER,
	KEPT_QUERIES,
	KEPT_CONFIDENCE,
	KEPT_REASON,
};

static double
get_number(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? 0 : DatumGetFloat8(slot->tts_values[column]);
}

static char *
get_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

static IndexKept *
read_row(IndexFacts *facts, TupleTableSlot *slot)
{
	IndexKept  *kept = palloc0(sizeof(IndexKept));
	Oid			schema = get_namespace_oid(NameStr(*DatumGetName(slot->tts_values[KEPT_SCHEMA_NAME])), true);

	kept->id = DatumGetInt64(slot->tts_values[KEPT_ID]);
	kept->advised_at = DatumGetTimestampTz(slot->tts_values[KEPT_ADVISED_AT]);
	kept->action = get_text(slot, KEPT_ACTION);
	kept->is_drop = strcmp(kept->action, "drop") == 0;
	kept->relation = get_relname_relid(NameStr(*DatumGetName(slot->tts_values[KEPT_TABLE_NAME])), schema);
	kept->table = architect_index_find_table(facts, kept->relation);
	kept->statement = get_text(slot, KEPT_STATEMENT);
	if (!slot->tts_isnull[KEPT_SIZE_BYTES])
		kept->bytes = (double) DatumGetInt64(slot->tts_values[KEPT_SIZE_BYTES]);
	kept->cost_before = get_number(slot, KEPT_COST_BEFORE);
	kept->cost_after = get_number(slot, KEPT_COST_AFTER);
	kept->queries = DatumGetJsonbPCopy(slot->tts_values[KEPT_QUERIES]);
	kept->confidence = get_text(slot, KEPT_CONFIDENCE);
	kept->reason = get_text(slot, KEPT_REASON);
	return kept;
}

/*
 * Reads what the reader has kept under this very role, the last first.
 */
static List *
read_rows(IndexFacts *facts, Oid oid)
{
	const char *reader = GetUserNameFromId(GetUserId(), false);
	Relation	rel = table_open(oid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	List	   *rows = NIL;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (strcmp(NameStr(*DatumGetName(slot->tts_values[KEPT_ADVISED_BY])), reader) == 0)
			rows = lappend(rows, read_row(facts, slot));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);
	return rows;
}

/*
 * Returns the columns of an index that does not exist: names not quoted, or expressions.
 */
static List *
write_columns(const IndexDefinition *index)
{
	List	   *context = deparse_context_for(index->table->name, index->table->oid);
	List	   *expressions = index->expressions == NULL ? NIL : stringToNode(index->expressions);
	List	   *texts = NIL;
	int			position = 0;

	for (int i = 0; i < index->ncolumns; i++)
	{
		if (index->attnums[i] > 0)
			texts = lappend(texts, index->table->columns[index->attnums[i] - 1].name);
		else
			texts = lappend(texts, deparse_expression(list_nth(expressions, position++), context, false, false));
	}
	return texts;
}

static void
take_create(IndexKept *kept, const RawStmt *raw)
{
	const char *text = pnstrdup(kept->statement + raw->stmt_location,
								raw->stmt_len > 0 ? raw->stmt_len : strlen(kept->statement));
	const char *body = architect_index_body(text);
	bool		is_known;

	kept->definition = architect_index_outline(kept->table, (IndexStmt *) raw->stmt, kept->statement, &is_known);
	kept->columns = write_columns(kept->definition);
	for (int i = 0; i < kept->definition->ncolumns; i++)
	{
		const char *name = kept->definition->columns[i].name;

		kept->names = lappend(kept->names, pstrdup(name == NULL ? "expr" : name));
	}
	if (body == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the statement has no USING")));
	kept->body = pstrdup(body);
}

static void
take_drop(IndexKept *kept, IndexFacts *facts, const RawStmt *raw)
{
	RangeVar   *name = makeRangeVarFromNameList(linitial(castNode(DropStmt, raw->stmt)->objects));
	Oid			schema = name->schemaname == NULL ? InvalidOid : get_namespace_oid(name->schemaname, true);

	IndexDefinition *index = architect_index_find_index(facts, get_relname_relid(name->relname, schema));

	if (index != NULL && index->table == kept->table && index->constraint_type == '\0')
		kept->index = index;
}

/* Advice that is being understood. */
typedef struct Understanding
{
	IndexFacts *facts;
	IndexKept  *kept;
} Understanding;

/*
 * Understands the statement, or the first of those that a partitioned table takes: the
 * others are about its partitions.
 */
static void
understand(void *argument)
{
	Understanding *of = argument;
	IndexKept  *kept = of->kept;
	const RawStmt *raw = linitial_node(RawStmt, raw_parser(kept->statement, RAW_PARSE_DEFAULT));

	if (kept->is_drop && IsA(raw->stmt, DropStmt))
		take_drop(kept, of->facts, raw);
	else if (!kept->is_drop && IsA(raw->stmt, IndexStmt))
	{
		if (ConditionalLockRelationOid(kept->table->oid, AccessShareLock))
			take_create(kept, raw);
		else
		{
			kept->table->is_locked = true;
			kept->problem = "a table is locked by others";
		}
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the statement is another")));
}

/*
 * Finds an index that is as was advised, whatever its name.
 */
static IndexDefinition *
find_made(const IndexKept *kept)
{
	ListCell   *cell;

	foreach(cell, kept->table->indexes)
	{
		IndexDefinition *index = lfirst(cell);
		IndexCover	cover;

		if (!architect_index_is_usable(index))
			continue;
		cover = architect_index_cover(index, kept->definition);
		if (cover == INDEX_COVER_SAME || cover == INDEX_COVER_BACKWARD)
			return index;
	}
	return NULL;
}

/*
 * Returns what the reader has kept (IndexKept), and what has become of it.  Nothing
 * stays locked.
 */
List *
architect_index_read_kept(IndexFacts *facts)
{
	Oid			oid = architect_relation("index_advice_kept", true);
	List	   *rows = OidIsValid(oid) ? read_rows(facts, oid) : NIL;
	TimestampTz latest = 0;
	ListCell   *cell;

	foreach(cell, rows)
		latest = Max(latest, ((IndexKept *) lfirst(cell))->advised_at);
	foreach(cell, rows)
	{
		IndexKept  *kept = lfirst(cell);
		Understanding of = {.facts = facts, .kept = kept};
		ErrorData  *error;

		kept->is_latest = kept->advised_at == latest;
		if (kept->table == NULL)
			continue;
		error = architect_try_out(understand, &of);
		if (error != NULL)
		{
			kept->definition = NULL;
			kept->problem = psprintf("kept advice does not fit its table any more: %s", error->message);
		}
		else if (kept->definition != NULL)
			kept->index = find_made(kept);
	}
	return rows;
}

/*
 * True when the index is there, or gone, as was advised.
 */
bool
architect_index_is_done(const IndexKept *kept)
{
	return kept->table != NULL && kept->problem == NULL && (kept->index == NULL) == kept->is_drop;
}

/*
 * architect._index_kept() → one row for each that the reader has kept
 */
Datum
architect_index_kept(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, architect_index_read_kept(architect_index_read_facts()))
	{
		const IndexKept *kept = lfirst(cell);
		Datum		values[11];
		bool		nulls[11] = {false};

		values[0] = Int64GetDatum(kept->id);
		values[1] = TimestampTzGetDatum(kept->advised_at);
		values[2] = CStringGetTextDatum(kept->action);
		values[3] = ObjectIdGetDatum(kept->relation);
		nulls[3] = !OidIsValid(kept->relation);
		values[4] = ObjectIdGetDatum(kept->index == NULL ? InvalidOid : kept->index->oid);
		nulls[4] = kept->index == NULL;
		values[5] = BoolGetDatum(architect_index_is_done(kept));
		values[6] = CStringGetTextDatum(kept->statement);
		values[7] = Int64GetDatum((int64) kept->bytes);
		values[8] = JsonbPGetDatum(kept->queries);
		values[9] = Int64GetDatum(kept->index == NULL ? 0 : (int64) kept->index->counts.index_scans);
		nulls[9] = kept->index == NULL;
		nulls[10] = kept->problem == NULL;
		if (kept->problem != NULL)
			values[10] = CStringGetTextDatum(kept->problem);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
