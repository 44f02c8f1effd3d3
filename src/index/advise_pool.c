/*
 * advise_pool.c
 *    The candidates, each once, with an index that does not exist for the planner.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "index/advise_pool.h"

/* The candidates of one table. */
typedef struct AdvisePoolTable
{
	const IndexTable *table;
	List	   *candidates;		/* AdviseCandidate */
} AdvisePoolTable;

/*
 * Begins a part of the work, which has its share of the time.
 */
void
architect_advise_begin_part(AdvisePool *pool, AdvisePart part)
{
	pool->is_late = false;
	pool->deadline = pool->end == DT_NOEND ? DT_NOEND : pool->start + (pool->end - pool->start) / 100 * part;
}

/*
 * True when the time for the part in hand is over.
 */
bool
architect_advise_is_late(AdvisePool *pool)
{
	if (!pool->is_late)
		pool->is_late = GetCurrentTimestamp() >= pool->deadline;
	return pool->is_late;
}

static AdvisePoolTable *
find_table(const AdvisePool *pool, const IndexTable *table)
{
	ListCell   *cell;

	foreach(cell, pool->tables)
	{
		AdvisePoolTable *found = lfirst(cell);

		if (found->table == table)
			return found;
	}
	return NULL;
}

/*
 * Returns the candidates (AdviseCandidate) of a table.
 */
List *
architect_advise_candidates_of(const AdvisePool *pool, const IndexTable *table)
{
	AdvisePoolTable *found = find_table(pool, table);

	return found == NULL ? NIL : found->candidates;
}

static void
append_keys(StringInfo body, const List *keys, bool is_ordered)
{
	ListCell   *cell;

	foreach(cell, keys)
	{
		const AdviseKey *key = lfirst(cell);

		appendStringInfo(body, "%s%s", cell == list_head(keys) ? "" : ", ", key->text);
		if (key->opclass != NULL)
			appendStringInfo(body, " %s", key->opclass);
		if (is_ordered && key->is_descending)
			appendStringInfoString(body, " DESC");
		if (is_ordered && key->nulls_first != key->is_descending)
			appendStringInfoString(body, key->nulls_first ? " NULLS FIRST" : " NULLS LAST");
	}
}

static char *
write_body(const AdviseCandidate *candidate)
{
	StringInfoData body;
	int			attnum = -1;
	bool		is_first = true;

	initStringInfo(&body);
	appendStringInfo(&body, "USING %s (", quote_identifier(candidate->method));
	append_keys(&body, candidate->keys, strcmp(candidate->method, "btree") == 0);
	appendStringInfoChar(&body, ')');
	while ((attnum = bms_next_member(candidate->included, attnum)) >= 0)
	{
		appendStringInfo(&body, "%s%s", is_first ? " INCLUDE (" : ", ",
						 quote_identifier(candidate->table->columns[attnum - 1].name));
		is_first = false;
	}
	if (!is_first)
		appendStringInfoChar(&body, ')');
	if (candidate->predicate != NULL)
		appendStringInfo(&body, " WHERE %s", candidate->predicate->text);
	return body.data;
}

static void
add_candidate(AdvisePool *pool, AdvisePoolTable *table, AdviseCandidate *candidate)
{
	if (pool->ncandidates == pool->capacity)
	{
		pool->capacity = Max(2 * pool->capacity, 64);
		pool->candidates = pool->candidates == NULL ? palloc(pool->capacity * sizeof(AdviseCandidate *)) :
			repalloc(pool->candidates, pool->capacity * sizeof(AdviseCandidate *));
	}
	candidate->number = pool->ncandidates;
	pool->candidates[pool->ncandidates++] = candidate;
	table->candidates = lappend(table->candidates, candidate);
}

/*
 * Returns the candidate that has this definition: there is one of each.
 */
AdviseCandidate *
architect_advise_candidate(AdvisePool *pool, IndexTable *table, const char *method, List *keys, Bitmapset *included,
						   const AdvisePredicate *predicate)
{
	MemoryContext before = MemoryContextSwitchTo(pool->context);
	AdvisePoolTable *of_table = find_table(pool, table);
	AdviseCandidate *candidate = palloc0(sizeof(AdviseCandidate));
	ListCell   *cell;

	if (of_table == NULL)
	{
		of_table = palloc0(sizeof(AdvisePoolTable));
		of_table->table = table;
		pool->tables = lappend(pool->tables, of_table);
	}
	candidate->table = table;
	candidate->method = method;
	candidate->keys = keys;
	candidate->included = included;
	candidate->predicate = predicate;
	candidate->body = write_body(candidate);
	foreach(cell, of_table->candidates)
	{
		AdviseCandidate *same = lfirst(cell);

		if (strcmp(same->body, candidate->body) != 0)
			continue;
		pfree(candidate->body);
		pfree(candidate);
		candidate = same;
		break;
	}
	if (cell == NULL)
		add_candidate(pool, of_table, candidate);
	(void) MemoryContextSwitchTo(before);
	return candidate;
}

/* A candidate whose index is being made. */
typedef struct Making
{
	AdvisePool *pool;
	AdviseCandidate *candidate;
} Making;

static void
make_index(void *argument)
{
	Making	   *making = argument;
	AdviseCandidate *candidate = making->candidate;
	const char *table = architect_index_table_name(candidate->table);
	WhatIfIndex *index;

	index = architect_whatif_create(making->pool->world, psprintf("CREATE INDEX advised_%d ON %s %s",
																  candidate->number, table, candidate->body));
	candidate->bytes = architect_whatif_bytes(index);
	candidate->index = index;
}

/*
 * Makes the index of a candidate when it is first asked for; false where the server
 * would not, as for a type that the access method cannot have.
 */
bool
architect_advise_make(AdvisePool *pool, AdviseCandidate *candidate)
{
	Making		making = {.pool = pool, .candidate = candidate};
	MemoryContext before;

	if (candidate->index == NULL && !candidate->is_refused)
	{
		before = MemoryContextSwitchTo(pool->context);
		candidate->is_refused = architect_attempt(make_index, &making) != NULL;
		(void) MemoryContextSwitchTo(before);
	}
	return !candidate->is_refused;
}

/*
 * Forgets the indexes of candidates that are of no use.
 */
void
architect_advise_forget_useless(AdvisePool *pool)
{
	for (int i = 0; i < pool->ncandidates; i++)
	{
		AdviseCandidate *candidate = pool->candidates[i];

		if (candidate->is_useful || candidate->index == NULL)
			continue;
		architect_whatif_forget(candidate->index);
		candidate->index = NULL;
		candidate->is_refused = true;
	}
}

/*
 * Makes the indexes of all candidates, one table after the other: its sample is in memory
 * for so long.
 */
void
architect_advise_make_all(AdvisePool *pool)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, pool->tables)
	{
		foreach(inner, ((AdvisePoolTable *) lfirst(cell))->candidates)
		{
			CHECK_FOR_INTERRUPTS();
			if (!architect_advise_is_late(pool))
				(void) architect_advise_make(pool, lfirst(inner));
		}
		architect_whatif_forget_samples(pool->world);
	}
}
