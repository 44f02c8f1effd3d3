/*
 * core.h
 *    What the parts share: the extension itself, relations and their keys.
 */
#ifndef ARCHITECT_CORE_H
#define ARCHITECT_CORE_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

#define ARCHITECT_SCHEMA "architect"
#define ARCHITECT_PATH "pg_catalog, pg_temp"

/* Something to be done as somebody else, or to be rolled back. */
typedef void (*ArchitectTask) (void *argument);

/* core.c */
extern Oid	architect_schema(void);
extern Oid	architect_relation(const char *name, bool missing_ok);
extern void architect_check_version(void);
extern void architect_pin_path(void);
extern void architect_as_owner(ArchitectTask task, void *argument);
extern int	architect_run_as_owner(const char *query, int nargs, Oid *types, Datum *values);
extern List *architect_read_as_owner(const char *query, int nargs, Oid *types, Datum *values, const char *nulls);
extern List *architect_read_latest_as_owner(const char *query, int nargs, Oid *types, Datum *values,
											const char *nulls);

/* attempt.c */
extern ErrorData *architect_attempt(ArchitectTask task, void *argument);
extern ErrorData *architect_try_out(ArchitectTask task, void *argument);

/* argument.c */
extern Oid	architect_target_argument(FunctionCallInfo fcinfo);
extern Node *architect_ddl_command(FunctionCallInfo fcinfo);

/* relation.c */
extern void architect_check_owner(Relation rel);
extern void architect_check_plain_table(Relation rel, const char *purpose);
extern List *architect_find_key(Relation rel, List *columns);
extern bool architect_key_is_immediate(Relation rel, List *key);

#endif							/* ARCHITECT_CORE_H */
