/*
 * baseline.c
 *    architect.audit_baseline: the rows of a table put into its log as they are.
 *
 * A first event without record says that the table is told anew; one event a row
 * follows.  Writers wait meanwhile.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "audit/replay.h"

PG_FUNCTION_INFO_V1(architect_audit_baseline);

/*
 * Raises unless every change of the table is logged with its values.
 */
static void
check_audited(AuditTarget *target)
{
	AuditShape *present = &target->shapes[target->nshapes - 1];
	const char *reason = NULL;

	if (present->gap != NULL)
		reason = present->gap;
	else if (present->condition != NULL)
		reason = "it is audited under a condition";
	else if (strcmp(present->capture, "keys") == 0)
		reason = "it is audited without values";

	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot make a baseline of table \"%s\"", target->name),
				 errdetail("Its log does not follow it from here on: %s.", reason),
				 errhint("Call architect.audit_enable for the whole of the table first.")));
}

/*
 * architect.audit_baseline(target): how many rows.
 */
Datum
architect_audit_baseline(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	AuditTarget *target = architect_audit_read_target(relid, NULL, "make a baseline of");
	AuditEvent	start = {.operation = AUDIT_OPERATION_BASELINE};
	Relation	root;
	int64		count = 0;
	ListCell   *cell;

	LockRelationOid(relid, ShareRowExclusiveLock);
	target = architect_audit_read_target(relid, NULL, "make a baseline of");
	check_audited(target);
	root = table_open(relid, NoLock);
	architect_audit_check_row_security(target);
	(void) find_all_inheritors(relid, ShareRowExclusiveLock, NULL);

	architect_audit_append(architect_audit_capture_of(root), &start);
	foreach(cell, architect_audit_tables_of(root))
	{
		Relation	rel = table_open(lfirst_oid(cell), NoLock);

		count += architect_audit_capture_rows(architect_audit_capture_of(rel), rel, AUDIT_OPERATION_BASELINE);
		table_close(rel, NoLock);
	}
	architect_audit_store_pending();
	table_close(root, NoLock);
	PG_RETURN_INT64(count);
}
