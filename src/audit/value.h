/*
 * value.h
 *    Column values as exact text, whatever the session's settings are.
 */
#ifndef ARCHITECT_AUDIT_VALUE_H
#define ARCHITECT_AUDIT_VALUE_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

/* How a type is written, each with a path of its own. */
typedef enum AuditTypeKind
{
	AUDIT_TYPE_BOOL,
	AUDIT_TYPE_INT2,
	AUDIT_TYPE_INT4,
	AUDIT_TYPE_INT8,
	AUDIT_TYPE_NUMERIC,
	AUDIT_TYPE_FLOAT4,
	AUDIT_TYPE_FLOAT8,
	AUDIT_TYPE_TEXT,			/* varlena that is its own text */
	AUDIT_TYPE_JSONB,
	AUDIT_TYPE_UUID,
	AUDIT_TYPE_BYTEA,
	AUDIT_TYPE_DATETIME,		/* date, time, timestamp, with and without zone */
	AUDIT_TYPE_OUTPUT			/* whatever its output function says */
} AuditTypeKind;

typedef struct AuditType
{
	AuditTypeKind kind;
	Oid			type;			/* a domain's base type */
	FmgrInfo	output;
	uint32		pins;			/* settings that its output depends on */
} AuditType;

extern void architect_audit_describe_type(AuditType *type, Oid typid, MemoryContext context);
extern void architect_audit_append_text(StringInfo buf, AuditType *type, Datum value);

/* The pins of names: qualified, and quoted only as they must. */
#define AUDIT_PIN_PATH		(1 << 6)
#define AUDIT_PIN_QUOTE		(1 << 7)
#define AUDIT_PIN_NAMES		(AUDIT_PIN_PATH | AUDIT_PIN_QUOTE)

/* Those without which a text would not be read back as it was written. */
#define AUDIT_PIN_INTERVAL	(1 << 2)
#define AUDIT_PIN_MONEY		(1 << 5)
#define AUDIT_PIN_ARRAY		(1 << 8)
#define AUDIT_PIN_XML		(1 << 9)
#define AUDIT_PIN_INPUT		(AUDIT_PIN_INTERVAL | AUDIT_PIN_MONEY | AUDIT_PIN_ARRAY | AUDIT_PIN_XML)

/* Those for a query of ours: our names, and the log's policy for whom it is made. */
#define AUDIT_PIN_POLICY	(1 << 10)
#define AUDIT_PIN_QUERY		(AUDIT_PIN_PATH | AUDIT_PIN_POLICY)

/* Settings pinned for the output functions; the level to unpin, or 0. */
extern int	architect_audit_pin(uint32 pins);
extern void architect_audit_unpin(int level);

/* Names as the server quotes them by default. */
extern char *architect_audit_quote(const char *name);
extern char *architect_audit_relation_name(Oid relid);

#endif							/* ARCHITECT_AUDIT_VALUE_H */
