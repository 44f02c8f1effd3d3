/*
 * workload.h
 *    What queries do with tables, as pg_stat_statements has them.
 *
 * The texts are read with the server's own parser, and names are looked up without a
 * lock.  What cannot be told for sure is left out.
 */
#ifndef ARCHITECT_INDEX_WORKLOAD_H
#define ARCHITECT_INDEX_WORKLOAD_H

#include "nodes/bitmapset.h"
#include "utils/array.h"

#include "index/index.h"

typedef enum IndexPredicateKind
{
	INDEX_EQUALITY,				/* =, IN, = ANY, IS NULL */
	INDEX_RANGE,				/* <, <=, >, >=, BETWEEN */
	INDEX_PATTERN,				/* LIKE, ILIKE, regular expressions */
	INDEX_OTHER,				/* any other operator, as @> */
} IndexPredicateKind;

/* A condition that rows of a table must fulfil: column or expression, operator, value. */
typedef struct IndexPredicate
{
	IndexPredicateKind kind;
	int16		attnum;			/* 0: an expression */
	char	   *expression;		/* as an index definition has it; NULL: a column */
	Bitmapset  *columns;		/* attnums, of the expression or the column */
	bool		has_parameters; /* the expression has; $1 in it is not known */
	bool		is_immutable;	/* the expression is */
	Oid			type;			/* of the expression */
	char	   *label;			/* what the server would call such a column, or NULL */
	char	   *operator;		/* its name; IS NULL has "IS NULL" */
	char	   *value;			/* a constant; NULL where it is a parameter, or computed */
	bool		is_list;		/* any of several values */
	bool		is_join;		/* the value comes from another table */
} IndexPredicate;

typedef struct IndexSort
{
	int16		attnum;
	bool		is_descending;
	bool		nulls_first;
} IndexSort;

/* What one query does with one table; of a partition, as if it were the whole. */
typedef struct IndexAccess
{
	IndexTable *table;
	List	   *predicates;		/* IndexPredicate, all of which hold */
	Bitmapset  *unread;			/* attnums in conditions that are not understood, as OR */
	List	   *sort;			/* IndexSort; NIL: the order does not matter */
	bool		is_limited;
	Bitmapset  *columns;		/* attnums that are read; NULL: not known, or all */
	Bitmapset  *assigned;		/* attnums that an UPDATE sets */
} IndexAccess;

typedef struct IndexQuery
{
	int			number;			/* from 1 */
	int64		id;				/* of pg_stat_statements */
	const char *source;			/* "list", "pg_stat_statements" or "captured" */
	char	   *text;
	Oid			role;			/* that runs it */
	const char *path;			/* search_path; NULL: what sessions begin with */
	const char *problem;		/* why it is left out; NULL: it is not, so far */
	double		calls;
	double		milliseconds;	/* all calls together */
	double		share;			/* of the time that all queries took */
	double		rows;
	double		blocks;			/* read by all calls, from the cache or not */
	List	   *accesses;		/* IndexAccess */
} IndexQuery;

typedef struct IndexWorkload
{
	List	   *queries;		/* IndexQuery, those with the most time first */
	List	   *left_out;		/* IndexQuery, that are in no other list */
	TimestampTz since;			/* 0: not known */
	const char *problem;		/* why there are none; NULL: there are */
	int64		nunread;		/* texts that could not be read */
} IndexWorkload;

/* workload.c */
extern IndexWorkload *architect_index_workload(IndexReview *review);
extern IndexWorkload *architect_index_workload_of(IndexReview *review, ArrayType *texts);
extern IndexWorkload *architect_index_workload_seen(IndexReview *review);
extern void architect_index_evidence_queries(IndexFinding *finding, const List *queries);
extern double architect_index_count_key_updates(IndexReview *review, const IndexForeignKey *key);

#endif							/* ARCHITECT_INDEX_WORKLOAD_H */
