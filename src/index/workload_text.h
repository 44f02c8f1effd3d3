/*
 * workload_text.h
 *    How the files that read the texts of queries share the work.
 */
#ifndef ARCHITECT_INDEX_WORKLOAD_TEXT_H
#define ARCHITECT_INDEX_WORKLOAD_TEXT_H

#include "nodes/parsenodes.h"

#include "core/core.h"
#include "index/workload.h"

/* What the names in a text are looked up in. */
typedef struct IndexNames
{
	IndexFacts *facts;
	const char *path;			/* search_path */
	Oid			role;			/* who ran the query: "$user" */
	HTAB	   *tables;			/* by name alone, for what the path does not have */
} IndexNames;

/* What stands in FROM, or is changed. */
typedef struct IndexSource
{
	int			number;			/* in its scope */
	char	   *name;			/* as columns are qualified with it; NULL: not known, or none */
	IndexAccess *access;		/* NULL: not a table that we know */
	List	   *columns;		/* char *, of what is not a table; NIL: not known */
	bool		reads_all;
	bool		is_nullable;	/* stands where rows may have no match */
} IndexSource;

/* A query, or a part of it that has a FROM of its own. */
typedef struct IndexScope
{
	struct IndexScope *outer;
	bool		sees_outer;		/* columns of it too, and not only its WITH */
	IndexNames *names;
	IndexQuery *query;
	List	   *sources;		/* IndexSource */
	List	   *with;			/* IndexSource, by the names of WITH */
	List	   *merged;			/* char *, columns of USING */
} IndexScope;

/* What an expression is made of. */
typedef struct IndexParts
{
	IndexScope *scope;
	Bitmapset  *sources;		/* by number, of this scope */
	Bitmapset  *columns;		/* attnums, of any of these */
	bool		has_outer;		/* columns of an outer query */
	bool		is_obscure;		/* a column that cannot be told, a query or a whole row */
	bool		has_parameters;
} IndexParts;

/* workload_name.c */
extern IndexTable *architect_index_resolve_table(IndexNames *names, const RangeVar *name);
extern int16 architect_index_resolve_column(const IndexTable *table, const char *name);
extern IndexSource *architect_index_resolve(IndexScope *scope, const ColumnRef *column, int16 *attnum, bool *is_outer);
extern void architect_index_find_parts(Node *expression, IndexParts *parts);
extern void architect_index_widen(IndexAccess *access);
extern void architect_index_note_column(IndexScope *scope, const ColumnRef *column);

/* workload_expression.c */
extern bool architect_index_runs_strangers(Node *node, void *owner);
extern bool architect_index_write_side(const IndexScope *scope, const IndexSource *source, Node *side,
									   IndexPredicate *predicate);
extern bool architect_index_is_direct(const IndexScope *scope, const IndexSource *source, int16 attnum,
									  const char *operator, Node *value);

/* workload_predicate.c */
extern void architect_index_read_condition(IndexScope *scope, Node *condition, const Bitmapset *sources);
extern void architect_index_add_join(IndexSource *source, int16 attnum);

/* workload_from.c */
extern const char *architect_index_result_name(ResTarget *target);
extern IndexSource *architect_index_add_relation(IndexScope *scope, RangeVar *relation);
extern Bitmapset *architect_index_add_from(IndexScope *scope, Node *item);
extern void architect_index_add_with(IndexScope *scope, WithClause *with);

/* workload_text.c */
extern void architect_index_read_part(IndexScope *outer, bool sees_outer, Node *node);
extern void architect_index_read_statement(IndexNames *names, IndexQuery *query, Node *statement);

#endif							/* ARCHITECT_INDEX_WORKLOAD_TEXT_H */
