/*
 * record.c
 *    Images of the log taken apart: compared, merged, put together again.
 *
 * An image is a JSONB object, a column a key.  Under the empty key, which no
 * column can have, an array says more about columns whose value is null: a
 * string names one that holds JSON null, {"erased": name} one whose value was
 * removed from the log.  Images under present names say with {"masked": name} of
 * which column the audit shows no value; the log does not, and nobody else sees it.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/numeric.h"

#include "audit/record.h"

/* The names of marks that are objects. */
static const char *const mark_names[] = {
	[AUDIT_MARK_ERASED] = "erased",
	[AUDIT_MARK_MASKED] = "masked",
};

/*
 * Returns a record without columns.
 */
AuditRecord *
architect_audit_make_record(void)
{
	AuditRecord *record = palloc0(sizeof(AuditRecord));

	record->size = 8;
	record->fields = palloc(record->size * sizeof(AuditField));
	return record;
}

/*
 * Returns the column of this name, or NULL.
 */
AuditField *
architect_audit_get_field(const AuditRecord *record, const char *name, int length)
{
	for (int i = 0; i < record->count; i++)
	{
		if (record->fields[i].length == length && memcmp(record->fields[i].name, name, length) == 0)
			return &record->fields[i];
	}
	return NULL;
}

/*
 * Gives the record this value of a column, new or instead of what it had.
 */
void
architect_audit_set_field(AuditRecord *record, const AuditField *field)
{
	AuditField *existing = architect_audit_get_field(record, field->name, field->length);

	if (existing == NULL)
	{
		if (record->count == record->size)
		{
			record->size *= 2;
			record->fields = repalloc(record->fields, record->size * sizeof(AuditField));
		}
		existing = &record->fields[record->count++];
	}
	*existing = *field;
}

/*
 * Sets every column that the other record has.
 */
void
architect_audit_merge(AuditRecord *record, const AuditRecord *newer)
{
	for (int i = 0; i < newer->count; i++)
		architect_audit_set_field(record, &newer->fields[i]);
}

/*
 * Returns what an element of the array under the empty key says, and of which
 * column; that is no string where it says nothing known.
 */
static AuditMark
read_mark(const JsonbValue *element, JsonbValue *name)
{
	*name = *element;
	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		return AUDIT_MARK_JSON_NULL;
	for (AuditMark mark = AUDIT_MARK_ERASED; mark < lengthof(mark_names); mark++)
	{
		if (getKeyJsonValueFromContainer(element->val.binary.data, mark_names[mark],
										 strlen(mark_names[mark]), name) != NULL)
			return mark;
	}
	return AUDIT_MARK_NONE;
}

/*
 * Returns what the image says of a column beside its value.
 */
AuditMark
architect_audit_mark_of(Jsonb *image, const char *name, int length)
{
	JsonbValue	marks;

	/* The empty key is the first, if it is there. */
	if (image == NULL || JsonContainerSize(&image->root) == 0 || JBE_OFFLENFLD(image->root.children[0]) != 0 ||
		getKeyJsonValueFromContainer(&image->root, "", 0, &marks) == NULL ||
		marks.type != jbvBinary || !JsonContainerIsArray(marks.val.binary.data))
		return AUDIT_MARK_NONE;

	for (uint32 i = 0; i < JsonContainerSize(marks.val.binary.data); i++)
	{
		JsonbValue	named;
		AuditMark	mark = read_mark(getIthJsonbValueFromContainer(marks.val.binary.data, i), &named);

		if (named.type == jbvString && named.val.string.len == length &&
			memcmp(named.val.string.val, name, length) == 0)
			return mark;
	}
	return AUDIT_MARK_NONE;
}

/*
 * Marks the columns that the array under the empty key names.
 */
static void
read_marks(AuditRecord *record, JsonbContainer *marks)
{
	for (uint32 i = 0; i < JsonContainerSize(marks); i++)
	{
		JsonbValue	name;
		AuditMark	mark = read_mark(getIthJsonbValueFromContainer(marks, i), &name);
		AuditField *field;

		if (name.type != jbvString)
			continue;

		field = architect_audit_get_field(record, name.val.string.val, name.val.string.len);
		if (field != NULL)
			field->mark = mark;
	}
}

/*
 * Takes an image apart, or nothing for NULL.  The record points into the image.
 */
AuditRecord *
architect_audit_read_record(Jsonb *image)
{
	AuditRecord *record = architect_audit_make_record();
	JsonbContainer *marks = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (image == NULL || !JB_ROOT_IS_OBJECT(image))
		return record;

	iterator = JsonbIteratorInit(&image->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		AuditField	field = {.mark = AUDIT_MARK_NONE};

		if (token != WJB_KEY)
			continue;
		field.name = value.val.string.val;
		field.length = value.val.string.len;
		(void) JsonbIteratorNext(&iterator, &field.value, true);

		if (field.length > 0)
			architect_audit_set_field(record, &field);
		else if (field.value.type == jbvBinary && JsonContainerIsArray(field.value.val.binary.data))
			marks = field.value.val.binary.data;
	}

	if (marks != NULL)
		read_marks(record, marks);
	return record;
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *string, int length)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, string);
	value.val.string.len = length;
	(void) pushJsonbValue(state, token, &value);
}

/*
 * Writes the array under the empty key, if any column needs it.
 */
static void
push_marks(JsonbParseState **state, const AuditRecord *record)
{
	bool		begun = false;

	for (int i = 0; i < record->count; i++)
	{
		AuditField *field = &record->fields[i];

		if (field->mark == AUDIT_MARK_NONE)
			continue;
		if (!begun)
		{
			push_string(state, WJB_KEY, "", 0);
			(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			begun = true;
		}
		if (field->mark == AUDIT_MARK_JSON_NULL)
			push_string(state, WJB_ELEM, field->name, field->length);
		else
		{
			(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
			push_string(state, WJB_KEY, mark_names[field->mark], strlen(mark_names[field->mark]));
			push_string(state, WJB_VALUE, field->name, field->length);
			(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
		}
	}
	if (begun)
		(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/*
 * Puts a record together again, in the current context.
 */
Jsonb *
architect_audit_write_record(const AuditRecord *record)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < record->count; i++)
	{
		AuditField *field = &record->fields[i];

		push_string(&state, WJB_KEY, field->name, field->length);
		(void) pushJsonbValue(&state, WJB_VALUE, &field->value);
	}
	push_marks(&state, record);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * True when two values are the same down to the scale of numbers.
 */
bool
architect_audit_same_value(const JsonbValue *left, const JsonbValue *right)
{
	if (left->type != right->type)
		return false;

	switch (left->type)
	{
		case jbvNull:
			return true;
		case jbvBool:
			return left->val.boolean == right->val.boolean;
		case jbvString:
			return left->val.string.len == right->val.string.len &&
				memcmp(left->val.string.val, right->val.string.val, left->val.string.len) == 0;
		case jbvNumeric:
			return datumIsEqual(NumericGetDatum(left->val.numeric), NumericGetDatum(right->val.numeric), false, -1) ||
				strcmp(DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(left->val.numeric))),
					   DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(right->val.numeric)))) == 0;
		case jbvBinary:
			return strcmp(JsonbToCString(NULL, left->val.binary.data, left->val.binary.len),
						  JsonbToCString(NULL, right->val.binary.data, right->val.binary.len)) == 0;
		default:
			elog(ERROR, "unexpected jsonb value type %d", (int) left->type);
	}
}

/*
 * False for a value that was masked or erased, and so tells nothing.
 */
bool
architect_audit_is_known(const AuditField *field)
{
	return field->mark != AUDIT_MARK_ERASED && field->mark != AUDIT_MARK_MASKED;
}

/*
 * True when both columns have the same value.
 */
bool
architect_audit_same_field(const AuditField *left, const AuditField *right)
{
	return left->mark == right->mark && architect_audit_same_value(&left->value, &right->value);
}

/*
 * True when a column that both know, and not from before a gap, differs.
 */
bool
architect_audit_contradicts(const AuditRecord *left, const AuditRecord *right)
{
	for (int i = 0; i < right->count; i++)
	{
		AuditField *theirs = &right->fields[i];
		AuditField *ours = architect_audit_get_field(left, theirs->name, theirs->length);

		if (ours != NULL && !ours->stale && !theirs->stale &&
			architect_audit_is_known(ours) && architect_audit_is_known(theirs) &&
			!architect_audit_same_field(ours, theirs))
			return true;
	}
	return false;
}

/*
 * True when the two images show a column that did not change, so that they are
 * whole rows.
 */
bool
architect_audit_is_full(const AuditRecord *before, const AuditRecord *after)
{
	for (int i = 0; i < after->count; i++)
	{
		AuditField *field = &after->fields[i];
		AuditField *old = architect_audit_get_field(before, field->name, field->length);

		if (old != NULL && architect_audit_is_known(old) && architect_audit_is_known(field) &&
			architect_audit_same_field(old, field))
			return true;
	}
	return false;
}
