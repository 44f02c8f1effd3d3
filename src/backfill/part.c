/*
 * part.c
 *    What a job walks: its table, or the partitions; and how far it is with each.
 *
 * Workers of a block walk take windows of one part after the other.  Workers of a key
 * walk have a part each, whose row they hold locked while they change some of its rows.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "backfill/backfill.h"
#include "backfill/register.h"

static const Oid size_types[] = {INT8OID, OIDOID, INT8OID};

static BackfillQuery add_query = BACKFILL_QUERY(size_types,
	"INSERT INTO architect.backfill_parts (job, relation, blocks, done) VALUES ($1, $2, $3, false)"
	" ON CONFLICT (job, relation) DO NOTHING RETURNING 1");

static BackfillQuery rewind_query = BACKFILL_QUERY(size_types,
	"UPDATE architect.backfill_parts SET blocks = $3, next_block = 0, done = false"
	" WHERE job = $1 AND relation = $2");

static const Oid id_types[] = {INT8OID};

static BackfillQuery all_query = BACKFILL_QUERY(id_types,
	"SELECT relation::oid FROM architect.backfill_parts WHERE job = $1 ORDER BY relation");

/* The plan waits for whoever takes a window, which does not last. */
static BackfillQuery next_query = BACKFILL_QUERY(id_types,
	"SELECT relation::oid, next_block, blocks FROM architect.backfill_parts"
	" WHERE job = $1 AND NOT done ORDER BY relation LIMIT 1 FOR NO KEY UPDATE");

static BackfillQuery take_query = BACKFILL_QUERY(id_types,
	"SELECT relation::oid, cursor_key, last_key FROM architect.backfill_parts"
	" WHERE job = $1 AND NOT done ORDER BY relation LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED");

static BackfillQuery advance_query = BACKFILL_QUERY(size_types,
	"UPDATE architect.backfill_parts SET next_block = $3, done = $3 >= blocks"
	" WHERE job = $1 AND relation = $2");

static BackfillQuery return_query = BACKFILL_QUERY(size_types,
	"UPDATE architect.backfill_parts SET next_block = least(next_block, $3), done = false"
	" WHERE job = $1 AND relation = $2");

static const Oid part_types[] = {INT8OID, OIDOID};

static BackfillQuery end_query = BACKFILL_QUERY(part_types,
	"UPDATE architect.backfill_parts SET done = true WHERE job = $1 AND relation = $2");

static BackfillQuery drop_query = BACKFILL_QUERY(part_types,
	"DELETE FROM architect.backfill_parts WHERE job = $1 AND relation = $2");

static const Oid key_types[] = {INT8OID, OIDOID, TEXTARRAYOID};

static BackfillQuery cursor_query = BACKFILL_QUERY(key_types,
	"UPDATE architect.backfill_parts SET cursor_key = $3 WHERE job = $1 AND relation = $2");

static BackfillQuery bound_query = BACKFILL_QUERY(key_types,
	"UPDATE architect.backfill_parts SET last_key = $3 WHERE job = $1 AND relation = $2");

/*
 * Gives the size of the relation; false where it is dropped.
 */
static bool
count_blocks(Oid relation, BlockNumber *blocks)
{
	Relation	rel = try_relation_open(relation, AccessShareLock);

	if (rel == NULL)
		return false;
	*blocks = RelationGetNumberOfBlocks(rel);
	relation_close(rel, AccessShareLock);
	return true;
}

/*
 * Takes a dropped relation out of the job.
 */
static void
drop_part(int64 id, Oid relation)
{
	Datum		values[] = {Int64GetDatum(id), ObjectIdGetDatum(relation)};

	(void) architect_backfill_query(&drop_query, values, NULL);
	architect_backfill_log(id, "partition dropped", "relation with OID %u was to be walked and is not there any more",
						   relation);
}

/*
 * True where the relation is still there.
 */
static bool
is_there(Oid relation)
{
	BlockNumber blocks;

	return count_blocks(relation, &blocks);
}

/*
 * Adds what the job shall walk and does not yet: at its beginning all, later partitions
 * that came meanwhile.
 */
void
architect_backfill_add_parts(BackfillJob *job)
{
	ListCell   *cell;

	foreach(cell, architect_backfill_leaves(job->target))
	{
		BlockNumber blocks;
		Datum		values[3] = {Int64GetDatum(job->id), ObjectIdGetDatum(lfirst_oid(cell))};

		if (!count_blocks(lfirst_oid(cell), &blocks))
			continue;
		values[2] = Int64GetDatum(blocks);
		(void) architect_backfill_query(&add_query, values, NULL);
	}
}

/*
 * Starts all over, with the sizes of now and what has come meanwhile.
 */
void
architect_backfill_rewind_parts(BackfillJob *job)
{
	Datum		values[3] = {Int64GetDatum(job->id)};
	ListCell   *cell;

	architect_backfill_add_parts(job);
	foreach(cell, architect_backfill_query(&all_query, values, NULL))
	{
		Oid			relation = atooid(((char **) lfirst(cell))[0]);
		BlockNumber blocks;

		if (!count_blocks(relation, &blocks))
		{
			drop_part(job->id, relation);
			continue;
		}
		values[1] = ObjectIdGetDatum(relation);
		values[2] = Int64GetDatum(blocks);
		(void) architect_backfill_query(&rewind_query, values, NULL);
	}
}

/*
 * Takes a window of at most so many blocks, from first up to, and without, end, that
 * no other worker gets; the caller commits before it goes to work.  False where
 * nothing is left.
 */
bool
architect_backfill_claim(int64 id, int64 blocks, Oid *relation, BlockNumber *first, BlockNumber *end)
{
	Datum		values[3] = {Int64GetDatum(id)};
	List	   *rows;

	while ((rows = architect_backfill_query(&next_query, values, NULL)) != NIL)
	{
		char	  **row = linitial(rows);
		int64		from = strtoi64(row[1], NULL, 10);
		int64		upto = Min(from + Max(blocks, 1), strtoi64(row[2], NULL, 10));

		*relation = atooid(row[0]);
		if (!is_there(*relation))
		{
			drop_part(id, *relation);
			continue;
		}
		values[1] = ObjectIdGetDatum(*relation);
		values[2] = Int64GetDatum(upto);
		(void) architect_backfill_query(&advance_query, values, NULL);
		if (from >= upto)
			continue;

		*first = from;
		*end = upto;
		return true;
	}
	return false;
}

/*
 * Gives back a window that was not done, with what others took after it.
 */
void
architect_backfill_return(int64 id, Oid relation, BlockNumber first)
{
	Datum		values[] = {Int64GetDatum(id), ObjectIdGetDatum(relation), Int64GetDatum(first)};

	(void) architect_backfill_query(&return_query, values, NULL);
}

/*
 * Takes a part of a key walk until the end of the transaction, with the last key done
 * and the one to end with, NULL where there is none yet.  False where nothing is left
 * that no other worker has.
 */
bool
architect_backfill_take_part(int64 id, Oid *relation, char ***cursor, char ***last)
{
	Datum		values[] = {Int64GetDatum(id)};
	List	   *rows;

	while ((rows = architect_backfill_query(&take_query, values, NULL)) != NIL)
	{
		char	  **row = linitial(rows);
		int			count;

		*relation = atooid(row[0]);
		if (is_there(*relation))
		{
			*cursor = architect_backfill_read_array(row[1], &count);
			*last = architect_backfill_read_array(row[2], &count);
			return true;
		}
		drop_part(id, *relation);
	}
	return false;
}

static void
set_key(BackfillQuery *query, int64 id, Oid relation, int ncolumns, char **key)
{
	Datum		values[] = {Int64GetDatum(id), ObjectIdGetDatum(relation),
							architect_backfill_text_array(ncolumns, key)};

	(void) architect_backfill_query(query, values, NULL);
}

/*
 * Notes the last key that is done, in the transaction that did it.
 */
void
architect_backfill_move_cursor(int64 id, Oid relation, int ncolumns, char **cursor)
{
	set_key(&cursor_query, id, relation, ncolumns, cursor);
}

/*
 * Notes the key that the walk ends with.
 */
void
architect_backfill_bound_part(int64 id, Oid relation, int ncolumns, char **last)
{
	set_key(&bound_query, id, relation, ncolumns, last);
}

/*
 * Notes that the walk of this part has come to its end.
 */
void
architect_backfill_end_part(int64 id, Oid relation)
{
	Datum		values[] = {Int64GetDatum(id), ObjectIdGetDatum(relation)};

	(void) architect_backfill_query(&end_query, values, NULL);
}
