/*
 * claims.c
 *    Reads what a token claims: a flat JSON object, nothing left out, nothing added.
 *
 * Whoever wrote it holds a key, so that strictness here is not what keeps others
 * out.  It keeps a claim that we do not know, and its author relies on, or one that
 * stands there twice, from being passed over.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "compat.h"
#include "tenant/token.h"

enum Claim
{
	CLAIM_DATABASE,
	CLAIM_ROLE,
	CLAIM_TENANT,
	CLAIM_EXPIRES,
	CLAIM_NONCE,
	CLAIM_COUNT
};

/* In the order of the enum. */
static const char *const claim_names[CLAIM_COUNT] = {"db", "role", "tenant", "exp", "nonce"};

/* Digits of a time in seconds that cannot overflow. */
#define TIME_DIGITS 15

/* Shorter ones meet too often. */
#define NONCE_LENGTH 8

typedef struct ClaimReader
{
	TenantClaims *claims;
	int			depth;
	int			claim;			/* whose value comes next */
	bool		in_array;
	bool		seen[CLAIM_COUNT];
} ClaimReader;

static ArchitectJsonResult
begin_object(void *state)
{
	ClaimReader *reader = state;

	if (reader->depth++ > 0)
		REFUSE_TOKEN("Claim \"%s\" is an object.", claim_names[reader->claim]);
	return ARCHITECT_JSON_SUCCESS;
}

static ArchitectJsonResult
begin_array(void *state)
{
	ClaimReader *reader = state;

	if (reader->depth == 0)
		REFUSE_TOKEN("Its claims are not a JSON object.");
	if (reader->claim != CLAIM_TENANT || reader->in_array)
		REFUSE_TOKEN("Claim \"%s\" has an array where none can be.", claim_names[reader->claim]);
	reader->in_array = true;
	return ARCHITECT_JSON_SUCCESS;
}

static ArchitectJsonResult
end_array(void *state)
{
	ClaimReader *reader = state;

	reader->in_array = false;
	if (reader->claims->tenants == NIL)
		REFUSE_TOKEN("It names no tenant.");
	return ARCHITECT_JSON_SUCCESS;
}

static ArchitectJsonResult
begin_claim(void *state, char *name, bool isnull)
{
	ClaimReader *reader = state;
	int			claim = 0;

	while (claim < CLAIM_COUNT && strcmp(claim_names[claim], name) != 0)
		claim++;
	if (claim == CLAIM_COUNT)
		REFUSE_TOKEN("Claim \"%s\" is not known.", name);
	if (reader->seen[claim])
		REFUSE_TOKEN("Claim \"%s\" is there twice.", name);
	reader->seen[claim] = true;
	reader->claim = claim;
	return ARCHITECT_JSON_SUCCESS;
}

/*
 * Returns a time that is written as an integer and no other way.
 */
static int64
read_time(const char *token, JsonTokenType type)
{
	size_t		length = strlen(token);

	if (type != JSON_TOKEN_NUMBER || length > TIME_DIGITS || strspn(token, "0123456789") != length)
		REFUSE_TOKEN("Claim \"exp\" is not a whole number of seconds since 1970.");
	return strtoll(token, NULL, 10);
}

static ArchitectJsonResult
take_value(void *state, char *token, JsonTokenType type)
{
	ClaimReader *reader = state;
	TenantClaims *claims = reader->claims;

	if (reader->depth == 0)
		REFUSE_TOKEN("Its claims are not a JSON object.");
	if (reader->claim != CLAIM_EXPIRES && (type != JSON_TOKEN_STRING || token[0] == '\0'))
		REFUSE_TOKEN("Claim \"%s\" is not a string that says something.", claim_names[reader->claim]);

	switch (reader->claim)
	{
		case CLAIM_DATABASE:
			claims->database = token;
			break;
		case CLAIM_ROLE:
			claims->role = token;
			break;
		case CLAIM_TENANT:
			claims->tenants = lappend(claims->tenants, token);
			break;
		case CLAIM_EXPIRES:
			claims->expires = read_time(token, type);
			break;
		case CLAIM_NONCE:
			if (strlen(token) < NONCE_LENGTH)
				REFUSE_TOKEN("Claim \"nonce\" is shorter than %d bytes.", NONCE_LENGTH);
			break;
	}
	return ARCHITECT_JSON_SUCCESS;
}

/*
 * Reads claims in UTF-8; what they say is allocated here.  Raises 28000 for any
 * that are not as docs/tenant.md says.
 */
void
architect_tenant_read_claims(const char *json, int length, TenantClaims *claims)
{
	ClaimReader reader = {.claims = claims};
	JsonSemAction actions = {
		.semstate = &reader,
		.object_start = begin_object,
		.array_start = begin_array,
		.array_end = end_array,
		.object_field_start = begin_claim,
		.scalar = take_value
	};
	char	   *text;

	/* The conversion trusts its input to be what it should be only between like encodings. */
	if (!pg_verify_mbstr(PG_UTF8, json, length, true))
		REFUSE_TOKEN("Its claims are not UTF-8.");
	text = pg_any_to_server(json, length, PG_UTF8);

	memset(claims, 0, sizeof(TenantClaims));
	if (!architect_parse_json(text, text == json ? length : strlen(text), &actions))
		REFUSE_TOKEN("Its claims are not JSON.");
	for (int i = 0; i < CLAIM_COUNT; i++)
	{
		if (!reader.seen[i])
			REFUSE_TOKEN("It has no claim \"%s\".", claim_names[i]);
	}
}
