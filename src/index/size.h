/*
 * size.h
 *    How big an index is when it has just been built.
 *
 * A definition, real or not, becomes a shape: what decides the size and nothing else.
 * The model makes bytes of it.
 */
#ifndef ARCHITECT_INDEX_SIZE_H
#define ARCHITECT_INDEX_SIZE_H

#include "index/index.h"

#define INDEX_SIZE_CLASSES 5

/* Values of a column that are about as frequent as each other. */
typedef struct IndexSizeClass
{
	double		share;			/* of the entries */
	double		distinct;		/* values */
} IndexSizeClass;

typedef struct IndexSizeColumn
{
	double		width;			/* bytes of what is stored, on average where it is not NULL; with the header */
	double		residues[MAXIMUM_ALIGNOF];	/* shares of the values, by their width modulo the alignment */
	int			alignment;		/* 1, 2, 4 or 8 */
	double		null_share;
	double		distinct;		/* values among the entries, NULL aside */
	int			nclasses;
	IndexSizeClass classes[INDEX_SIZE_CLASSES]; /* all of them, the most frequent ones first */
} IndexSizeColumn;

typedef struct IndexShape
{
	Oid			access_method;	/* btree, hash or BRIN */
	double		entries;
	int			nkeys;
	int			ncolumns;		/* nkeys, and those of INCLUDE; BRIN: what a summary stores */
	IndexSizeColumn *columns;
	double		distinct;		/* combinations of the keys; 0: not known */
	bool		deduplicates;	/* equal keys share an entry */
	int			fillfactor;
	double		table_rows;		/* hash: what the buckets are made for */
	BlockNumber table_pages;	/* BRIN: what it summarizes, */
	int			pages_per_range;	/* and in what pieces */
} IndexShape;

/* The data of an entry while columns are added. */
typedef struct IndexLayout
{
	double		size;			/* on average */
	double		residues[MAXIMUM_ALIGNOF];	/* shares of the entries, by size modulo the alignment */
} IndexLayout;

#define INDEX_EMPTY_LAYOUT {.residues = {1}}

/* size.c: problem says why the size is not known, and is NULL where it is */
extern double architect_index_fresh_size(const IndexDefinition *index, const char **problem);
extern IndexShape *architect_index_shape(const IndexDefinition *index, double entries, const char **problem);
extern double architect_index_shape_size(const IndexShape *shape);
extern const char *architect_index_stale(const IndexTable *table);
extern void architect_index_lay_out(IndexLayout *layout, const IndexSizeColumn *column);
extern double architect_index_laid_out(IndexLayout layout);

/* size_sample.c */
extern bool architect_index_read_sample(Oid relation, int16 attnum, bool inherited, bool is_packed,
										IndexSizeColumn *column);
extern double architect_index_read_distinct(const IndexDefinition *index);

/* size_btree.c */
extern double architect_index_btree_pages(const IndexShape *shape);
extern int	architect_index_btree_height(const IndexShape *shape, double pages);

/* size_hash.c */
extern double architect_index_hash_pages(const IndexShape *shape);
extern double architect_index_brin_pages(const IndexShape *shape);

#endif							/* ARCHITECT_INDEX_SIZE_H */
