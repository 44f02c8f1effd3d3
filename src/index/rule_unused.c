/*
 * rule_unused.c
 *    Indexes that no query has used for long.
 *
 * What an index forbids, which rows it tells apart for replication, and the checks of
 * foreign keys that it is there for, are uses that are not counted.
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "access/commit_ts.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "pgstat.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "index/cover.h"
#include "index/rules.h"

/* Less says little, and what was used may be used again once a quarter. */
#define FEW_DAYS 7
#define QUARTER 92

/* Fewer writes do not tell whether an index was there when they came. */
#define FEW_WRITES 100

static int	unused_after;		/* minutes */

void
architect_index_unused_init(void)
{
	DefineCustomIntVariable("architect.index_unused_after",
							"Time without a scan after which an index counts as not used.",
							"Indexes are not judged until the counters have been counting for so long.",
							&unused_after, FEW_DAYS * MINS_PER_HOUR * HOURS_PER_DAY, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MIN, NULL, NULL, NULL);
}

static double
days_since(TimestampTz since, TimestampTz now)
{
	return since == 0 ? 0 : (now - since) / (double) USECS_PER_DAY;
}

static double
count_scans(const IndexDefinition *index)
{
	return index->counts.index_scans + (index->elsewhere == NULL ? 0 : index->elsewhere->scans);
}

static TimestampTz
find_last_scan(const IndexDefinition *index)
{
	return index->elsewhere == NULL ? index->counts.last_scan :
		Max(index->counts.last_scan, index->elsewhere->last_scan);
}

/*
 * Returns since when the definition has been as it is; 0 where the server does not know.
 */
static TimestampTz
find_making(const IndexDefinition *index)
{
	TimestampTz made = 0;

	if (track_commit_timestamp && !RecoveryInProgress() && TransactionIdIsNormal(index->xmin))
		(void) TransactionIdGetCommitTsData(index->xmin, &made, NULL);
	return made;
}

/*
 * True when the index is as old as the days say: its transaction tells, or it was asked
 * for as many blocks as entries were written to the table.  A younger one was not.
 */
static bool
is_of_age(const IndexDefinition *index)
{
	double		writes = architect_index_count_writes(index);

	return find_making(index) != 0 || (writes >= FEW_WRITES && index->counts.blocks >= writes);
}

/*
 * Returns for how many days no scan is known to have used the index, here and on the
 * servers whose counts were imported; -1 where one may have.
 */
static double
count_idle_days(IndexReview *review, const IndexDefinition *index)
{
	double		days = review->facts->days;
	TimestampTz made;

	if (count_scans(index) > 0)
	{
		TimestampTz last = find_last_scan(index);

		days = last == 0 ? -1 : days_since(last, GetCurrentTimestamp());
		return days < QUARTER ? -1 : days;
	}
	made = find_making(index);
	if (made != 0)
		days = Min(days, days_since(made, GetCurrentTimestamp()));
	return index->elsewhere == NULL ? days : Min(days, index->elsewhere->days);
}

/*
 * True when no scan has used the index for as long as the setting says.
 */
bool
architect_index_is_idle(IndexReview *review, const IndexDefinition *index)
{
	double		days = count_idle_days(review, index);

	return pgstat_track_counts && days >= 0 && days * MINS_PER_HOUR * HOURS_PER_DAY >= unused_after;
}

/*
 * True when another index that is used, or must stay, serves the key as well.
 */
static bool
is_served_by_other(const IndexDefinition *index, const IndexForeignKey *key)
{
	ListCell   *cell;

	foreach(cell, index->table->indexes)
	{
		const IndexDefinition *other = lfirst(cell);

		if (other != index && (other->is_unique || count_scans(other) > 0) && architect_index_supports(other, key))
			return true;
	}
	return false;
}

static bool
serves_foreign_key(const IndexDefinition *index)
{
	for (const IndexTable *table = index->table; table != NULL; table = table->parent)
	{
		ListCell   *cell;

		foreach(cell, table->foreign_keys)
		{
			if (architect_index_supports(index, lfirst(cell)) && !is_served_by_other(index, lfirst(cell)))
				return true;
		}
	}
	return false;
}

/*
 * True when the index is there for scans alone.
 */
bool
architect_index_is_for_scans(const IndexDefinition *index)
{
	return index->parent == NULL && index->is_valid && index->is_ready && index->is_live && !index->of_extension &&
		!index->is_unique && !index->is_exclusion && index->constraint_type == '\0' && !index->is_replica_identity;
}

/*
 * True when this rule would have the index dropped.
 */
bool
architect_index_is_unused(IndexReview *review, const IndexDefinition *index)
{
	return architect_index_is_for_scans(index) && architect_index_is_idle(review, index) && !serves_foreign_key(index);
}

/*
 * Says on which servers there was no scan.
 */
static char *
name_servers(const IndexDefinition *index)
{
	StringInfoData text;
	const IndexUsage *usage = index->elsewhere;
	ListCell   *cell;

	if (usage == NULL)
		return "on this server; replicas count for themselves";
	initStringInfo(&text);
	appendStringInfoString(&text, "on this server");
	foreach(cell, usage->servers)
	{
		bool		is_last = lnext(usage->servers, cell) == NULL && !usage->has_more_servers;

		appendStringInfo(&text, "%s%s", is_last ? " and " : ", ", (char *) lfirst(cell));
	}
	if (usage->has_more_servers)
		appendStringInfoString(&text, " and others");
	return text.data;
}

static void
add_evidence(IndexReview *review, IndexFinding *finding, const IndexDefinition *index)
{
	architect_index_evidence(finding, "scans", count_scans(index));
	architect_index_evidence_time(finding, "last_scan", find_last_scan(index));
	architect_index_evidence(finding, "index_bytes", (double) index->pages * BLCKSZ);
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "table_scans", index->table->counts.seq_scans + index->table->counts.index_scans);
	if (index->elsewhere != NULL)
		architect_index_evidence_time(finding, "imported_at", index->elsewhere->imported_at);
	architect_index_evidence_counts(review, finding);
}

static const char *
describe_days(double days)
{
	return days < 1 ? "as long as is known" : psprintf("%.0f day%s", days, days == 1 ? "" : "s");
}

static void
report(IndexReview *review, IndexTable *table, IndexDefinition *index)
{
	double		days = count_idle_days(review, index);
	bool		may_be_young = count_scans(index) == 0 && !is_of_age(index);
	bool		is_hint = days < FEW_DAYS || index->expressions != NULL || count_scans(index) > 0 || may_be_young;
	IndexFinding *finding = architect_index_finding(review,
													architect_index_is_small(table) ? INDEX_HINT : INDEX_WARNING,
													is_hint ? INDEX_CONFIDENCE_HINT : INDEX_CONFIDENCE_LIKELY,
													table, index);

	finding->columns = architect_index_column_texts(index);
	architect_index_reason(finding, "No scan has used it for %s%s %s%s%s.", describe_days(floor(days)),
						   may_be_young ? ", or since it was made if that was later," : "", name_servers(index),
						   index->is_clustered ? "; CLUSTER of the table needs it" : "",
						   index->expressions != NULL ? "; estimates of its expressions come from its statistics" : "");
	add_evidence(review, finding, index);
	finding->benefit_bytes = (double) index->pages * BLCKSZ;
	finding->benefit_writes = architect_index_daily_writes(review->facts, index);
	architect_index_propose_drop(finding, index);
}

static void
judge(IndexReview *review, IndexDefinition *index)
{
	if (!architect_index_is_for_scans(index) || (count_scans(index) > 0 && find_last_scan(index) == 0))
		return;
	if (architect_index_is_unused(review, index))
		report(review, index->table, index);
	else if (count_scans(index) == 0 && !architect_index_is_idle(review, index))
		architect_index_doubt(review, "%s", !pgstat_track_counts ? "scans are not counted, as track_counts is off" :
							  "scans have not been counted for as long as architect.index_unused_after says");
	else if (count_scans(index) == 0)
		architect_index_doubt(review, "no scan has used it, and a foreign key may need it");
}

void
architect_index_rule_unused(IndexReview *review)
{
	architect_index_each(review, judge);
}
