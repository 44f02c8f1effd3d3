/*
 * manners.c
 *    What a job waits for between batches, so that nobody else has to wait for it.
 *
 * Each limit of a job has a watcher, and the first that finds its limit passed says why.
 * They look at the whole server, as a role that may see what they look at: whether it
 * may is decided when the job is made, and a role that has lost the right since does not
 * go on blind.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "backfill/manners.h"
#include "compat.h"
#include "core/core.h"

/* What this process knows of its job; zeroed for each. */
static struct
{
	int64		job;
	BackfillHistory wal;		/* where it ended */
	BackfillHistory transactions;	/* the next one's number */
	TimestampTz vacuum_since;	/* a vacuum of the target has been at work, or 0 */
	double		allowance;		/* bytes of WAL that may still be written */
} seen;

/* A limit, and what the role must see for it. */
typedef struct Sight
{
	const char *name;
	BackfillLimit *limit;
	char	   *(*say) (int64 value);
	const char *subject;
	const char *view;
	bool		needs_stats;	/* others than members of pg_read_all_stats see NULL there */
} Sight;

#define SIGHTS 4

/*
 * A duration as one would say it: "12 s", "10 min".
 */
char *
architect_backfill_duration(int64 ms)
{
	if (ms >= 60000 && ms % 60000 == 0)
		return psprintf("%lld min", (long long) ms / 60000);
	if (ms >= 600000)
		return psprintf("%lld min", (long long) ms / 60000);
	if (ms >= 10000 || (ms >= 1000 && ms % 1000 == 0))
		return psprintf("%lld s", (long long) ms / 1000);
	if (ms >= 1000)
		return psprintf("%.1f s", ms / 1000.0);
	return psprintf("%lld ms", (long long) ms);
}

/*
 * A size the same way: "100 MB".
 */
char *
architect_backfill_size(int64 bytes)
{
	return TextDatumGetCString(DirectFunctionCall1(pg_size_pretty, Int64GetDatum(bytes)));
}

static char *
say_number(int64 value)
{
	return psprintf("%lld", (long long) value);
}

static void
list_sights(BackfillJob *job, Sight *sights)
{
	const char *replicas = "the lag of replicas";

	sights[0] = (Sight) {"max_lag", &job->max_lag, architect_backfill_duration,
						 replicas, "pg_stat_replication", true};
	sights[1] = (Sight) {"max_lag_bytes", &job->max_lag_bytes, architect_backfill_size,
						 replicas, "pg_stat_replication", true};
	sights[2] = (Sight) {"max_active_sessions", &job->max_active_sessions, say_number,
						 "what other sessions do", "pg_stat_activity", true};
	sights[3] = (Sight) {"max_slot_bytes", &job->max_slot_bytes, architect_backfill_size,
						 "replication slots", "pg_replication_slots", false};
}

/*
 * Returns the GRANT that the role lacks for seeing what this limit is about; NULL where
 * it sees it.
 */
static char *
missing_grant(const Sight *sight, Oid role)
{
	Oid			view = get_relname_relid(sight->view, PG_CATALOG_NAMESPACE);
	const char *name = quote_identifier(GetUserNameFromId(role, false));

	if (sight->limit->value <= 0)
		return NULL;
	if (sight->needs_stats && !has_privs_of_role(role, ROLE_PG_READ_ALL_STATS))
		return psprintf("GRANT pg_read_all_stats TO %s", name);
	if (pg_class_aclcheck(view, role, ACL_SELECT) != ACLCHECK_OK)
		return psprintf("GRANT SELECT ON pg_catalog.%s TO %s", sight->view, name);
	return NULL;
}

static void
refuse_blindness(const Sight *sight, Oid role, const char *grant)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" may not see %s", GetUserNameFromId(role, false), sight->subject),
			 errdetail("The backfill could not keep to %s.", sight->name),
			 errhint("Ask for: %s; or pass %s => '0' for no limit.", grant, sight->name)));
}

/*
 * Checks what the job is to watch, before there is one.  A limit that was asked for and
 * whose signal the job's owner may not see raises 42501, with the GRANT to ask for.  A
 * default one is taken out of the job, and left_out gets a sentence (char *) that says
 * so, for the user and for the job's events.  A throttle query that cannot be one raises.
 */
void
architect_backfill_check_limits(BackfillJob *job, List **left_out)
{
	Sight		sights[SIGHTS];

	list_sights(job, sights);
	*left_out = NIL;
	for (int i = 0; i < SIGHTS; i++)
	{
		char	   *grant = missing_grant(&sights[i], job->owner);

		if (grant == NULL)
			continue;
		if (sights[i].limit->asked)
			refuse_blindness(&sights[i], job->owner, grant);
		*left_out = lappend(*left_out,
							psprintf("%s (%s) is not watched: role \"%s\" may not see %s; ask for: %s", sights[i].name,
									 sights[i].say(sights[i].limit->value), GetUserNameFromId(job->owner, false),
									 sights[i].subject, grant));
		sights[i].limit->value = 0;
	}

	if (job->throttle_query != NULL)
		architect_backfill_check_throttle(job->throttle_query);
}

/*
 * Raises where the role has lost sight of something since the job was made.
 */
static void
check_sight(BackfillJob *job)
{
	Sight		sights[SIGHTS];

	list_sights(job, sights);
	for (int i = 0; i < SIGHTS; i++)
	{
		char	   *grant = missing_grant(&sights[i], GetUserId());

		if (grant != NULL)
			refuse_blindness(&sights[i], GetUserId(), grant);
	}
}

/*
 * WAL by the bucket: what is written is taken out of an allowance that time refills, a
 * second's worth at most.  The processes of a job share the rate.
 */
static char *
find_fast_wal(const BackfillJob *job, int64 wal, int64 elapsed)
{
	double		rate = (double) job->max_wal_rate.value / Max(job->workers, 1);

	seen.allowance = Min(seen.allowance + rate * elapsed / 1000, rate) - wal;
	if (seen.allowance >= 0)
		return NULL;
	return psprintf("WAL comes too fast (max_wal_rate %s a second)",
					architect_backfill_size(job->max_wal_rate.value));
}

/*
 * True when somebody vacuums a table of this database.  Unlocked reading will do: what
 * it misses is found before the next batch.
 */
static bool
vacuum_is_running(void)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *process = &ProcGlobal->allProcs[i];

		if ((process->statusFlags & PROC_IN_VACUUM) != 0 && process->databaseId == MyDatabaseId)
			return true;
	}
	return false;
}

/*
 * True when one of the processes that hold the table as VACUUM does is a vacuum; tells
 * whether it was started by hand.
 */
static bool
is_vacuumed(Oid table, bool *by_hand)
{
	VirtualTransactionId *holders;
	LOCKTAG		tag;
	int			count;
	bool		found = false;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
	holders = GetLockConflicts(&tag, ShareUpdateExclusiveLock, &count);
	for (int i = 0; i < count && !found; i++)
	{
		PGPROC	   *process = architect_find_process(holders[i]);

		found = process != NULL && (process->statusFlags & PROC_IN_VACUUM) != 0;
		*by_hand = found && (process->statusFlags & PROC_IS_AUTOVACUUM) == 0;
	}
	pfree(holders);
	return found;
}

/*
 * Gives way to a vacuum of the target or of one of its partitions, but not for longer
 * than the limit: a vacuum may take hours.
 */
static char *
find_vacuum(const BackfillJob *job, TimestampTz now)
{
	List	   *tables;
	ListCell   *cell;
	bool		by_hand = false;
	Oid			table = InvalidOid;

	if (vacuum_is_running())
	{
		tables = find_all_inheritors(job->target, NoLock, NULL);
		foreach(cell, tables)
		{
			if (is_vacuumed(lfirst_oid(cell), &by_hand))
			{
				table = lfirst_oid(cell);
				break;
			}
		}
	}

	if (!OidIsValid(table))
	{
		seen.vacuum_since = 0;
		return NULL;
	}
	if (seen.vacuum_since == 0)
		seen.vacuum_since = now;
	if (TimestampDifferenceExceeds(seen.vacuum_since, now, job->max_vacuum_wait.value))
		return NULL;
	return psprintf("%s of table \"%s\" is at work (max_vacuum_wait %s)", by_hand ? "VACUUM" : "autovacuum",
					get_rel_name(table), architect_backfill_duration(job->max_vacuum_wait.value));
}

/*
 * The first transaction that somebody may still see as running, and with it the versions
 * that no vacuum can remove: as for any table of users' in this database.
 */
static TransactionId
read_horizon(void)
{
	Relation	table = table_open(architect_relation("backfill_register", false), AccessShareLock);
	TransactionId horizon = GetOldestNonRemovableTransactionId(table);

	table_close(table, AccessShareLock);
	return horizon;
}

/*
 * Says who holds back the removal of old row versions for longer than the limit.  How
 * old a transaction is that began before we did is only known where the role may see it.
 */
static char *
find_old_transaction(const BackfillJob *job, TimestampTz now)
{
	TransactionId horizon = read_horizon();
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	uint64		oldest = next - (uint32) ((TransactionId) next - horizon);
	TimestampTz since;
	int64		age;
	char	   *who;

	if (seen.transactions.count == 0)
	{
		(void) architect_backfill_horizon_holder(horizon, &since);
		if (since != 0)
			architect_backfill_note(&seen.transactions, since, oldest + 1);
	}
	architect_backfill_note(&seen.transactions, now, next);

	age = architect_backfill_behind(&seen.transactions, now, oldest);
	if (age <= job->max_transaction_age.value)
		return NULL;
	who = architect_backfill_horizon_holder(horizon, &since);
	return psprintf("%s holds back vacuum for %s (max_transaction_age %s)", who,
					architect_backfill_duration(age),
					architect_backfill_duration(job->max_transaction_age.value));
}

/*
 * How many segments of WAL are marked as ready for the archiver.
 */
static int64
count_ready_segments(void)
{
	DIR		   *marks = AllocateDir(XLOGDIR "/archive_status");
	struct dirent *entry;
	int64		count = 0;

	while ((entry = ReadDir(marks, XLOGDIR "/archive_status")) != NULL)
	{
		if (strspn(entry->d_name, "0123456789ABCDEF") == XLOG_FNAME_LEN &&
			strcmp(entry->d_name + XLOG_FNAME_LEN, ".ready") == 0)
			count++;
	}
	FreeDir(marks);
	return count;
}

/*
 * Says how many segments of WAL wait for the archiver where that is more than the limit.
 * The last that it has stored tells, and costs nothing.  Where that was no segment, but
 * the history file of a backup, or is not known, they are counted.
 */
static char *
find_slow_archiver(const BackfillJob *job)
{
	PgStat_ArchiverStats *archiver = pgstat_fetch_stat_archiver();
	int64		waiting;

	if (!XLogArchivingActive())
		return NULL;

	if (IsXLogFileName(archiver->last_archived_wal))
	{
		XLogSegNo	current;
		XLogSegNo	archived;
		TimeLineID	timeline;

		XLByteToSeg(GetXLogInsertRecPtr(), current, wal_segment_size);
		XLogFromFileName(archiver->last_archived_wal, &timeline, &archived, wal_segment_size);
		waiting = (int64) current - (int64) archived - 1;
	}
	else
		waiting = count_ready_segments();

	if (waiting <= job->max_archive_queue.value)
		return NULL;
	return psprintf("archiver %s %lld segments behind (max_archive_queue %lld)",
					archiver->last_failed_timestamp > archiver->last_archived_timestamp ?
					"fails, and is" : "is",
					(long long) waiting, (long long) job->max_archive_queue.value);
}

/*
 * Asks the watchers, the cheap ones first.
 */
static char *
find_obstacle(BackfillJob *job, int64 wal, int64 elapsed)
{
	TimestampTz now = GetCurrentTimestamp();
	char	   *reason = NULL;

	if (job->max_wal_rate.value > 0)
		reason = find_fast_wal(job, wal, elapsed);
	if (reason == NULL && job->max_vacuum_wait.value > 0)
		reason = find_vacuum(job, now);
	if (reason == NULL && job->max_archive_queue.value > 0)
		reason = find_slow_archiver(job);
	if (reason == NULL && job->max_transaction_age.value > 0)
		reason = find_old_transaction(job, now);
	if (reason == NULL && job->max_slot_bytes.value > 0)
		reason = architect_backfill_slow_slot(job);
	if (reason == NULL && (job->max_lag.value > 0 || job->max_lag_bytes.value > 0))
		reason = architect_backfill_slow_replica(job, &seen.wal, now);
	if (reason == NULL && job->max_active_sessions.value > 0)
		reason = architect_backfill_busy_sessions(job);
	return reason;
}

/*
 * Says why the job has to wait before its next batch; NULL where nothing stands against
 * it.  wal is what this process has written since the last call, in bytes, and elapsed
 * the time since then, in ms.  For calls between batches, in a transaction that has no
 * snapshot yet, as the job's role; it leaves no snapshot behind.
 */
char *
architect_backfill_obstacle(BackfillJob *job, int64 wal, int64 elapsed)
{
	char	   *reason;
	int			level;

	if (seen.job != job->id)
	{
		memset(&seen, 0, sizeof(seen));
		seen.job = job->id;
		seen.allowance = job->max_wal_rate.value;
	}
	/* What the server has read for an earlier call in this transaction is old. */
	pgstat_clear_snapshot();

	PushActiveSnapshot(GetTransactionSnapshot());
	check_sight(job);
	level = NewGUCNestLevel();
	architect_pin_path();
	reason = find_obstacle(job, wal, elapsed);
	AtEOXact_GUC(false, level);
	if (reason == NULL && job->throttle_query != NULL)
		reason = architect_backfill_throttle(job);
	PopActiveSnapshot();
	return reason;
}
