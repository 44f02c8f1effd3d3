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

static bool
is_named(const JsonbValue *value, const char *name, int length)
{
	return value->val.string.len == length && memcmp(value->val.string.val, name, length) == 0;
}

/*
 * True when the list of names (char *) has this one.
 */
bool
architect_audit_is_in_list(List *names, const JsonbValue *name)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (is_named(name, lfirst(cell), strlen(lfirst(cell))))
			return true;
	}
	return false;
}

/*
 * The name of the column that an element of the list is about; sets whether it was
 * erased, or else holds JSON null.
 */
static JsonbValue *
listed_name(JsonbValue *element, bool *erased)
{
	*erased = element->type == jbvBinary;
	return *erased ? getKeyJsonValueFromContainer(element->val.binary.data, "erased", strlen("erased"), NULL) : element;
}

/*
 * Returns the element of the list that is about this column, or NULL.
 */
static JsonbValue *
find_listed(Jsonb *image, const char *name, int length, bool *erased)
{
	JsonbValue	list;

	if (image == NULL || !has_list(image) || architect_audit_get(image, "", 0, &list) == NULL ||
		list.type != jbvBinary || !JsonContainerIsArray(list.val.binary.data))
		return NULL;

	for (uint32 i = 0; i < JsonContainerSize(list.val.binary.data); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(list.val.binary.data, i);
		JsonbValue *listed = listed_name(element, erased);

		if (listed != NULL && listed->type == jbvString && is_named(listed, name, length))
			return element;
	}
	return NULL;
}

/*
 * True when the column, whose value is null, holds JSON null and not SQL NULL.
 */
bool
architect_audit_is_json_null(Jsonb *image, const char *name, int length)
{
	bool		erased;

	return find_listed(image, name, length, &erased) != NULL && !erased;
}

/*
 * True when the value of the column was removed from the log.
 */
bool
architect_audit_is_erased(Jsonb *image, const char *name, int length)
{
	bool		erased;

	return find_listed(image, name, length, &erased) != NULL && erased;
}

/*
 * Pushes an element of the list, under the name that the column has now.
 */
static void
push_element(JsonbParseState **state, JsonbValue *name, bool erased)
{
	JsonbValue	key = string_value("erased");

	if (!erased)
	{
		pushJsonbValue(state, WJB_ELEM, name);
		return;
	}
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, name);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* A column that belongs into the list of an image being made. */
typedef struct Listed
{
	JsonbValue	name;
	bool		erased;
} Listed;

static void
push_list(JsonbParseState **state, List *listed)
{
	JsonbValue	key = string_value("");
	ListCell   *cell;

	if (listed == NIL)
		return;
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, listed)
		push_element(state, &((Listed *) lfirst(cell))->name, ((Listed *) lfirst(cell))->erased);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/*
 * Adds the column to the list if it is in the list of the image, where it may
 * have another name.
 */
static List *
keep_listed(List *listed, Jsonb *image, const JsonbValue *key, const JsonbValue *name)
{
	bool		erased;
	Listed	   *item;

	if (find_listed(image, key->val.string.val, key->val.string.len, &erased) == NULL)
		return listed;
	item = palloc(sizeof(Listed));
	item->name = *name;
	item->erased = erased;
	return lappend(listed, item);
}

/*
 * Pushes the columns of an image, but those that another has, and adds those of
 * them that are in its list to that of the result.
 */
static void
push_columns(JsonbParseState **state, Jsonb *image, Jsonb *hidden_by, List **listed)
{
	JsonbIterator *iterator = JsonbIteratorInit(&image->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	other;

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
		if (value.type == jbvNull)
			*listed = keep_listed(*listed, image, &key, &key);
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
	List	   *listed = NIL;

	if (below == NULL)
		return above;
	if (above == NULL)
		return below;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_columns(&state, above, NULL, &listed);
	push_columns(&state, below, above, &listed);
	push_list(&state, listed);
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
			return compareJsonbContainers(left->val.binary.data, right->val.binary.data) == 0;
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
	List	   *listed = NIL;
	bool		found = false;

	if (image == NULL || other == NULL)
		return image;
	iterator = JsonbIteratorInit(&image->root);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		JsonbValue	key = value;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (key.val.string.len == 0)
			continue;
		if (architect_audit_get(other, key.val.string.val, key.val.string.len, &same) != NULL &&
			architect_audit_equal(&value, &same) &&
			(value.type != jbvNull ||
			 architect_audit_is_json_null(image, key.val.string.val, key.val.string.len) ==
			 architect_audit_is_json_null(other, key.val.string.val, key.val.string.len)))
			continue;

		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
		listed = keep_listed(listed, image, &key, &key);
		found = true;
	}
	push_list(&state, listed);
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
 * Pushes the columns of an image under their present names, and adds those of
 * them that are in its list to that of the result.
 */
static void
push_present(JsonbParseState **state, Jsonb *image, AuditShape *shape, List **listed)
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
		if (value.type == jbvNull)
			*listed = keep_listed(*listed, image, &key, &present);
		if (column->masked)
			value.type = jbvNull;
		pushJsonbValue(state, WJB_KEY, &present);
		pushJsonbValue(state, WJB_VALUE, &value);
	}
}

/*
 * Returns the image as the table would show it now: columns under their present
 * names and without those dropped; what was masked is SQL NULL.
 */
Jsonb *
architect_audit_present(Jsonb *image, AuditShape *shape)
{
	JsonbParseState *state = NULL;
	List	   *listed = NIL;

	if (image == NULL || shape->is_present)
		return image;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_present(&state, image, shape, &listed);
	push_list(&state, listed);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
