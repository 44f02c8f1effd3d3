/*
 * pg_architect.c
 *    Entry point of the library.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "audit/audit.h"
#include "backfill/backfill.h"
#include "compat.h"
#include "tenant/tenant.h"

ARCHITECT_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	architect_audit_init();
	architect_tenant_init();
	architect_backfill_init();

	MarkGUCPrefixReserved("architect");
}
