/*
 * whatif_question.c
 *    Makes a question of the text of a query: it is parsed, analysed and rewritten,
 *    planned once, and the rights to it are looked at.
 *
 * Planning may run functions that the query calls, so a query of another role is
 * analysed and planned as that role, which may change nothing meanwhile.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "parser/parse_param.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "core/core.h"
#include "index/repair.h"
#include "index/whatif.h"

/* A text is parsed again after each repair: as many bytes are parsed at most. */
#define MOST_PARSED (8 * 1024 * 1024)

/* A question that is being made. */
typedef struct Making
{
	WhatIfQuestion *question;
	const char *path;			/* search_path; NULL: the caller's */
	ArrayType  *values;			/* of parameters, as text; NULL: none */
	RawStmt    *statement;
	Query	   *query;
	Oid		   *types;			/* of parameters */
	int			ntypes;
} Making;

static void
parse(void *argument)
{
	Making	   *making = argument;
	List	   *statements = raw_parser(making->question->text, RAW_PARSE_DEFAULT);

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the text is not one statement")));
	making->statement = linitial_node(RawStmt, statements);
}

/*
 * Parses the text, repaired as often as need be.
 */
static ErrorData *
parse_repaired(Making *making)
{
	WhatIfQuestion *question = making->question;
	size_t		parsed = 0;
	ErrorData  *error;

	while ((error = architect_attempt(parse, making)) != NULL && parsed < MOST_PARSED)
	{
		char	   *repaired = architect_index_repair(question->text, error);

		CHECK_FOR_INTERRUPTS();
		if (repaired == NULL)
			break;
		parsed += strlen(question->text);
		question->text = repaired;
	}
	return error;
}

/*
 * Returns the values of the parameters, of those that have been given.
 */
static ParamListInfo
read_values(const Making *making)
{
	ParamListInfo parameters;
	Datum	   *values;
	bool	   *nulls;
	int			nvalues = 0;

	if (making->values != NULL)
		deconstruct_array(making->values, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &nvalues);
	parameters = makeParamList(Min(nvalues, making->ntypes));
	for (int i = 0; i < parameters->numParams; i++)
	{
		ParamExternData *parameter = &parameters->params[i];
		Oid			input;
		Oid			argument;

		if (!OidIsValid(making->types[i]))
			continue;
		getTypeInputInfo(making->types[i], &input, &argument);
		parameter->ptype = making->types[i];
		parameter->pflags = PARAM_FLAG_CONST;
		parameter->isnull = nulls[i];
		parameter->value = OidInputFunctionCall(input, nulls[i] ? NULL : TextDatumGetCString(values[i]), argument, -1);
	}
	return parameters;
}

/*
 * Analyses the statement without the hooks of those who count queries.
 */
static void
analyse(void *argument)
{
	Making	   *making = argument;
	ParseState *state = make_parsestate(NULL);

	state->p_sourcetext = making->question->text;
	setup_parse_variable_parameters(state, &making->types, &making->ntypes);
	making->query = transformTopLevelStmt(state, making->statement);
	check_variable_parameters(state, making->query);
	free_parsestate(state);
	if (making->query->commandType == CMD_UTILITY)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the statement has no plan: it is not SELECT, INSERT, UPDATE, DELETE or MERGE")));
	making->question->parameters = read_values(making);
}

/*
 * Raises 42501 where the role may not run the query.
 */
static void
check_rights(const List *plans)
{
	ListCell   *cell;

	foreach(cell, plans)
		architect_check_rights(lfirst(cell));
}

static void
note_relations(WhatIfQuestion *question, const List *plans)
{
	ListCell   *cell;

	foreach(cell, plans)
		question->relations = list_concat_unique_oid(question->relations, lfirst_node(PlannedStmt, cell)->relationOids);
}

static void
examine(void *argument)
{
	Making	   *making = argument;
	WhatIfQuestion *question = making->question;
	List	   *plans;

	if (making->path != NULL)
		(void) set_config_option("search_path", making->path, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	analyse(making);
	question->queries = QueryRewrite(making->query);
	plans = architect_whatif_plan(question, NULL);
	check_rights(plans);
	note_relations(question, plans);
	question->cost = architect_whatif_plan_cost(plans);
}

/*
 * Does it as the role of the question.
 */
static ErrorData *
examine_as_role(Making *making)
{
	int			level = NewGUCNestLevel();
	Oid			user;
	int			context;
	ErrorData  *error;

	GetUserIdAndSecContext(&user, &context);
	if (making->question->role != user)
		SetUserIdAndSecContext(making->question->role,
							   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	error = architect_attempt(examine, making);
	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(false, level);
	return error;
}

/*
 * Keeps what the question is made of, and frees what it took to make that.
 */
static void
keep(WhatIfQuestion *question, const ErrorData *error)
{
	(void) MemoryContextSwitchTo(question->context);
	question->text = pstrdup(question->text);
	if (error != NULL)
		question->problem = pstrdup(error->message);
	else
	{
		question->queries = copyObject(question->queries);
		question->relations = list_copy(question->relations);
		question->parameters = question->parameters->numParams > 0 ? copyParamList(question->parameters) :
			makeParamList(0);
	}
	MemoryContextReset(question->scratch);
}

/*
 * Returns the question that a text is, in a memory context of its own below the current
 * one.  Its names are looked up in this search_path; the values are those of $1, $2 ….
 */
WhatIfQuestion *
architect_whatif_question(const char *source, Oid role, const char *path, ArrayType *values)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "what-if question", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	WhatIfQuestion *question = palloc0(sizeof(WhatIfQuestion));
	Making		making = {.question = question, .path = path, .values = values};
	ErrorData  *error;

	question->context = context;
	question->scratch = AllocSetContextCreate(context, "what-if plan", ALLOCSET_START_SMALL_SIZES);
	question->text = pstrdup(source);
	question->role = role;
	if (role != GetUserId() && !has_privs_of_role(GetUserId(), role))
		question->problem = psprintf("the caller has not the rights of role \"%s\", which runs the query",
									 GetUserNameFromId(role, true));
	else
	{
		(void) MemoryContextSwitchTo(question->scratch);
		error = parse_repaired(&making);
		if (error == NULL)
			error = examine_as_role(&making);
		keep(question, error);
	}
	(void) MemoryContextSwitchTo(caller);
	return question;
}
