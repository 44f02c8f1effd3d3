/*
 * whatif_inverted.c
 *    How big a GIN index would be: the keys of a sample are counted, and become those of
 *    the table.
 *
 * The planner asks a GIN index that exists for its pages of keys and of postings.  Of one
 * that does not, it takes nine in ten to be pages of keys: so it is told a size of which
 * that is true.
 */
#include "postgres.h"

#include <math.h>

#include "access/gin.h"
#include "access/gin_private.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "index/as_owner.h"
#include "index/whatif_sample.h"

/* So many keys of a sample are enough. */
#define MOST_KEYS 500000

/* Keys that a sample has more often are those that the table has. */
#define RARE 5

/* Of a row's address, as it is stored (ginpostinglist.c). */
#define ROW_NUMBERS 2048

/* How full pages are after a build. */
#define KEY_FILL 0.53
#define POSTING_FILL 0.95

/* What a key takes in the pending list, and in the tree the address of one row. */
#define PENDING_BYTES(width) MAXALIGN(sizeof(IndexTupleData) + (int) (width))
#define POSTING_BYTES 8

typedef struct Key
{
	uint32		hash;
	int			count;			/* in the sample */
	int			width;
} Key;

/* One column of the index while its keys are counted. */
typedef struct Counting
{
	FmgrInfo	extract;
	Oid			collation;
	int16		length;			/* of keys */
	bool		by_value;
	HTAB	   *keys;
	double		nkeys;			/* all together, those that repeat too */
	double		bytes;			/* of them in the pending list */
} Counting;

/* What the index takes. */
typedef struct Inverted
{
	double		scale;			/* rows of the index to those of the sample */
	double		pages;			/* of the table */
	double		key_bytes;
	double		posting_pages;
	double		rows;			/* of the index */
	double		batch;			/* of rows, that the pending list has room for */
	IndexKeys	keys;
} Inverted;

static void
count_key(Counting *counting, Datum value, bool isnull)
{
	uint32		hash = isnull ? 0 : datum_image_hash(value, counting->by_value, counting->length);
	bool		found;
	Key		   *key = hash_search(counting->keys, &hash, HASH_ENTER, &found);

	if (!found)
	{
		key->count = 0;
		key->width = isnull ? 1 : counting->length > 0 ? counting->length :
			datumGetSize(value, counting->by_value, counting->length);
	}
	key->count++;
	counting->nkeys++;
	counting->bytes += PENDING_BYTES(key->width);
}

static void
count_keys(Counting *counting, Datum value)
{
	int32		nkeys = 0;
	bool	   *nulls = NULL;
	Datum	   *keys = (Datum *) DatumGetPointer(FunctionCall3Coll(&counting->extract, counting->collation, value,
																   PointerGetDatum(&nkeys), PointerGetDatum(&nulls)));

	for (int i = 0; keys != NULL && i < nkeys; i++)
		count_key(counting, keys[i], nulls != NULL && nulls[i]);
	if (keys == NULL || nkeys <= 0)
		count_key(counting, (Datum) 0, true);
}

/*
 * Returns the type of the keys that are stored.
 */
static Oid
key_type(const WhatIfLeaf *leaf, int number)
{
	Oid			type = exprType((Node *) ((TargetEntry *) list_nth(leaf->info.indextlist, number))->expr);
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(leaf->definition->opclasses[number]));
	Oid			stored = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		stored = ((Form_pg_opclass) GETSTRUCT(tuple))->opckeytype;
		ReleaseSysCache(tuple);
	}
	if (stored == ANYELEMENTOID)
		stored = get_base_element_type(type);
	return OidIsValid(stored) ? stored : type;
}

static void
begin_counting(Counting *counting, const WhatIfLeaf *leaf, int number)
{
	const IndexOptInfo *info = &leaf->info;
	HASHCTL		control = {.keysize = sizeof(uint32), .entrysize = sizeof(Key), .hcxt = CurrentMemoryContext};

	fmgr_info(get_opfamily_proc(info->opfamily[number], info->opcintype[number], info->opcintype[number],
								GIN_EXTRACTVALUE_PROC), &counting->extract);
	counting->collation = OidIsValid(info->indexcollations[number]) ? info->indexcollations[number] :
		DEFAULT_COLLATION_OID;
	get_typlenbyval(key_type(leaf, number), &counting->length, &counting->by_value);
	counting->keys = hash_create("what-if keys", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	counting->nkeys = counting->bytes = 0;
}

/*
 * Adds keys, each of which occurs in so many rows.
 */
static void
add_keys(Inverted *inverted, double keys, double rows, double width)
{
	double		gap = Max(inverted->pages, 1) * ROW_NUMBERS / Max(rows, 1);
	double		each = 1 + floor(log(Max(gap, 1)) / log(128));
	double		postings = rows <= 1 ? 6 : 8 + Min((rows - 1) * each, rows + inverted->pages);
	double		entry = sizeof(IndexTupleData) + MAXALIGN((int) width) + sizeof(ItemIdData);
	double		written;

	if (postings + entry > GinMaxItemSize)
		inverted->posting_pages += keys * Max(postings / (BLCKSZ * POSTING_FILL), 1);
	else
		entry += MAXALIGN((int) postings);
	inverted->key_bytes += keys * entry;

	/* Of rows that come together, equal keys are written once; what is rare here stays so. */
	written = Max(keys * (1 - exp(-rows * inverted->batch / inverted->rows)) / inverted->batch, keys / inverted->rows);
	inverted->keys.written += written;
	inverted->keys.written_bytes += written * (PENDING_BYTES(width) + POSTING_BYTES);
}

/*
 * Makes those of the table of the keys of a sample.  Of the rare ones there are many
 * more, as many as Haas and Stokes say (compute_scalar_stats).
 */
static void
add_counted(Inverted *inverted, const Counting *counting)
{
	double		once = 0;
	double		distinct = 0;
	double		total = 0;
	double		width = 0;
	double		keys;
	HASH_SEQ_STATUS status;
	Key		   *key;

	hash_seq_init(&status, counting->keys);
	while ((key = hash_seq_search(&status)) != NULL)
	{
		if (key->count > RARE || inverted->scale <= 1)
		{
			add_keys(inverted, 1, key->count * inverted->scale, key->width);
			continue;
		}
		once += key->count == 1;
		distinct++;
		total += key->count;
		width += key->width;
	}
	if (distinct == 0)
		return;
	keys = total * distinct / (total - once + once / inverted->scale);
	add_keys(inverted, keys, total * inverted->scale / keys, width / distinct);
}

/*
 * Adds the keys of one column, which are those of so many rows.
 */
static void
add_column(Inverted *inverted, const Counting *counting, int nrows, double rows)
{
	inverted->scale = nrows == 0 ? 1 : Max(rows / nrows, 1);
	inverted->rows = Max(rows, Max(nrows, 1));
	inverted->batch = gin_pending_list_limit * 1024.0 * Max(nrows, 1) / Max(counting->bytes, 1);
	inverted->keys.count += counting->nkeys / Max(nrows, 1);
	inverted->keys.bytes += counting->bytes / Max(nrows, 1);
	add_counted(inverted, counting);
}

/*
 * Sets the size of a GIN index by what a sample would put into it.
 */
void
architect_whatif_inverted_size(WhatIfLeaf *leaf, const WhatIfEntries *entries)
{
	const IndexTable *table = leaf->definition->table;
	Inverted	inverted = {.pages = table->pages};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(caller, "what-if row", ALLOCSET_DEFAULT_SIZES);
	double		key_pages;
	IndexUser	user;

	architect_index_begin_as_owner(table, &user);
	for (int i = 0; i < leaf->info.nkeycolumns; i++)
	{
		Counting	counting;
		int			nrows = 0;

		begin_counting(&counting, leaf, i);
		for (; nrows < entries->nentries && counting.nkeys < MOST_KEYS; nrows++)
		{
			CHECK_FOR_INTERRUPTS();
			(void) MemoryContextSwitchTo(scratch);
			if (entries->nulls[i][nrows])
				count_key(&counting, (Datum) 0, true);
			else
				count_keys(&counting, entries->values[i][nrows]);
			(void) MemoryContextSwitchTo(caller);
			MemoryContextReset(scratch);
		}
		add_column(&inverted, &counting, nrows, leaf->share * table->rows);
		hash_destroy(counting.keys);
	}
	architect_index_end_as_owner(&user);
	MemoryContextDelete(scratch);
	key_pages = ceil(inverted.key_bytes / (BLCKSZ * KEY_FILL));
	leaf->bytes = (key_pages + ceil(key_pages / 100) + ceil(inverted.posting_pages * 1.01) + 2) * BLCKSZ;
	leaf->info.pages = ceil(key_pages / 0.9);
	leaf->index->definition->keys = inverted.keys;
}
