/*
 * repair.h
 *    Texts of pg_stat_statements that do not parse as they stand.
 */
#ifndef ARCHITECT_INDEX_REPAIR_H
#define ARCHITECT_INDEX_REPAIR_H

#include "postgres.h"

/* repair.c */
extern char *architect_index_repair(const char *source, const ErrorData *error);

#endif							/* ARCHITECT_INDEX_REPAIR_H */
