/*
 * tenant.h
 *    Row-level security by tenant: the context, tokens, and what guards tables.
 */
#ifndef ARCHITECT_TENANT_H
#define ARCHITECT_TENANT_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/rel.h"

/* What the hidden setting carries through the transaction. */
typedef struct TenantState
{
	char	   *tenant;			/* the trusted tenant, or NULL */
	List	   *allowed;		/* tenants (char *) that the token allows */
	bool		crosses;		/* all tenants' rows are open */
	bool		writes;			/* and may be written */
} TenantState;

/* The arguments of tenant_enable, as they were given. */
typedef struct TenantRequest
{
	NullableDatum arguments[8];
} TenantRequest;

extern void architect_tenant_init(void);

/* source.c */
extern uint64 architect_tenant_generation;
extern void architect_tenant_source_init(void);
extern bool architect_tenant_is_trusted(void);
extern char *architect_tenant_name(void);
extern const char *architect_tenant_origin(void);
extern bool architect_tenant_crosses(void);
extern bool architect_tenant_has_lapsed(void);
extern void architect_tenant_put(const char *tenant);
extern void architect_tenant_read_state(TenantState *state);
extern void architect_tenant_write_state(const TenantState *state);

/* context.c */
extern void architect_tenant_context_init(void);
extern void architect_tenant_enter(const char *tenant, List *allowed);
extern void architect_tenant_assume(const char *tenant);

/* cross.c */
extern void architect_tenant_cross_init(void);
extern bool architect_tenant_may_cross(void);

/* enable.c */
extern bool architect_tenant_is_changing;
extern Relation architect_tenant_open(Oid target, const char *purpose);
extern void architect_tenant_warn_of_foreign(Oid relid, const char *above);
extern bool architect_tenant_protect(TenantRequest *request, bool says_rules);
extern bool architect_tenant_unprotect(Oid target, bool keep_column, bool keep_fixes);

/* follow.c */
extern void architect_tenant_follow_init(void);

/* guard.c */
extern void architect_tenant_guard_init(void);

/* expression.c */
extern void architect_tenant_findings_init(void);

#endif							/* ARCHITECT_TENANT_H */
