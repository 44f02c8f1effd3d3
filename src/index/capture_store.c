/*
 * capture_store.c
 *    Keeps captured statements in shared memory of a fixed size.
 *
 * There are slots for entries, found by chains, and blocks for the bytes of their
 * examples.  When either is used up, the hand moves on, and of the entries before it the
 * one that was used least gives way.
 *
 * A session that notes a statement does not wait for others: when the lock is held, the
 * sighting is counted as lost.  Nothing under the lock allocates, formats or raises.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "index/capture.h"

#define TRANCHE "architect_index_capture"

#define NONE (-1)

/* Of a block, which ends with the number of the next one. */
#define BLOCK_BYTES 252

/* An entry has so many blocks when all have as many. */
#define BLOCKS_PER_ENTRY 4

/* No example takes a larger share of all blocks. */
#define LARGEST_SHARE 8

/* Entries that are looked at to let one go. */
#define LOOKS 32

typedef struct Block
{
	char		bytes[BLOCK_BYTES];
	int32		next;
} Block;

typedef struct Slot
{
	CaptureKey	key;
	CaptureCounts counts;
	double		credit;
	int32		next;			/* in its chain, or of the free ones */
	int32		nexamples;		/* NONE: the slot is free */
	CaptureExample examples[CAPTURE_EXAMPLES];
} Slot;

typedef struct Store
{
	int32		nslots;			/* and chains */
	int32		nblocks;
	int32		free_slot;
	int32		free_block;
	int32		nfree_slots;
	int32		nfree_blocks;
	int32		hand;
	int64		sightings;
	int64		evicted;
	TimestampTz since;
	pg_atomic_uint64 outcomes[CAPTURE_OUTCOMES];
} Store;

static int32 slots_wanted = 0;

static Store *store = NULL;
static int32 *chains = NULL;
static Slot *slots = NULL;
static Block *blocks = NULL;
static LWLock *lock = NULL;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

static Size
store_size(void)
{
	Size		size = MAXALIGN(sizeof(Store));

	size = add_size(size, MAXALIGN(mul_size(slots_wanted, sizeof(int32))));
	size = add_size(size, mul_size(slots_wanted, MAXALIGN(sizeof(Slot))));
	return add_size(size, mul_size(mul_size(slots_wanted, BLOCKS_PER_ENTRY), sizeof(Block)));
}

/*
 * Lays all slots and blocks out as free; counts begin anew.
 */
static void
lay_out(void)
{
	for (int32 i = 0; i < store->nslots; i++)
	{
		chains[i] = NONE;
		slots[i].nexamples = NONE;
		slots[i].next = i + 1 < store->nslots ? i + 1 : NONE;
	}
	for (int32 i = 0; i < store->nblocks; i++)
		blocks[i].next = i + 1 < store->nblocks ? i + 1 : NONE;
	store->free_slot = store->free_block = store->hand = 0;
	store->nfree_slots = store->nslots;
	store->nfree_blocks = store->nblocks;
	store->sightings = store->evicted = 0;
	store->since = GetCurrentTimestamp();
	for (int i = 0; i < CAPTURE_OUTCOMES; i++)
		pg_atomic_write_u64(&store->outcomes[i], 0);
}

static void
request_memory(void)
{
	if (next_shmem_request != NULL)
		next_shmem_request();
	RequestAddinShmemSpace(store_size());
	RequestNamedLWLockTranche(TRANCHE, 1);
}

static void
start_memory(void)
{
	bool		found;

	if (next_shmem_startup != NULL)
		next_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	store = ShmemInitStruct("architect index capture", store_size(), &found);
	chains = (int32 *) ((char *) store + MAXALIGN(sizeof(Store)));
	slots = (Slot *) ((char *) chains + MAXALIGN(mul_size(slots_wanted, sizeof(int32))));
	blocks = (Block *) (slots + slots_wanted);
	lock = &GetNamedLWLockTranche(TRANCHE)->lock;
	if (!found)
	{
		store->nslots = slots_wanted;
		store->nblocks = slots_wanted * BLOCKS_PER_ENTRY;
		for (int i = 0; i < CAPTURE_OUTCOMES; i++)
			pg_atomic_init_u64(&store->outcomes[i], 0);
		lay_out();
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Asks for memory when the server starts.
 */
void
architect_capture_reserve(int kilobytes)
{
	slots_wanted = (Size) kilobytes * 1024 / (sizeof(int32) + sizeof(Slot) + BLOCKS_PER_ENTRY * sizeof(Block));
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}

bool
architect_capture_has_store(void)
{
	return store != NULL;
}

/*
 * Returns how many bytes an example can have.
 */
int32
architect_capture_most_bytes(void)
{
	return Min(store->nblocks / LARGEST_SHARE * BLOCK_BYTES, CAPTURE_MOST_TEXT + CAPTURE_MOST_VALUES);
}

void
architect_capture_count(CaptureOutcome outcome)
{
	pg_atomic_fetch_add_u64(&store->outcomes[outcome], 1);
}

static int32 *
chain_of(const CaptureKey *key)
{
	return &chains[hash_bytes((const unsigned char *) key, sizeof(CaptureKey)) % store->nslots];
}

static int32
blocks_for(int32 length)
{
	return (length + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

static void
free_bytes(CaptureExample *example)
{
	int32		last = example->first;

	if (last == NONE)
		return;
	while (blocks[last].next != NONE)
		last = blocks[last].next;
	blocks[last].next = store->free_block;
	store->free_block = example->first;
	store->nfree_blocks += blocks_for(example->length);
	example->first = NONE;
}

static void
remove_entry(Slot *slot)
{
	int32		at = slot - slots;
	int32	   *link = chain_of(&slot->key);

	while (*link != at)
		link = &slots[*link].next;
	*link = slot->next;
	for (int i = 0; i < slot->nexamples; i++)
		free_bytes(&slot->examples[i]);
	slot->nexamples = NONE;
	slot->next = store->free_slot;
	store->free_slot = at;
	store->nfree_slots++;
}

/*
 * Makes room: of the next entries, but this one, that with the least credit goes.  The
 * first of them loses half of it, so what is not used any more goes some day.
 */
static void
evict(const Slot *kept)
{
	Slot	   *least = NULL;
	int32		at = store->hand;

	for (int looks = 0, steps = 0; looks < LOOKS && steps < store->nslots; steps++)
	{
		Slot	   *slot = &slots[at];

		at = (at + 1) % store->nslots;
		if (slot->nexamples == NONE || slot == kept)
			continue;
		if (looks++ == 0)
		{
			slot->credit /= 2;
			store->hand = at;
		}
		if (least == NULL || slot->credit < least->credit)
			least = slot;
	}
	remove_entry(least);
	store->evicted++;
}

static Slot *
find_entry(const CaptureKey *key)
{
	for (int32 at = *chain_of(key); at != NONE; at = slots[at].next)
	{
		if (memcmp(&slots[at].key, key, sizeof(CaptureKey)) == 0)
			return &slots[at];
	}
	return NULL;
}

static Slot *
add_entry(const CaptureKey *key)
{
	int32	   *chain = chain_of(key);
	Slot	   *slot;

	if (store->free_slot == NONE)
		evict(NULL);
	slot = &slots[store->free_slot];
	store->free_slot = slot->next;
	store->nfree_slots--;
	memset(slot, 0, sizeof(Slot));
	slot->key = *key;
	slot->next = *chain;
	*chain = slot - slots;
	return slot;
}

static bool
has_bytes(const CaptureExample *example, const char *bytes)
{
	int32		at = example->first;

	for (int32 done = 0; done < example->length; done += BLOCK_BYTES)
	{
		if (memcmp(blocks[at].bytes, bytes + done, Min(example->length - done, BLOCK_BYTES)) != 0)
			return false;
		at = blocks[at].next;
	}
	return true;
}

static void
put_bytes(CaptureExample *example, const char *bytes)
{
	int32	   *link = &example->first;

	for (int32 done = 0; done < example->length; done += BLOCK_BYTES)
	{
		Block	   *block = &blocks[store->free_block];

		*link = store->free_block;
		store->free_block = block->next;
		memcpy(block->bytes, bytes + done, Min(example->length - done, BLOCK_BYTES));
		link = &block->next;
	}
	*link = NONE;
	store->nfree_blocks -= blocks_for(example->length);
}

static void
get_bytes(const CaptureExample *example, char *bytes)
{
	int32		at = example->first;

	for (int32 done = 0; done < example->length; done += BLOCK_BYTES)
	{
		memcpy(bytes + done, blocks[at].bytes, Min(example->length - done, BLOCK_BYTES));
		at = blocks[at].next;
	}
}

static CaptureExample *
find_same(Slot *slot, const CaptureSighting *sighting)
{
	const CaptureExample *given = &sighting->example;

	for (int i = 0; i < slot->nexamples; i++)
	{
		CaptureExample *example = &slot->examples[i];

		if (example->outcome == given->outcome && example->length == given->length &&
			example->text_length == given->text_length && example->path_length == given->path_length &&
			has_bytes(example, sighting->bytes))
			return example;
	}
	return NULL;
}

/*
 * Returns the place for another example.  When there is none, what stands for the
 * fewest times gives way, and those times are then the new one's.
 */
static CaptureExample *
find_place(Slot *slot)
{
	CaptureExample *least = &slot->examples[0];

	if (slot->nexamples < CAPTURE_EXAMPLES)
		return &slot->examples[slot->nexamples++];
	for (int i = 1; i < CAPTURE_EXAMPLES; i++)
	{
		if (slot->examples[i].times < least->times)
			least = &slot->examples[i];
	}
	free_bytes(least);
	return least;
}

static void
keep_example(Slot *slot, const CaptureSighting *sighting)
{
	CaptureExample *example = find_same(slot, sighting);
	int64		times;

	if (example == NULL)
	{
		example = find_place(slot);
		times = example->times;
		*example = sighting->example;
		example->times = times;
		example->first = NONE;
		while (store->nfree_blocks < blocks_for(example->length))
			evict(slot);
		put_bytes(example, sighting->bytes);
	}
	example->times++;
	example->taken_at = sighting->example.taken_at;
}

/*
 * Keeps a sighting, unless others have the lock.
 */
void
architect_capture_note(const CaptureSighting *sighting)
{
	Slot	   *slot;

	Assert(sighting->example.length <= architect_capture_most_bytes());
	if (!LWLockConditionalAcquire(lock, LW_EXCLUSIVE))
	{
		architect_capture_count(CAPTURE_BUSY);
		return;
	}
	slot = find_entry(&sighting->key);
	if (slot == NULL)
		slot = add_entry(&sighting->key);
	slot->counts.seen++;
	slot->counts.seen_milliseconds += sighting->milliseconds;
	slot->counts.calls += sighting->weight;
	slot->counts.milliseconds += sighting->weight * sighting->milliseconds;
	slot->credit += 1 + sighting->milliseconds;
	store->sightings++;
	keep_example(slot, sighting);
	LWLockRelease(lock);
	if (sighting->example.outcome != CAPTURE_WHOLE)
		architect_capture_count(sighting->example.outcome);
}

/*
 * Copies an entry, whose bytes have room for the largest example; false when there is
 * no slot of that number.  One that is free has no examples.
 */
bool
architect_capture_copy(int number, CaptureEntry *entry)
{
	const Slot *slot;

	if (number >= store->nslots)
		return false;
	slot = &slots[number];
	LWLockAcquire(lock, LW_SHARED);
	entry->key = slot->key;
	entry->counts = slot->counts;
	entry->nexamples = Max(slot->nexamples, 0);
	memcpy(entry->examples, slot->examples, sizeof(slot->examples));
	for (int i = 0; i < entry->nexamples; i++)
		get_bytes(&slot->examples[i], entry->bytes[i]);
	LWLockRelease(lock);
	return true;
}

void
architect_capture_status(CaptureStatus *status)
{
	LWLockAcquire(lock, LW_SHARED);
	status->entries = store->nslots - store->nfree_slots;
	status->most_entries = store->nslots;
	status->bytes = (int64) (store->nblocks - store->nfree_blocks) * sizeof(Block);
	status->most_bytes = (int64) store->nblocks * sizeof(Block);
	status->sightings = store->sightings;
	status->evicted = store->evicted;
	status->since = store->since;
	LWLockRelease(lock);
	for (int i = 0; i < CAPTURE_OUTCOMES; i++)
		status->outcomes[i] = pg_atomic_read_u64(&store->outcomes[i]);
}

void
architect_capture_clear(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	lay_out();
	LWLockRelease(lock);
}
