/*
 * advise.h
 *    The best set of indexes for a workload under a budget.
 *
 * Data flows one way: statements with weights become queries, which are planned once;
 * what their plans ask of tables becomes candidates; the planner says what each query
 * costs with some of them; the search chooses among them; what it chose becomes rows.
 */
#ifndef ARCHITECT_INDEX_ADVISE_H
#define ARCHITECT_INDEX_ADVISE_H

#include "nodes/bitmapset.h"
#include "nodes/nodes.h"
#include "utils/array.h"

#include "index/index.h"
#include "index/whatif.h"

/* A statement of the workload, before it is planned. */
typedef struct AdviseStatement
{
	int			number;			/* in the workload, from 1 */
	int64		query_id;		/* 0: not known */
	char	   *text;
	char	   *search_path;	/* NULL: the caller's */
	ArrayType  *values;			/* text[], of parameters; NULL: none */
	Oid			role;			/* that runs it */
	const char *source;			/* "list", "pg_stat_statements" or "captured" */
	double		calls;			/* or the weight that was given */
	double		milliseconds;	/* of all calls together; 0: not known */
	char	   *problem;		/* why it is left out; NULL: it is not, so far */
} AdviseStatement;

/* What a statement changes: rows of one table. */
typedef struct AdviseChange
{
	IndexTable *table;			/* the partitioned one, where it is named */
	CmdType		command;		/* CMD_INSERT, CMD_UPDATE or CMD_DELETE */
	Bitmapset  *assigned;		/* attnums that an UPDATE sets */
	double		rows;			/* of one call */
} AdviseChange;

/* What an index adds to a change, of one call. */
typedef struct AdviseWrite
{
	double		entries;		/* of the index, that are written */
	double		cost;			/* in the planner's units */
	double		wal_bytes;
	double		lost_hot;		/* updates that could be HOT without it, and cannot be with it */
} AdviseWrite;

/* What an index can have as a key: a column, or an expression as CREATE INDEX has it. */
typedef struct AdviseKey
{
	const char *text;			/* quoted, with the collation where it is not the column's */
	const char *opclass;		/* quoted; NULL: the default */
	int16		attnum;			/* 0: an expression */
	Bitmapset  *columns;		/* attnums that it is made of */
	double		width;			/* bytes on average */
	bool		is_descending;
	bool		nulls_first;
} AdviseKey;

/* A condition that an index of this access method can find rows by. */
typedef struct AdviseCondition
{
	AdviseKey  *key;
	const char *method;
	bool		is_range;		/* btree and BRIN: not equality */
	Relids		partners;		/* relations that the value comes from; NULL: none */
	double		selectivity;	/* without partners */
} AdviseCondition;

/* A condition that a partial index may have for its predicate. */
typedef struct AdvisePredicate
{
	const char *text;
	Bitmapset  *columns;
	double		selectivity;
	bool		is_flag;		/* it has no constant, as IS NULL */
	bool		is_equality;	/* with one constant, or one of some */
} AdvisePredicate;

/* What a query asks of one table at one place: all conditions hold. */
typedef struct AdviseAccess
{
	IndexTable *table;
	List	   *conditions;		/* AdviseCondition */
	List	   *predicates;		/* AdvisePredicate */
	List	   *orders;			/* List of AdviseKey: each an order that is of use */
	Bitmapset  *columns;		/* attnums that are read; NULL: all, or none */
	bool		reads_row;		/* a system column, or the row as a whole */
} AdviseAccess;

/* A statement that has been planned. */
typedef struct AdviseQuery
{
	AdviseStatement *statement;
	WhatIfQuestion *question;
	double		weight;			/* what one unit of its cost counts */
	int			number;			/* in the search */
	bool		is_estimated;	/* to plan it with every set would take too long */
	List	   *accesses;		/* AdviseAccess */
	List	   *changes;		/* AdviseChange */
	struct AdviseAnswer *answers;	/* that the planner gave; the last one that was of use first */
	int			nanswers;
	List	   *candidates;		/* int, numbers of those that may be of use; their places make sets smaller */
	Bitmapset  *used;			/* numbers of candidates that plans have used */
} AdviseQuery;

/* An index that may be proposed. */
typedef struct AdviseCandidate
{
	int			number;			/* in the pool */
	IndexTable *table;
	const char *method;
	List	   *keys;			/* AdviseKey */
	Bitmapset  *included;		/* attnums */
	const AdvisePredicate *predicate;	/* NULL: none */
	char	   *body;			/* from USING on */
	WhatIfIndex *index;			/* NULL: it cannot be made */
	double		bytes;
	double		write_cost;		/* of the workload as often as it is called */
	Bitmapset  *queries;		/* numbers, of those that it may be of use for */
	bool		is_refused;		/* the server would not make it, or it is of no use */
	bool		is_useful;		/* a plan has used it, or would use one much like it */
} AdviseCandidate;

/* What the advice must keep to. */
typedef struct AdviseLimits
{
	double		budget;			/* bytes; infinite: none */
	int			max_indexes;
	double		max_writes;		/* cost that the indexes may add to writes; infinite: none */
	double		max_regression; /* share by which a query may get worse */
	double		least_gain;		/* share of what the workload still costs, that an index must gain */
} AdviseLimits;

/* A set of candidates. */
typedef struct AdviseSolution
{
	Bitmapset  *set;
	double		cost;			/* of the workload, with what the set adds to writes */
	double		bytes;
	double		writes;			/* part of the cost */
	double	   *costs;			/* of each query */
} AdviseSolution;

/* advise_workload.c: where statements come from */
extern List *architect_advise_statements(ArrayType *queries, ArrayType *weights);
extern List *architect_advise_seen(char **problem);

/* advise_change.c: what statements change */
extern List *architect_advise_changes(IndexFacts *facts, const List *plans);
extern Bitmapset *architect_advise_translate(const IndexTable *from, const IndexTable *to, const Bitmapset *columns);

/* advise_write.c: what that costs */
extern void architect_advise_write(const IndexDefinition *index, double bytes, const AdviseChange *change,
								   AdviseWrite *write);
extern double architect_advise_build_seconds(const IndexDefinition *index, double bytes);

#endif							/* ARCHITECT_INDEX_ADVISE_H */
