/*
 * rule_hot_blocking.c
 *    What keeps updates from being heap-only, so that each writes to all indexes: an
 *    index that has a column which they set, or pages without room.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "compat.h"
#include "index/definition.h"
#include "index/rules.h"
#include "index/workload.h"

/* Fewer updates say nothing. */
#define FEW_UPDATES 1000

/* A smaller share of heap-only updates is a finding. */
#define SMALL_SHARE 0.5

/* An index that is in the way of less than this share of the updates is none. */
#define LEAST_BLOCKED 0.1

/* The room that is proposed, in percent of a page that is filled. */
#define ROOMY_FILLFACTOR 90

/* What the texts say of a table's updates. */
typedef struct Updates
{
	IndexTable *table;
	List	   *blocking;		/* Bitmapset, of each index: the columns that block */
	List	   *queries;		/* IndexQuery */
	List	   *assigned;		/* Bitmapset, of each */
	double		rows;			/* updated by all */
} Updates;

/*
 * True for tables whose updates are seldom heap-only, though there are indexes that
 * could be left alone.
 */
static bool
is_blocked(const IndexTable *table)
{
	return table->reported && !table->of_extension && table->parent == NULL && table->indexes != NIL &&
		table->counts.updates >= FEW_UPDATES &&
		table->counts.hot_updates < SMALL_SHARE * table->counts.updates;
}

/*
 * Collects the queries that update the table, or one of its partitions.
 */
static void
collect_updates(const IndexWorkload *workload, Updates *updates)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, workload->queries)
	{
		IndexQuery *query = lfirst(cell);

		foreach(inner, query->accesses)
		{
			IndexAccess *access = lfirst(inner);

			if (access->table != updates->table || access->assigned == NULL)
				continue;
			updates->queries = lappend(updates->queries, query);
			updates->assigned = lappend(updates->assigned, access->assigned);
			updates->rows += query->rows;
		}
	}
}

/*
 * Returns the columns whose change makes an update write to the indexes; NULL where
 * there are none that change: the key is taken to stay.
 */
static Bitmapset *
blocking_columns(const IndexDefinition *index)
{
	if (index->is_primary || (ARCHITECT_SUMMARIES_ALLOW_HOT && index->access_method == BRIN_AM_OID))
		return NULL;
	return architect_index_columns(index);
}

static void
add_counters(IndexReview *review, IndexFinding *finding)
{
	const IndexTable *table = finding->table;
	const IndexCounts *counts = &table->counts;

	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "updates", counts->updates);
	architect_index_evidence(finding, "hot_updates", counts->hot_updates);
	architect_index_evidence(finding, "hot_share", counts->hot_updates / counts->updates);
	if (ARCHITECT_COUNTS_NEWPAGE_UPDATES)
		architect_index_evidence(finding, "newpage_updates", counts->newpage_updates);
	architect_index_evidence(finding, "indexes", list_length(table->indexes));
	architect_index_evidence_counts(review, finding);
}

/* Index entries a day that updates would not write if this share of them were heap-only. */
static double
entries_a_day(const IndexReview *review, const IndexTable *table, double share)
{
	double		cold = table->counts.updates - table->counts.hot_updates;

	return rint(share * cold * list_length(table->indexes) / Max(review->facts->days, 1));
}

static char *
join_names(const List *names)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, names)
		appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "", (char *) lfirst(cell));
	return text.data;
}

static List *
column_names(const IndexTable *table, const Bitmapset *columns)
{
	List	   *names = NIL;
	int			attnum = -1;

	while ((attnum = bms_next_member(columns, attnum)) >= 0)
		names = lappend(names, table->columns[attnum - 1].name);
	return names;
}

/*
 * Returns the names of the indexes that are in the way of an update of these columns.
 */
static List *
find_blocking(const Updates *updates, const Bitmapset *assigned)
{
	List	   *names = NIL;
	ListCell   *cell;
	ListCell   *columns;

	forboth(cell, updates->table->indexes, columns, updates->blocking)
	{
		if (bms_overlap(assigned, lfirst(columns)))
			names = lappend(names, ((IndexDefinition *) lfirst(cell))->name);
	}
	return names;
}

/*
 * Reports an index that is in the way, if it is in the way of many updates.  Of what is
 * to be gained it has its part, where others are in the way of the same.
 */
static void
report_index(IndexReview *review, const Updates *updates, IndexDefinition *index, const Bitmapset *columns)
{
	Bitmapset  *changed = NULL;
	List	   *queries = NIL;
	List	   *names = NIL;
	double		rows = 0;
	double		part = 0;
	bool		is_sure = true;
	IndexFinding *finding;
	ListCell   *cell;
	ListCell   *assigned;

	forboth(cell, updates->queries, assigned, updates->assigned)
	{
		IndexQuery *query = lfirst(cell);
		List	   *blocking = find_blocking(updates, lfirst(assigned));

		if (!bms_overlap(lfirst(assigned), columns))
			continue;
		rows += query->rows;
		part += query->rows / list_length(blocking);
		names = list_concat_unique_ptr(names, blocking);
		queries = lappend(queries, query);
		changed = bms_join(changed, bms_intersect(lfirst(assigned), columns));
		if (2 * bms_num_members(lfirst(assigned)) > updates->table->ncolumns)
			is_sure = false;
	}
	if (rows < LEAST_BLOCKED * updates->rows || rows == 0)
		return;

	finding = architect_index_finding(review, INDEX_WARNING, is_sure ? INDEX_CONFIDENCE_LIKELY : INDEX_CONFIDENCE_HINT,
									  updates->table, index);
	finding->columns = column_names(updates->table, changed);
	names = list_delete_ptr(names, index->name);
	architect_index_reason(finding, "Updates that set %s write to every index of the table because this index has "
						   "%s%s%s; no statement is proposed, as whether the index is worth that is for those to "
						   "say who use it.",
						   join_names(finding->columns),
						   bms_num_members(changed) == 1 ? "the column" : "the columns",
						   names == NIL ? "" : ", and is in the way together with ", join_names(names));
	add_counters(review, finding);
	architect_index_evidence(finding, "blocked_share", rows / updates->rows);
	architect_index_evidence(finding, "index_scans", index->counts.index_scans);
	architect_index_evidence_text(finding, "values", is_sure ? "set by name" :
								  "set with most other columns, so they may stay as they are");
	architect_index_evidence_queries(finding, queries);
	architect_index_evidence_time(finding, "queries_since", review->workload->since);
	finding->benefit_writes = entries_a_day(review, updates->table, part / updates->rows);
}

/*
 * Returns the rows whose update no index blocks.
 */
static double
count_free(const Updates *updates)
{
	double		rows = 0;
	ListCell   *cell;
	ListCell   *assigned;

	forboth(cell, updates->queries, assigned, updates->assigned)
	{
		if (find_blocking(updates, lfirst(assigned)) == NIL)
			rows += ((IndexQuery *) lfirst(cell))->rows;
	}
	return rows;
}

/* True when the table's own options have a fillfactor. */
static bool
has_fillfactor(const IndexTable *table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table->oid));
	bool		isnull = true;
	bool		found = false;
	Datum		options;
	ListCell   *cell;

	if (!HeapTupleIsValid(tuple))
		return false;
	options = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	foreach(cell, isnull ? NIL : untransformRelOptions(options))
		found = found || strcmp(lfirst_node(DefElem, cell)->defname, "fillfactor") == 0;
	ReleaseSysCache(tuple);
	return found;
}

/*
 * Adds the statements for a table: a partitioned one has no pages of its own.
 */
static void
append_fillfactor(const IndexTable *table, StringInfo statement, StringInfo undo)
{
	const char *name = architect_index_table_name(table);
	ListCell   *cell;

	foreach(cell, table->partitions)
		append_fillfactor(lfirst(cell), statement, undo);
	if (table->kind == RELKIND_PARTITIONED_TABLE || table->fillfactor <= ROOMY_FILLFACTOR)
		return;
	appendStringInfo(statement, "%sALTER TABLE %s SET (fillfactor = %d);", statement->len > 0 ? "\n" : "", name,
					 ROOMY_FILLFACTOR);
	appendStringInfo(undo, "%sALTER TABLE %s ", undo->len > 0 ? "\n" : "", name);
	if (has_fillfactor(table))
		appendStringInfo(undo, "SET (fillfactor = %d);", table->fillfactor);
	else
		appendStringInfoString(undo, "RESET (fillfactor);");
}

static void
report_pages(IndexReview *review, IndexTable *table, double share, IndexConfidence confidence)
{
	StringInfoData statement;
	StringInfoData undo;
	IndexFinding *finding;

	initStringInfo(&statement);
	initStringInfo(&undo);
	append_fillfactor(table, &statement, &undo);
	if (statement.len == 0)
		return;
	finding = architect_index_finding(review, INDEX_HINT, confidence, table, NULL);
	architect_index_reason(finding, "Updates write to every index of the table because new versions of rows do not "
						   "fit into the page of the old ones.");
	add_counters(review, finding);
	architect_index_evidence(finding, "fillfactor", table->fillfactor);
	finding->benefit_writes = entries_a_day(review, table, share);
	finding->statement = statement.data;
	finding->undo = undo.data;
	finding->lock = "ShareUpdateExclusiveLock on the table, for an instant: pages that are filled from now on "
		"have room";
}

/*
 * Without the texts of the updates, names what may be in the way.
 */
static void
report_counters(IndexReview *review, IndexTable *table)
{
	IndexFinding *finding;
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, table->indexes)
	{
		IndexDefinition *index = lfirst(cell);

		if (blocking_columns(index) != NULL)
			names = lappend(names, index->name);
	}
	if (names == NIL)
	{
		report_pages(review, table, 1, INDEX_CONFIDENCE_HINT);
		return;
	}
	finding = architect_index_finding(review, INDEX_HINT, INDEX_CONFIDENCE_HINT, table, NULL);
	architect_index_reason(finding, "Updates write to every index of the table; which one is in the way is not "
						   "known without the texts of the updates.");
	add_counters(review, finding);
	architect_index_evidence_text(finding, "candidates", join_names(names));
}

static void
find(IndexReview *review, IndexWorkload *workload, IndexTable *table)
{
	Updates		updates = {.table = table};
	double		moved = table->counts.newpage_updates / table->counts.updates;
	ListCell   *cell;
	ListCell   *columns;

	collect_updates(workload, &updates);
	if (updates.rows > 0)
	{
		double		unblocked;

		foreach(cell, table->indexes)
			updates.blocking = lappend(updates.blocking, blocking_columns(lfirst(cell)));
		forboth(cell, table->indexes, columns, updates.blocking)
			report_index(review, &updates, lfirst(cell), lfirst(columns));
		unblocked = count_free(&updates) / updates.rows;
		if (unblocked > SMALL_SHARE)
			report_pages(review, table, unblocked, INDEX_CONFIDENCE_LIKELY);
		return;
	}
	architect_index_doubt(review, "%s", workload->problem != NULL ? workload->problem :
						  "pg_stat_statements does not have the updates of a table");
	if (moved > SMALL_SHARE)
		report_pages(review, table, moved, INDEX_CONFIDENCE_HINT);
	else
		report_counters(review, table);
}

void
architect_index_rule_hot_blocking(IndexReview *review)
{
	ListCell   *cell;

	foreach(cell, review->facts->tables)
	{
		IndexTable *table = lfirst(cell);

		if (is_blocked(table))
			find(review, architect_index_workload(review), table);
	}
}
