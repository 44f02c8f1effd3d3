/*
 * whatif_sample.h
 *    What a sample of a table says of an index that does not exist.
 */
#ifndef ARCHITECT_INDEX_WHATIF_SAMPLE_H
#define ARCHITECT_INDEX_WHATIF_SAMPLE_H

#include "access/htup.h"
#include "access/tupdesc.h"

#include "index/whatif.h"

/* Rows of a table, by its oid. */
typedef struct WhatIfSample
{
	Oid			table;
	MemoryContext context;		/* of what is read */
	TupleDesc	desc;
	int			nrows;
	HeapTuple  *rows;			/* NULL: it could not be read */
	int			nneighbours;
	HeapTuple  *neighbours;		/* all rows of some of the blocks */
	double		table_rows;		/* that there are, as the sample has it */
	List	   *combinations;	/* WhatIfCombinations, that have been counted */
} WhatIfSample;

/* What of these is in an index: the values of its columns, those of INCLUDE too. */
typedef struct WhatIfEntries
{
	const WhatIfSample *sample;
	int			nentries;
	Datum	  **values;			/* by column, then by entry */
	bool	  **nulls;
} WhatIfEntries;

/* whatif_sample.c */
extern WhatIfSample *architect_whatif_sample(WhatIfWorld *world, Oid relation);

/* whatif_distinct.c */
extern double architect_whatif_combinations(WhatIfWorld *world, const IndexDefinition *index);

/* whatif_entries.c */
extern WhatIfEntries *architect_whatif_entries(const WhatIfLeaf *leaf, const WhatIfSample *sample);

/* whatif_statistics.c */
extern HeapTuple architect_whatif_analyze(const WhatIfLeaf *leaf, int number, const WhatIfEntries *entries);

/* whatif_inverted.c */
extern void architect_whatif_inverted_size(WhatIfLeaf *leaf, const WhatIfEntries *entries);

#endif							/* ARCHITECT_INDEX_WHATIF_SAMPLE_H */
