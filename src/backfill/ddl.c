/*
 * ddl.c
 *    Notices DDL on the table of a job while it is worked on.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "backfill/run.h"

/* The table that is known to be as the job has it; InvalidOid when it is to be looked at. */
static Oid	unchanged = InvalidOid;

static void
notice_change(Datum argument, Oid relation)
{
	if (relation == unchanged || !OidIsValid(relation))
		unchanged = InvalidOid;
}

/*
 * Raises 55000 when the table of the job is not as it was when the job began, and
 * 42P01 when it is gone.
 */
void
architect_backfill_check_shape(BackfillJob *job)
{
	Relation	rel;
	char	   *change;

	if (unchanged == job->target)
		return;
	rel = try_table_open(job->target, AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of backfill " INT64_FORMAT " was dropped", job->id)));
	change = architect_backfill_shape_change(job->shape, architect_backfill_shape(rel));
	if (change != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was altered during its backfill", RelationGetRelationName(rel)),
				 errdetail("%s", change),
				 errhint("If the job is still right, go on with " ARCHITECT_SCHEMA ".backfill_resume(" INT64_FORMAT ").", job->id)));
	table_close(rel, NoLock);
	unchanged = job->target;
}

void
architect_backfill_ddl_init(void)
{
	CacheRegisterRelcacheCallback(notice_change, (Datum) 0);
}
