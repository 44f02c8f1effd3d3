/*
 * counts.c
 *    Reads what the server counted: scans and changes of tables and indexes.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "index/index.h"

/*
 * Since when the counters of this database have been counting: they were reset, or
 * lost in a crash.
 */
static TimestampTz
find_beginning(void)
{
	PgStat_StatDBEntry *database = pgstat_fetch_stat_dbentry(MyDatabaseId);
	TimestampTz since = pgstat_fetch_stat_archiver()->stat_reset_timestamp;

	if (database != NULL && database->stat_reset_timestamp > since)
		since = database->stat_reset_timestamp;
	return since;
}

static void
take_counts(const PgStat_StatTabEntry *entry, bool is_index, IndexCounts *counts)
{
	if (is_index)
	{
		counts->index_scans = entry->numscans;
		counts->index_rows = entry->tuples_returned;
		counts->blocks = entry->blocks_fetched;
	}
	else
	{
		counts->seq_scans = entry->numscans;
		counts->seq_rows = entry->tuples_returned;
		counts->index_rows = entry->tuples_fetched;
	}
	counts->inserts = entry->tuples_inserted;
	counts->updates = entry->tuples_updated;
	counts->hot_updates = entry->tuples_hot_updated;
	counts->newpage_updates = architect_newpage_updates(entry);
	counts->deletes = entry->tuples_deleted;
	counts->changes_since_analyze = architect_changes_since_analyze(entry);
	counts->last_scan = architect_last_scan(entry);
	counts->last_analyze = architect_last_analyze(entry);
}

static void
read_counts(Oid relation, bool is_index, IndexCounts *counts)
{
	PgStat_StatTabEntry *entry = pgstat_fetch_stat_tabentry(relation);

	if (entry == NULL)
		return;
	take_counts(entry, is_index, counts);
	if (pgstat_fetch_consistency == PGSTAT_FETCH_CONSISTENCY_NONE)
		pfree(entry);
}

/*
 * Reads the counters of all relations that have storage.
 */
static void
read_all_counts(IndexFacts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->tables)
	{
		IndexTable *table = lfirst(cell);
		ListCell   *inner;

		if (table->kind != RELKIND_PARTITIONED_TABLE)
			read_counts(table->oid, false, &table->counts);
		foreach(inner, table->indexes)
		{
			IndexDefinition *index = lfirst(inner);

			if (index->is_partitioned)
				continue;
			read_counts(index->oid, true, &index->counts);
			table->counts.index_scans += index->counts.index_scans;
		}
	}
}

/*
 * Reads what the server counted.  It would keep a copy of each relation's counters until
 * the transaction ends: they are read once, so it need not.
 */
void
architect_index_read_counts(IndexFacts *facts)
{
	int			consistency = pgstat_fetch_consistency;

	facts->stats_since = find_beginning();
	if (facts->stats_since != 0)
		facts->days = (GetCurrentTimestamp() - facts->stats_since) / (double) USECS_PER_DAY;
	PG_TRY();
	{
		if (consistency == PGSTAT_FETCH_CONSISTENCY_CACHE)
			pgstat_fetch_consistency = PGSTAT_FETCH_CONSISTENCY_NONE;
		read_all_counts(facts);
	}
	PG_FINALLY();
	{
		pgstat_fetch_consistency = consistency;
	}
	PG_END_TRY();
}

/*
 * Returns how many entries were written to an index, if it was there all the time.
 */
double
architect_index_count_writes(const IndexDefinition *index)
{
	const IndexTable *table = index->table;
	double		writes = table->counts.inserts + table->counts.updates - table->counts.hot_updates;
	double		share = 1;

	if (index->predicate != NULL && index->rows >= 0 && table->rows > 0)
		share = Min(index->rows / table->rows, 1);
	return writes * share;
}

/*
 * Returns how many entries a day are written to an index; 0 where that is not known.
 */
double
architect_index_daily_writes(const IndexFacts *facts, const IndexDefinition *index)
{
	return facts->days < 1 ? 0 : rint(architect_index_count_writes(index) / facts->days);
}
