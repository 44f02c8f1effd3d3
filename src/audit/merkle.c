/*
 * merkle.c
 *    Hashes of log rows, and Merkle trees over them.
 *
 * The trees are those of RFC 6962: a tree of n leaves has the largest power of
 * two below n on its left, so that no leaf is ever counted twice, and leaves and
 * inner nodes are hashed under different prefixes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "audit/seal.h"

void
architect_seal_make_hasher(SealHasher *hasher)
{
	hasher->context = pg_cryptohash_create(PG_SHA256);
	if (hasher->context == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	initStringInfo(&hasher->buffer);
}

void
architect_seal_free_hasher(SealHasher *hasher)
{
	pg_cryptohash_free(hasher->context);
	pfree(hasher->buffer.data);
}

static void
hash_bytes(SealHasher *hasher, const uint8 *bytes, size_t length, uint8 *hash)
{
	if (pg_cryptohash_init(hasher->context) < 0 ||
		pg_cryptohash_update(hasher->context, bytes, length) < 0 ||
		pg_cryptohash_final(hasher->context, hash, SEAL_HASH) < 0)
		elog(ERROR, "could not compute a hash: %s", pg_cryptohash_error(hasher->context));
}

static void
append_uint32(StringInfo buffer, uint32 number)
{
	number = pg_hton32(number);
	appendBinaryStringInfo(buffer, (char *) &number, sizeof(number));
}

static void
append_uint64(StringInfo buffer, uint64 number)
{
	number = pg_hton64(number);
	appendBinaryStringInfo(buffer, (char *) &number, sizeof(number));
}

/*
 * Appends text behind its length, in an encoding that does not depend on the
 * database, should the log be restored in another.
 */
static void
append_text(StringInfo buffer, text *value)
{
	char	   *bytes = VARDATA_ANY(value);
	int			length = VARSIZE_ANY_EXHDR(value);
	char	   *converted = pg_server_to_any(bytes, length, PG_UTF8);

	if (converted != bytes)
		length = strlen(converted);
	append_uint32(buffer, length);
	appendBinaryStringInfo(buffer, converted, length);
}

/*
 * The text of a jsonb value is the same before a dump and after; its bytes need
 * not be.
 */
static void
append_jsonb(StringInfo buffer, Jsonb *value)
{
	int			start;
	char	   *converted;
	uint32		length;

	append_uint32(buffer, 0);
	start = buffer->len;
	JsonbToCString(buffer, &value->root, VARSIZE(value));
	converted = pg_server_to_any(buffer->data + start, buffer->len - start, PG_UTF8);
	if (converted != buffer->data + start)
	{
		buffer->len = start;
		appendStringInfoString(buffer, converted);
	}
	length = pg_hton32((uint32) (buffer->len - start));
	memcpy(buffer->data + start - sizeof(length), &length, sizeof(length));
}

static void
append_column(StringInfo buffer, Oid type, Datum value)
{
	switch (type)
	{
		case INT8OID:
		case TIMESTAMPTZOID:
		case XID8OID:
			append_uint64(buffer, DatumGetInt64(value));
			break;
		case INT4OID:
			append_uint32(buffer, DatumGetInt32(value));
			break;
		case TEXTOID:
			append_text(buffer, DatumGetTextPP(value));
			break;
		case JSONBOID:
			append_jsonb(buffer, DatumGetJsonbP(value));
			break;
		default:
			elog(ERROR, "unexpected type %u in the audit log", type);
	}
}

/*
 * Gives the leaf of a log row, whose values are in the order of the log's
 * columns.  Leaves memory behind in the current context.
 */
void
architect_seal_leaf(SealHasher *hasher, const uint8 *salt, const Datum *values,
					const bool *nulls, uint8 *leaf)
{
	StringInfo	buffer = &hasher->buffer;

	resetStringInfo(buffer);
	appendStringInfoChar(buffer, SEAL_PREFIX_LEAF);
	appendBinaryStringInfo(buffer, (const char *) salt, SEAL_SALT);
	for (int i = 0; i < LOG_COLUMNS; i++)
	{
		appendStringInfoChar(buffer, nulls[i] ? 0 : 1);
		if (!nulls[i])
			append_column(buffer, architect_audit_log_columns[i].type, values[i]);
	}
	hash_bytes(hasher, (uint8 *) buffer->data, buffer->len, leaf);
}

/*
 * Puts the node above the last two of the tree in their place.
 */
static void
join_nodes(SealTree *tree, SealHasher *hasher)
{
	uint8		bytes[1 + 2 * SEAL_HASH];
	uint8	   *left = tree->nodes[tree->depth - 2];

	bytes[0] = SEAL_PREFIX_NODE;
	memcpy(bytes + 1, left, 2 * SEAL_HASH);
	hash_bytes(hasher, bytes, sizeof(bytes), left);
	tree->depth--;
}

static void
add_node(SealTree *tree, SealHasher *hasher, const uint8 *node)
{
	memcpy(tree->nodes[tree->depth++], node, SEAL_HASH);
	/* Each one bit of the count before is a perfect subtree that is complete now. */
	for (uint64 count = tree->count++; count & 1; count >>= 1)
		join_nodes(tree, hasher);
}

/*
 * Gives the root of a tree with leaves, and empties it.
 */
static void
end_tree(SealTree *tree, SealHasher *hasher, uint8 *root)
{
	while (tree->depth > 1)
		join_nodes(tree, hasher);
	memcpy(root, tree->nodes[0], SEAL_HASH);
	tree->depth = 0;
	tree->count = 0;
}

void
architect_seal_start_forest(SealForest *forest, SealHasher *hasher)
{
	memset(forest, 0, sizeof(*forest));
	forest->hasher = hasher;
}

static void
end_transaction(SealForest *forest)
{
	uint8		bytes[1 + 8 + 8 + SEAL_HASH];
	uint64		transaction = pg_hton64(forest->transaction);
	uint64		count = pg_hton64(forest->inner.count);
	uint8		hash[SEAL_HASH];

	bytes[0] = SEAL_PREFIX_TRANSACTION;
	memcpy(bytes + 1, &transaction, 8);
	memcpy(bytes + 9, &count, 8);
	end_tree(&forest->inner, forest->hasher, bytes + 17);
	hash_bytes(forest->hasher, bytes, sizeof(bytes), hash);
	add_node(&forest->outer, forest->hasher, hash);
}

/*
 * Adds the next row's leaf.  Rows of one transaction come together.
 */
void
architect_seal_add_leaf(SealForest *forest, uint64 transaction, const uint8 *leaf)
{
	if (forest->inner.count > 0 && transaction != forest->transaction)
		end_transaction(forest);
	forest->transaction = transaction;
	forest->rows++;
	add_node(&forest->inner, forest->hasher, leaf);
}

/*
 * Gives the root of all, zeros where there was nothing.  The number of
 * transactions is outer.count until then, and stays.
 */
void
architect_seal_end_forest(SealForest *forest, uint8 *root)
{
	uint64		transactions;

	memset(root, 0, SEAL_HASH);
	if (forest->inner.count > 0)
		end_transaction(forest);
	transactions = forest->outer.count;
	if (transactions > 0)
		end_tree(&forest->outer, forest->hasher, root);
	forest->outer.count = transactions;
}
