/*
 * register.h
 *    Access to the register: our queries, whose plans are kept.
 */
#ifndef ARCHITECT_BACKFILL_REGISTER_H
#define ARCHITECT_BACKFILL_REGISTER_H

#include "postgres.h"

#include "executor/spi.h"
#include "nodes/pg_list.h"

/* A query over relations of schema architect alone; it is run as the extension's owner. */
typedef struct BackfillQuery
{
	const char *text;
	int			nargs;
	const Oid  *types;
	SPIPlanPtr	plan;			/* from the first call on */
} BackfillQuery;

#define BACKFILL_QUERY(types, text) {(text), lengthof(types), (types), NULL}

extern List *architect_backfill_query(BackfillQuery *query, Datum *values, const char *nulls);
extern Datum architect_backfill_text_array(int count, char **texts);
extern char **architect_backfill_read_array(const char *array, int *count);

#endif							/* ARCHITECT_BACKFILL_REGISTER_H */
