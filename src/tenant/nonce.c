/*
 * nonce.c
 *    Remembers, for all sessions, which tokens were used until they expire.
 *
 * They are kept in shared memory of a fixed size, in partitions with a lock each:
 * chains of slots by the first bytes of the signature, which are as good as random.
 * A walk along a chain frees what has expired there, and when a partition has no
 * free slot, all its chains are walked.  When all slots hold tokens that are still
 * good, no further one is accepted.
 *
 * The server writes them to a file when it is shut down and takes them up again.
 * After a crash there is no file: then tokens that may have been used before it
 * are refused, until those have expired.
 */
#include "postgres.h"

#include <time.h>
#include <unistd.h>

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "tenant/token.h"

#define TRANCHE "architect_tenant_tokens"
#define PARTITIONS 16

#define USED_FILE PGSTAT_STAT_PERMANENT_DIRECTORY "/pg_architect_tokens"
#define USED_MAGIC 0x41724b31

#define NO_SLOT (-1)

typedef struct UsedToken
{
	uint8		fingerprint[TOKEN_FINGERPRINT];
	int64		expires;
} UsedToken;

typedef struct TokenSlot
{
	UsedToken	token;
	int32		next;			/* in its chain, or of the free ones */
} TokenSlot;

typedef struct TokenStore
{
	int64		since;			/* what was used before is not known; 0: all is */
	int32		nslots;			/* in a partition, which has as many chains */
	int32		free[PARTITIONS];
} TokenStore;

/* What stands before the tokens in the file; crc is over the tokens. */
typedef struct UsedHeader
{
	uint32		magic;
	pg_crc32c	crc;
	int64		count;
} UsedHeader;

static int	slots_setting = 0;

static TokenStore *store = NULL;
static int32 *chains = NULL;
static TokenSlot *slots = NULL;
static LWLockPadded *locks = NULL;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

static int
partition_slots(void)
{
	return slots_setting / PARTITIONS;
}

static Size
store_size(void)
{
	Size		count = mul_size(partition_slots(), PARTITIONS);

	return add_size(MAXALIGN(sizeof(TokenStore)),
					add_size(MAXALIGN(mul_size(count, sizeof(int32))), mul_size(count, sizeof(TokenSlot))));
}

static int
partition_of(const uint8 *fingerprint)
{
	return fingerprint[0] % PARTITIONS;
}

static int32 *
chain_of(const uint8 *fingerprint)
{
	uint32		hash;

	memcpy(&hash, fingerprint + 1, sizeof(hash));
	return &chains[partition_of(fingerprint) * store->nslots + hash % store->nslots];
}

/*
 * Walks a chain and frees the slots of tokens that have expired; true when the
 * token is there.
 */
static bool
walk_chain(int partition, int32 *chain, const uint8 *fingerprint, int64 now)
{
	int32	   *link = chain;
	bool		found = false;

	while (*link != NO_SLOT)
	{
		int32		at = *link;
		TokenSlot  *slot = &slots[at];

		if (slot->token.expires <= now)
		{
			*link = slot->next;
			slot->next = store->free[partition];
			store->free[partition] = at;
			continue;
		}
		if (fingerprint != NULL && memcmp(slot->token.fingerprint, fingerprint, TOKEN_FINGERPRINT) == 0)
			found = true;
		link = &slot->next;
	}
	return found;
}

/*
 * Adds a token that is not there yet; false when there is no place.
 */
static bool
add_token(const UsedToken *token, int64 now)
{
	int			partition = partition_of(token->fingerprint);
	int32	   *chain = chain_of(token->fingerprint);
	TokenSlot  *slot;

	for (int i = 0; i < store->nslots && store->free[partition] == NO_SLOT; i++)
		walk_chain(partition, &chains[partition * store->nslots + i], NULL, now);
	if (store->free[partition] == NO_SLOT)
		return false;

	slot = &slots[store->free[partition]];
	store->free[partition] = slot->next;
	slot->token = *token;
	slot->next = *chain;
	*chain = slot - slots;
	return true;
}

/*
 * True when used tokens can be remembered, which takes memory from the server's start.
 */
bool
architect_tenant_can_remember(void)
{
	return store != NULL;
}

/*
 * Uses a token up; raises where that was done before, and where it cannot be
 * known or kept.
 */
void
architect_tenant_spend(const uint8 *fingerprint, int64 expires, int64 now, int lifetime)
{
	UsedToken	token = {.expires = expires};
	LWLock	   *lock = &locks[partition_of(fingerprint)].lock;
	bool		is_used;
	bool		is_kept = false;

	if (store->since != 0 && expires - lifetime < store->since)
		REFUSE_TOKEN("It may have been used before the server crashed.");

	memcpy(token.fingerprint, fingerprint, TOKEN_FINGERPRINT);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	is_used = walk_chain(partition_of(fingerprint), chain_of(fingerprint), fingerprint, now);
	if (!is_used)
		is_kept = add_token(&token, now);
	LWLockRelease(lock);

	if (is_used)
		REFUSE_TOKEN("It has been used before.");
	if (!is_kept)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many tenant tokens have been used"),
				 errdetail("Each is remembered until it expires, and there is no place for another."),
				 errhint("Make tokens that expire sooner, or increase architect.tenant_token_slots.")));
}

/*
 * Writes the tokens that are still good behind a header, which is filled in last.
 */
static bool
write_tokens(FILE *file)
{
	UsedHeader	header = {.magic = USED_MAGIC};
	int64		now = time(NULL);

	INIT_CRC32C(header.crc);
	if (fwrite(&header, sizeof(header), 1, file) != 1)
		return false;
	for (int chain = 0; chain < store->nslots * PARTITIONS; chain++)
	{
		for (int32 at = chains[chain]; at != NO_SLOT; at = slots[at].next)
		{
			if (slots[at].token.expires <= now)
				continue;
			if (fwrite(&slots[at].token, sizeof(UsedToken), 1, file) != 1)
				return false;
			COMP_CRC32C(header.crc, &slots[at].token, sizeof(UsedToken));
			header.count++;
		}
	}
	FIN_CRC32C(header.crc);
	return fseek(file, 0, SEEK_SET) == 0 && fwrite(&header, sizeof(header), 1, file) == 1;
}

/*
 * Called by the postmaster when it ends, after all others.
 */
static void
save_tokens(int code, Datum arg)
{
	FILE	   *file;

	if (code != 0)
		return;
	file = AllocateFile(USED_FILE ".tmp", PG_BINARY_W);
	if (file == NULL || !write_tokens(file) || FreeFile(file) != 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", USED_FILE ".tmp")));
	else
		durable_rename(USED_FILE ".tmp", USED_FILE, LOG);
}

/*
 * Takes up tokens from the file; false when it is not whole or has too many.
 */
static bool
read_tokens(FILE *file)
{
	UsedHeader	header;
	UsedToken	token;
	int64		now = time(NULL);
	pg_crc32c	crc;

	if (fread(&header, sizeof(header), 1, file) != 1 || header.magic != USED_MAGIC)
		return false;
	INIT_CRC32C(crc);
	for (int64 i = 0; i < header.count; i++)
	{
		if (fread(&token, sizeof(token), 1, file) != 1)
			return false;
		COMP_CRC32C(crc, &token, sizeof(token));
		if (token.expires > now && !add_token(&token, now))
			return false;
	}
	FIN_CRC32C(crc);
	return EQ_CRC32C(crc, header.crc);
}

/*
 * True where the server was shut down as it should be, and so would have left a
 * file, had it remembered tokens.
 */
static bool
was_shut_down(void)
{
	bool		is_whole;
	ControlFileData *control = get_controlfile(DataDir, &is_whole);
	bool		is_clean = is_whole &&
		(control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);

	pfree(control);
	return is_clean;
}

/*
 * Takes up what was remembered when the server was shut down, once.
 */
static void
load_tokens(void)
{
	FILE	   *file = AllocateFile(USED_FILE, PG_BINARY_R);
	bool		is_known = file == NULL ? errno == ENOENT && was_shut_down() : read_tokens(file);

	if (file != NULL)
		FreeFile(file);
	if (!is_known)
		store->since = time(NULL);

	/* A file that stayed would be taken for that of the next end. */
	if (file != NULL && unlink(USED_FILE) != 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", USED_FILE)));
}

static void
request_memory(void)
{
	if (next_shmem_request != NULL)
		next_shmem_request();
	RequestAddinShmemSpace(store_size());
	RequestNamedLWLockTranche(TRANCHE, PARTITIONS);
}

/*
 * Lays all slots out as free.
 */
static void
lay_out(void)
{
	memset(store, 0, sizeof(TokenStore));
	store->nslots = partition_slots();
	for (int partition = 0; partition < PARTITIONS; partition++)
	{
		int32		first = partition * store->nslots;

		for (int32 i = first; i < first + store->nslots; i++)
		{
			chains[i] = NO_SLOT;
			slots[i].next = i + 1 < first + store->nslots ? i + 1 : NO_SLOT;
		}
		store->free[partition] = first;
	}
}

static void
start_memory(void)
{
	bool		found;

	if (next_shmem_startup != NULL)
		next_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	store = ShmemInitStruct("architect tenant tokens", store_size(), &found);
	chains = (int32 *) ((char *) store + MAXALIGN(sizeof(TokenStore)));
	slots = (TokenSlot *) ((char *) chains + MAXALIGN(mul_size(partition_slots() * PARTITIONS, sizeof(int32))));
	locks = GetNamedLWLockTranche(TRANCHE);
	if (!found)
	{
		lay_out();
		load_tokens();
	}
	LWLockRelease(AddinShmemInitLock);

	if (!IsUnderPostmaster)
		on_shmem_exit(save_tokens, (Datum) 0);
}

void
architect_tenant_nonce_init(void)
{
	bool		is_preloaded = process_shared_preload_libraries_in_progress;

	/* A library that comes later can define no setting of the server's start. */
	DefineCustomIntVariable("architect.tenant_token_slots",
							"How many used tenant tokens can be remembered at once.",
							"Each is remembered until it expires.",
							&slots_setting, 131072, 1024, 64 * 1024 * 1024,
							is_preloaded ? PGC_POSTMASTER : PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	if (!is_preloaded)
		return;
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}
