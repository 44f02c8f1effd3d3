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
#include "index/advise_access.h"
#include "index/capture.h"
#include "index/rules.h"
#include "index/whatif.h"
#include "tenant/tenant.h"

ARCHITECT_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	architect_audit_init();
	architect_tenant_init();
	architect_backfill_init();
	architect_capture_init();
	architect_index_unused_init();
	architect_whatif_init();
	architect_whatif_explain_init();
	architect_advise_access_init();

	MarkGUCPrefixReserved("architect");
}
