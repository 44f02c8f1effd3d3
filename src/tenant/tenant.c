/*
 * tenant.c
 *    Starts the parts of the tenant part.
 */
#include "postgres.h"

#include "tenant/tenant.h"
#include "tenant/token.h"

void
architect_tenant_init(void)
{
	architect_tenant_source_init();
	architect_tenant_context_init();
	architect_tenant_cross_init();
	architect_tenant_findings_init();
	architect_tenant_guard_init();
	architect_tenant_follow_init();
	architect_tenant_token_init();
}
