/*
 * replacement.c
 *    Which index can go because another does all that it does, and which of two stays.
 *
 * "Replaces" is transitive and never mutual, so that of any number of indexes that do the
 * same, one is left that replaces all others.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "index/replacement.h"

/* What stands in the way of a drop, the most first. */
typedef enum Hold
{
	HOLD_NONE,
	HOLD_CONSTRAINT,			/* which would be dropped with it */
	HOLD_DEPENDENT,				/* something has to be changed first */
	HOLD_FIRM,
} Hold;

static bool
is_usable(const IndexDefinition *index)
{
	return index->is_valid && index->is_ready && index->is_live;
}

/*
 * True for the index of a partitioned table that lacks those of partitions.
 */
static bool
is_incomplete(const IndexDefinition *index)
{
	return index->is_partitioned && !index->is_valid && index->is_live;
}

static Hold
find_hold(const IndexDefinition *index)
{
	if (index->parent != NULL || index->of_extension || index->is_primary)
		return HOLD_FIRM;
	if (index->is_replica_identity || index->required_by != NIL)
		return HOLD_DEPENDENT;
	return index->constraint_type != '\0' ? HOLD_CONSTRAINT : HOLD_NONE;
}

/*
 * Says what has to be changed before the index can be dropped; NULL: nothing.
 */
char *
architect_index_find_obstacle(const IndexDefinition *index)
{
	if (index->is_replica_identity)
		return "the replica identity, which has to be another index first";
	if (index->required_by != NIL)
		return psprintf("the foreign key \"%s\", which has to be made anew first",
						((IndexForeignKey *) linitial(index->required_by))->name);
	return NULL;
}

static const char *
describe_hold(const IndexDefinition *index)
{
	if (index->is_primary)
		return "is the primary key";
	if (index->parent != NULL)
		return "belongs to the index of the partitioned table";
	if (index->of_extension)
		return "belongs to an extension";
	if (index->is_replica_identity)
		return "is the replica identity";
	if (index->required_by != NIL)
		return "a foreign key depends on";
	return "belongs to a constraint";
}

/*
 * Says why the index, rather than the other, is the one to keep; NULL where it is not.
 */
static const char *
prefer(const IndexDefinition *index, const IndexDefinition *other)
{
	if (find_hold(index) != find_hold(other))
		return find_hold(index) > find_hold(other) ? describe_hold(index) : NULL;
	if (index->is_unique != other->is_unique)
		return index->is_unique ? "is unique" : NULL;
	if (index->is_immediate != other->is_immediate)
		return index->is_immediate ? "is checked at once" : NULL;
	if (index->is_clustered != other->is_clustered)
		return index->is_clustered ? "the table is clustered on" : NULL;
	if (index->counts.index_scans != other->counts.index_scans)
		return index->counts.index_scans > other->counts.index_scans ? "is scanned more often" : NULL;
	return index->oid < other->oid ? "is older" : NULL;
}

/*
 * True when the index may be dropped as far as it alone is concerned.
 */
static bool
may_leave(const IndexDefinition *index)
{
	return (is_usable(index) || is_incomplete(index)) && find_hold(index) < HOLD_FIRM;
}

/*
 * True when no scan has used the unique index, nothing depends on it, and what it
 * forbids may be left to another to forbid.
 */
static bool
is_idle_guard(IndexReview *review, const IndexDefinition *index)
{
	return may_leave(index) && find_hold(index) < HOLD_DEPENDENT && index->is_unique && !index->is_exclusion &&
		architect_index_is_idle(review, index);
}

/*
 * Returns an index that forbids what this one does, which is not used for anything
 * else; or NULL.
 */
IndexDefinition *
architect_index_find_guard(IndexReview *review, const IndexDefinition *index)
{
	ListCell   *cell;

	if (!is_idle_guard(review, index))
		return NULL;
	foreach(cell, index->table->indexes)
	{
		IndexDefinition *other = lfirst(cell);

		if (other == index || !is_usable(other) || !architect_index_enforces(other, index) ||
			architect_index_cover(other, index) != INDEX_COVER_NONE || architect_index_is_needed_for_key(index, other))
			continue;
		if (!is_idle_guard(review, other) || !architect_index_enforces(index, other) || prefer(other, index) != NULL)
			return other;
	}
	return NULL;
}

/*
 * True when the index is to be dropped as nothing uses it.
 */
static bool
is_leaving(IndexReview *review, const IndexDefinition *index)
{
	return architect_index_is_unused(review, index) || architect_index_find_guard(review, index) != NULL;
}

/*
 * Tells how the index does all that the other does.  One that leaves for want of use does
 * not stand in for one that is used: that would leave none.  One that is to be completed
 * stands in for such alone.
 */
static IndexCover
does_all(IndexReview *review, const IndexDefinition *index, const IndexDefinition *other)
{
	IndexCover	cover;

	if (index == other || !(is_usable(index) || (is_incomplete(index) && is_incomplete(other))))
		return INDEX_COVER_NONE;
	cover = architect_index_cover(index, other);
	if (cover == INDEX_COVER_NONE || !architect_index_enforces(index, other) ||
		architect_index_is_needed_for_key(other, index) ||
		(is_leaving(review, index) && !is_leaving(review, other)))
		return INDEX_COVER_NONE;
	return cover;
}

static IndexCover
replaces(IndexReview *review, const IndexDefinition *index, const IndexDefinition *other)
{
	IndexCover	cover = may_leave(other) ? does_all(review, index, other) : INDEX_COVER_NONE;

	if (cover == INDEX_COVER_NONE ||
		(may_leave(index) && does_all(review, other, index) != INDEX_COVER_NONE && prefer(index, other) == NULL))
		return INDEX_COVER_NONE;
	return cover;
}

/*
 * Finds the index that replaces this one: one with the same keys in the same order, or
 * one that has more.
 */
bool
architect_index_find_replacement(IndexReview *review, const IndexDefinition *index, bool is_same,
								 IndexReplacement *replacement)
{
	ListCell   *cell;

	replacement->index = NULL;
	if (!may_leave(index))
		return false;
	foreach(cell, index->table->indexes)
	{
		IndexDefinition *other = lfirst(cell);
		IndexCover	cover = replaces(review, other, index);

		if (cover == INDEX_COVER_NONE || is_same != (cover == INDEX_COVER_SAME || cover == INDEX_COVER_BACKWARD))
			continue;
		if (replacement->index == NULL || replaces(review, other, replacement->index) != INDEX_COVER_NONE)
		{
			replacement->index = other;
			replacement->cover = cover;
		}
	}
	if (replacement->index == NULL)
		return false;
	replacement->why = prefer(replacement->index, index);
	if (replacement->why == NULL)
		replacement->why = replacement->index->is_unique ? "forbids more" : "is scanned more often";
	return true;
}

/*
 * Returns an index as it will be on a partition; NULL where expressions or a predicate
 * would have to be translated for that.
 */
static IndexDefinition *
place_on(IndexDefinition *made, IndexTable *partition)
{
	IndexDefinition *placed = palloc(sizeof(IndexDefinition));

	*placed = *made;
	placed->table = partition;
	placed->parent = made;
	placed->attnums = palloc0(made->ncolumns * sizeof(int16));
	for (int i = 0; i < made->ncolumns; i++)
	{
		const char *name = made->attnums[i] > 0 ? made->table->columns[made->attnums[i] - 1].name : NULL;

		for (int j = 0; j < partition->ncolumns && name != NULL; j++)
		{
			if (partition->columns[j].name != NULL && strcmp(partition->columns[j].name, name) == 0)
				placed->attnums[i] = j + 1;
		}
		if ((made->expressions != NULL || made->predicate != NULL) && placed->attnums[i] != made->attnums[i])
			return NULL;
	}
	return placed;
}

/*
 * Returns the indexes (IndexDefinition) that one which is to be made replaces.  One that
 * is the same is passed by: it is taken for it.
 */
static List *
find_outdone(IndexReview *review, IndexDefinition *made)
{
	List	   *outdone = NIL;
	ListCell   *cell;

	foreach(cell, made->table->indexes)
	{
		IndexDefinition *index = lfirst(cell);
		IndexCover	cover = index->is_valid || is_incomplete(index) ? replaces(review, made, index) : INDEX_COVER_NONE;

		if (cover != INDEX_COVER_NONE && cover != INDEX_COVER_SAME)
			outdone = lappend(outdone, index);
	}
	foreach(cell, made->table->partitions)
	{
		IndexDefinition *placed = place_on(made, lfirst(cell));

		if (placed != NULL)
			outdone = list_concat(outdone, find_outdone(review, placed));
	}
	return outdone;
}

/*
 * Says which indexes the one that a finding has made will make redundant: they can go
 * when it is there.
 */
void
architect_index_tell_outdone(IndexReview *review, IndexFinding *finding, IndexDefinition *made)
{
	List	   *outdone = find_outdone(review, made);
	StringInfoData names;
	ListCell   *cell;

	if (outdone == NIL)
		return;
	initStringInfo(&names);
	foreach(cell, outdone)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", ((IndexDefinition *) lfirst(cell))->name);
	architect_index_evidence_text(finding, "makes_redundant", names.data);
	finding->reason = psprintf("%.*s; it will make %d that %s there redundant.", (int) strlen(finding->reason) - 1,
							   finding->reason, list_length(outdone), list_length(outdone) == 1 ? "is" : "are");
}

/*
 * Adds what a finding about an index that another replaces has to say.
 */
void
architect_index_propose_replacement(IndexReview *review, IndexFinding *finding, IndexDefinition *index,
									const IndexDefinition *stays)
{
	finding->columns = architect_index_column_texts(index);
	architect_index_evidence_text(finding, "kept", stays->name);
	architect_index_evidence(finding, "kept_scans", stays->counts.index_scans);
	architect_index_evidence(finding, "kept_bytes", (double) stays->pages * BLCKSZ);
	architect_index_evidence(finding, "scans", index->counts.index_scans);
	architect_index_evidence(finding, "index_bytes", (double) index->pages * BLCKSZ);
	architect_index_evidence_rows(finding);
	architect_index_evidence_counts(review, finding);
	finding->benefit_bytes = (double) index->pages * BLCKSZ;
	finding->benefit_writes = architect_index_daily_writes(review->facts, index);
	if (architect_index_find_obstacle(index) != NULL)
		return;
	architect_index_propose_drop(finding, index);
	if (index->is_clustered && stays->access_method == BTREE_AM_OID && stays->predicate == NULL)
		finding->statement = psprintf("ALTER TABLE %s CLUSTER ON %s;\n%s", architect_index_table_name(index->table),
									  quote_identifier(stays->name), finding->statement);
}
