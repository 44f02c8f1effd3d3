/*
 * statement.c
 *    The statements that set rows back, written so that they mean the same under
 *    any settings: names and operators are qualified, values are literals.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "audit/undo.h"

/*
 * The value as the text that its column's type reads.
 */
static char *
text_of(const LiveColumn *column, const JsonbValue *value)
{
	char	   *string;
	StringInfoData json;

	switch (value->type)
	{
		case jbvNull:
			return pstrdup("null");
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBinary:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		case jbvString:
			string = pnstrdup(value->val.string.val, value->val.string.len);
			if (!column->is_jsonb)
				return string;
			initStringInfo(&json);
			escape_json(&json, string);
			return json.data;
		default:
			elog(ERROR, "unexpected jsonb value type %d", (int) value->type);
	}
}

static char *
literal_of(const LiveColumn *column, const AuditField *field)
{
	if (field == NULL || (field->value.type == jbvNull && field->mark != AUDIT_MARK_JSON_NULL))
		return pstrdup("NULL");
	return quote_literal_cstr(text_of(column, &field->value));
}

static AuditField *
field_of(const UndoRow *row, const LiveColumn *column)
{
	return architect_audit_get_field(row->values, column->name, column->length);
}

/*
 * Appends the key of a record as literals, cast to their types if typed.
 */
static void
append_key(StringInfo buf, LiveTable *table, const char *record_id, bool typed)
{
	List	   *texts = architect_audit_key_texts(table, record_id);

	for (int i = 0; i < table->nkeys; i++)
	{
		appendStringInfo(buf, "%s%s", i > 0 ? ", " : "", quote_literal_cstr(list_nth(texts, i)));
		if (typed)
			appendStringInfo(buf, "::%s", table->keys[i]->type);
	}
}

static void
append_key_names(StringInfo buf, LiveTable *table, const char *prefix)
{
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(buf, "%s%s", i > 0 ? ", " : "",
						 architect_audit_quote(psprintf("%s%s", prefix, table->keys[i]->name)));
}

/*
 * Appends the rest of "(VALUES": the keys of these records (char *), each with
 * its place, as a table called was.
 */
void
architect_audit_append_keys(StringInfo buf, LiveTable *table, List *record_ids, const char *number)
{
	ListCell   *cell;

	foreach(cell, record_ids)
	{
		int			place = foreach_current_index(cell);

		appendStringInfo(buf, "%s(%d, ", place > 0 ? ", " : "", place);
		append_key(buf, table, lfirst(cell), place == 0);
		appendStringInfoChar(buf, ')');
	}
	appendStringInfo(buf, ") AS was (%s, ", number);
	append_key_names(buf, table, "");
	appendStringInfoChar(buf, ')');
}

/*
 * Appends the condition that live and was have the same key, whose columns have
 * this prefix in was.
 */
void
architect_audit_append_match(StringInfo buf, LiveTable *table, const char *prefix)
{
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(buf, "%slive.%s %s was.%s", i > 0 ? " AND " : "",
						 table->keys[i]->quoted, table->keys[i]->equals,
						 architect_audit_quote(psprintf("%s%s", prefix, table->keys[i]->name)));
}

/*
 * Returns a prefix that tells the columns of the key from these.
 */
static char *
key_prefix(LiveTable *table, List *columns)
{
	char	   *prefix = pstrdup("");
	ListCell   *cell;

	for (int i = 0; i < table->nkeys; i++)
	{
		char	   *name = psprintf("%s%s", prefix, table->keys[i]->name);

		foreach(cell, columns)
		{
			if (strcmp(((LiveColumn *) lfirst(cell))->name, name) == 0)
			{
				prefix = psprintf("%snow_", prefix);
				i = -1;
				break;
			}
		}
	}
	return prefix;
}

/*
 * Appends the condition that a row has the key of this record.
 */
static void
append_is_record(StringInfo buf, LiveTable *table, const char *record_id)
{
	List	   *texts = architect_audit_key_texts(table, record_id);

	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(buf, "%s%s %s %s::%s", i > 0 ? " AND " : " WHERE ", table->keys[i]->quoted,
						 table->keys[i]->equals, quote_literal_cstr(list_nth(texts, i)), table->keys[i]->type);
}

static char *
write_delete(LiveTable *table, List *rows)
{
	StringInfoData buf;
	ListCell   *cell;

	initStringInfo(&buf);
	appendStringInfo(&buf, "DELETE FROM %s", table->target);
	if (list_length(rows) == 1)
	{
		append_is_record(&buf, table, ((UndoRow *) linitial(rows))->record_id);
		return buf.data;
	}

	appendStringInfoString(&buf, " AS live USING (VALUES ");
	foreach(cell, rows)
	{
		appendStringInfoString(&buf, foreach_current_index(cell) > 0 ? ", (" : "(");
		append_key(&buf, table, ((UndoRow *) lfirst(cell))->record_id, foreach_current_index(cell) == 0);
		appendStringInfoChar(&buf, ')');
	}
	appendStringInfoString(&buf, ") AS was (");
	append_key_names(&buf, table, "");
	appendStringInfoString(&buf, ") WHERE ");
	architect_audit_append_match(&buf, table, "");
	return buf.data;
}

static void
append_column_names(StringInfo buf, List *columns)
{
	ListCell   *cell;

	foreach(cell, columns)
		appendStringInfo(buf, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 ((LiveColumn *) lfirst(cell))->quoted);
}

static char *
write_insert(LiveTable *table, List *rows, List *columns)
{
	StringInfoData buf;
	ListCell   *row_cell;
	ListCell   *cell;

	initStringInfo(&buf);
	appendStringInfo(&buf, "INSERT INTO %s (", table->name);
	append_column_names(&buf, columns);
	appendStringInfoString(&buf, ") OVERRIDING SYSTEM VALUE VALUES ");
	foreach(row_cell, rows)
	{
		appendStringInfoString(&buf, foreach_current_index(row_cell) > 0 ? ", (" : "(");
		foreach(cell, columns)
			appendStringInfo(&buf, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
							 literal_of(lfirst(cell), field_of(lfirst(row_cell), lfirst(cell))));
		appendStringInfoChar(&buf, ')');
	}
	return buf.data;
}

/*
 * One row, whose key may change too.
 */
static char *
write_single_update(LiveTable *table, UndoRow *row, List *columns)
{
	StringInfoData buf;
	ListCell   *cell;

	initStringInfo(&buf);
	appendStringInfo(&buf, "UPDATE %s SET ", table->target);
	foreach(cell, columns)
	{
		LiveColumn *column = lfirst(cell);

		appendStringInfo(&buf, "%s%s = %s", foreach_current_index(cell) > 0 ? ", " : "",
						 column->quoted, literal_of(column, field_of(row, column)));
	}
	append_is_record(&buf, table, row->record_id);
	return buf.data;
}

static char *
write_update(LiveTable *table, List *rows, List *columns)
{
	char	   *prefix = key_prefix(table, columns);
	StringInfoData buf;
	ListCell   *row_cell;
	ListCell   *cell;

	initStringInfo(&buf);
	appendStringInfo(&buf, "UPDATE %s AS live SET ", table->target);
	foreach(cell, columns)
	{
		LiveColumn *column = lfirst(cell);

		appendStringInfo(&buf, "%s%s = was.%s", foreach_current_index(cell) > 0 ? ", " : "",
						 column->quoted, column->quoted);
	}

	appendStringInfoString(&buf, " FROM (VALUES ");
	foreach(row_cell, rows)
	{
		UndoRow    *row = lfirst(row_cell);
		bool		first = foreach_current_index(row_cell) == 0;

		appendStringInfoString(&buf, first ? "(" : ", (");
		append_key(&buf, table, row->record_id, first);
		foreach(cell, columns)
		{
			LiveColumn *column = lfirst(cell);

			appendStringInfo(&buf, ", %s", literal_of(column, field_of(row, column)));
			if (first)
				appendStringInfo(&buf, "::%s", column->type);
		}
		appendStringInfoChar(&buf, ')');
	}
	appendStringInfoString(&buf, ") AS was (");
	append_key_names(&buf, table, prefix);
	appendStringInfoString(&buf, ", ");
	append_column_names(&buf, columns);
	appendStringInfoString(&buf, ") WHERE ");
	architect_audit_append_match(&buf, table, prefix);
	return buf.data;
}

/*
 * Returns the statement that does this to these rows (UndoRow *).
 */
char *
architect_audit_statement(UndoKind kind, LiveTable *table, List *rows, List *columns)
{
	if (kind == UNDO_DELETE)
		return write_delete(table, rows);
	if (kind == UNDO_INSERT)
		return write_insert(table, rows, columns);
	if (list_length(rows) == 1)
		return write_single_update(table, linitial(rows), columns);
	return write_update(table, rows, columns);
}

/*
 * Returns why these values cannot be brought back at all, or NULL.
 */
const char *
architect_audit_obstacle(LiveTable *table, UndoKind kind, const AuditRecord *values)
{
	for (int i = 0; i < values->count; i++)
	{
		AuditField *field = &values->fields[i];
		LiveColumn *column = architect_audit_live_column(table, field->name, field->length);

		if (column == NULL)
			continue;
		if (field->mark == AUDIT_MARK_ERASED)
			return psprintf("the value of column \"%s\" was erased from the log", column->name);
		if (kind == UNDO_UPDATE && column->is_always_identity)
			return psprintf("column \"%s\" is GENERATED ALWAYS AS IDENTITY and cannot be set", column->name);
	}

	for (int i = 0; kind == UNDO_INSERT && i < table->ncolumns; i++)
	{
		LiveColumn *column = &table->columns[i];

		if (column->needs_value && (column->is_masked || !column->is_logged))
			return psprintf("column \"%s\" is %s by the audit, and it must not be NULL and has no default",
							column->name, column->is_masked ? "masked" : "excluded");
	}
	return NULL;
}

/*
 * Tells the user once that a column cannot be brought back.
 */
static void
notice_lost(LiveTable *table, LiveColumn *column, const char *reason, UndoKind kind)
{
	if (column->noticed)
		return;
	column->noticed = true;
	ereport(NOTICE,
			(errmsg("column \"%s\" of table %s cannot be brought back", column->name, table->name),
			 errdetail("%s It %s.", reason,
					   kind == UNDO_INSERT ? "gets its default" : "keeps its present value")));
}

static void
notice_gone(LiveTable *table, AuditField field)
{
	char	   *name;
	ListCell   *cell;

	(void) architect_audit_is_gone(&field);
	name = pnstrdup(field.name, field.length);

	foreach(cell, table->gone)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return;
	}
	table->gone = lappend(table->gone, name);
	ereport(NOTICE,
			(errmsg("column \"%s\" of table %s does not exist any more and is left out", name, table->name)));
}

/*
 * Returns the columns (LiveColumn *) of these values that can be set, in the
 * order of the table, and says which cannot.
 */
List *
architect_audit_settable(LiveTable *table, UndoKind kind, const AuditRecord *values)
{
	List	   *columns = NIL;

	for (int i = 0; i < values->count; i++)
	{
		if (architect_audit_live_column(table, values->fields[i].name, values->fields[i].length) == NULL)
			notice_gone(table, values->fields[i]);
	}

	for (int i = 0; i < table->ncolumns; i++)
	{
		LiveColumn *column = &table->columns[i];
		AuditField *field = architect_audit_get_field(values, column->name, column->length);

		if (column->is_generated)
			continue;
		if (field != NULL && architect_audit_is_known(field) && !column->is_masked)
			columns = lappend(columns, column);
		else if (field != NULL)
			notice_lost(table, column, column->is_masked ? "Its audit masks it." : "Its audit masked it then.", kind);
		else if (kind == UNDO_INSERT && !column->is_logged)
			notice_lost(table, column, "Its audit excludes it.", kind);
	}
	return columns;
}
