/*
 * leaf.c
 *    The relation in hand: the table of the job, or one of its partitions.
 *
 * Its statements are put together from the canonical expressions of the job.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "backfill/run.h"
#include "compat.h"

/* Every row that a statement looks at is shown to the batch first. */
#define SHOWN ARCHITECT_SCHEMA "._backfill_row(" BACKFILL_ALIAS ".ctid, " BACKFILL_ALIAS ".xmin)"

/*
 * True when the walk passes by rows that the assignment would not change.  In a sweep
 * this is needed lest it finds the same rows for ever.
 */
static bool
is_guarded(const BackfillRun *run)
{
	const BackfillAssignment *what = &run->job->what;

	return what->guard != NULL && (run->sweeping || what->condition == NULL || !what->closes);
}

/*
 * Appends what a row must meet to be changed.
 */
static void
append_conditions(StringInfo text, const BackfillRun *run)
{
	if (run->job->what.condition != NULL)
		appendStringInfo(text, " AND (%s)", run->job->what.condition);
	if (is_guarded(run))
		appendStringInfo(text, " AND (%s)", run->job->what.guard);
}

/*
 * Prepares the UPDATE of the rows for which this is true as well.
 */
static BackfillStatement *
prepare_change(BackfillRun *run, BackfillLeaf *leaf, const char *place, int nargs, const Oid *types, Oid index,
			   BackfillScan scan)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "UPDATE ONLY %s AS " BACKFILL_ALIAS " SET %s WHERE %s", leaf->name,
					 run->job->what.set_list, place);
	append_conditions(&text, run);
	return architect_backfill_prepare(text.data, nargs, types, leaf->relation, index, scan);
}

/*
 * Prepares the search for the key of the so-manieth row for which this is true.
 */
static BackfillStatement *
prepare_bound(BackfillLeaf *leaf, const char *range, const Oid *types, Oid index)
{
	BackfillKey *key = leaf->key;
	int			nargs = 2 * key->ncolumns + 1;

	return architect_backfill_prepare(
		psprintf("SELECT %s FROM ONLY %s AS " BACKFILL_ALIAS " WHERE %s ORDER BY %s OFFSET $%d LIMIT 1",
				 key->list, leaf->name, range, key->order, nargs),
		nargs, types, leaf->relation, index, BACKFILL_SCAN_KEY);
}

static void
prepare_keyed(BackfillRun *run, BackfillLeaf *leaf, Relation rel)
{
	BackfillKey *key = architect_backfill_open_key(run->job->target, run->job->key);
	Oid			index = architect_backfill_leaf_index(rel, run->job->target, run->job->key);
	int			ncolumns = key->ncolumns;
	Oid		   *types = palloc((2 * ncolumns + 1) * sizeof(Oid));

	leaf->key = key;
	for (int i = 0; i < ncolumns; i++)
		types[i] = types[ncolumns + i] = key->types[i];
	types[2 * ncolumns] = INT8OID;

	leaf->change = prepare_change(run, leaf, psprintf("%s AND %s AND " SHOWN, key->after, key->upto),
								  2 * ncolumns, types, index, BACKFILL_SCAN_KEY);
	leaf->begin = prepare_change(run, leaf, psprintf("%s AND " SHOWN, key->upto),
								 2 * ncolumns, types, index, BACKFILL_SCAN_KEY);
	leaf->bound = prepare_bound(leaf, psprintf("%s AND %s", key->after, key->upto), types, index);
	leaf->begin_bound = prepare_bound(leaf, key->upto, types, index);
	leaf->last = architect_backfill_prepare(
		psprintf("SELECT %s FROM ONLY %s AS " BACKFILL_ALIAS " ORDER BY %s LIMIT 1",
				 key->list, leaf->name, key->backwards),
		0, NULL, leaf->relation, index, BACKFILL_SCAN_KEY);
}

static void
prepare_blocks(BackfillRun *run, BackfillLeaf *leaf)
{
	Oid			places[] = {TIDARRAYOID};
	Oid			span[] = {TIDOID, TIDOID};

	leaf->places = prepare_change(run, leaf, BACKFILL_ALIAS ".ctid OPERATOR(pg_catalog.=) ANY ($1) AND " SHOWN,
								  lengthof(places), places, InvalidOid, BACKFILL_SCAN_BLOCKS);
	leaf->span = prepare_change(run, leaf,
								BACKFILL_ALIAS ".ctid OPERATOR(pg_catalog.>=) $1 AND "
								BACKFILL_ALIAS ".ctid OPERATOR(pg_catalog.<) $2 AND " SHOWN,
								lengthof(span), span, InvalidOid, BACKFILL_SCAN_BLOCKS);
}

/*
 * True when a row can be changed without touching an index.
 */
static bool
leaves_indexes_alone(BackfillJob *job, Relation rel)
{
	Bitmapset  *blocking = architect_hot_blocking_columns(rel);
	ListCell   *cell;

	foreach(cell, job->what.columns)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), lfirst(cell));

		if (bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, blocking))
			return false;
	}
	return true;
}

/*
 * Takes a relation, open and locked, in hand.
 */
void
architect_backfill_open_leaf(BackfillRun *run, Relation rel)
{
	const char *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												  RelationGetRelationName(rel));
	MemoryContext context;
	MemoryContext old;
	BackfillLeaf *leaf;
	Oid			place[] = {TIDOID};

	if (run->leaf != NULL && run->leaf->relation == RelationGetRelid(rel) && strcmp(run->leaf->name, name) == 0)
		return;
	architect_backfill_close_leaf(run);

	context = AllocSetContextCreate(run->context, "pg_architect backfill leaf", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	leaf = palloc0(sizeof(BackfillLeaf));
	leaf->relation = RelationGetRelid(rel);
	leaf->context = context;
	leaf->name = pstrdup(name);
	leaf->record_id = architect_backfill_record_id(rel);
	leaf->can_be_hot = leaves_indexes_alone(run->job, rel);

	if (run->job->walk == BACKFILL_WALK_KEY)
		prepare_keyed(run, leaf, rel);
	else
		prepare_blocks(run, leaf);
	leaf->one = prepare_change(run, leaf, BACKFILL_ALIAS ".ctid OPERATOR(pg_catalog.=) $1", lengthof(place), place,
							   InvalidOid, BACKFILL_SCAN_BLOCKS);
	leaf->identify = architect_backfill_prepare(
		psprintf("SELECT %s FROM ONLY %s AS " BACKFILL_ALIAS " WHERE ctid OPERATOR(pg_catalog.=) $1",
				 leaf->record_id, leaf->name),
		lengthof(place), place, leaf->relation, InvalidOid, BACKFILL_SCAN_BLOCKS);
	MemoryContextSwitchTo(old);
	run->leaf = leaf;
}

/*
 * Prepares the change of all rows of the relation in hand.
 */
void
architect_backfill_open_whole(BackfillRun *run)
{
	BackfillLeaf *leaf = run->leaf;
	MemoryContext old;

	if (leaf->whole != NULL)
		return;
	old = MemoryContextSwitchTo(leaf->context);
	leaf->whole = prepare_change(run, leaf, SHOWN, 0, NULL, InvalidOid, BACKFILL_SCAN_ANY);
	MemoryContextSwitchTo(old);
}

/*
 * Lets the relation in hand go, if there is one.
 */
void
architect_backfill_close_leaf(BackfillRun *run)
{
	BackfillLeaf *leaf = run->leaf;

	if (leaf == NULL)
		return;
	run->leaf = NULL;
	architect_backfill_forget(leaf->places);
	architect_backfill_forget(leaf->span);
	architect_backfill_forget(leaf->change);
	architect_backfill_forget(leaf->begin);
	architect_backfill_forget(leaf->whole);
	architect_backfill_forget(leaf->one);
	architect_backfill_forget(leaf->identify);
	architect_backfill_forget(leaf->bound);
	architect_backfill_forget(leaf->begin_bound);
	architect_backfill_forget(leaf->last);
	MemoryContextDelete(leaf->context);
}
