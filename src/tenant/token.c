/*
 * token.c
 *    architect.tenant_login: whose rows a transaction may see, proven by a token.
 *
 * A token is v1.<key id>.<claims>.<signature>, claims and signature in base64url.
 * There is exactly one way to write each: no padding, no bits left over.  Nothing
 * of it is looked into before its signature has been found good.
 */
#include "postgres.h"

#include <time.h>

#include "access/detoast.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "tenant/tenant.h"
#include "tenant/token.h"

PG_FUNCTION_INFO_V1(architect_tenant_login);

#define TOKEN_PREFIX "v1."
#define TOKEN_MOST 8192
#define SIGNATURE_LETTERS 43

static int	lifetime_setting = 300;

/* Where the parts of a token are. */
typedef struct TokenParts
{
	char	   *key_id;
	const char *claims;
	int			claims_length;
	const char *signature;
	int			signature_length;
	int			signed_length;	/* of the token, before the last dot */
} TokenParts;

/*
 * Raises 55000 where tokens would mean nothing or could be used twice.
 */
static void
check_mode(void)
{
	if (!architect_tenant_is_trusted())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenants are not taken from tokens here"),
				 errdetail("Setting architect.tenant_trusted is off."),
				 errhint("Call architect.tenant_set(), or have the administrator set architect.tenant_trusted to on.")));
	if (!architect_tenant_can_remember())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenant tokens need pg_architect in shared_preload_libraries"),
				 errdetail("Used tokens are remembered in memory that all sessions share."),
				 errhint("The administrator has to name it there and restart the server.")));
}

static int
letter_value(char letter)
{
	if (letter >= 'A' && letter <= 'Z')
		return letter - 'A';
	if (letter >= 'a' && letter <= 'z')
		return letter - 'a' + 26;
	if (letter >= '0' && letter <= '9')
		return letter - '0' + 52;
	return letter == '-' ? 62 : letter == '_' ? 63 : -1;
}

/*
 * Decodes base64url into as many bytes as there are letters at most; returns how
 * many, or -1 for anything that an encoder would not have written.
 */
static int
decode_base64url(const char *text, int length, uint8 *bytes)
{
	uint32		bits = 0;
	int			nbits = 0;
	int			count = 0;

	for (int i = 0; i < length; i++)
	{
		int			value = letter_value(text[i]);

		if (value < 0)
			return -1;
		bits = bits << 6 | value;
		nbits += 6;
		if (nbits >= 8)
		{
			nbits -= 8;
			bytes[count++] = bits >> nbits;
			bits &= (1 << nbits) - 1;
		}
	}
	return nbits == 6 || bits != 0 ? -1 : count;
}

/*
 * Cuts a token at its dots.
 */
static void
split_token(const char *token, int length, TokenParts *parts)
{
	const char *key_id = token + strlen(TOKEN_PREFIX);
	const char *end = token + length;
	const char *claims;
	const char *signature;

	if (length < strlen(TOKEN_PREFIX) || memcmp(token, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) != 0)
		REFUSE_TOKEN("It does not begin with \"%s\".", TOKEN_PREFIX);
	claims = memchr(key_id, '.', end - key_id);
	signature = claims == NULL ? NULL : memchr(claims + 1, '.', end - claims - 1);
	if (signature == NULL || memchr(signature + 1, '.', end - signature - 1) != NULL)
		REFUSE_TOKEN("It does not have four parts.");

	parts->key_id = pnstrdup(key_id, claims - key_id);
	parts->claims = claims + 1;
	parts->claims_length = signature - claims - 1;
	parts->signature = signature + 1;
	parts->signature_length = end - signature - 1;
	parts->signed_length = signature - token;
}

/*
 * Raises unless the signature is that of the key that the token names; gives it.
 */
static void
check_signature(const char *token, const TokenParts *parts, uint8 *signature)
{
	uint8		given[SIGNATURE_LETTERS];

	if (parts->signature_length != SIGNATURE_LETTERS ||
		decode_base64url(parts->signature, SIGNATURE_LETTERS, given) != PG_SHA256_DIGEST_LENGTH)
		REFUSE_TOKEN("Its signature is not 32 bytes in base64url.");
	if (!architect_tenant_sign(parts->key_id, token, parts->signed_length, signature))
		REFUSE_TOKEN("Its key id is not known.");
	if (timingsafe_bcmp(signature, given, PG_SHA256_DIGEST_LENGTH) != 0)
		REFUSE_TOKEN("Its signature is wrong.");
}

/*
 * Raises unless the claims are for this database, this session's role and now.
 */
static void
check_claims(const TenantClaims *claims, int64 now)
{
	char	   *database = get_database_name(MyDatabaseId);
	char	   *role = GetUserNameFromId(GetSessionUserId(), false);

	if (database == NULL || strcmp(claims->database, database) != 0)
		REFUSE_TOKEN("It is for another database.");
	if (strcmp(claims->role, role) != 0)
		REFUSE_TOKEN("It is for another role than \"%s\".", role);
	if (claims->expires <= now)
		REFUSE_TOKEN("It has expired.");
	if (claims->expires > now + lifetime_setting)
		REFUSE_TOKEN("It expires in more than %d seconds, which is what architect.tenant_token_lifetime allows.",
					 lifetime_setting);
}

/*
 * Returns the tenant that was asked for, or the first; raises where the token does
 * not name it.
 */
static const char *
choose_tenant(const TenantClaims *claims, const char *wanted)
{
	ListCell   *cell;

	if (wanted == NULL)
		return linitial(claims->tenants);
	foreach(cell, claims->tenants)
	{
		if (strcmp(lfirst(cell), wanted) == 0)
			return lfirst(cell);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for tenant \"%s\"", wanted),
			 errdetail("The token does not name it.")));
}

/*
 * architect.tenant_login(token text, tenant text)
 */
Datum
architect_tenant_login(PG_FUNCTION_ARGS)
{
	char	   *wanted = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	int64		now = time(NULL);
	uint8		signature[PG_SHA256_DIGEST_LENGTH];
	TenantClaims claims;
	TokenParts	parts;
	const char *tenant;
	uint8	   *json;
	int			length;
	char	   *token;

	check_mode();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("token must not be NULL")));
	if (toast_raw_datum_size(PG_GETARG_DATUM(0)) - VARHDRSZ > TOKEN_MOST)
		REFUSE_TOKEN("It is longer than %d bytes.", TOKEN_MOST);

	token = text_to_cstring(PG_GETARG_TEXT_PP(0));
	split_token(token, strlen(token), &parts);
	check_signature(token, &parts, signature);

	json = palloc(parts.claims_length + 1);
	length = decode_base64url(parts.claims, parts.claims_length, json);
	if (length < 0)
		REFUSE_TOKEN("Its claims are not base64url.");
	json[length] = '\0';
	architect_tenant_read_claims((char *) json, length, &claims);
	check_claims(&claims, now);
	tenant = choose_tenant(&claims, wanted);

	architect_tenant_spend(signature, claims.expires, now, lifetime_setting);
	architect_tenant_enter(tenant, claims.tenants);
	PG_RETURN_TEXT_P(cstring_to_text(tenant));
}

void
architect_tenant_token_init(void)
{
	architect_tenant_key_init();
	architect_tenant_nonce_init();
	DefineCustomIntVariable("architect.tenant_token_lifetime",
							"How far away the expiry of a tenant token may be.",
							NULL,
							&lifetime_setting, 300, 1, 86400, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
}
