/*
 * rule_invalid.c
 *    Indexes that no query can use: those that a failed CREATE INDEX or REINDEX
 *    CONCURRENTLY left behind, and those of partitioned tables that lack partitions.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/relation.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "index/replacement.h"
#include "index/rules.h"

/*
 * Who builds an index holds this lock on its table until the end.  VACUUM and ANALYZE
 * do too, and say what they do; everybody may see who does what, if not to which table.
 */
#define BUILDING_QUERY \
	"SELECT lock.relation FROM pg_catalog.pg_locks AS lock" \
	" WHERE lock.locktype OPERATOR(pg_catalog.=) 'relation' AND lock.granted" \
	" AND lock.mode OPERATOR(pg_catalog.=) 'ShareUpdateExclusiveLock'" \
	" AND lock.database OPERATOR(pg_catalog.=) (SELECT mine.oid FROM pg_catalog.pg_database AS mine" \
	" WHERE mine.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())" \
	" AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum AS vacuum" \
	" WHERE vacuum.pid OPERATOR(pg_catalog.=) lock.pid)" \
	" AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_analyze AS analyze_" \
	" WHERE analyze_.pid OPERATOR(pg_catalog.=) lock.pid)"

/*
 * Returns the tables of which an index may be in work.
 */
static List *
read_building(void)
{
	MemoryContext own = CurrentMemoryContext;
	List	   *tables = NIL;

	if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(BUILDING_QUERY, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the locks");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		relation = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext spi = MemoryContextSwitchTo(own);

		tables = lappend_oid(tables, DatumGetObjectId(relation));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return tables;
}

/*
 * Returns the pages that an index has: the catalogs do not say of one that never was
 * valid.  One that is locked is passed by.
 */
static double
count_pages(const IndexDefinition *index)
{
	double		pages = index->pages;
	Relation	rel;

	if (!ConditionalLockRelationOid(index->oid, AccessShareLock))
		return pages;
	rel = try_relation_open(index->oid, NoLock);
	if (rel != NULL)
	{
		pages = RelationGetNumberOfBlocks(rel);
		relation_close(rel, NoLock);
	}
	UnlockRelationOid(index->oid, AccessShareLock);
	return pages;
}

/*
 * True for a name as REINDEX CONCURRENTLY gives it to what it drops in the end.
 */
static bool
has_suffix(const char *name, const char *suffix)
{
	size_t		length = strlen(name);

	while (length > 0 && isdigit((unsigned char) name[length - 1]))
		length--;
	return length > strlen(suffix) && strncmp(name + length - strlen(suffix), suffix, strlen(suffix)) == 0;
}

static void
explain(IndexFinding *finding, const IndexDefinition *index)
{
	const char *cost = index->is_ready ? "is written with every change and" : "is not even written, and";

	if (!index->is_live)
		architect_index_reason(finding, "Dropping the index was begun, and has not come to its end.");
	else if (has_suffix(index->name, "_ccnew"))
		architect_index_reason(finding, "REINDEX CONCURRENTLY failed and left this copy, which %s serves no query: "
							   "the index that was to be rebuilt is as it was.", cost);
	else if (has_suffix(index->name, "_ccold"))
		architect_index_reason(finding, "REINDEX CONCURRENTLY has replaced this index and could not drop it: it %s "
							   "serves no query.", cost);
	else if (index->constraint_type != '\0')
		architect_index_reason(finding, "The index of constraint \"%s\" is not valid: it %s serves no query.",
							   index->constraint_name, cost);
	else
		architect_index_reason(finding, "CREATE INDEX CONCURRENTLY failed%s and left this index, which %s serves no "
							   "query: drop it, or, once the cause is gone, build it with REINDEX INDEX CONCURRENTLY.",
							   index->is_unique ? ", as it does where values are not unique," : "", cost);
}

static void
report(IndexReview *review, IndexTable *table, IndexDefinition *index)
{
	bool		is_small = architect_index_is_small(table);
	double		bytes = count_pages(index) * BLCKSZ;
	double		changes = table->counts.inserts + table->counts.updates - table->counts.hot_updates;
	IndexFinding *finding = architect_index_finding(review, is_small ? INDEX_HINT : INDEX_WARNING,
													INDEX_CONFIDENCE_PROVEN, table, index);

	finding->columns = architect_index_column_texts(index);
	explain(finding, index);
	architect_index_evidence(finding, "index_bytes", bytes);
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "changes", changes);
	architect_index_evidence_counts(review, finding);
	finding->benefit_bytes = bytes;
	if (index->is_ready)
		finding->benefit_writes = architect_index_daily_writes(review->facts, index);
	if (index->constraint_type != '\0' || index->parent != NULL)
		architect_index_propose_rebuild(finding, index);
	else
		architect_index_propose_drop(finding, index);
}

/*
 * Counts the partitions that have no index of the tree, and those whose index is not
 * valid.
 */
static void
count_gaps(const IndexDefinition *index, int *missing, int *invalid)
{
	ListCell   *cell;

	foreach(cell, index->table->partitions)
	{
		const IndexDefinition *attached = architect_index_attached(index, lfirst(cell));

		if (attached == NULL)
			(*missing)++;
		else if (attached->is_partitioned)
			count_gaps(attached, missing, invalid);
		else if (!attached->is_valid)
			(*invalid)++;
	}
}

/*
 * Proposes to complete the index of a partitioned table; or to drop it where another
 * does, or will do, all that it would.
 */
static void
propose_for_parent(IndexReview *review, IndexFinding *finding, IndexDefinition *index)
{
	IndexReplacement other;
	IndexDefinition whole = *index;

	if (architect_index_find_obstacle(index) == NULL &&
		(architect_index_find_replacement(review, index, true, &other) ||
		 architect_index_find_replacement(review, index, false, &other)))
	{
		finding->reason = psprintf("%.*s; it need not be, as \"%s\" does the same.",
								   (int) strlen(finding->reason) - 1, finding->reason, other.index->name);
		architect_index_evidence_text(finding, "kept", other.index->name);
		architect_index_propose_drop(finding, index);
	}
	else
	{
		whole.is_valid = whole.is_ready = true;
		architect_index_tell_outdone(review, finding, &whole);
		architect_index_propose_completion(finding, index);
	}
}

static void
report_parent(IndexReview *review, IndexTable *table, IndexDefinition *index)
{
	IndexFinding *finding;
	int			missing = 0;
	int			invalid = 0;

	count_gaps(index, &missing, &invalid);
	finding = architect_index_finding(review, architect_index_is_small(table) ? INDEX_HINT : INDEX_WARNING,
									  INDEX_CONFIDENCE_PROVEN, table, index);
	finding->columns = architect_index_column_texts(index);
	if (missing > 0)
		architect_index_reason(finding, "The index of the partitioned table is not valid, as some of its partitions "
							   "(%d) have no index attached to it%s.",
							   missing, invalid > 0 ? ", and others have one that is not valid" : "");
	else if (invalid > 0)
		architect_index_reason(finding, "The index of the partitioned table is not valid, as those of some "
							   "partitions (%d) were not when they were attached.", invalid);
	else
		architect_index_reason(finding, "The index of the partitioned table is not valid, though all partitions have "
							   "theirs%s.",
							   table->partitions == NIL ?
							   ": there are none, and the first one that is attached makes it so" : "");
	architect_index_evidence(finding, "partitions_without", missing);
	architect_index_evidence(finding, "partitions_invalid", invalid);
	architect_index_evidence(finding, "index_bytes", (double) index->pages * BLCKSZ);
	architect_index_evidence_rows(finding);
	propose_for_parent(review, finding, index);
}

/*
 * True when the index is a part of a tree that is not valid, and told of there.
 */
static bool
is_told_above(const IndexDefinition *index)
{
	const IndexDefinition *parent = index->parent;

	while (parent != NULL && parent->is_valid)
		parent = parent->parent;
	return parent != NULL;
}

void
architect_index_rule_invalid(IndexReview *review)
{
	bool		is_read = false;
	List	   *building = NIL;
	ListCell   *cell;

	foreach(cell, review->facts->tables)
	{
		IndexTable *table = lfirst(cell);
		ListCell   *inner;

		if (!table->reported || table->of_extension)
			continue;
		foreach(inner, table->indexes)
		{
			IndexDefinition *index = lfirst(inner);

			if (index->is_valid || is_told_above(index))
				continue;
			if (index->is_partitioned)
			{
				report_parent(review, table, index);
				continue;
			}
			if (RecoveryInProgress())
			{
				architect_index_doubt(review, "whether an index is being built is known on the primary alone");
				continue;
			}
			if (!is_read)
				building = read_building();
			is_read = true;
			if (list_member_oid(building, table->oid))
				architect_index_doubt(review, "an index is being built");
			else
				report(review, table, index);
		}
	}
}
