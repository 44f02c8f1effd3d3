/*
 * capture_text.c
 *    Finds the text of a statement in what a client sent.
 *
 * A plan of PREPARE or DECLARE has the place of the whole: the statement is what follows
 * AS or FOR.
 */
#include "postgres.h"

#include "parser/scansup.h"

#include "index/capture_text.h"

/* A part of a text: [at, end). */
typedef struct Part
{
	const char *at;
	const char *end;
} Part;

static bool
is_letter(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '$' || IS_HIGHBIT_SET(c);
}

static bool
begins(const Part *part, const char *with)
{
	size_t		length = strlen(with);

	return part->end - part->at >= length && pg_strncasecmp(part->at, with, length) == 0;
}

static void
skip_comment(Part *part)
{
	int			depth = 0;

	do
	{
		if (begins(part, "/*"))
			depth++, part->at++;
		else if (begins(part, "*/"))
			depth--, part->at++;
		part->at++;
	} while (depth > 0 && part->at < part->end);
}

static void
skip_space(Part *part)
{
	while (part->at < part->end)
	{
		if (scanner_isspace(*part->at))
			part->at++;
		else if (begins(part, "/*"))
			skip_comment(part);
		else if (begins(part, "--"))
		{
			while (part->at < part->end && *part->at != '\n')
				part->at++;
		}
		else
			break;
	}
}

/*
 * Takes a word off the part, if it begins with it.
 */
static bool
skip_word(Part *part, const char *word)
{
	size_t		length = strlen(word);

	if (!begins(part, word) || (part->end - part->at > length && is_letter(part->at[length])))
		return false;
	part->at += length;
	return true;
}

/*
 * Takes off all before and with a key word that stands neither in quotes nor in
 * parentheses; false where there is none.
 */
static bool
skip_to(Part *part, const char *word)
{
	int			depth = 0;

	while (part->at < part->end)
	{
		char		c;

		skip_space(part);
		if (depth == 0 && skip_word(part, word))
			return true;
		if (part->at == part->end)
			break;
		c = *part->at;
		if (c == '(')
			depth++;
		else if (c == ')')
			depth--;
		else if (c == '"')
		{
			while (++part->at < part->end && *part->at != '"')
				continue;
		}
		if (is_letter(c))
		{
			while (part->at < part->end && is_letter(*part->at))
				part->at++;
		}
		else
			part->at++;
	}
	return false;
}

static bool
is_plain(Part part)
{
	static const char *const words[] = {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE"};

	skip_space(&part);
	while (begins(&part, "("))
	{
		part.at++;
		skip_space(&part);
	}
	for (int i = 0; i < lengthof(words); i++)
	{
		if (skip_word(&part, words[i]))
			return true;
	}
	return false;
}

/*
 * True for the text of a PREPARE.
 */
bool
architect_capture_is_prepared(const char *text)
{
	Part		part = {text, text + strlen(text)};

	skip_space(&part);
	return skip_word(&part, "PREPARE");
}

/*
 * Returns where the statement begins, which is not terminated; NULL where that is not
 * clear.
 */
const char *
architect_capture_find_text(const QueryDesc *query, int *length)
{
	const PlannedStmt *plan = query->plannedstmt;
	const char *text = query->sourceText + Max(plan->stmt_location, 0);
	Part		part = {text, text + (plan->stmt_len > 0 ? plan->stmt_len : strlen(text))};
	Part		inner;

	inner = part;
	skip_space(&inner);
	if (skip_word(&inner, "PREPARE") ? skip_to(&inner, "AS") : skip_word(&inner, "DECLARE") && skip_to(&inner, "FOR"))
		part = inner;
	if (!is_plain(part))
		return NULL;
	while (part.at < part.end && scanner_isspace(*part.at))
		part.at++;
	while (part.end > part.at && (scanner_isspace(part.end[-1]) || part.end[-1] == ';'))
		part.end--;
	*length = part.end - part.at;
	return part.at;
}
