/*
 * tenant.h
 *    Row-level security by tenant: the context, tokens, and what guards tables.
 */
#ifndef ARCHITECT_TENANT_H
#define ARCHITECT_TENANT_H

#include "postgres.h"

extern void architect_tenant_init(void);

#endif							/* ARCHITECT_TENANT_H */
