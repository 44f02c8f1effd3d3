/*
 * expression.h
 *    What a policy's expression says of the tenant.
 */
#ifndef ARCHITECT_TENANT_EXPRESSION_H
#define ARCHITECT_TENANT_EXPRESSION_H

#include "postgres.h"

#include "nodes/nodes.h"

/* What a boolean expression may come to; an empty set is an error, which is closed. */
#define OUTCOME_NULL	0x0001
#define OUTCOME_FALSE	0x0002
#define OUTCOME_TRUE	0x0004

/* Who asks; the row is always one that has a tenant. */
typedef enum TenantScenario
{
	TENANT_OTHER,				/* another tenant than the row's */
	TENANT_UNSET,				/* nobody has said */
	TENANT_EMPTY				/* the setting is '', as after a transaction that set it */
} TenantScenario;

/* The table whose rows the expression is about, which is its range table's only entry. */
typedef struct TenantSubject
{
	AttrNumber	attnum;			/* tenant column */
	Oid			schema;			/* ours, where the accessors are */
} TenantSubject;

/* outcome.c */
extern int	architect_tenant_outcome(Node *expression, const TenantSubject *subject,
									 TenantScenario scenario, bool *compares);
extern bool architect_tenant_is_mentioned(Node *expression, const TenantSubject *subject, int depth);

#endif							/* ARCHITECT_TENANT_EXPRESSION_H */
