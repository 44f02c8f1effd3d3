/*
 * jsonb.h
 *    What jsonb documents are made of: a sample of blocks becomes counts for each key,
 *    and counts become advice.
 */
#ifndef ARCHITECT_INDEX_JSONB_H
#define ARCHITECT_INDEX_JSONB_H

#include "index/index.h"

typedef enum JsonbKind
{
	JSONB_NULL,
	JSONB_STRING,
	JSONB_NUMBER,
	JSONB_BOOLEAN,
	JSONB_ARRAY,
	JSONB_OBJECT,
	JSONB_CONTAINER,			/* one of the two, of a document of which the head was read */
	JSONB_KINDS,
} JsonbKind;

/* So many different values of a key are told apart. */
#define JSONB_MOST_VALUES 256

/* A key of the documents of a column, or the documents themselves. */
typedef struct JsonbKey
{
	struct JsonbKey *parent;	/* NULL: it is at the top */
	char	   *name;			/* NULL: the documents */
	int			length;
	bool		is_kept;		/* while keys are dropped */
	double		count;			/* documents that have it */
	double		missed;			/* and at most so many before it was noted */
	double		here;			/* in the block in hand */
	struct JsonbKey *here_next; /* another that is in it */
	double		squares;		/* of what was in each block, */
	double		products;		/* and times the documents there */
	double		kinds[JSONB_KINDS];
	double		value_bytes;	/* all together */
	double		most_bytes;		/* of a string or number */
	double		key_bytes;
	double		toasted;		/* documents that are stored out of line */
	double		unread;			/* strings, numbers and booleans that were not looked at */
	int			nvalues;		/* different ones of those that were; beyond the most: too many */
	int			room;
	uint32	   *values;			/* their hashes, 0 is none */
} JsonbKey;

typedef struct JsonbColumn
{
	int16		attnum;			/* of the table; partitions have it by its name */
	const char *name;
	JsonbKey	all;			/* the documents */
	double		here;			/* in the block in hand */
	JsonbKey   *here_first;		/* of the keys that are in it */
	double		squares;		/* of what was in each block */
	double		read;			/* bytes of documents */
	bool		is_map;			/* there were too many keys to count each */
	double		bound;			/* keys that are in fewer documents were dropped */
	struct jsonbkeys_hash *keys;
} JsonbColumn;

/* What was read of a table. */
typedef struct JsonbSample
{
	IndexTable *table;
	int			ncolumns;
	JsonbColumn *columns;
	double		pages;			/* that there are, in all partitions */
	double		pages_read;
	double		share;			/* of the rows in those that are taken */
	double		rows;			/* that were */
	const char *problem;		/* why nothing was read; NULL: it was */
	MemoryContext context;		/* of what is counted */
	MemoryContext row;			/* for the row in hand */
} JsonbSample;

typedef struct JsonbAdvice
{
	const char *advice;			/* column, index or statistics; NULL: none */
	const char *confidence;
	char	   *reason;
	char	   *statement;
	char	   *undo;
	char	   *lock;
	double		calls;			/* of queries that ask for the key; -1: not known */
	double		share;			/* of them in those to the table */
} JsonbAdvice;

/* What there is on a table already, or will be, as text. */
typedef struct JsonbPresent
{
	List	   *indexes;		/* expressions */
	List	   *statistics;
	List	   *columns;		/* expressions of generated ones */
	List	   *given;			/* lines that undo what is proposed so far */
} JsonbPresent;

/* jsonb_keys.c */
extern void architect_jsonb_begin_column(JsonbSample *sample, JsonbColumn *column);
extern void architect_jsonb_note(JsonbSample *sample, JsonbColumn *column, Datum document);
extern void architect_jsonb_end_block(JsonbColumn *column);
extern bool architect_jsonb_has_many_values(const JsonbKey *key);
extern List *architect_jsonb_keys(JsonbColumn *column, int most, int64 *nothers);
extern double architect_jsonb_presence_error(const JsonbSample *sample, const JsonbColumn *column,
											 const JsonbKey *key);
extern double architect_jsonb_worst_error(const JsonbSample *sample, const JsonbColumn *column);

/* jsonb_sample.c */
extern const char *architect_jsonb_lock(Oid relation, bool waits);
extern JsonbSample *architect_jsonb_read(IndexTable *table, const List *attnums, double percent, bool waits);

/* jsonb_advice.c */
extern char *architect_jsonb_expression(const char *column, const JsonbKey *key, const char *arrow);
extern JsonbPresent *architect_jsonb_present(const IndexTable *table);
extern void architect_jsonb_advise(IndexReview *review, const JsonbSample *sample, const JsonbColumn *column,
								   const JsonbKey *key, JsonbPresent *present, JsonbAdvice *advice);
extern void architect_jsonb_remark(const JsonbColumn *column, int64 nothers, JsonbAdvice *advice);

#endif							/* ARCHITECT_INDEX_JSONB_H */
