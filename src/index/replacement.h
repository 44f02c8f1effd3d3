/*
 * replacement.h
 *    Indexes that can go because another does all that they do.
 */
#ifndef ARCHITECT_INDEX_REPLACEMENT_H
#define ARCHITECT_INDEX_REPLACEMENT_H

#include "index/cover.h"

typedef struct IndexReplacement
{
	IndexDefinition *index;		/* the one that stays */
	IndexCover	cover;
	const char *why;			/* "is unique": why it is the one */
} IndexReplacement;

extern bool architect_index_find_replacement(IndexReview *review, const IndexDefinition *index, bool is_same,
											 IndexReplacement *replacement);
extern void architect_index_tell_outdone(IndexReview *review, IndexFinding *finding, IndexDefinition *made);
extern IndexDefinition *architect_index_find_guard(IndexReview *review, const IndexDefinition *index);
extern char *architect_index_find_obstacle(const IndexDefinition *index);
extern void architect_index_propose_replacement(IndexReview *review, IndexFinding *finding, IndexDefinition *index,
												const IndexDefinition *stays);

#endif							/* ARCHITECT_INDEX_REPLACEMENT_H */
