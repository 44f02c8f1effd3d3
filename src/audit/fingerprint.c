/*
 * fingerprint.c
 *    A number for each record that tells whether its row is what the log says.
 *
 * The fingerprint of a row is the sum of a hash for each of its columns with the
 * value.  So an INSERT adds, a DELETE takes away and an UPDATE does both, in any
 * order and without the images of before.  A record needs 24 bytes, and the log
 * need not be sorted.  Where a fingerprint cannot tell, the record is a suspect,
 * to be replayed with its images: after a change of key, after an erasure, or
 * where the log does not reach back to its first row.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "audit/replay.h"

typedef struct Fingerprint
{
	uint64		id;				/* hash of the record's id */
	uint64		sum;
	int32		net;			/* rows that came, less those that went */
	bool		seen;
	bool		is_suspect;
	char		status;
} Fingerprint;

#define SH_PREFIX fingerprint
#define SH_ELEMENT_TYPE Fingerprint
#define SH_KEY_TYPE uint64
#define SH_KEY id
#define SH_HASH_KEY(table, key) ((uint32) (key))
#define SH_EQUAL(table, left, right) ((left) == (right))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct AuditFingerprints
{
	fingerprint_hash *table;
	List	   *untold;			/* names of columns that do not count, of char * */
	bool		is_complete;	/* the log has every row */
};

/*
 * Starts without any record, in the current memory context.
 */
AuditFingerprints *
architect_audit_begin_fingerprints(List *untold, bool is_complete)
{
	AuditFingerprints *fingerprints = palloc0(sizeof(AuditFingerprints));

	fingerprints->table = fingerprint_create(CurrentMemoryContext, 1024, NULL);
	fingerprints->untold = untold;
	fingerprints->is_complete = is_complete;
	return fingerprints;
}

/*
 * The hash of an id: no two of a table are expected to share it.
 */
uint64
architect_audit_wide_hash(text *id)
{
	return hash_bytes_extended((unsigned char *) VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id), 0);
}

static uint64
hash_value(Jsonb *image, const JsonbValue *name, const JsonbValue *value)
{
	uint64		seed = hash_bytes_extended((unsigned char *) name->val.string.val, name->val.string.len,
											 value->type);

	switch (value->type)
	{
		case jbvString:
			return hash_bytes_extended((unsigned char *) value->val.string.val, value->val.string.len, seed);
		case jbvNumeric:
			return hash_bytes_extended((unsigned char *) VARDATA_ANY(value->val.numeric),
									   VARSIZE_ANY_EXHDR(value->val.numeric), seed);
		case jbvBool:
			return hash_combine64(seed, value->val.boolean);
		case jbvNull:
			return hash_combine64(seed, architect_audit_is_json_null(image, name->val.string.val,
																	 name->val.string.len));
		default:
			return hash_bytes_extended((unsigned char *) value->val.binary.data, value->val.binary.len, seed);
	}
}

/*
 * The sum of an image; sets is_doubtful where a value of it was erased.
 */
static uint64
sum_of(AuditFingerprints *fingerprints, Jsonb *image, bool *is_doubtful)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	uint64		sum = 0;

	if (image == NULL)
		return 0;
	iterator = JsonbIteratorInit(&image->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		JsonbValue	name = value;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (name.val.string.len == 0 || architect_audit_is_in_list(fingerprints->untold, &name))
			continue;
		if (value.type == jbvNull &&
			architect_audit_is_erased(image, name.val.string.val, name.val.string.len))
			*is_doubtful = true;
		sum += hash_value(image, &name, &value);
	}
	return sum;
}

static Fingerprint *
enter(AuditFingerprints *fingerprints, text *id)
{
	bool		found;
	Fingerprint *entry = fingerprint_insert(fingerprints->table, architect_audit_wide_hash(id), &found);

	if (!found)
	{
		entry->sum = 0;
		entry->net = 0;
		entry->seen = false;
		entry->is_suspect = false;
	}
	return entry;
}

/*
 * Adds an event of a record.
 */
void
architect_audit_add_fingerprint(AuditFingerprints *fingerprints, const AuditLogEvent *event)
{
	Fingerprint *entry = enter(fingerprints, event->record_id);

	entry->sum += sum_of(fingerprints, event->new_values, &entry->is_suspect);
	entry->sum -= sum_of(fingerprints, event->old_values, &entry->is_suspect);
	if (event->new_values == NULL && event->old_values == NULL)
		entry->is_suspect = true;

	switch (event->operation)
	{
		case AUDIT_OPERATION_INSERT:
		case AUDIT_OPERATION_BASELINE:
			entry->net++;
			break;
		case AUDIT_OPERATION_DELETE:
		case AUDIT_OPERATION_TRUNCATE:
			entry->net--;
			break;
		default:
			break;
	}
	if (event->new_record_id != NULL)
	{
		entry->is_suspect = true;
		enter(fingerprints, event->new_record_id)->is_suspect = true;
	}
}

/*
 * Asks of a live row, with its image, whether the log says the same.
 */
AuditVerdict
architect_audit_check_fingerprint(AuditFingerprints *fingerprints, text *id, Jsonb *live)
{
	Fingerprint *entry = fingerprint_lookup(fingerprints->table, architect_audit_wide_hash(id));

	if (entry == NULL)
		return fingerprints->is_complete ? AUDIT_VERDICT_SUSPECT : AUDIT_VERDICT_UNTOLD;
	entry->seen = true;
	if (!entry->is_suspect && entry->net == 1 && entry->sum == sum_of(fingerprints, live, &entry->is_suspect))
		return AUDIT_VERDICT_SAME;
	return AUDIT_VERDICT_SUSPECT;
}

/*
 * Calls back for the hash of the id of each suspect that no live row was asked
 * of: what the log holds for a row that is there, or may be.
 */
void
architect_audit_unseen_suspects(AuditFingerprints *fingerprints, void (*callback) (uint64 id, void *argument),
								void *argument)
{
	fingerprint_iterator iterator;
	Fingerprint *entry;

	fingerprint_start_iterate(fingerprints->table, &iterator);
	while ((entry = fingerprint_iterate(fingerprints->table, &iterator)) != NULL)
	{
		bool		is_gone = entry->net == 0 && fingerprints->is_complete;

		if (entry->is_suspect || (!entry->seen && !is_gone && entry->net >= 0))
			callback(entry->id, argument);
	}
}
