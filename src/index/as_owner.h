/*
 * as_owner.h
 *    Runs functions of an index as the owner of its table.
 */
#ifndef ARCHITECT_INDEX_AS_OWNER_H
#define ARCHITECT_INDEX_AS_OWNER_H

#include "index/index.h"

/* Who runs it else. */
typedef struct IndexUser
{
	Oid			role;
	int			security;
	int			level;			/* of settings */
} IndexUser;

/* as_owner.c */
extern void architect_index_begin_as_owner(const IndexTable *table, IndexUser *user);
extern void architect_index_end_as_owner(const IndexUser *user);

#endif							/* ARCHITECT_INDEX_AS_OWNER_H */
