/*
 * candidate.h
 *    What the rules that propose an index for the queries they see share.
 */
#ifndef ARCHITECT_INDEX_CANDIDATE_H
#define ARCHITECT_INDEX_CANDIDATE_H

#include "index/workload.h"

/* Smaller tables are read faster than any index helps; of larger ones a finding is a warning. */
#define INDEX_SMALL_PAGES	(1024 * 1024 / BLCKSZ)
#define INDEX_LARGE_PAGES	(16 * INDEX_SMALL_PAGES)

/* What one query does with the table in hand. */
typedef struct IndexUse
{
	IndexQuery *query;
	IndexAccess *access;
} IndexUse;

/* A table, and all that queries do with it. */
typedef struct IndexTableUses
{
	IndexTable *table;
	List	   *uses;			/* IndexUse, those with the most time first */
} IndexTableUses;

/* candidate.c */
extern List *architect_index_uses(IndexReview *review);
extern List *architect_index_uses_of(List *uses, const IndexTable *table);
extern bool architect_index_is_usable(const IndexDefinition *index);
extern bool architect_index_is_replaceable(const IndexDefinition *index);
extern bool architect_index_key_is(const IndexDefinition *index, int key, const IndexPredicate *predicate);

extern void architect_index_evidence_keys(IndexFinding *finding, const IndexPredicate *predicate);

/* rule_partial.c */
extern bool architect_index_lacks_predicate(const IndexDefinition *index, List *uses);

/* body.c */
extern const char *architect_index_body(const char *statement);
extern char *architect_index_extend_body(const IndexDefinition *index, const List *include, const char *predicate);

#endif							/* ARCHITECT_INDEX_CANDIDATE_H */
