/*
 * order.c
 *    The order in which rows are set back, where foreign keys ask for another than
 *    the reverse of the log.
 *
 * What the server does to follow a foreign key (ON DELETE CASCADE and the like) is
 * logged after the change that it follows.  In reverse, a row would be brought
 * back before the row that it refers to.  So a row that refers to one which is not
 * back yet waits for it; and a row that is taken away waits for those that still
 * refer to it.  A row that waits makes other changes of the same row wait too, and
 * those that bring another row to its key.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/hsearch.h"
#include "utils/numeric.h"

#include "audit/undo.h"

/* Rows that come back with, or go away from, these values of a foreign key. */
typedef struct ReferenceEntry
{
	uint64		hash;
	List	   *rows;			/* of UndoRow * */
} ReferenceEntry;

static void
append_value(StringInfo buf, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			appendBinaryStringInfo(buf, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			appendStringInfoString(buf, numeric_normalize(value->val.numeric));
			break;
		case jbvBool:
			appendStringInfoChar(buf, value->val.boolean ? 't' : 'f');
			break;
		default:
			break;
	}
	appendStringInfoChar(buf, '\0');
}

/*
 * Gives a hash of the values of a foreign key in this image: of all its columns,
 * or of those that the image has.  False if there are none.  That two hashes may
 * be the same by chance does no harm: a row waits in vain.
 */
static bool
hash_reference(int number, LiveColumn **columns, int count, const AuditRecord *image, uint64 *hash)
{
	StringInfoData buf;
	int			found = 0;

	if (image == NULL)
		return false;
	initStringInfo(&buf);
	appendStringInfo(&buf, "%d:", number);
	for (int i = 0; i < count; i++)
	{
		AuditField *field = architect_audit_get_field(image, columns[i]->name, columns[i]->length);

		if (field == NULL)
			continue;
		if (field->value.type == jbvNull)
			return false;
		appendStringInfo(&buf, "%d=", i);
		append_value(&buf, &field->value);
		found++;
	}
	*hash = hash_bytes_extended((unsigned char *) buf.data, buf.len, 0);
	pfree(buf.data);
	return found > 0;
}

static HTAB *
make_index(const char *name)
{
	HASHCTL		info = {
		.keysize = sizeof(uint64),
		.entrysize = sizeof(ReferenceEntry),
		.hcxt = CurrentMemoryContext
	};

	return hash_create(name, 256, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
add_to_index(HTAB *index, uint64 hash, UndoRow *row)
{
	bool		found;
	ReferenceEntry *entry = hash_search(index, &hash, HASH_ENTER, &found);

	entry->rows = lappend(found ? entry->rows : NIL, row);
}

/*
 * Returns the last of these rows that has no place yet, or NULL.
 */
static UndoRow *
find_in_index(HTAB *index, uint64 hash, const UndoRow *except)
{
	ReferenceEntry *entry = hash_search(index, &hash, HASH_FIND, NULL);

	for (int i = entry != NULL ? list_length(entry->rows) - 1 : -1; i >= 0; i--)
	{
		UndoRow    *row = list_nth(entry->rows, i);

		if (!row->emitted && row != except)
			return row;
	}
	return NULL;
}

/*
 * Notes rows that come back and may be referred to, and rows that refer and go.
 */
static void
index_rows(Undo *undo, List *references, HTAB *coming, HTAB *leaving)
{
	ListCell   *cell;
	ListCell   *reference_cell;

	foreach(cell, undo->rows)
	{
		UndoRow    *row = lfirst(cell);

		foreach(reference_cell, references)
		{
			UndoReference *reference = lfirst(reference_cell);
			int			number = foreach_current_index(reference_cell);
			uint64		hash;

			if (row->table == reference->parent && row->kind != UNDO_DELETE &&
				hash_reference(number, reference->parent_columns, reference->count, row->values, &hash))
				add_to_index(coming, hash, row);
			if (row->table == reference->child && row->kind != UNDO_INSERT &&
				hash_reference(number, reference->child_columns, reference->count,
							   architect_audit_read_record(row->event->new_values), &hash))
				add_to_index(leaving, hash, row);
		}
	}
}

static bool
has_column(const AuditRecord *record, LiveColumn **columns, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (architect_audit_get_field(record, columns[i]->name, columns[i]->length) != NULL)
			return true;
	}
	return false;
}

/*
 * True when the row that this one sets back does not refer as it did then: a later
 * change of its reference is still to be set back.
 */
static bool
has_moved_on(const UndoReference *reference, const UndoRow *row)
{
	ListCell   *cell;

	foreach(cell, row->event->row->updates)
	{
		UndoRow    *later = lfirst(cell);

		if (later == row)
			break;
		if (!later->emitted && has_column(architect_audit_read_record(later->event->new_values),
										  reference->child_columns, reference->count))
			return true;
	}
	return false;
}

/*
 * Returns a row that refers to the one which is to be taken away, or NULL.  What
 * has moved on does not, if another row takes the key before it comes back.
 */
static UndoRow *
find_referring(const UndoReference *reference, HTAB *coming, HTAB *leaving, uint64 hash, const UndoRow *row)
{
	ReferenceEntry *entry = hash_search(leaving, &hash, HASH_FIND, NULL);
	bool		is_replaced = find_in_index(coming, hash, row) != NULL;

	for (int i = entry != NULL ? list_length(entry->rows) - 1 : -1; i >= 0; i--)
	{
		UndoRow    *child = list_nth(entry->rows, i);

		if (!child->emitted && child != row && !(is_replaced && has_moved_on(reference, child)))
			return child;
	}
	return NULL;
}

/*
 * Returns a row that waits, and came later to the key than this one; or NULL.
 */
static UndoRow *
find_successor(Undo *undo, const UndoRow *row, const char *record_id)
{
	UndoRow    *waiting;

	if (record_id == NULL)
		return NULL;
	waiting = architect_audit_state(undo, row->table, record_id)->waiting;
	return waiting != NULL && !waiting->emitted && waiting->event->id > row->event->id ? waiting : NULL;
}

/*
 * Returns a row that this one has to wait for, or NULL.
 */
static UndoRow *
find_obstruction(Undo *undo, List *references, HTAB *coming, HTAB *leaving, const UndoRow *row)
{
	UndoRow    *obstruction = find_successor(undo, row, row->record_id);
	ListCell   *cell;
	uint64		hash;

	if (obstruction == NULL)
		obstruction = find_successor(undo, row, row->new_record_id);

	foreach(cell, references)
	{
		UndoReference *reference = lfirst(cell);
		int			number = foreach_current_index(cell);

		if (obstruction != NULL)
			break;
		if (row->table == reference->child && row->kind != UNDO_DELETE &&
			hash_reference(number, reference->child_columns, reference->count, row->values, &hash))
			obstruction = find_in_index(coming, hash, row);
		if (obstruction == NULL && row->table == reference->parent && row->kind == UNDO_DELETE &&
			hash_reference(number, reference->parent_columns, reference->count,
						   architect_audit_read_record(row->event->new_values), &hash))
			obstruction = find_referring(reference, coming, leaving, hash, row);
	}
	return obstruction;
}

static void
note_waiting(Undo *undo, UndoRow *row)
{
	if (row->record_id != NULL)
		architect_audit_state(undo, row->table, row->record_id)->waiting = row;
	if (row->new_record_id != NULL)
		architect_audit_state(undo, row->table, row->new_record_id)->waiting = row;
}

/*
 * Puts the rows of undo->rows, which are in the reverse order of the log, in an
 * order that foreign keys allow.
 */
void
architect_audit_order_rows(Undo *undo)
{
	List	   *references = architect_audit_references(undo);
	HTAB	   *coming = make_index("architect audit rows that come");
	HTAB	   *leaving = make_index("architect audit rows that leave");
	List	   *todo = NIL;
	List	   *ordered = NIL;
	ListCell   *cell;

	if (references == NIL)
		return;
	index_rows(undo, references, coming, leaving);

	/* The next to place is the last of the list, so that what waited for a row comes right after it. */
	for (int i = list_length(undo->rows) - 1; i >= 0; i--)
		todo = lappend(todo, list_nth(undo->rows, i));
	while (todo != NIL)
	{
		UndoRow    *row = llast(todo);
		UndoRow    *obstruction = find_obstruction(undo, references, coming, leaving, row);

		todo = list_delete_last(todo);
		if (obstruction != NULL)
		{
			obstruction->waiting = lappend(obstruction->waiting, row);
			note_waiting(undo, row);
			continue;
		}
		row->emitted = true;
		ordered = lappend(ordered, row);
		for (int i = list_length(row->waiting) - 1; i >= 0; i--)
			todo = lappend(todo, list_nth(row->waiting, i));
	}

	/* Rows that wait for each other stay in the order of the log. */
	foreach(cell, undo->rows)
	{
		if (!((UndoRow *) lfirst(cell))->emitted)
			ordered = lappend(ordered, lfirst(cell));
	}
	undo->rows = ordered;
}
