/*
 * jsonb_keys.c
 *    Counts the keys of jsonb documents, as they are stored: nothing is turned into text.
 *
 * Keys at the top and, of objects there, one level below are counted.  Of a large
 * document the head alone is read: all keys at the top stand there, with the types
 * and lengths of their values.
 *
 * Where keys are data, as in a map from customers to something, there may be any
 * number.  Then those that are in few documents are dropped from time to time; what a
 * key that comes later may have lost that way is at most the bound at that moment.
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "common/hashfn.h"
#include "index/jsonb.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"

#define MOST_KEYS 4096			/* are kept from one document to the next */
#define MOST_NOTED (4 * MOST_KEYS)	/* with those of the document in hand */
#define WHOLE_BYTES (64 * 1024) /* documents up to this size are read to their end */
#define HEAD_BYTES 8192			/* of others, to begin with */

typedef struct KeyEntry
{
	JsonbKey   *key;
	uint32		hash;
	char		status;
} KeyEntry;

static uint32
hash_key(const JsonbKey *key)
{
	return hash_bytes((const unsigned char *) key->name, key->length) ^ murmurhash32((uint32) (uintptr_t) key->parent);
}

static bool
is_same_key(const JsonbKey *one, const JsonbKey *other)
{
	return one->parent == other->parent && one->length == other->length &&
		memcmp(one->name, other->name, one->length) == 0;
}

#define SH_PREFIX jsonbkeys
#define SH_ELEMENT_TYPE KeyEntry
#define SH_KEY_TYPE JsonbKey *
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_key(key)
#define SH_EQUAL(table, one, other) is_same_key(one, other)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * Makes a column ready to be counted.
 */
void
architect_jsonb_begin_column(JsonbSample *sample, JsonbColumn *column)
{
	column->keys = jsonbkeys_create(sample->context, 64, NULL);
}

static void
free_key(JsonbKey *key)
{
	if (key->values != NULL)
		pfree(key->values);
	pfree(key->name);
	pfree(key);
}

/*
 * Drops keys that are in few documents, until there are not too many.  The object
 * that a key stands in stays as long as the key does.
 */
static void
drop_rare_keys(JsonbColumn *column)
{
	jsonbkeys_iterator position;
	KeyEntry   *entry;

	column->is_map = true;
	while (column->keys->members > MOST_KEYS / 2)
	{
		List	   *dropped = NIL;
		ListCell   *cell;

		CHECK_FOR_INTERRUPTS();
		column->bound++;
		jsonbkeys_start_iterate(column->keys, &position);
		while ((entry = jsonbkeys_iterate(column->keys, &position)) != NULL)
			entry->key->is_kept = entry->key->count + entry->key->missed > column->bound;
		jsonbkeys_start_iterate(column->keys, &position);
		while ((entry = jsonbkeys_iterate(column->keys, &position)) != NULL)
		{
			if (entry->key->is_kept && entry->key->parent != NULL)
				entry->key->parent->is_kept = true;
		}
		jsonbkeys_start_iterate(column->keys, &position);
		while ((entry = jsonbkeys_iterate(column->keys, &position)) != NULL)
		{
			if (!entry->key->is_kept)
				dropped = lappend(dropped, entry->key);
		}
		for (JsonbKey **next = &column->here_first; *next != NULL;)
		{
			if ((*next)->is_kept)
				next = &(*next)->here_next;
			else
				*next = (*next)->here_next;
		}
		foreach(cell, dropped)
			(void) jsonbkeys_delete(column->keys, lfirst(cell));
		foreach(cell, dropped)
			free_key(lfirst(cell));
		list_free(dropped);
	}
}

/*
 * Returns the key of this name, a new one if need be; NULL where there are too many.
 */
static JsonbKey *
find_key(JsonbSample *sample, JsonbColumn *column, JsonbKey *parent, const char *name, int length)
{
	JsonbKey	wanted = {.parent = parent, .name = unconstify(char *, name), .length = length};
	uint32		hash = hash_key(&wanted);
	KeyEntry   *entry = jsonbkeys_lookup_hash(column->keys, &wanted, hash);
	MemoryContext caller;
	JsonbKey   *key;
	bool		found;

	if (entry != NULL)
		return entry->key;
	if (column->keys->members >= MOST_NOTED)
		return NULL;
	caller = MemoryContextSwitchTo(sample->context);
	key = palloc0(sizeof(JsonbKey));
	key->parent = parent;
	key->name = pnstrdup(name, length);
	key->length = length;
	key->missed = column->bound;
	(void) jsonbkeys_insert_hash(column->keys, key, hash, &found);
	MemoryContextSwitchTo(caller);
	return key;
}

static void
put_value(uint32 *values, int room, uint32 hash, int *nvalues)
{
	int			place = hash & (room - 1);

	while (values[place] != 0 && values[place] != hash)
		place = (place + 1) & (room - 1);
	if (values[place] == 0)
		(*nvalues)++;
	values[place] = hash;
}

/*
 * Notes a value by its hash, as long as there are not too many different ones.
 */
static void
note_value(JsonbSample *sample, JsonbKey *key, uint32 hash)
{
	if (key->nvalues > JSONB_MOST_VALUES)
		return;
	if (key->nvalues * 2 >= key->room)
	{
		int			room = Max(key->room * 2, 8);
		uint32	   *values = MemoryContextAllocZero(sample->context, room * sizeof(uint32));
		int			ignored = 0;

		for (int i = 0; i < key->room; i++)
		{
			if (key->values[i] != 0)
				put_value(values, room, key->values[i], &ignored);
		}
		if (key->values != NULL)
			pfree(key->values);
		key->values = values;
		key->room = room;
	}
	put_value(key->values, key->room, Max(hash, 1), &key->nvalues);
}

/*
 * Says what a value is.  Its bytes are looked at where they are at hand.
 */
static JsonbKind
find_kind(JEntry entry, const char *value)
{
	if (JBE_ISSTRING(entry))
		return JSONB_STRING;
	if (JBE_ISNUMERIC(entry))
		return JSONB_NUMBER;
	if (JBE_ISBOOL(entry))
		return JSONB_BOOLEAN;
	if (JBE_ISNULL(entry))
		return JSONB_NULL;
	if (value == NULL)
		return JSONB_CONTAINER;
	return JsonContainerIsObject((const JsonbContainer *) value) ? JSONB_OBJECT : JSONB_ARRAY;
}

/*
 * Counts a key of the document in hand.  The value is NULL where it was not read.
 */
static void
count_key(JsonbSample *sample, JsonbColumn *column, JsonbKey *key, JsonbKind kind, const char *value, int bytes,
		  bool is_toasted)
{
	if (key->here == 0)
	{
		key->here_next = column->here_first;
		column->here_first = key;
	}
	key->count++;
	key->here++;
	key->toasted += is_toasted;
	key->kinds[kind]++;
	key->key_bytes += sizeof(JEntry) + key->length;
	key->value_bytes += sizeof(JEntry) + bytes;
	if (kind == JSONB_STRING || kind == JSONB_NUMBER)
	{
		key->most_bytes = Max(key->most_bytes, bytes);
		if (value != NULL)
			note_value(sample, key, hash_bytes((const unsigned char *) value, bytes) ^ kind);
	}
	else if (kind == JSONB_BOOLEAN && value != NULL)
		note_value(sample, key, *value);
	key->unread += value == NULL;
}

/*
 * True when a key has many different values, or most were not looked at.
 */
bool
architect_jsonb_has_many_values(const JsonbKey *key)
{
	return key->nvalues > JSONB_MOST_VALUES || key->unread > key->count / 2;
}

/*
 * Counts the keys of an object, and those of objects in it where there is no parent.
 */
static void
count_keys(JsonbSample *sample, JsonbColumn *column, const JsonbContainer *object, JsonbKey *parent,
		   bool is_whole, bool is_toasted)
{
	int			count = JsonContainerSize(object);
	const char *base = (const char *) &object->children[count * 2];
	uint32		key_offset = 0;
	uint32		value_offset = getJsonbOffset(object, count);

	for (int i = 0; i < count; i++)
	{
		JEntry		entry = object->children[count + i];
		uint32		key_end = key_offset;
		uint32		value_end = value_offset;
		uint32		begin;
		const char *value = NULL;
		JsonbKey   *key;
		JsonbKind	kind;
		char		truth = JBE_ISBOOL_TRUE(entry) ? 2 : 1;

		JBE_ADVANCE_OFFSET(key_end, object->children[i]);
		JBE_ADVANCE_OFFSET(value_end, entry);
		begin = JBE_ISCONTAINER(entry) || JBE_ISNUMERIC(entry) ? INTALIGN(value_offset) : value_offset;
		if (is_whole)
			value = JBE_ISBOOL(entry) ? &truth : base + begin;
		key = find_key(sample, column, parent, base + key_offset, key_end - key_offset);
		kind = find_kind(entry, value);
		if (key != NULL)
		{
			count_key(sample, column, key, kind, value, value_end - begin, is_toasted);
			if (kind == JSONB_OBJECT && parent == NULL)
				count_keys(sample, column, (const JsonbContainer *) value, key, is_whole, is_toasted);
		}
		key_offset = key_end;
		value_offset = value_end;
	}
}

/*
 * Returns the bytes that the names of keys take in a container, at all depths.
 */
static double
sum_key_bytes(const JsonbContainer *root)
{
	int			room = 64;
	int			depth = 0;
	double		bytes = 0;
	const JsonbContainer **stack = palloc(room * sizeof(JsonbContainer *));

	stack[depth++] = root;
	while (depth > 0)
	{
		const JsonbContainer *container = stack[--depth];
		bool		is_object = JsonContainerIsObject(container);
		int			count = JsonContainerSize(container);
		int			nkeys = is_object ? count : 0;
		const char *base = (const char *) &container->children[count + nkeys];
		uint32		offset = is_object ? getJsonbOffset(container, count) : 0;

		bytes += nkeys * sizeof(JEntry) + offset;
		for (int i = nkeys; i < count + nkeys; i++)
		{
			if (JBE_ISCONTAINER(container->children[i]))
			{
				if (depth == room)
					stack = repalloc(stack, (room *= 2) * sizeof(JsonbContainer *));
				stack[depth++] = (const JsonbContainer *) (base + INTALIGN(offset));
			}
			JBE_ADVANCE_OFFSET(offset, container->children[i]);
		}
	}
	pfree(stack);
	return bytes;
}

/*
 * Returns the beginning of a document, with as many bytes as there are, at most.
 */
static const JsonbContainer *
read_head(JsonbColumn *column, Datum document, Size bytes)
{
	column->read += bytes;
	return (const JsonbContainer *) VARDATA(detoast_attr_slice((struct varlena *) DatumGetPointer(document), 0, bytes));
}

/*
 * Returns a document up to where its values begin.
 */
static const JsonbContainer *
read_keys(JsonbColumn *column, Datum document)
{
	const JsonbContainer *head = read_head(column, document, HEAD_BYTES);
	Size		needed;

	if (!JsonContainerIsObject(head))
		return head;
	needed = offsetof(JsonbContainer, children) + JsonContainerSize(head) * 2 * sizeof(JEntry);
	if (needed > HEAD_BYTES)
		head = read_head(column, document, needed);
	needed += getJsonbOffset(head, JsonContainerSize(head));
	if (needed > HEAD_BYTES)
		head = read_head(column, document, needed);
	return head;
}

/*
 * Counts a document, which is not NULL.
 */
void
architect_jsonb_note(JsonbSample *sample, JsonbColumn *column, Datum document)
{
	Size		bytes = toast_raw_datum_size(document) - VARHDRSZ;
	bool		is_whole = bytes <= WHOLE_BYTES;
	bool		is_toasted = VARATT_IS_EXTERNAL(DatumGetPointer(document));
	const JsonbContainer *root;
	double		key_bytes = 0;
	JsonbKind	kind;

	if (is_whole)
	{
		column->read += bytes;
		root = &DatumGetJsonbP(document)->root;
	}
	else
		root = read_keys(column, document);

	if (JsonContainerIsScalar(root))
		kind = find_kind(root->children[0], NULL);
	else
		kind = JsonContainerIsObject(root) ? JSONB_OBJECT : JSONB_ARRAY;
	if (is_whole)
		key_bytes = sum_key_bytes(root);
	else if (kind == JSONB_OBJECT)
		key_bytes = JsonContainerSize(root) * sizeof(JEntry) + getJsonbOffset(root, JsonContainerSize(root));

	column->here++;
	column->all.count++;
	column->all.kinds[kind]++;
	column->all.toasted += is_toasted;
	column->all.key_bytes += key_bytes;
	column->all.value_bytes += bytes - key_bytes;
	if (kind == JSONB_OBJECT)
		count_keys(sample, column, root, NULL, is_whole, is_toasted);
	if (column->keys->members > MOST_KEYS)
		drop_rare_keys(column);
}

/*
 * Closes the books of a block: documents of one block are not independent of each other.
 */
void
architect_jsonb_end_block(JsonbColumn *column)
{
	for (JsonbKey *key = column->here_first; key != NULL; key = key->here_next)
	{
		key->squares += key->here * key->here;
		key->products += key->here * column->here;
		key->here = 0;
	}
	column->here_first = NULL;
	column->squares += column->here * column->here;
	column->here = 0;
}

/*
 * Returns by how much the presence of a key may be off, in 95 cases of 100; NaN where
 * that cannot be told.
 */
double
architect_jsonb_presence_error(const JsonbSample *sample, const JsonbColumn *column, const JsonbKey *key)
{
	double		pages = sample->pages_read;
	double		presence = key->count / column->all.count;
	double		spread = key->squares - 2 * presence * key->products + presence * presence * column->squares;
	double		unread = 1 - sample->share * pages / sample->pages;

	if (unread <= 0)
		return key->missed / column->all.count;
	if (pages < 2)
		return NAN;
	return 1.96 * sqrt(unread * Max(spread, 0) * pages / (pages - 1)) / column->all.count +
		key->missed / column->all.count;
}

/*
 * Returns the largest of these, NaN aside.
 */
double
architect_jsonb_worst_error(const JsonbSample *sample, const JsonbColumn *column)
{
	double		worst = 0;
	jsonbkeys_iterator position;
	KeyEntry   *entry;

	jsonbkeys_start_iterate(column->keys, &position);
	while ((entry = jsonbkeys_iterate(column->keys, &position)) != NULL)
		worst = fmax(worst, architect_jsonb_presence_error(sample, column, entry->key));
	return worst;
}

/* What is in most documents first. */
static int
compare_keys(const ListCell *left, const ListCell *right)
{
	const JsonbKey *one = lfirst(left);
	const JsonbKey *other = lfirst(right);
	const JsonbKey *top_one = one->parent == NULL ? one : one->parent;
	const JsonbKey *top_other = other->parent == NULL ? other : other->parent;

	if (top_one != top_other)
	{
		if (top_one->count != top_other->count)
			return top_one->count > top_other->count ? -1 : 1;
		return strcmp(top_one->name, top_other->name);
	}
	if ((one->parent == NULL) != (other->parent == NULL))
		return one->parent == NULL ? -1 : 1;
	if (one->count != other->count)
		return one->count > other->count ? -1 : 1;
	return strcmp(one->name, other->name);
}

/*
 * Returns the keys, each object before what is in it, and at most so many.  Of a map,
 * those that had to be in the sample that often.
 */
List *
architect_jsonb_keys(JsonbColumn *column, int most, int64 *nothers)
{
	List	   *keys = NIL;
	jsonbkeys_iterator position;
	KeyEntry   *entry;

	jsonbkeys_start_iterate(column->keys, &position);
	while ((entry = jsonbkeys_iterate(column->keys, &position)) != NULL)
	{
		if (entry->key->count > column->bound)
			keys = lappend(keys, entry->key);
	}
	list_sort(keys, compare_keys);
	*nothers = Max(list_length(keys) - most, 0);
	return list_truncate(keys, most);
}
