/*
 * capture_id.h
 *    Tells statements apart: roughly from their plans, and by query id.
 */
#ifndef ARCHITECT_INDEX_CAPTURE_ID_H
#define ARCHITECT_INDEX_CAPTURE_ID_H

#include "executor/execdesc.h"

extern uint64 architect_capture_kind(const PlannedStmt *plan);
extern int64 architect_capture_query_id(const QueryDesc *query, const char *text, int length);

#endif							/* ARCHITECT_INDEX_CAPTURE_ID_H */
