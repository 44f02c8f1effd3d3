/*
 * lock.c
 *    Who is at work on a job: a lock of the session's, which ends with it however
 *    that ends.
 *
 * It is shown in pg_locks, where the views look for it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#include "backfill/backfill.h"
#include "core/core.h"

/* Whoever only looks holds a lock that is in the way of a run, for a moment. */
#define ATTEMPTS 20
#define PAUSE_US 5000

/* What this session has locked; a session is at work on one job. */
static LOCKTAG locked;
static int64 locked_job = 0;
static int	locked_worker = -1;

static void
make_tag(LOCKTAG *tag, int64 id, int worker)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, architect_relation("backfill_register", false), (uint32) id, worker);

	/* Of the other method all locks of a session go when a transaction is rolled back. */
	tag->locktag_lockmethodid = USER_LOCKMETHOD;
}

/*
 * Locks the job for this worker of it, beyond the transaction; false where another
 * session has it, or this one.
 */
bool
architect_backfill_lock(int64 id, int worker)
{
	LOCKTAG		tag;

	if (locked_worker >= 0)
		return false;
	make_tag(&tag, id, worker);
	for (int i = 0; i < ATTEMPTS; i++)
	{
		if (LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL)
		{
			locked = tag;
			locked_job = id;
			locked_worker = worker;
			return true;
		}
		pg_usleep(PAUSE_US);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

void
architect_backfill_unlock(int64 id, int worker)
{
	if (locked_worker != worker || locked_job != id)
		return;
	(void) LockRelease(&locked, ExclusiveLock, true);
	locked_worker = -1;
	locked_job = 0;
}

/*
 * True when some process is this worker of the job.
 */
bool
architect_backfill_is_working(int64 id, int worker)
{
	LOCKTAG		tag;

	if (locked_worker == worker && locked_job == id)
		return true;
	make_tag(&tag, id, worker);
	if (LockAcquire(&tag, RowShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, RowShareLock, false);
	return false;
}

/*
 * True when some process leads the job.
 */
bool
architect_backfill_is_running(int64 id)
{
	return architect_backfill_is_working(id, 0);
}
