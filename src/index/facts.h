/*
 * facts.h
 *    How the files that read facts from the catalogs share the work.
 */
#ifndef ARCHITECT_INDEX_FACTS_H
#define ARCHITECT_INDEX_FACTS_H

#include "access/htup.h"
#include "utils/rel.h"

#include "index/index.h"

/* A relation by its oid: a table or an index. */
typedef struct IndexRelation
{
	Oid			oid;
	IndexTable *table;			/* or NULL */
	IndexDefinition *index;		/* or NULL */
} IndexRelation;

/* Takes one row of a catalog. */
typedef void (*IndexReader) (IndexFacts *facts, HeapTuple tuple, TupleDesc desc);

/* facts.c */
extern void architect_index_read_catalog(IndexFacts *facts, Oid catalog, IndexReader reader);
extern void architect_index_take_options(List *options, int *fillfactor, IndexDefinition *index);

/* facts_column.c */
extern void architect_index_read_columns(IndexFacts *facts);
extern void architect_index_read_statistics(IndexFacts *facts);

/* facts_key.c */
extern void architect_index_read_keys(IndexFacts *facts);

/* usage.c */
extern void architect_index_read_usage(IndexFacts *facts);

#endif							/* ARCHITECT_INDEX_FACTS_H */
