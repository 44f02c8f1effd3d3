/*
 * rules.h
 *    The rules: each looks through the facts and makes findings.
 */
#ifndef ARCHITECT_INDEX_RULES_H
#define ARCHITECT_INDEX_RULES_H

#include "index/index.h"

extern void architect_index_unused_init(void);

extern void architect_index_rule_foreign_key(IndexReview *review);
extern void architect_index_rule_unused(IndexReview *review);
extern void architect_index_rule_duplicate(IndexReview *review);
extern void architect_index_rule_redundant(IndexReview *review);
extern void architect_index_rule_invalid(IndexReview *review);
extern void architect_index_rule_bloat(IndexReview *review);
extern void architect_index_rule_hot_blocking(IndexReview *review);
extern void architect_index_rule_missing(IndexReview *review);
extern void architect_index_rule_brin(IndexReview *review);
extern void architect_index_rule_partial(IndexReview *review);
extern void architect_index_rule_covering(IndexReview *review);
extern void architect_index_rule_gin(IndexReview *review);
extern void architect_index_rule_hash(IndexReview *review);
extern void architect_index_rule_expression(IndexReview *review);
extern void architect_index_rule_type(IndexReview *review);
extern void architect_index_rule_advised(IndexReview *review);

#endif							/* ARCHITECT_INDEX_RULES_H */
