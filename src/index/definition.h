/*
 * definition.h
 *    A CREATE INDEX statement, which is not run, becomes a definition.
 */
#ifndef ARCHITECT_INDEX_DEFINITION_H
#define ARCHITECT_INDEX_DEFINITION_H

#include "nodes/bitmapset.h"
#include "nodes/parsenodes.h"

#include "index/index.h"

/* definition.c */
extern IndexStmt *architect_index_parse_statement(const char *text);
extern Oid	architect_index_lock_table(const RangeVar *name);
extern IndexDefinition *architect_index_outline(IndexTable *table, IndexStmt *statement, const char *text,
												bool *is_known);
extern IndexDefinition *architect_index_define(IndexTable *table, IndexStmt *statement, const char *text,
											   const char **problem);
extern Bitmapset *architect_index_columns(const IndexDefinition *index);
extern List *architect_index_expressions(const IndexDefinition *index);
extern List *architect_index_predicate(const IndexDefinition *index);

#endif							/* ARCHITECT_INDEX_DEFINITION_H */
