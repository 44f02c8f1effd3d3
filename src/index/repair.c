/*
 * repair.c
 *    Makes a text of pg_stat_statements one that can be parsed.
 *
 * It has parameters where constants were, and some stand where the grammar takes a
 * constant alone: interval $1, date $1, EXTRACT($1 FROM x).
 */
#include "postgres.h"

#include "common/keywords.h"
#include "mb/pg_wchar.h"
#include "parser/parser.h"
#include "parser/scanner.h"

#include "core/core.h"
#include "index/repair.h"

/* A type's name has no more tokens: timestamp ( 3 ) with time zone. */
#define MOST_TOKENS 8

/* What stands before the place where the parser complained, and the token after it. */
typedef struct Tokens
{
	const char *source;
	int			place;
	int			count;
	int			starts[MOST_TOKENS];	/* of the last ones before, the last one first */
	int			next;			/* of the one after the parameter; -1: there is none */
} Tokens;

static void
scan(void *argument)
{
	Tokens	   *tokens = argument;
	core_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(tokens->source, &extra, &ScanKeywords, ScanKeywordTokens);
	core_YYSTYPE value;
	YYLTYPE		location;

	while (core_yylex(&value, &location, scanner) != 0)
	{
		if (location > tokens->place)
		{
			tokens->next = location;
			break;
		}
		if (location == tokens->place)
			continue;
		memmove(tokens->starts + 1, tokens->starts, (MOST_TOKENS - 1) * sizeof(int));
		tokens->starts[0] = location;
		tokens->count = Min(tokens->count + 1, MOST_TOKENS);
	}
	scanner_finish(scanner);
}

static void
parse_type(void *argument)
{
	(void) raw_parser(argument, RAW_PARSE_TYPE_NAME);
}

static bool
starts_with(const char *text, const char *word)
{
	return pg_strncasecmp(text, word, strlen(word)) == 0;
}

/*
 * EXTRACT($1 FROM x) becomes the function that it stands for.
 */
static char *
repair_extract(const Tokens *tokens, int length)
{
	const char *source = tokens->source;

	if (tokens->count < 2 || tokens->next < 0 || source[tokens->starts[0]] != '(' ||
		!starts_with(source + tokens->starts[1], "extract") || !starts_with(source + tokens->next, "from"))
		return NULL;
	return psprintf("%.*spg_catalog.extract(%.*s,%s", tokens->starts[1], source, length, source + tokens->place,
					source + tokens->next + strlen("from"));
}

/*
 * date $1 becomes $1::date; what may follow, as in interval $1 day, follows there too.
 */
static char *
repair_type(const Tokens *tokens, int length)
{
	const char *source = tokens->source;
	int			start = -1;

	for (int i = 0; i < tokens->count; i++)
	{
		char	   *type = pnstrdup(source + tokens->starts[i], tokens->place - tokens->starts[i]);

		if (architect_attempt(parse_type, type) == NULL)
			start = tokens->starts[i];
	}
	if (start < 0)
		return NULL;
	return psprintf("%.*s%.*s::%.*s%s", start, source, length, source + tokens->place,
					tokens->place - start, source + start, source + tokens->place + length);
}

/*
 * Returns the text repaired where the parser complained, or NULL where that is no help.
 */
char *
architect_index_repair(const char *source, const ErrorData *error)
{
	Tokens		tokens = {.source = source, .next = -1};
	int			length = 1;
	char	   *repaired;

	if (error->sqlerrcode != ERRCODE_SYNTAX_ERROR || error->cursorpos <= 0)
		return NULL;
	tokens.place = pg_mbcharcliplen(source, strlen(source), error->cursorpos - 1);
	if (source[tokens.place] != '$')
		return NULL;
	length += strspn(source + tokens.place + 1, "0123456789");
	if (length == 1 || architect_attempt(scan, &tokens) != NULL)
		return NULL;
	repaired = repair_extract(&tokens, length);
	return repaired != NULL ? repaired : repair_type(&tokens, length);
}
