/*
 * overlay.c
 *    Images of rows put together, and brought under present names.
 *
 * An image is what image.c writes: an object of columns, with the columns that
 * hold JSON null listed under the empty key, where an erased column has an object.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/numeric.h"

#include "audit/replay.h"

static JsonbValue
string_value(const char *string)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, string);
	value.val.string.len = strlen(string);
	return value;
}

/*
 * Looks a column up; NULL when the image does not have it.
 */
JsonbValue *
architect_audit_get(Jsonb *image, const char *name, int length, JsonbValue *value)
{
	return image == NULL ? NULL : getKeyJsonValueFromContainer(&image->root, name, length, value);
}

/*
 * True when the image has a list under the empty key: the first key, if it is there.
 */
static bool
has_list(Jsonb *image)
{
	return JsonContainerSize(&image->root) > 0 && JBE_OFFLENFLD(image->root.children[0]) == 0;
}

/*
 * Returns the names of columns that hold JSON null, as JsonbValue *.
 */
static List *
json_nulls(Jsonb *image)
{
	List	   *names = NIL;
	JsonbValue	list;

	if (image == NULL || !has_list(image) || architect_audit_get(image, "", 0, &list) == NULL ||
		list.type != jbvBinary || !JsonContainerIsArray(list.val.binary.data))
		return NIL;

	for (uint32 i = 0; i < JsonContainerSize(list.val.binary.data); i++)
	{
		JsonbValue *name = getIthJsonbValueFromContainer(list.val.binary.data, i);

		if (name->type == jbvString)
			names = lappend(names, name);
	}
	return names;
}

static bool
is_named(const JsonbValue *value, const char *name, int length)
{
	return value->val.string.len == length && memcmp(value->val.string.val, name, length) == 0;
}

/*
 * True when the column, whose value is null, holds JSON null and not SQL NULL.
 */
bool
architect_audit_is_json_null(Jsonb *image, const char *name, int length)
{
	ListCell   *cell;

	foreach(cell, json_nulls(image))
	{
		if (is_named(lfirst(cell), name, length))
			return true;
	}
	return false;
}

static void
push_list(JsonbParseState **state, List *names)
{
	JsonbValue	key = string_value("");
	ListCell   *cell;

	if (names == NIL)
		return;
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, names)
		pushJsonbValue(state, WJB_ELEM, lfirst(cell));
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/*
 * Pushes the columns of an image, but those that another has, and adds those of
 * them that hold JSON null to the list.
 */
static void
push_columns(JsonbParseState **state, Jsonb *image, Jsonb *hidden_by, List **nulls)
{
	JsonbIterator *iterator = JsonbIteratorInit(&image->root);
	List	   *image_nulls = json_nulls(image);
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	other;
	ListCell   *cell;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		JsonbValue	key = value;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (key.val.string.len == 0 ||
			architect_audit_get(hidden_by, key.val.string.val, key.val.string.len, &other) != NULL)
			continue;
		pushJsonbValue(state, WJB_KEY, &key);
		pushJsonbValue(state, WJB_VALUE, &value);

		foreach(cell, image_nulls)
		{
			if (is_named(lfirst(cell), key.val.string.val, key.val.string.len))
				*nulls = lappend(*nulls, lfirst(cell));
		}
	}
}

/*
 * Returns one image laid over another: its columns, and those that only the one
 * below has.  Either may be NULL.
 */
Jsonb *
architect_audit_overlay(Jsonb *below, Jsonb *above)
{
	JsonbParseState *state = NULL;
	List	   *nulls = NIL;

	if (below == NULL)
		return above;
	if (above == NULL)
		return below;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_columns(&state, above, NULL, &nulls);
	push_columns(&state, below, above, &nulls);
	push_list(&state, nulls);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * True when the values are the same, to the bytes of a number.
 */
bool
architect_audit_equal(JsonbValue *left, JsonbValue *right)
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
			return is_named(left, right->val.string.val, right->val.string.len);
		case jbvNumeric:
			return datumIsEqual(NumericGetDatum(left->val.numeric), NumericGetDatum(right->val.numeric), false, -1);
		default:
			return left->val.binary.len == right->val.binary.len &&
				memcmp(left->val.binary.data, right->val.binary.data, left->val.binary.len) == 0;
	}
}

/*
 * Returns the columns of an image that another does not have with the same
 * value; NULL where there is none.
 */
Jsonb *
architect_audit_difference(Jsonb *image, Jsonb *other)
{
	JsonbParseState *state = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	same;
	List	   *nulls = NIL;
	bool		found = false;

	if (image == NULL || other == NULL)
		return image;
	iterator = JsonbIteratorInit(&image->root);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		JsonbValue	key = value;
		bool		json_null;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (key.val.string.len == 0)
			continue;
		json_null = value.type == jbvNull &&
			architect_audit_is_json_null(image, key.val.string.val, key.val.string.len);
		if (architect_audit_get(other, key.val.string.val, key.val.string.len, &same) != NULL &&
			architect_audit_equal(&value, &same) &&
			(value.type != jbvNull ||
			 json_null == architect_audit_is_json_null(other, key.val.string.val, key.val.string.len)))
			continue;

		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
		if (json_null)
			nulls = lappend(nulls, memcpy(palloc(sizeof(JsonbValue)), &key, sizeof(JsonbValue)));
		found = true;
	}
	push_list(&state, nulls);
	return found ? JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)) : NULL;
}

static AuditShapeColumn *
find_column(AuditShape *shape, const JsonbValue *key)
{
	for (int i = 0; i < shape->ncolumns; i++)
	{
		if (is_named(key, shape->columns[i].name, shape->columns[i].name_length))
			return &shape->columns[i];
	}
	return NULL;
}

/*
 * Pushes the columns of an image under their present names; adds those that
 * hold JSON null to the list.
 */
static void
push_present(JsonbParseState **state, Jsonb *image, AuditShape *shape, List **nulls)
{
	JsonbIterator *iterator = JsonbIteratorInit(&image->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		JsonbValue	key = value;
		JsonbValue	present;
		AuditShapeColumn *column;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		column = find_column(shape, &key);
		if (column == NULL || column->present_name == NULL)
			continue;

		present = string_value(column->present_name);
		if (value.type == jbvNull &&
			architect_audit_is_json_null(image, key.val.string.val, key.val.string.len))
			*nulls = lappend(*nulls, memcpy(palloc(sizeof(JsonbValue)), &present, sizeof(JsonbValue)));
		if (column->masked)
			value.type = jbvNull;
		pushJsonbValue(state, WJB_KEY, &present);
		pushJsonbValue(state, WJB_VALUE, &value);
	}
}

/*
 * Returns the image as the table would show it now: columns under their present
 * names and without those dropped; what was masked or erased is SQL NULL.
 */
Jsonb *
architect_audit_present(Jsonb *image, AuditShape *shape)
{
	JsonbParseState *state = NULL;
	List	   *nulls = NIL;

	if (image == NULL || (shape->is_present && !has_list(image)))
		return image;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_present(&state, image, shape, &nulls);
	push_list(&state, nulls);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
