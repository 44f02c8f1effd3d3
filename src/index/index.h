/*
 * index.h
 *    What the index part is made of: facts about tables and indexes, rules that read
 *    them, and what the rules find.
 *
 * Data flows one way: catalogs and counters become facts, rules make findings of
 * facts, and findings become rows.  All of it lives as long as one review, which is
 * one call of architect.index_find() or of a view.
 */
#ifndef ARCHITECT_INDEX_H
#define ARCHITECT_INDEX_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/block.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"

/* What the server counted since stats_since; of a partitioned relation, all its leaves. */
typedef struct IndexCounts
{
	double		seq_scans;
	double		seq_rows;
	double		index_scans;	/* of an index: of this one */
	double		index_rows;		/* entries returned, or rows fetched by index scans */
	double		inserts;
	double		updates;
	double		hot_updates;
	double		newpage_updates;	/* 0 before PostgreSQL 16 */
	double		deletes;
	double		changes_since_analyze;
	double		blocks;			/* of an index: that were asked for, by scans and writes */
	TimestampTz last_scan;		/* 0: never, or not known */
	TimestampTz last_analyze;	/* 0: never; the oldest of the leaves */
} IndexCounts;

/* What was imported from other servers about an index. */
typedef struct IndexUsage
{
	List	   *servers;		/* char *, the first few names */
	bool		has_more_servers;
	double		scans;
	TimestampTz last_scan;		/* 0: never, or not known */
	double		days;			/* that each server has counted for, at least */
	TimestampTz imported_at;	/* the oldest of them */
} IndexUsage;

/* A column of a table, or of an index. */
typedef struct IndexColumn
{
	char	   *name;			/* of a table's column; NULL where it was dropped */
	Oid			type;
	int32		typmod;
	Oid			collation;
	int16		length;			/* as pg_attribute has it */
	char		align;
	bool		by_value;
	char		storage;
	char		generated;
	int			statistics_target;	/* -1: the default */
	bool		not_null;		/* and that has been proven */
	bool		has_acl;
	bool		has_statistics; /* and the reader may see them */
	float4		null_share;
	int32		width;			/* bytes, of values that are not NULL */
	float4		distinct;		/* as pg_statistic has it: negative is a share of the rows */
	float4		correlation;	/* 0 where it is not known */
} IndexColumn;

typedef struct IndexTable
{
	Oid			oid;
	Oid			schema;
	char	   *name;
	Oid			owner;
	char		kind;			/* r, p or m */
	char		persistence;
	bool		reported;		/* the reader may have findings about it */
	bool		is_readable;	/* all columns, by the reader */
	bool		is_filtered;	/* row-level security keeps rows from the reader */
	bool		of_extension;
	bool		is_locked;		/* by others: definitions could not be read */
	bool		is_partition;
	int			ncolumns;
	IndexColumn *columns;		/* by attnum - 1 */
	BlockNumber pages;			/* as VACUUM or ANALYZE saw it; of the whole tree */
	double		rows;			/* likewise; -1 where it was not seen */
	BlockNumber all_visible;
	int			fillfactor;
	Oid			toast;
	IndexCounts counts;
	struct IndexTable *parent;	/* of a partition */
	List	   *partitions;		/* IndexTable, direct ones */
	bool		has_foreign_partitions; /* or others that we do not know */
	List	   *heirs;			/* IndexTable, by inheritance */
	List	   *indexes;		/* IndexDefinition */
	List	   *foreign_keys;	/* IndexForeignKey, that it has */
	List	   *referenced_by;	/* IndexForeignKey, that point to it */
} IndexTable;

/* What a row of the table puts into a GIN index, on average. */
typedef struct IndexKeys
{
	double		count;			/* keys */
	double		bytes;			/* of them in the pending list */
	double		written;		/* that the tree gets: those of rows that come together are one */
	double		written_bytes;	/* of these */
} IndexKeys;

typedef struct IndexDefinition
{
	Oid			oid;
	char	   *name;
	IndexTable *table;
	Oid			access_method;
	Oid			tablespace;		/* InvalidOid: the database's */
	bool		is_partitioned;
	bool		is_unique;
	bool		nulls_not_distinct;
	bool		is_primary;
	bool		is_exclusion;
	bool		is_immediate;
	bool		is_clustered;
	bool		is_replica_identity;
	bool		is_valid;
	bool		is_ready;
	bool		is_live;
	bool		of_extension;
	char		constraint_type;	/* p, u or x; '\0': there is none */
	Oid			constraint;
	char	   *constraint_name;
	int			nkeys;
	int			ncolumns;		/* nkeys, and those of INCLUDE */
	int16	   *attnums;		/* 0: an expression */
	Oid		   *opclasses;		/* nkeys */
	Oid		   *collations;		/* nkeys */
	int16	   *options;		/* nkeys */
	IndexColumn *columns;		/* types of what is stored; statistics, of expressions alone */
	char	   *expressions;	/* node trees as text, or NULL */
	char	   *predicate;
	IndexKeys	keys;			/* of GIN; 0 where they are not known */
	BlockNumber pages;			/* of the whole tree */
	double		rows;			/* -1 where it was not seen */
	int			fillfactor;		/* 0: the access method's own */
	bool		deduplicates;	/* unless the option says no */
	int			pages_per_range;	/* of BRIN; 0: the default */
	IndexCounts counts;
	TransactionId xmin;			/* that made or last changed its definition; not normal: long ago */
	IndexUsage *elsewhere;		/* NULL: nothing was imported */
	struct IndexDefinition *parent;
	List	   *partitions;		/* IndexDefinition, direct ones */
	List	   *required_by;	/* IndexForeignKey, that refer to its columns */
} IndexDefinition;

typedef struct IndexForeignKey
{
	Oid			oid;
	char	   *name;
	IndexTable *table;
	IndexTable *referenced;
	Oid			referenced_index;
	int			ncolumns;
	int16	   *attnums;
	int16	   *referenced_attnums;
	Oid		   *operators;		/* referenced = referencing */
	char		on_update;
	char		on_delete;
	bool		is_validated;
	bool		is_enforced;
} IndexForeignKey;

typedef struct IndexFacts
{
	List	   *tables;			/* IndexTable; partitions too */
	HTAB	   *relations;
	bool		is_monitor;		/* the reader may see all */
	bool		reads_all;		/* likewise, may read all tables */
	TimestampTz stats_since;	/* 0: not known */
	double		days;			/* since then; 0: not known */
} IndexFacts;

typedef enum IndexSeverity
{
	INDEX_HINT,
	INDEX_WARNING,
	INDEX_CRITICAL,
} IndexSeverity;

typedef enum IndexConfidence
{
	INDEX_CONFIDENCE_HINT,
	INDEX_CONFIDENCE_LIKELY,
	INDEX_CONFIDENCE_PROVEN,
} IndexConfidence;

typedef struct IndexFinding
{
	struct IndexReview *review; /* NULL: it stands alone */
	const struct IndexRule *rule;
	IndexSeverity severity;
	IndexConfidence confidence;
	IndexTable *table;
	IndexDefinition *index;		/* NULL where there is none */
	List	   *columns;		/* char *, names or expressions */
	char	   *reason;
	JsonbParseState *evidence;
	double		benefit_bytes;	/* 0: none, or not known */
	double		benefit_writes; /* index entries a day that need not be written */
	char	   *statement;		/* NULL where no statement does it */
	char	   *undo;
	char	   *lock;
} IndexFinding;

/* One call: the facts, and what the rules make of them. */
typedef struct IndexReview
{
	IndexFacts *facts;
	struct IndexWorkload *workload; /* NULL until it is asked for */
	const struct IndexRule *rule;	/* in hand */
	List	   *findings;
	List	   *doubts;			/* IndexDoubt, of the rule in hand */
	HTAB	   *names;			/* of indexes that findings would make */
} IndexReview;

/* Why a rule could not decide, and in how many cases. */
typedef struct IndexDoubt
{
	char	   *reason;
	int64		cases;
} IndexDoubt;

/* The view of a rule is index_<name>. */
typedef struct IndexRule
{
	const char *name;
	void		(*find) (IndexReview *review);
} IndexRule;

/* facts.c */
extern IndexFacts *architect_index_read_facts(void);
extern IndexTable *architect_index_find_table(IndexFacts *facts, Oid relation);
extern IndexDefinition *architect_index_find_index(IndexFacts *facts, Oid relation);

/* counts.c */
extern void architect_index_read_counts(IndexFacts *facts);
extern double architect_index_count_writes(const IndexDefinition *index);
extern double architect_index_daily_writes(const IndexFacts *facts, const IndexDefinition *index);

/* finding.c */
extern void architect_index_each(IndexReview *review, void (*look) (IndexReview *review, IndexDefinition *index));
extern IndexFinding *architect_index_finding(IndexReview *review, IndexSeverity severity, IndexConfidence confidence,
											 IndexTable *table, IndexDefinition *index);
extern char *architect_index_trim(char *text);
extern void architect_index_reason(IndexFinding *finding, const char *format,...) pg_attribute_printf(2, 3);
extern void architect_index_evidence(IndexFinding *finding, const char *name, double value);
extern void architect_index_evidence_rows(IndexFinding *finding);
extern void architect_index_evidence_text(IndexFinding *finding, const char *name, const char *value);
extern void architect_index_evidence_time(IndexFinding *finding, const char *name, TimestampTz value);
extern void architect_index_evidence_counts(IndexReview *review, IndexFinding *finding);
extern void architect_index_doubt(IndexReview *review, const char *format,...) pg_attribute_printf(2, 3);
extern List *architect_index_fold(List *findings);
extern bool architect_index_is_small(const IndexTable *table);

/* cover_foreign_key.c */
extern Oid	architect_index_check_collation(const IndexForeignKey *key, int position);
extern bool architect_index_compares_column(const IndexForeignKey *key, int position);
extern int	architect_index_serves(const IndexDefinition *index, const IndexForeignKey *key);
extern bool architect_index_supports(const IndexDefinition *index, const IndexForeignKey *key);

/* body.c */
extern char *architect_index_definition(const IndexDefinition *index, int column);
extern char *architect_index_constraint(const IndexDefinition *index);

/* statement.c */
extern char *architect_index_table_name(const IndexTable *table);
extern char *architect_index_name(const IndexDefinition *index);
extern char *architect_index_column_text(const IndexDefinition *index, int column);
extern List *architect_index_column_texts(const IndexDefinition *index);
extern char *architect_index_choose_name(const IndexFinding *finding, const IndexTable *table, const char *label,
										 const char *kind, bool is_constraint);
extern void architect_index_propose_create(IndexFinding *finding, const List *names, const char *body);
extern void architect_index_propose_replace(IndexFinding *finding, IndexDefinition *index, const List *more,
											const char *body);
extern void architect_index_propose_drop(IndexFinding *finding, IndexDefinition *index);
extern void architect_index_propose_rebuild(IndexFinding *finding, IndexDefinition *index);
extern const char *architect_index_deferral(const IndexDefinition *index);
extern void architect_index_append_restore(StringInfo lines, const IndexDefinition *index);
extern char *architect_index_finish_lines(StringInfo lines);

/* statement_complete.c */
extern IndexDefinition *architect_index_attached(const IndexDefinition *index, const IndexTable *partition);
extern void architect_index_propose_completion(IndexFinding *finding, IndexDefinition *index);

#endif							/* ARCHITECT_INDEX_H */
