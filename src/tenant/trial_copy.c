/*
 * trial_copy.c
 *    COPY as a client would run it, without a client.
 *
 * COPY to and from a client decides for itself whether row security applies, and
 * SPI cannot run it.  So it runs here with our own end of the connection: rows that
 * go out are looked at, and COPY FROM is stopped as it asks for the first row.
 */
#include "postgres.h"

/* Else the next header asks for those of libraries, for fields that are not used here. */
#undef ENABLE_GSS
#undef USE_OPENSSL
#include "libpq/libpq.h"

#include "commands/copy.h"
#include "parser/parse_node.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"

#include "tenant/trial.h"

/* The COPY that is under way: there is one at most. */
typedef struct CopyTrial
{
	const PQcommMethods *client;
	CommandDest dest;
	const char *own;			/* rows of this tenant do not count; as COPY writes it */
	uint64		seen;
} CopyTrial;

static CopyTrial copy;

static void
ignore_reset(void)
{
}

static int
ignore_flush(void)
{
	return 0;
}

static bool
is_nothing_pending(void)
{
	return false;
}

/*
 * Looks at what the server sends: rows are counted, what is not COPY's goes to the
 * client.
 */
static int
look_at_message(char type, const char *text, size_t length)
{
	switch (type)
	{
		case 'G':
			ereport(ERROR,
					(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
					 errmsg("COPY FROM is ready to take rows")));
			break;
		case 'd':
			if (length > 0 && text[length - 1] == '\n')
				length--;
			if (length == 2 && memcmp(text, "\\N", 2) == 0)
				break;
			if (copy.own == NULL || strlen(copy.own) != length || memcmp(copy.own, text, length) != 0)
				copy.seen++;
			break;
		case 'H':
		case 'c':
			break;
		default:
			if (copy.dest == DestRemote)
				return copy.client->putmessage(type, text, length);
	}
	return 0;
}

static void
look_at_message_later(char type, const char *text, size_t length)
{
	look_at_message(type, text, length);
}

static const PQcommMethods trial_methods = {
	.comm_reset = ignore_reset,
	.flush = ignore_flush,
	.flush_if_writable = ignore_flush,
	.is_send_pending = is_nothing_pending,
	.putmessage = look_at_message,
	.putmessage_noblock = look_at_message_later
};

static void
run_copy(const char *statement)
{
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(statement, RAW_PARSE_DEFAULT));
	ParseState *state = make_parsestate(NULL);
	uint64		processed;

	state->p_sourcetext = statement;
	copy.client = PqCommMethods;
	copy.dest = whereToSendOutput;
	PG_TRY();
	{
		PqCommMethods = &trial_methods;
		whereToSendOutput = DestRemote;
		DoCopy(state, castNode(CopyStmt, raw->stmt), raw->stmt_location, raw->stmt_len, &processed);
	}
	PG_FINALLY();
	{
		PqCommMethods = copy.client;
		whereToSendOutput = copy.dest;
	}
	PG_END_TRY();
	free_parsestate(state);
}

/*
 * Returns a value as COPY writes it.
 */
static char *
escape_value(const char *value)
{
	static const char special[] = "\\\b\f\n\r\t\v";
	static const char letter[] = "\\bfnrtv";
	StringInfoData escaped;

	initStringInfo(&escaped);
	for (; *value != '\0'; value++)
	{
		const char *found = strchr(special, *value);

		if (found != NULL)
			appendStringInfoChar(&escaped, '\\');
		appendStringInfoChar(&escaped, found != NULL ? letter[found - special] : *value);
	}
	return escaped.data;
}

/*
 * Runs a COPY TO of the tenant column and returns how many rows went out that are
 * not of this tenant, or of any where it is NULL.
 */
uint64
architect_tenant_try_copy_to(const char *statement, const char *own)
{
	copy.own = own == NULL ? NULL : escape_value(own);
	copy.seen = 0;
	run_copy(statement);
	return copy.seen;
}

/*
 * Runs a COPY FROM, which ends in an error: that of the server, or, where it would
 * have taken rows, one of SQLSTATE 00000.
 */
void
architect_tenant_try_copy_from(const char *statement)
{
	run_copy(statement);
}
