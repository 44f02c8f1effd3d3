/*
 * value.c
 *    Column values as exact text, whatever the session's settings are.
 *
 * The common types are written here and look at no setting.  All others go
 * through their output function with the settings that it may depend on pinned
 * for the duration: one GUC nest a row, and only where a setting differs.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/xml.h"

#include "audit/value.h"
#include "core/core.h"

#define PIN_DATESTYLE		(1 << 0)
#define PIN_TIMEZONE		(1 << 1)
#define PIN_FLOAT			(1 << 3)
#define PIN_BYTEA			(1 << 4)
#define PIN_ALL				(((1 << 6) - 1) | AUDIT_PIN_NAMES)

/* Temporary objects come last, so that they hide nothing. */

/*
 * Settings under which the output of this type can change.  Types not known
 * here, of extensions and composites above all, are pinned altogether.
 */
static uint32
pins_of(Oid typid)
{
	Oid			element = get_element_type(typid);

	if (OidIsValid(element))
		return pins_of(getBaseType(element));

	switch (get_typtype(typid))
	{
		case TYPTYPE_ENUM:
			return 0;
		case TYPTYPE_RANGE:
			return pins_of(getBaseType(get_range_subtype(typid)));
		case TYPTYPE_MULTIRANGE:
			return pins_of(get_multirange_range(typid));
		default:
			break;
	}

	switch (typid)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case CHAROID:
		case JSONOID:
		case JSONBOID:
		case JSONPATHOID:
		case XMLOID:
		case UUIDOID:
		case OIDOID:
		case TIDOID:
		case XIDOID:
		case XID8OID:
		case CIDOID:
		case PG_LSNOID:
		case PG_SNAPSHOTOID:
		case INT2VECTOROID:
		case OIDVECTOROID:
		case BITOID:
		case VARBITOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case MACADDR8OID:
		case TSVECTOROID:
		case TSQUERYOID:
		case TIMEOID:
		case TIMETZOID:
			return 0;
		case DATEOID:
		case TIMESTAMPOID:
			return PIN_DATESTYLE;
		case TIMESTAMPTZOID:
			return PIN_DATESTYLE | PIN_TIMEZONE;
		case INTERVALOID:
			return AUDIT_PIN_INTERVAL;
		case FLOAT4OID:
		case FLOAT8OID:
		case POINTOID:
		case LSEGOID:
		case PATHOID:
		case BOXOID:
		case POLYGONOID:
		case LINEOID:
		case CIRCLEOID:
			return PIN_FLOAT;
		case BYTEAOID:
			return PIN_BYTEA;
		case MONEYOID:
			return AUDIT_PIN_MONEY;
		default:
			return PIN_ALL;
	}
}

static AuditTypeKind
kind_of(Oid typid)
{
	switch (typid)
	{
		case BOOLOID:
			return AUDIT_TYPE_BOOL;
		case INT2OID:
			return AUDIT_TYPE_INT2;
		case INT4OID:
			return AUDIT_TYPE_INT4;
		case INT8OID:
			return AUDIT_TYPE_INT8;
		case NUMERICOID:
			return AUDIT_TYPE_NUMERIC;
		case FLOAT4OID:
			return AUDIT_TYPE_FLOAT4;
		case FLOAT8OID:
			return AUDIT_TYPE_FLOAT8;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
			return AUDIT_TYPE_TEXT;
		case JSONBOID:
			return AUDIT_TYPE_JSONB;
		case UUIDOID:
			return AUDIT_TYPE_UUID;
		case BYTEAOID:
			return AUDIT_TYPE_BYTEA;
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return AUDIT_TYPE_DATETIME;
		default:
			return AUDIT_TYPE_OUTPUT;
	}
}

/*
 * Fills in how values of this type are written.  What it holds on to is
 * allocated in the context.
 */
void
architect_audit_describe_type(AuditType *type, Oid typid, MemoryContext context)
{
	Oid			function;
	bool		is_varlena;

	type->type = getBaseType(typid);
	type->kind = kind_of(type->type);
	type->pins = type->kind == AUDIT_TYPE_OUTPUT ? pins_of(type->type) : 0;
	getTypeOutputInfo(type->type, &function, &is_varlena);
	fmgr_info_cxt(function, &type->output, context);
}

/*
 * Pins one setting for the nest, opening the nest with the first.
 */
static void
pin_setting(int *level, const char *name, const char *value)
{
	if (*level == 0)
		*level = NewGUCNestLevel();
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

int
architect_audit_pin(uint32 pins)
{
	int			level = 0;

	if (pins == 0)
		return 0;
	if ((pins & PIN_DATESTYLE) && DateStyle != USE_ISO_DATES)
		pin_setting(&level, "DateStyle", "ISO");
	if ((pins & PIN_TIMEZONE) &&
		strcmp(pg_get_timezone_name(session_timezone), "UTC") != 0)
		pin_setting(&level, "TimeZone", "UTC");
	if ((pins & AUDIT_PIN_INTERVAL) && IntervalStyle != INTSTYLE_POSTGRES)
		pin_setting(&level, "IntervalStyle", "postgres");
	if ((pins & PIN_FLOAT) && extra_float_digits < 1)
		pin_setting(&level, "extra_float_digits", "1");
	if ((pins & PIN_BYTEA) && bytea_output != BYTEA_OUTPUT_HEX)
		pin_setting(&level, "bytea_output", "hex");
	if ((pins & AUDIT_PIN_MONEY) && strcmp(GetConfigOption("lc_monetary", false, false), "C") != 0)
		pin_setting(&level, "lc_monetary", "C");
	if ((pins & AUDIT_PIN_PATH) && strcmp(namespace_search_path, ARCHITECT_PATH) != 0)
		pin_setting(&level, "search_path", ARCHITECT_PATH);
	if ((pins & AUDIT_PIN_ARRAY) && !Array_nulls)
		pin_setting(&level, "array_nulls", "on");
	if ((pins & AUDIT_PIN_XML) && xmloption != XMLOPTION_CONTENT)
		pin_setting(&level, "xmloption", "content");
	if ((pins & AUDIT_PIN_POLICY) && !row_security)
		pin_setting(&level, "row_security", "on");
	if ((pins & AUDIT_PIN_QUOTE) && quote_all_identifiers)
		pin_setting(&level, "quote_all_identifiers", "off");
	return level;
}

void
architect_audit_unpin(int level)
{
	if (level > 0)
		AtEOXact_GUC(true, level);
}

/*
 * quote_identifier() as the server does it by default, whatever settings say.
 */
char *
architect_audit_quote(const char *name)
{
	int			pin_level = architect_audit_pin(AUDIT_PIN_QUOTE);
	char	   *quoted = pstrdup(quote_identifier(name));

	architect_audit_unpin(pin_level);
	return quoted;
}

/*
 * The relation's name, qualified.
 */
char *
architect_audit_relation_name(Oid relid)
{
	return psprintf("%s.%s", architect_audit_quote(get_namespace_name(get_rel_namespace(relid))),
					architect_audit_quote(get_rel_name(relid)));
}

static void
append_hex(StringInfo buf, const unsigned char *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	char	   *out;

	enlargeStringInfo(buf, length * 2);
	out = buf->data + buf->len;
	for (size_t i = 0; i < length; i++)
	{
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 0xF];
	}
	*out = '\0';
	buf->len += length * 2;
}

static void
append_uuid(StringInfo buf, const pg_uuid_t *uuid)
{
	static const int group_ends[] = {4, 6, 8, 10, UUID_LEN};
	int			start = 0;

	for (int group = 0; group < lengthof(group_ends); group++)
	{
		if (group > 0)
			appendStringInfoCharMacro(buf, '-');
		append_hex(buf, uuid->data + start, group_ends[group] - start);
		start = group_ends[group];
	}
}

static void
append_varlena(StringInfo buf, Datum value)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

	appendBinaryStringInfo(buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

static void
append_bytea(StringInfo buf, Datum value)
{
	bytea	   *bytes = DatumGetByteaPP(value);

	appendStringInfoString(buf, "\\x");
	append_hex(buf, (unsigned char *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

/* Longest text of an int8, and of a float8 in shortest-exact form. */
#define NUMBER_TEXT_LEN 32
StaticAssertDecl(NUMBER_TEXT_LEN > MAXINT8LEN &&
				 NUMBER_TEXT_LEN > DOUBLE_SHORTEST_DECIMAL_LEN,
				 "room for the text of a number");

/*
 * Writes a float as the shortest text that gives the same float back.
 */
static void
append_float(StringInfo buf, AuditType *type, Datum value)
{
	bool		is_float4 = type->kind == AUDIT_TYPE_FLOAT4;
	double		number = is_float4 ? DatumGetFloat4(value) : DatumGetFloat8(value);
	char		text[NUMBER_TEXT_LEN];

	if (isnan(number))
		appendStringInfoString(buf, "NaN");
	else if (isinf(number))
		appendStringInfoString(buf, number < 0 ? "-Infinity" : "Infinity");
	else
	{
		if (is_float4)
			float_to_shortest_decimal_buf(DatumGetFloat4(value), text);
		else
			double_to_shortest_decimal_buf(number, text);
		appendStringInfoString(buf, text);
	}
}

/*
 * Appends the value's text: what its input function turns back into the same
 * value.  Pins must be in place for types written by their output function.
 */
void
architect_audit_append_text(StringInfo buf, AuditType *type, Datum value)
{
	char		text[MAXDATELEN + NUMBER_TEXT_LEN];
	int			utc = 0;

	switch (type->kind)
	{
		case AUDIT_TYPE_BOOL:
			appendStringInfoString(buf, DatumGetBool(value) ? "true" : "false");
			break;
		case AUDIT_TYPE_INT2:
			appendBinaryStringInfo(buf, text, pg_ltoa(DatumGetInt16(value), text));
			break;
		case AUDIT_TYPE_INT4:
			appendBinaryStringInfo(buf, text, pg_ltoa(DatumGetInt32(value), text));
			break;
		case AUDIT_TYPE_INT8:
			appendBinaryStringInfo(buf, text, pg_lltoa(DatumGetInt64(value), text));
			break;
		case AUDIT_TYPE_FLOAT4:
		case AUDIT_TYPE_FLOAT8:
			append_float(buf, type, value);
			break;
		case AUDIT_TYPE_TEXT:
			append_varlena(buf, value);
			break;
		case AUDIT_TYPE_UUID:
			append_uuid(buf, DatumGetUUIDP(value));
			break;
		case AUDIT_TYPE_BYTEA:
			append_bytea(buf, value);
			break;
		case AUDIT_TYPE_DATETIME:
			appendStringInfoString(buf, JsonEncodeDateTime(text, value, type->type,
														   type->type == TIMESTAMPTZOID ? &utc : NULL));
			break;
		case AUDIT_TYPE_NUMERIC:
		case AUDIT_TYPE_JSONB:
		case AUDIT_TYPE_OUTPUT:
			appendStringInfoString(buf, OutputFunctionCall(&type->output, value));
			break;
	}
}
