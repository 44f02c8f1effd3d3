/*
 * advise_access.h
 *    What the plans of a query ask of tables.
 */
#ifndef ARCHITECT_INDEX_ADVISE_ACCESS_H
#define ARCHITECT_INDEX_ADVISE_ACCESS_H

#include "nodes/pathnodes.h"

#include "index/advise.h"

/* advise_access.c */
extern void architect_advise_access_init(void);
extern List *architect_advise_accesses(IndexFacts *facts, WhatIfQuestion *question, WhatIfReader reader,
									   void *argument);

/* advise_key.c */
extern double architect_advise_width(const IndexTable *table, int16 attnum);
extern char *architect_advise_text(const IndexTable *table, Index position, const Node *node);
extern bool architect_advise_columns(Index position, const Node *node, Bitmapset **columns);
extern bool architect_advise_is_fixed(PlannerInfo *root, const IndexTable *table, Index position, Node *node);
extern AdviseKey *architect_advise_key(PlannerInfo *root, const IndexTable *table, Index position, Node *node,
									   Oid collation);
extern List *architect_advise_conditions(const AdviseKey *key, Oid operator, Oid type);

#endif							/* ARCHITECT_INDEX_ADVISE_ACCESS_H */
