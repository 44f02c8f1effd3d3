/*
 * capture_text.h
 *    Where in the text that a client sent a statement stands.
 */
#ifndef ARCHITECT_INDEX_CAPTURE_TEXT_H
#define ARCHITECT_INDEX_CAPTURE_TEXT_H

#include "executor/execdesc.h"

extern bool architect_capture_is_prepared(const char *text);
extern const char *architect_capture_find_text(const QueryDesc *query, int *length);

#endif							/* ARCHITECT_INDEX_CAPTURE_TEXT_H */
