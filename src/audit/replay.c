/*
 * replay.c
 *    Events added up to one net change a record.
 *
 * Records are found by the id that they have after the events so far.  A record
 * that is deleted and comes again under its id is the same one.  Where a key is
 * deferrable two records can have one id for a while; of such tables the whole row
 * before an UPDATE is logged as well, by which they are told apart.
 *
 * Most records of a table have not changed, and are asked for all the same: a
 * bitmap of hashes, small enough to stay in the processor's cache, answers first.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "audit/record.h"
#include "audit/replay.h"

typedef struct RecordEntry
{
	text	   *id;
	uint32		hash;
	char		status;
	AuditChange *record;
} RecordEntry;

static inline uint32
hash_id(text *id)
{
	return hash_bytes((unsigned char *) VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
}

static inline bool
equal_ids(text *left, text *right)
{
	return VARSIZE_ANY_EXHDR(left) == VARSIZE_ANY_EXHDR(right) &&
		memcmp(VARDATA_ANY(left), VARDATA_ANY(right), VARSIZE_ANY_EXHDR(left)) == 0;
}

#define SH_PREFIX record_table
#define SH_ELEMENT_TYPE RecordEntry
#define SH_KEY_TYPE text *
#define SH_KEY id
#define SH_HASH_KEY(table, key) hash_id(key)
#define SH_EQUAL(table, left, right) equal_ids(left, right)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct AuditReplay
{
	MemoryContext context;
	bool		keep_before;
	bool		keep_after;
	bool		keep_baselines;
	record_table_hash *table;
	List	   *records;		/* all of them, in the order of their first events */

	/* A bit for each hash that is in the table, made when it is first asked. */
	uint64	   *bits;
	uint32		bit_mask;
};

/* How many bits the bitmap has for each record. */
#define BITS_A_RECORD 16

/*
 * Starts to add up, from nothing.  Says which images are of interest, and whether
 * a baseline, which is no change, is.  All of it lives in the current context.
 */
AuditReplay *
architect_audit_begin_replay(bool before, bool after, bool baselines)
{
	AuditReplay *replay = palloc0(sizeof(AuditReplay));

	replay->context = CurrentMemoryContext;
	replay->keep_before = before;
	replay->keep_after = after;
	replay->keep_baselines = baselines;
	replay->table = record_table_create(CurrentMemoryContext, 1024, NULL);
	return replay;
}

static AuditChange *
find_record(AuditReplay *replay, text *id)
{
	RecordEntry *entry = record_table_lookup(replay->table, id);

	return entry == NULL ? NULL : entry->record;
}

static void
make_bits(AuditReplay *replay)
{
	uint64		size = pg_nextpower2_64(Max(64, (uint64) replay->table->members * BITS_A_RECORD));
	record_table_iterator iterator;
	RecordEntry *entry;

	size = Min(size, UINT64CONST(1) << 32);
	replay->bit_mask = size - 1;
	replay->bits = MemoryContextAllocExtended(replay->context, size / 8, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	record_table_start_iterate(replay->table, &iterator);
	while ((entry = record_table_iterate(replay->table, &iterator)) != NULL)
	{
		uint32		bit = entry->hash & replay->bit_mask;

		replay->bits[bit / 64] |= UINT64CONST(1) << (bit % 64);
	}
}

/*
 * Returns the record that has this id now, or NULL where no event told of it.
 * No event may be added any more.
 */
AuditChange *
architect_audit_find_change(AuditReplay *replay, text *id)
{
	uint32		hash = hash_id(id);
	uint32		bit;
	RecordEntry *entry;

	if (replay->bits == NULL)
		make_bits(replay);
	bit = hash & replay->bit_mask;
	if ((replay->bits[bit / 64] & (UINT64CONST(1) << (bit % 64))) == 0)
		return NULL;
	entry = record_table_lookup_hash(replay->table, id, hash);
	return entry == NULL ? NULL : entry->record;
}

List *
architect_audit_net_changes(AuditReplay *replay)
{
	return replay->records;
}

static text *
copy_text(text *original)
{
	return memcpy(palloc(VARSIZE_ANY(original)), original, VARSIZE_ANY(original));
}

static Jsonb *
copy_image(Jsonb *original)
{
	return original == NULL ? NULL : memcpy(palloc(VARSIZE(original)), original, VARSIZE(original));
}

/*
 * Puts the record under its id, in front of others that have it.
 */
static void
enter_record(AuditReplay *replay, AuditChange *record)
{
	bool		found;
	RecordEntry *entry = record_table_insert(replay->table, record->id, &found);

	record->next = found && entry->record->exists ? entry->record : NULL;
	entry->id = record->id;
	entry->record = record;
}

/*
 * Takes the record from under its id.
 */
static void
remove_record(AuditReplay *replay, AuditChange *record)
{
	RecordEntry *entry = record_table_lookup(replay->table, record->id);
	AuditChange **link = &entry->record;

	while (*link != record)
		link = &(*link)->next;
	*link = record->next;
	record->next = NULL;
	if (entry->record == NULL)
		record_table_delete(replay->table, record->id);
	else
		entry->id = entry->record->id;
}

static AuditChange *
new_record(AuditReplay *replay, text *id, bool existed)
{
	AuditChange *record = palloc0(sizeof(AuditChange));

	record->id = record->first_id = copy_text(id);
	record->existed = record->exists = existed;
	replay->records = lappend(replay->records, record);
	enter_record(replay, record);
	return record;
}

/*
 * True unless the images disagree in a column that both have.
 */
static bool
can_be_same(Jsonb *known, Jsonb *seen)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	other;

	if (known == NULL || seen == NULL)
		return true;
	iterator = JsonbIteratorInit(&known->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		JsonbValue	key = value;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (key.val.string.len > 0 &&
			architect_audit_get(seen, key.val.string.val, key.val.string.len, &other) != NULL &&
			!architect_audit_same_value(&value, &other))
			return false;
	}
	return true;
}

/*
 * Returns the record that an UPDATE or a DELETE is about, which existed before
 * the first event if this is the first.
 */
static AuditChange *
changed_record(AuditReplay *replay, const AuditLogEvent *event)
{
	AuditChange *record = find_record(replay, event->record_id);

	Jsonb	   *row = event->row != NULL ? event->row : event->old_values;

	while (record != NULL && record->arrived && !can_be_same(record->known, row))
		record = record->next;
	return record != NULL ? record : new_record(replay, event->record_id, true);
}

/*
 * Adds what is older than the event to what is known of before.
 */
static void
add_before(AuditReplay *replay, AuditChange *record, Jsonb *old_values)
{
	Jsonb	   *former = record->before;

	if (!replay->keep_before || !record->existed || old_values == NULL)
		return;
	if (former == NULL)
		record->before = copy_image(old_values);
	else
	{
		record->before = architect_audit_overlay(old_values, former);
		pfree(former);
	}
}

static void
add_after(AuditReplay *replay, AuditChange *record, Jsonb *new_values)
{
	Jsonb	   *former = record->after;

	if (!replay->keep_after)
		return;
	if (former == NULL)
		record->after = copy_image(new_values);
	else
	{
		record->after = architect_audit_overlay(former, new_values);
		if (record->after != former)
			pfree(former);
		if (record->after == new_values)
			record->after = copy_image(new_values);
	}
}

static void
forget_after(AuditChange *record)
{
	if (record->after != NULL)
		pfree(record->after);
	record->after = NULL;
}

/*
 * Keeps what an UPDATE tells of the row, to know it again.
 */
static void
set_known(AuditChange *record, const AuditLogEvent *event)
{
	Jsonb	   *row = event->row != NULL ? event->row : event->old_values;

	if (record->known != NULL)
		pfree(record->known);
	record->known = copy_image(architect_audit_overlay(row, event->new_values));
}

static void
replay_insert(AuditReplay *replay, const AuditLogEvent *event, bool existed)
{
	AuditChange *record = find_record(replay, event->record_id);

	if (record == NULL || (record->exists && !record->doubtful))
		record = new_record(replay, event->record_id, existed);
	record->exists = true;
	record->doubtful = false;
	record->arrived = false;
	forget_after(record);
	add_after(replay, record, event->new_values);
}

static void
replay_update(AuditReplay *replay, const AuditLogEvent *event)
{
	AuditChange *record = changed_record(replay, event);

	record->doubtful = false;
	if (event->new_record_id != NULL)
	{
		remove_record(replay, record);
		record->arrived = true;
	}
	add_before(replay, record, event->old_values);
	if (record->arrived)
		set_known(record, event);
	if (event->new_values == NULL)
		forget_after(record);
	else
		add_after(replay, record, event->new_values);
	if (event->new_record_id != NULL)
	{
		record->id = copy_text(event->new_record_id);
		enter_record(replay, record);
	}
}

static void
replay_delete(AuditReplay *replay, const AuditLogEvent *event)
{
	AuditChange *record = changed_record(replay, event);

	add_before(replay, record, event->old_values);
	forget_after(record);
	record->exists = false;
}

/*
 * All records that any event told of are gone; or some, of one partition.
 */
static void
replay_all_gone(AuditReplay *replay, bool some)
{
	ListCell   *cell;

	foreach(cell, replay->records)
	{
		AuditChange *record = lfirst(cell);

		if (some)
		{
			record->doubtful = true;
			continue;
		}
		forget_after(record);
		record->exists = false;
	}
}

/*
 * The rows of a table are told anew, whatever was told before; or one of them.
 */
static void
replay_baseline(AuditReplay *replay, const AuditLogEvent *event)
{
	if (event->record_id == NULL)
	{
		replay_all_gone(replay, false);
		record_table_reset(replay->table);
		list_free(replay->records);
		replay->records = NIL;
	}
	else
		replay_insert(replay, event, true);
}

/*
 * Adds one event.  Events must come in the order of their ids.
 */
void
architect_audit_replay(AuditReplay *replay, const AuditLogEvent *event)
{
	MemoryContext caller = MemoryContextSwitchTo(replay->context);

	switch (event->operation)
	{
		case AUDIT_OPERATION_INSERT:
			replay_insert(replay, event, false);
			break;
		case AUDIT_OPERATION_UPDATE:
			replay_update(replay, event);
			break;
		case AUDIT_OPERATION_DELETE:
			replay_delete(replay, event);
			break;
		case AUDIT_OPERATION_TRUNCATE:
			if (event->record_id != NULL)
				replay_delete(replay, event);
			else
				replay_all_gone(replay, event->detail != NULL);
			break;
		case AUDIT_OPERATION_BASELINE:
			if (replay->keep_baselines)
				replay_baseline(replay, event);
			break;
		default:
			break;
	}
	MemoryContextSwitchTo(caller);
}
