/*
 * seal.h
 *    Seals of the log: hashes, Merkle trees, records of sealed rows.
 *
 * A row's leaf is a hash of all its columns behind a random salt.  The leaves of
 * one transaction make a tree, the roots of these make the tree of a seal, and
 * each seal has the hash of the one before.  Records of (transaction, id, flags,
 * salt, leaf) are kept in chunks, so that a check can name the row.
 */
#ifndef ARCHITECT_AUDIT_SEAL_H
#define ARCHITECT_AUDIT_SEAL_H

#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"

#include "audit/log.h"

#define SEAL_HASH PG_SHA256_DIGEST_LENGTH
#define SEAL_SALT 16

/* So that no hash of one kind can be passed off as one of another. */
#define SEAL_PREFIX_LEAF 0
#define SEAL_PREFIX_NODE 1
#define SEAL_PREFIX_TRANSACTION 2

/* Makes hashes; holds memory until architect_seal_free_hasher(). */
typedef struct SealHasher
{
	pg_cryptohash_ctx *context;
	StringInfoData buffer;
} SealHasher;

/* A tree that is given its leaves one after the other. */
typedef struct SealTree
{
	uint64		count;
	int			depth;
	uint8		nodes[64][SEAL_HASH];	/* roots of perfect subtrees, the largest first */
} SealTree;

/* The tree of a seal, and in it that of the transaction at hand. */
typedef struct SealForest
{
	SealHasher *hasher;
	uint64		transaction;
	uint64		rows;
	SealTree	inner;
	SealTree	outer;
} SealForest;

/* The values of its salt are gone: its row was erased in part, or removed. */
#define SEAL_ERASED 1
#define SEAL_REMOVED 2
/* When it was erased, the row was not what had been sealed. */
#define SEAL_SPOILED 4

/* One sealed row. */
typedef struct SealRecord
{
	uint64		transaction;
	int64		id;
	uint8		flags;
	uint8		salt[SEAL_SALT];
	uint8		leaf[SEAL_HASH];
} SealRecord;

/* Bytes of a record in a chunk, and records in a chunk. */
#define SEAL_RECORD_SIZE (8 + 8 + 1 + SEAL_SALT + SEAL_HASH)
#define SEAL_CHUNK_RECORDS 4096

/* Which log rows a seal is about. */
typedef struct SealSpan
{
	int64		seal;
	Oid			snapshot_type;	/* pg_snapshot, which has no constant of its own */
	Datum		snapshot;		/* of the seal */
	Datum		previous;		/* that of the seal before, or 0 where there is none of this origin */
	int64		first_seal;		/* of this origin */
	int64		floor;			/* ids up to it may be in that first seal */
} SealSpan;

/* Log rows as they are read. */
typedef struct SealRows
{
	Portal		portal;
	SPITupleTable *batch;
	uint64		next;			/* in the batch */
	MemoryContext context;		/* reset with each batch */
	Datum		values[LOG_COLUMNS];
	bool		nulls[LOG_COLUMNS];
	uint64		transaction;	/* of the row */
	int64		id;
} SealRows;

/* merkle.c */
extern void architect_seal_make_hasher(SealHasher *hasher);
extern void architect_seal_free_hasher(SealHasher *hasher);
extern void architect_seal_leaf(SealHasher *hasher, const uint8 *salt, const Datum *values,
								const bool *nulls, uint8 *leaf);
extern void architect_seal_start_forest(SealForest *forest, SealHasher *hasher);
extern void architect_seal_add_leaf(SealForest *forest, uint64 transaction, const uint8 *leaf);
extern void architect_seal_end_forest(SealForest *forest, uint8 *root);

/* seal_record.c */
extern void architect_seal_pack(const SealRecord *record, char *to);
extern void architect_seal_unpack(const char *from, SealRecord *record);
extern int	architect_seal_compare(uint64 transaction, int64 id, uint64 other_transaction, int64 other_id);
extern bool architect_seal_has_record(int64 seal, uint64 transaction, int64 id);

/* seal.c */
extern void architect_seal_open_rows(SealRows *rows, const SealSpan *span, int64 last_id, bool in_order);
extern bool architect_seal_next_row(SealRows *rows);
extern void architect_seal_close_rows(SealRows *rows);

#endif							/* ARCHITECT_AUDIT_SEAL_H */
