/*
 * expression.h
 *    Parsed assignments and filters, before they are texts again.
 */
#ifndef ARCHITECT_BACKFILL_EXPRESSION_H
#define ARCHITECT_BACKFILL_EXPRESSION_H

#include "postgres.h"

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "nodes/primnodes.h"
#include "utils/rel.h"

/* The only relation of the range table. */
#define BACKFILL_VARNO 1

/* Columns are members as attnum - FirstLowInvalidHeapAttributeNumber. */
typedef struct BackfillExpressions
{
	Relation	rel;
	List	   *targets;		/* TargetEntry; resno is the column */
	Node	   *condition;		/* or NULL */
	Bitmapset  *changed;		/* columns that are assigned, or generated from such */
} BackfillExpressions;

/* canonical.c */
extern Node *architect_backfill_canonical(Relation rel, Node *expression);

/* parse.c */
extern List *architect_backfill_parse_set(Relation rel, const char *alias, const char *text, bool allows_subqueries);
extern Node *architect_backfill_parse_filter(Relation rel, const char *alias, const char *text,
											 bool allows_subqueries);
extern Bitmapset *architect_backfill_columns_of(Relation rel, Node *expression);

/* repeat.c */
extern bool architect_backfill_closes(const BackfillExpressions *what);
extern bool architect_backfill_is_repeatable(const BackfillExpressions *what);
extern Node *architect_backfill_guard(const BackfillExpressions *what);

#endif							/* ARCHITECT_BACKFILL_EXPRESSION_H */
