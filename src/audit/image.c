/*
 * image.c
 *    Rows, or some columns of them, as JSONB written straight from the slot.
 *
 * The layout is that of utils/jsonb.h: a header, the entries of all keys, the
 * entries of all values, then the bytes of both in the same order.  Keys come
 * sorted from table.c, so nothing is sorted, hashed or copied twice here.
 *
 * SQL NULL is JSON null.  A jsonb column may hold JSON null itself; such
 * columns are listed under the empty key, which no column can have:
 *     {"": ["doc"], "id": 1, "doc": null}
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "audit/audit.h"

typedef struct ImageWriter
{
	StringInfoData buf;
	int			next_entry;		/* offset of the entry to write next */
	int			nentries;		/* entries written so far */
	uint32		length;			/* bytes of keys and values so far */
} ImageWriter;

/*
 * Starts a container with this header and room for its entries.
 */
static void
begin_container(ImageWriter *writer, uint32 header, int nentries)
{
	StringInfo	buf = &writer->buf;

	appendBinaryStringInfo(buf, (char *) &header, sizeof(header));
	writer->next_entry = buf->len;
	writer->nentries = 0;
	writer->length = 0;
	enlargeStringInfo(buf, nentries * sizeof(JEntry));
	buf->len += nentries * sizeof(JEntry);
}

/*
 * Writes the entry for what was appended since start.
 */
static void
end_value(ImageWriter *writer, int start, uint32 type)
{
	uint32		length = writer->buf.len - start;
	JEntry		entry;

	writer->length += length;
	if (writer->length > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("row is too large for the audit log"),
				 errdetail("A JSONB object holds at most %d bytes.", JENTRY_OFFLENMASK),
				 errhint("Leave the large column out with the \"exclude\" argument of architect.audit_enable.")));

	if (writer->nentries % JB_OFFSET_STRIDE == 0)
		entry = type | writer->length | JENTRY_HAS_OFF;
	else
		entry = type | length;

	memcpy(writer->buf.data + writer->next_entry, &entry, sizeof(entry));
	writer->next_entry += sizeof(entry);
	writer->nentries++;
}

static void
append_string(ImageWriter *writer, const char *string, int length)
{
	int			start = writer->buf.len;

	appendBinaryStringInfo(&writer->buf, string, length);
	end_value(writer, start, JENTRY_ISSTRING);
}

/*
 * Pads to where a numeric or a container may begin.
 */
static void
pad(StringInfo buf)
{
	while (buf->len != INTALIGN(buf->len))
		appendStringInfoCharMacro(buf, '\0');
}

static void
append_numeric(ImageWriter *writer, Numeric number)
{
	int			start = writer->buf.len;

	pad(&writer->buf);
	appendBinaryStringInfo(&writer->buf, (char *) number, VARSIZE(number));
	end_value(writer, start, JENTRY_ISNUMERIC);
}

static void
append_text(ImageWriter *writer, AuditType *type, Datum value)
{
	int			start = writer->buf.len;

	architect_audit_append_text(&writer->buf, type, value);
	end_value(writer, start, JENTRY_ISSTRING);
}

/*
 * Writes a float as the number that its shortest text says; what JSON has no
 * number for (not finite, minus zero) as a string.
 */
static void
append_float(ImageWriter *writer, AuditType *type, Datum value)
{
	double		number = type->kind == AUDIT_TYPE_FLOAT4 ? DatumGetFloat4(value) : DatumGetFloat8(value);
	StringInfoData text;

	if (isnan(number) || isinf(number) || (number == 0 && signbit(number)))
	{
		append_text(writer, type, value);
		return;
	}

	initStringInfo(&text);
	architect_audit_append_text(&text, type, value);
	append_numeric(writer, DatumGetNumeric(DirectFunctionCall3(numeric_in,
															   CStringGetDatum(text.data),
															   ObjectIdGetDatum(InvalidOid),
															   Int32GetDatum(-1))));
	pfree(text.data);
}

static void
append_jsonb(ImageWriter *writer, Jsonb *jsonb)
{
	JsonbValue	scalar;
	int			start = writer->buf.len;

	if (!JB_ROOT_IS_SCALAR(jsonb))
	{
		pad(&writer->buf);
		appendBinaryStringInfo(&writer->buf, (char *) &jsonb->root, VARSIZE(jsonb) - VARHDRSZ);
		end_value(writer, start, JENTRY_ISCONTAINER);
		return;
	}

	JsonbExtractScalar(&jsonb->root, &scalar);
	switch (scalar.type)
	{
		case jbvNull:
			end_value(writer, start, JENTRY_ISNULL);
			break;
		case jbvBool:
			end_value(writer, start, scalar.val.boolean ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE);
			break;
		case jbvString:
			append_string(writer, scalar.val.string.val, scalar.val.string.len);
			break;
		case jbvNumeric:
			append_numeric(writer, scalar.val.numeric);
			break;
		default:
			elog(ERROR, "unexpected jsonb scalar type %d", (int) scalar.type);
	}
}

/*
 * Writes one value that is neither NULL nor masked.
 */
static void
append_value(ImageWriter *writer, AuditType *type, Datum value)
{
	switch (type->kind)
	{
		case AUDIT_TYPE_BOOL:
			end_value(writer, writer->buf.len,
					  DatumGetBool(value) ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE);
			break;
		case AUDIT_TYPE_INT2:
			append_numeric(writer, int64_to_numeric(DatumGetInt16(value)));
			break;
		case AUDIT_TYPE_INT4:
			append_numeric(writer, int64_to_numeric(DatumGetInt32(value)));
			break;
		case AUDIT_TYPE_INT8:
			append_numeric(writer, int64_to_numeric(DatumGetInt64(value)));
			break;
		case AUDIT_TYPE_NUMERIC:
			{
				Numeric		number = DatumGetNumeric(value);

				if (numeric_is_nan(number) || numeric_is_inf(number))
					append_text(writer, type, value);
				else
					append_numeric(writer, number);
				break;
			}
		case AUDIT_TYPE_FLOAT4:
		case AUDIT_TYPE_FLOAT8:
			append_float(writer, type, value);
			break;
		case AUDIT_TYPE_JSONB:
			append_jsonb(writer, DatumGetJsonbP(value));
			break;
		default:
			append_text(writer, type, value);
			break;
	}
}

/*
 * The value of the empty key: an array of the names of these columns.
 */
static void
append_json_nulls(ImageWriter *writer, List *columns)
{
	ImageWriter array;
	int			start = writer->buf.len;
	ListCell   *cell;

	initStringInfo(&array.buf);
	begin_container(&array, JB_FARRAY | list_length(columns), list_length(columns));
	foreach(cell, columns)
	{
		AuditColumn *column = lfirst(cell);

		append_string(&array, column->name, column->name_length);
	}

	pad(&writer->buf);
	appendBinaryStringInfo(&writer->buf, array.buf.data, array.buf.len);
	end_value(writer, start, JENTRY_ISCONTAINER);
}

/*
 * Lists the columns of the set that hold JSON null rather than SQL NULL.
 */
static List *
find_json_nulls(AuditTable *table, const AuditColumnSet *set, TupleTableSlot *slot)
{
	List	   *found = NIL;

	for (int i = 0; i < set->count; i++)
	{
		AuditColumn *column = &table->columns[set->columns[i]];
		Jsonb	   *jsonb;
		JsonbValue	scalar;

		if (column->type.kind != AUDIT_TYPE_JSONB || column->masked ||
			slot->tts_isnull[column->index])
			continue;

		jsonb = DatumGetJsonbP(slot->tts_values[column->index]);
		if (JB_ROOT_IS_SCALAR(jsonb) && JsonbExtractScalar(&jsonb->root, &scalar) &&
			scalar.type == jbvNull)
			found = lappend(found, column);
	}
	return found;
}

/*
 * Returns the columns of this set as one JSONB object, allocated in the current
 * context.  The slot must be deformed.
 */
Jsonb *
architect_audit_image(AuditTable *table, const AuditColumnSet *set, TupleTableSlot *slot)
{
	ImageWriter writer;
	List	   *json_nulls = find_json_nulls(table, set, slot);
	int			npairs = set->count + (json_nulls != NIL ? 1 : 0);
	int			pin_level = architect_audit_pin(table->pins);

	initStringInfo(&writer.buf);
	appendStringInfoSpaces(&writer.buf, VARHDRSZ);
	begin_container(&writer, JB_FOBJECT | npairs, npairs * 2);

	if (json_nulls != NIL)
		append_string(&writer, "", 0);
	for (int i = 0; i < set->count; i++)
	{
		AuditColumn *column = &table->columns[set->columns[i]];

		append_string(&writer, column->name, column->name_length);
	}

	if (json_nulls != NIL)
		append_json_nulls(&writer, json_nulls);
	for (int i = 0; i < set->count; i++)
	{
		AuditColumn *column = &table->columns[set->columns[i]];

		if (column->masked)
			append_string(&writer, AUDIT_MASK, strlen(AUDIT_MASK));
		else if (slot->tts_isnull[column->index])
			end_value(&writer, writer.buf.len, JENTRY_ISNULL);
		else
			append_value(&writer, &column->type, slot->tts_values[column->index]);
	}

	architect_audit_unpin(pin_level);
	SET_VARSIZE(writer.buf.data, writer.buf.len);
	return (Jsonb *) writer.buf.data;
}

/*
 * Writes what identifies the row in the log into the buffer, as a text: the text of
 * its key or, for a key of several columns, a JSON array of their texts in key order.
 * The slot must be deformed as far as the key goes.
 */
text *
architect_audit_write_record_id(AuditTable *table, TupleTableSlot *slot, StringInfo record)
{
	int			pin_level;
	StringInfoData part;

	for (int i = 0; i < table->nkeys; i++)
	{
		if (slot->tts_isnull[table->keys[i]->index])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("key column \"%s\" of an audited row is NULL", table->keys[i]->name),
					 errhint("Name a key without NULLs in the \"key\" argument of architect.audit_enable.")));
	}

	pin_level = architect_audit_pin(table->pins);
	resetStringInfo(record);
	appendStringInfoSpaces(record, VARHDRSZ);

	if (table->nkeys == 1)
		architect_audit_append_text(record, &table->keys[0]->type,
									slot->tts_values[table->keys[0]->index]);
	else
	{
		initStringInfo(&part);
		for (int i = 0; i < table->nkeys; i++)
		{
			AuditColumn *column = table->keys[i];

			resetStringInfo(&part);
			architect_audit_append_text(&part, &column->type, slot->tts_values[column->index]);
			appendStringInfoString(record, i == 0 ? "[" : ", ");
			escape_json(record, part.data);
		}
		appendStringInfoChar(record, ']');
		pfree(part.data);
	}

	architect_audit_unpin(pin_level);
	SET_VARSIZE(record->data, record->len);
	return (text *) record->data;
}

/*
 * The same, allocated in the current context.
 */
text *
architect_audit_record_id(AuditTable *table, TupleTableSlot *slot)
{
	StringInfoData record;

	initStringInfo(&record);
	return architect_audit_write_record_id(table, slot, &record);
}
