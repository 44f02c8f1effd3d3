/*
 * key.c
 *    The keys that tokens are signed with: read from a file, never from a setting.
 *
 * What a setting is worth can be read by everybody who sees pg_settings or
 * pg_db_role_setting; a file that the server's user alone can read is not.  It is
 * looked at again by each call, and read again when it was changed.  A file with
 * anything wrong in it counts for nothing at all.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/hmac.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "tenant/token.h"

/* Shorter keys are weaker than the signature; longer ones would be hashed first. */
#define KEY_BYTES_LEAST 32
#define KEY_BYTES_MOST 64
#define KEY_ID_MOST 64

#define FILE_MOST (64 * 1024)

#define KEY_ID_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

typedef struct TenantKey
{
	char		id[KEY_ID_MOST + 1];
	uint8		secret[KEY_BYTES_MOST];
	int			length;
	struct TenantKey *next;
} TenantKey;

static char *key_file_setting = NULL;

/* What was read, from which state of the file; lives until it is read again. */
static MemoryContext keys_context = NULL;
static TenantKey *keys = NULL;
static char *keys_path = NULL;
static struct stat keys_stat;

/*
 * Raises F0000.  Where the file is and what is wrong with it is for the server's
 * log: whoever calls is not the administrator.
 */
static void
refuse_file(const char *path, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("keys of tenant tokens cannot be read"),
			 errdetail("The log of the server says why."),
			 errdetail_log("File \"%s\": %s.", path, problem)));
}

/*
 * Forgets the keys, and leaves nothing of them in memory.
 */
static void
forget_keys(void)
{
	for (TenantKey *key = keys; key != NULL; key = key->next)
		explicit_bzero(key->secret, sizeof(key->secret));
	keys = NULL;
	keys_path = NULL;
	MemoryContextReset(keys_context);
}

static TenantKey *
find_key(const char *id)
{
	TenantKey  *key = keys;

	while (key != NULL && strcmp(key->id, id) != 0)
		key = key->next;
	return key;
}

/*
 * Takes in one line, "key-id hex-key"; returns what is wrong with it, or NULL.
 */
static const char *
add_key(const char *line)
{
	size_t		id_length = strspn(line, KEY_ID_LETTERS);
	const char *hex = line + id_length + strspn(line + id_length, " \t");
	size_t		hex_length = strspn(hex, "0123456789abcdefABCDEF");
	const char *rest = hex + hex_length + strspn(hex + hex_length, " \t\r");
	TenantKey  *key;

	if (id_length == 0 || id_length > KEY_ID_MOST || hex == line + id_length || hex_length % 2 != 0 || *rest != '\0')
		return "it is not a key id and a key in hexadecimal";
	if (hex_length < 2 * KEY_BYTES_LEAST)
		return "its key is shorter than 32 bytes";
	if (hex_length > 2 * KEY_BYTES_MOST)
		return "its key is longer than 64 bytes";

	key = MemoryContextAllocZero(keys_context, sizeof(TenantKey));
	memcpy(key->id, line, id_length);
	if (find_key(key->id) != NULL)
		return "its key id is there twice";
	key->length = hex_decode(hex, hex_length, (char *) key->secret);
	key->next = keys;
	keys = key;
	return NULL;
}

/*
 * Takes in the text of the file, which it cuts into lines; returns what is wrong
 * with it, or NULL.
 */
static const char *
add_keys(char *text)
{
	int			number = 0;
	char	   *line;

	while ((line = strsep(&text, "\n")) != NULL)
	{
		const char *problem;

		number++;
		if (line[strspn(line, " \t\r")] == '\0' || line[0] == '#')
			continue;
		problem = add_key(line);
		if (problem != NULL)
			return psprintf("line %d: %s", number, problem);
	}
	return keys == NULL ? "it has no key" : NULL;
}

/*
 * Returns what is wrong with whose file it is, or NULL.
 */
static const char *
check_rights(const struct stat *info)
{
	if (!S_ISREG(info->st_mode))
		return "it is not a regular file";
	if (info->st_uid != geteuid())
		return "it does not belong to the user that the server runs as";
	if ((info->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "group or others have rights to it; take them away with chmod 0600";
	if (info->st_size > FILE_MOST)
		return "it is too large for a file of keys";
	return NULL;
}

/*
 * Reads the file anew.  What is found out about it is of the file that was opened,
 * whatever is done to its name meanwhile.
 */
static void
read_keys(const char *path)
{
	char	   *text = palloc0(FILE_MOST + 1);
	const char *problem = NULL;
	struct stat info = {0};
	ssize_t		length = 0;
	int			file;

	forget_keys();
	file = OpenTransientFile(path, O_RDONLY | PG_BINARY | O_NONBLOCK);
	if (file < 0 || fstat(file, &info) != 0)
		refuse_file(path, psprintf("%m"));
	problem = check_rights(&info);
	if (problem == NULL && (length = read(file, text, FILE_MOST)) < 0)
		problem = psprintf("%m");
	CloseTransientFile(file);

	if (problem == NULL && memchr(text, '\0', length) != NULL)
		problem = "it has a zero byte";
	if (problem == NULL)
		problem = add_keys(text);
	explicit_bzero(text, FILE_MOST);
	pfree(text);
	if (problem != NULL)
	{
		forget_keys();
		refuse_file(path, problem);
	}
	keys_path = MemoryContextStrdup(keys_context, path);
	keys_stat = info;
}

static bool
is_same_file(const struct stat *one, const struct stat *other)
{
	return one->st_dev == other->st_dev && one->st_ino == other->st_ino && one->st_size == other->st_size &&
		one->st_mode == other->st_mode && one->st_uid == other->st_uid &&
		memcmp(&one->st_mtim, &other->st_mtim, sizeof(one->st_mtim)) == 0 &&
		memcmp(&one->st_ctim, &other->st_ctim, sizeof(one->st_ctim)) == 0;
}

/*
 * Makes sure that the keys are those in the file now.
 */
static void
refresh_keys(void)
{
	const char *path = key_file_setting;
	struct stat info;

	if (path[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there are no keys for tenant tokens"),
				 errdetail("Setting architect.tenant_key_file is empty."),
				 errhint("The administrator has to name a file of keys there.")));

	if (stat(path, &info) != 0)
	{
		int			problem = errno;

		forget_keys();
		errno = problem;
		refuse_file(path, psprintf("%m"));
	}
	if (keys_path == NULL || strcmp(keys_path, path) != 0 || !is_same_file(&info, &keys_stat))
		read_keys(path);
}

/*
 * Gives the HMAC-SHA256 of the data under the key of this id; false where there is
 * no such key.  Raises where the keys cannot be had.
 */
bool
architect_tenant_sign(const char *key_id, const char *data, int length, uint8 *signature)
{
	pg_hmac_ctx *context;
	TenantKey  *key;

	refresh_keys();
	key = find_key(key_id);
	if (key == NULL)
		return false;

	context = pg_hmac_create(PG_SHA256);
	if (pg_hmac_init(context, key->secret, key->length) < 0 ||
		pg_hmac_update(context, (const uint8 *) data, length) < 0 ||
		pg_hmac_final(context, signature, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute HMAC: %s", pg_hmac_error(context));
	pg_hmac_free(context);
	return true;
}

void
architect_tenant_key_init(void)
{
	keys_context = AllocSetContextCreate(TopMemoryContext, "architect tenant keys", ALLOCSET_SMALL_SIZES);
	DefineCustomStringVariable("architect.tenant_key_file",
							   "File with the keys that tenant tokens are signed with.",
							   "A line for each key: its id, and the key in hexadecimal.",
							   &key_file_setting, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
}
