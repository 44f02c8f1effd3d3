/*
 * token.h
 *    What tenant_login is made of: claims, keys, and the tokens that were used.
 */
#ifndef ARCHITECT_TOKEN_H
#define ARCHITECT_TOKEN_H

#include "postgres.h"

#include "common/sha2.h"
#include "nodes/pg_list.h"

/* Of the signature, these many bytes tell tokens apart. */
#define TOKEN_FINGERPRINT 16

/* What a token says, in the database's encoding. */
typedef struct TenantClaims
{
	char	   *database;
	char	   *role;
	List	   *tenants;		/* char *, at least one */
	int64		expires;		/* seconds since 1970 */
} TenantClaims;

/* One error for all that can be wrong with a token, as it is none of ours then. */
#define REFUSE_TOKEN(...) \
	ereport(ERROR, \
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION), \
			 errmsg("tenant token is not valid"), \
			 errdetail(__VA_ARGS__)))

/* claims.c */
extern void architect_tenant_read_claims(const char *json, int length, TenantClaims *claims);

/* key.c */
extern void architect_tenant_key_init(void);
extern bool architect_tenant_sign(const char *key_id, const char *data, int length, uint8 *signature);

/* nonce.c */
extern void architect_tenant_nonce_init(void);
extern bool architect_tenant_can_remember(void);
extern void architect_tenant_spend(const uint8 *fingerprint, int64 expires, int64 now, int lifetime);

/* token.c */
extern void architect_tenant_token_init(void);

#endif							/* ARCHITECT_TOKEN_H */
