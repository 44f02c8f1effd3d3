/*
 * column.c
 *    Values of columns read back from images, in the type that the column has now.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "audit/replay.h"

/*
 * True for the types that value.c writes without an output function.
 */
static bool
is_plain(Oid type)
{
	AuditType	described;

	architect_audit_describe_type(&described, type, CurrentMemoryContext);
	return described.type == type && described.kind != AUDIT_TYPE_OUTPUT;
}

/*
 * Returns a reader for each column of the table, allocated here.
 */
AuditColumnReader *
architect_audit_column_readers(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	AuditColumnReader *readers = palloc0(desc->natts * sizeof(AuditColumnReader));

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Oid			function;

		if (attribute->attisdropped)
			continue;
		readers[i].table = pstrdup(RelationGetRelationName(rel));
		readers[i].name = pstrdup(NameStr(attribute->attname));
		readers[i].name_length = strlen(readers[i].name);
		readers[i].type = attribute->atttypid;
		readers[i].typmod = attribute->atttypmod;
		readers[i].is_plain = is_plain(attribute->atttypid);
		getTypeInputInfo(attribute->atttypid, &function, &readers[i].io_param);
		fmgr_info(function, &readers[i].input);
	}
	return readers;
}

/*
 * Returns the place of the column of this name, or -1.
 */
int
architect_audit_find_reader(AuditColumnReader *readers, int nreaders, const JsonbValue *name)
{
	for (int i = 0; i < nreaders; i++)
	{
		if (readers[i].name != NULL && readers[i].name_length == name->val.string.len &&
			memcmp(readers[i].name, name->val.string.val, name->val.string.len) == 0)
			return i;
	}
	return -1;
}

/*
 * The text that a type's input function takes.
 */
static char *
text_of(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		default:
			{
				Jsonb	   *jsonb = JsonbValueToJsonb(value);

				return JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
			}
	}
}

/*
 * Calls the input function; what it raises is raised again with the name of the
 * column.
 */
static Datum
read_text(AuditColumnReader *reader, char *text)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		result = (Datum) 0;

	PG_TRY();
	{
		result = InputFunctionCall(&reader->input, text, reader->io_param, reader->typmod);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("a logged value of column \"%s\" of table \"%s\" does not fit its present type %s",
						reader->name, reader->table, format_type_with_typemod(reader->type, reader->typmod)),
				 errdetail_internal("%s", error->message),
				 errhint("The values as they were logged are in architect.audit_log; see architect.audit_history.")));
	}
	PG_END_TRY();
	return result;
}

/*
 * Returns the column's value in the image, in which it stands as this.
 */
Datum
architect_audit_read_column(AuditColumnReader *reader, Jsonb *image, JsonbValue *value, bool *isnull)
{
	if (value->type == jbvNull && !architect_audit_is_json_null(image, reader->name, reader->name_length))
	{
		*isnull = true;
		return (Datum) 0;
	}
	*isnull = false;

	/* The common ones without a detour. */
	if (reader->type == JSONBOID)
		return JsonbPGetDatum(JsonbValueToJsonb(value));
	if (reader->type == NUMERICOID && reader->typmod == -1 && value->type == jbvNumeric)
		return NumericGetDatum(value->val.numeric);
	if (reader->type == TEXTOID && value->type == jbvString)
		return PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
	if (reader->type == NUMERICOID && value->type == jbvNumeric)
		return DirectFunctionCall2(numeric, NumericGetDatum(value->val.numeric), Int32GetDatum(reader->typmod));
	return read_text(reader, text_of(value));
}

/*
 * True when the column had another type at some time of its audit.
 */
bool
architect_audit_type_changed(AuditTarget *target, AuditColumnReader *reader)
{
	char	   *type = format_type_with_typemod(reader->type, reader->typmod);

	for (int i = 0; i < target->nshapes; i++)
	{
		for (int j = 0; j < target->shapes[i].ncolumns; j++)
		{
			AuditShapeColumn *column = &target->shapes[i].columns[j];

			if (column->present_name != NULL && strcmp(column->present_name, reader->name) == 0 &&
				strcmp(column->type, type) != 0)
				return true;
		}
	}
	return false;
}
