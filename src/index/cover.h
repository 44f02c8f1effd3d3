/*
 * cover.h
 *    What one index can do that another does.
 */
#ifndef ARCHITECT_INDEX_COVER_H
#define ARCHITECT_INDEX_COVER_H

#include "index/index.h"

/* Why an index finds all that another finds, and as well. */
typedef enum IndexCover
{
	INDEX_COVER_NONE,
	INDEX_COVER_SAME,			/* the same columns, in the same order */
	INDEX_COVER_BACKWARD,		/* the same order, read backward */
	INDEX_COVER_STORED,			/* the same keys, and more columns stored */
	INDEX_COVER_PREFIX,			/* it begins with the other's columns */
	INDEX_COVER_SET,			/* it has the other's columns, and their order counts for nothing */
	INDEX_COVER_EQUALITY,		/* it is a btree index, and the other a hash index */
} IndexCover;

/* cover.c */
extern IndexCover architect_index_cover(const IndexDefinition *index, const IndexDefinition *other);
extern bool architect_index_enforces(const IndexDefinition *index, const IndexDefinition *other);
extern bool architect_index_skips_to(const IndexDefinition *index, const IndexDefinition *other);
extern bool architect_index_is_needed_for_key(const IndexDefinition *index, const IndexDefinition *stays);

/* rule_unused.c */
extern bool architect_index_is_for_scans(const IndexDefinition *index);
extern bool architect_index_is_idle(IndexReview *review, const IndexDefinition *index);
extern bool architect_index_is_unused(IndexReview *review, const IndexDefinition *index);

#endif							/* ARCHITECT_INDEX_COVER_H */
