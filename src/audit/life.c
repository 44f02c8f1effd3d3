/*
 * life.c
 *    The lives of a record: which events of the log belong to the same row.
 *
 * A key is held by one row after the other.  The events under one key are cut
 * into tenures: each begins with an INSERT, with an UPDATE that brings a row to
 * this key, or with the first event that the log has; it ends with DELETE,
 * TRUNCATE, or an UPDATE that takes the row to another key.  A life is a chain
 * of tenures, under as many keys, joined by those UPDATEs.
 *
 * Where a key is deferrable, two rows can hold it for a while within a
 * transaction.  An event then belongs to the row whose values it fits, and where
 * it fits both, to the one that was there first.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "audit/record.h"

typedef struct KeyHistory KeyHistory;

/* A row while it has one key. */
typedef struct Tenure
{
	KeyHistory *history;		/* of that key */
	AuditLogRow *arrival;		/* the UPDATE that brought it, or NULL */
	AuditLogRow *departure;		/* the UPDATE that took it away, or NULL */
	List	   *events;			/* under this key, departure included, arrival not */
	bool		told;			/* belongs to a life found already */
} Tenure;

struct KeyHistory
{
	const char *key;
	List	   *tenures;
	List	   *open;			/* those that nothing has ended yet */
};

typedef struct LifeSearch
{
	AuditReader *reader;
	struct AuditTarget *target;
	int32		table_id;
	List	   *table_rows;		/* events of the whole table */
	List	   *keys;			/* of KeyHistory *, read so far */
} LifeSearch;

static bool
is_table_truncate(const AuditLogRow *row)
{
	return row->operation == 'T' && row->record_id == NULL;
}

/*
 * True when only one partition was emptied, which may not be the row's.
 */
static bool
is_partition_truncate(const AuditLogRow *row)
{
	JsonbValue	value;

	return is_table_truncate(row) && !row->nulls[LOG_CONTEXT] &&
		getKeyJsonValueFromContainer(&DatumGetJsonbP(row->values[LOG_CONTEXT])->root,
									 AUDIT_CONTEXT_PARTITION, strlen(AUDIT_CONTEXT_PARTITION), &value) != NULL;
}

static bool
arrives_at(const AuditLogRow *row, const char *key)
{
	return row->new_record_id != NULL && strcmp(row->new_record_id, key) == 0 &&
		strcmp(row->record_id, key) != 0;
}

static bool
leaves(const AuditLogRow *row, const char *key)
{
	return row->new_record_id != NULL && strcmp(row->new_record_id, key) != 0;
}

/*
 * True when the row that the event is about does not have the key afterwards.
 */
static bool
ends_tenure(const AuditLogRow *row, const char *key)
{
	return row->operation == 'D' || row->operation == 'T' || leaves(row, key);
}

/*
 * Returns everything that tells who held the key, by id.
 */
static List *
read_key(LifeSearch *search, const char *key)
{
	List	   *rows = NIL;
	ListCell   *cell;

	foreach(cell, architect_audit_record_rows(search->reader, AUDIT_BY_RECORD, search->table_id, key))
	{
		if (strchr("IUDTB", ((AuditLogRow *) lfirst(cell))->operation) != NULL)
			rows = lappend(rows, lfirst(cell));
	}
	foreach(cell, architect_audit_record_rows(search->reader, AUDIT_BY_NEW_RECORD, search->table_id, key))
	{
		if (arrives_at(lfirst(cell), key))
			rows = lappend(rows, lfirst(cell));
	}
	foreach(cell, search->table_rows)
	{
		if (is_table_truncate(lfirst(cell)))
			rows = lappend(rows, lfirst(cell));
	}
	list_sort(rows, architect_audit_compare_rows);
	foreach(cell, rows)
		architect_audit_rename_event(search->target, lfirst(cell));
	return rows;
}

/*
 * True when a row gives the key up later in the transaction of the event at
 * this place: then both rows have it in between.
 */
static bool
is_given_up(List *rows, int place, const char *key)
{
	AuditLogRow *event = list_nth(rows, place);

	for (int i = place + 1; i < list_length(rows); i++)
	{
		AuditLogRow *row = list_nth(rows, i);

		if (FullTransactionIdEquals(row->transaction, event->transaction) &&
			!arrives_at(row, key) && ends_tenure(row, key))
			return true;
	}
	return false;
}

/*
 * What is known of the row from its events under this key.
 */
static AuditRecord *
known_values(const Tenure *tenure)
{
	AuditRecord *record = architect_audit_read_record(tenure->arrival != NULL ? tenure->arrival->new_values : NULL);
	ListCell   *cell;

	foreach(cell, tenure->events)
		architect_audit_merge(record, architect_audit_read_record(((AuditLogRow *) lfirst(cell))->new_values));
	return record;
}

/*
 * Returns the open tenure that the event belongs to.
 */
static Tenure *
pick_tenure(List *open, const AuditLogRow *row)
{
	AuditRecord *old;
	ListCell   *cell;

	if (list_length(open) == 1)
		return linitial(open);

	old = architect_audit_read_record(row->old_values);
	foreach(cell, open)
	{
		if (!architect_audit_contradicts(known_values(lfirst(cell)), old))
			return lfirst(cell);
	}
	return linitial(open);
}

static Tenure *
begin_tenure(KeyHistory *history, AuditLogRow *arrival)
{
	Tenure	   *tenure = palloc0(sizeof(Tenure));

	tenure->history = history;
	tenure->arrival = arrival;
	history->tenures = lappend(history->tenures, tenure);
	history->open = lappend(history->open, tenure);
	return tenure;
}

/*
 * The table, or one partition of it, is emptied.
 */
static void
add_truncate(KeyHistory *history, AuditLogRow *row)
{
	ListCell   *cell;

	foreach(cell, history->open)
	{
		Tenure	   *tenure = lfirst(cell);

		tenure->events = lappend(tenure->events, row);
	}
	if (!is_partition_truncate(row))
		history->open = NIL;
}

/*
 * Something happens to the row that has the key.
 */
static void
add_event(KeyHistory *history, Tenure *tenure, AuditLogRow *row)
{
	tenure->events = lappend(tenure->events, row);
	if (leaves(row, history->key))
		tenure->departure = row;
	if (ends_tenure(row, history->key))
		history->open = list_delete_ptr(history->open, tenure);
}

/*
 * Cuts what happened under the key into tenures.  Where the log came to name rows
 * by other columns, it is another row from there on.
 */
static void
find_tenures(LifeSearch *search, KeyHistory *history, List *rows)
{
	AuditLogRow *overlap = NULL;	/* the event since which two rows may hold the key */

	for (int i = 0; i < list_length(rows); i++)
	{
		AuditLogRow *row = list_nth(rows, i);
		bool		arrives = arrives_at(row, history->key);
		Tenure	   *tenure;

		if (i > 0 && architect_audit_renames_rows(search->target, ((AuditLogRow *) list_nth(rows, i - 1))->id, row->id))
			history->open = NIL;
		if (is_table_truncate(row))
		{
			add_truncate(history, row);
			continue;
		}

		/* Two rows can share a key within a transaction only. */
		if (list_length(history->open) > 1 &&
			!FullTransactionIdEquals(row->transaction, overlap->transaction))
			history->open = list_make1(llast(history->open));

		if (arrives || row->operation == 'I')
		{
			if (!is_given_up(rows, i, history->key))
				history->open = NIL;
			overlap = row;
			tenure = begin_tenure(history, arrives ? row : NULL);
		}
		else if (history->open == NIL)
			tenure = begin_tenure(history, NULL);
		else
			tenure = pick_tenure(history->open, row);

		if (!arrives)
			add_event(history, tenure, row);
	}
}

/*
 * Returns what happened under the key, read on first use.
 */
static KeyHistory *
key_history(LifeSearch *search, const char *key)
{
	KeyHistory *history;
	ListCell   *cell;

	foreach(cell, search->keys)
	{
		history = lfirst(cell);
		if (strcmp(history->key, key) == 0)
			return history;
	}

	history = palloc0(sizeof(KeyHistory));
	history->key = key;
	search->keys = lappend(search->keys, history);
	find_tenures(search, history, read_key(search, key));
	return history;
}

/*
 * Returns the tenure that the arrival ended elsewhere, or NULL.
 */
static Tenure *
find_earlier(LifeSearch *search, const Tenure *tenure)
{
	ListCell   *cell;

	if (tenure->arrival == NULL)
		return NULL;
	foreach(cell, key_history(search, tenure->arrival->record_id)->tenures)
	{
		Tenure	   *earlier = lfirst(cell);

		if (earlier->departure != NULL && earlier->departure->id == tenure->arrival->id)
			return earlier;
	}
	return NULL;
}

/*
 * Returns the tenure that the departure began elsewhere, or NULL.
 */
static Tenure *
find_later(LifeSearch *search, const Tenure *tenure)
{
	ListCell   *cell;

	if (tenure->departure == NULL)
		return NULL;
	foreach(cell, key_history(search, tenure->departure->new_record_id)->tenures)
	{
		Tenure	   *later = lfirst(cell);

		if (later->arrival != NULL && later->arrival->id == tenure->departure->id)
			return later;
	}
	return NULL;
}

/*
 * Adds the events of a tenure.  The TRUNCATE of a partition counts where nothing
 * shows that the row lived on: for certain where another row has the key next.
 */
static void
tell_tenure(AuditLife *life, Tenure *tenure)
{
	ListCell   *cell;

	tenure->told = true;
	foreach(cell, tenure->events)
	{
		AuditLogRow *row = lfirst(cell);

		if (is_partition_truncate(row))
		{
			if (lnext(tenure->events, cell) != NULL)
				continue;
			if (llast(tenure->history->tenures) == tenure)
				life->doubtful = row;
		}
		life->events = lappend(life->events, row);
	}
}

/*
 * Returns the life that this tenure belongs to.
 */
static AuditLife *
find_life(LifeSearch *search, Tenure *tenure)
{
	AuditLife  *life = palloc0(sizeof(AuditLife));
	Tenure	   *earlier;

	while ((earlier = find_earlier(search, tenure)) != NULL)
		tenure = earlier;

	for (; tenure != NULL; tenure = find_later(search, tenure))
	{
		CHECK_FOR_INTERRUPTS();
		tell_tenure(life, tenure);
	}
	return life;
}

/*
 * Returns the lives (AuditLife *) that ever had this record_id, in the order in
 * which they had it last: whoever has it now is the last.  The events of the whole
 * table are given; target says how columns were called and may be NULL.
 */
List *
architect_audit_lives(AuditReader *reader, struct AuditTarget *target, int32 table_id,
					  const char *record_id, List *table_rows)
{
	LifeSearch	search = {.reader = reader, .target = target, .table_id = table_id, .table_rows = table_rows};
	List	   *tenures = key_history(&search, record_id)->tenures;
	List	   *lives = NIL;

	for (int i = list_length(tenures) - 1; i >= 0; i--)
	{
		Tenure	   *tenure = list_nth(tenures, i);

		if (!tenure->told)
			lives = lcons(find_life(&search, tenure), lives);
	}
	return lives;
}
