/*
 * verify.c
 *    architect.audit_verify: the log replayed must be the table as it is.
 *
 * Log and table are read under one snapshot, without locks that anybody would
 * wait for.  First each row is compared with the fingerprint that the log gives
 * its record; then the records that fail, as a rule none, are replayed with their
 * images and compared column by column.  Where either takes more memory than
 * maintenance_work_mem, records are divided up by a hash, and log and table are
 * read once for each part.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "audit/record.h"
#include "audit/replay.h"

PG_FUNCTION_INFO_V1(architect_audit_verify);

/* What a record takes, as a rule, with its fingerprint and with its images. */
#define FINGERPRINT_BYTES 50
#define IMAGE_BYTES 512

/* Columns of the result. */
enum VerifyColumn
{
	VERIFY_RECORD_ID,
	VERIFY_PROBLEM,
	VERIFY_LOGGED,
	VERIFY_LIVE,
	VERIFY_COLUMNS
};

#define SH_PREFIX suspects
#define SH_ELEMENT_TYPE Suspect
#define SH_KEY_TYPE uint64
#define SH_KEY id
#define SH_HASH_KEY(table, key) ((uint32) (key))
#define SH_EQUAL(table, left, right) ((left) == (right))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
typedef struct Suspect
{
	uint64		id;				/* hash of the record's id */
	char		status;
} Suspect;
#include "lib/simplehash.h"

typedef struct Verify
{
	AuditTarget *target;
	ReturnSetInfo *result;
	Relation	root;
	AuditColumnReader *readers;
	List	   *untold_columns; /* names */
	int64		reset_id;		/* the event from which on the log tells the table anew; or 0 */
	bool		is_complete;	/* every row of the table was logged once */
	bool		needs_images;	/* fingerprints cannot tell */
	int			passes;			/* a power of two */
	int			pass;

	/* Of a pass. */
	AuditFingerprints *fingerprints;
	AuditReplay *replay;

	suspects_hash *suspects;	/* NULL: all are */
	AuditReplay *moved;			/* has the ids of records whose key changed; they belong to pass 0 */
	int64		untold;			/* rows that the log does not know */
} Verify;

static void
put_problem(Verify *verify, text *record_id, const char *problem, Jsonb *logged, Jsonb *live)
{
	Datum		values[VERIFY_COLUMNS] = {0};
	bool		nulls[VERIFY_COLUMNS] = {
		[VERIFY_LOGGED] = logged == NULL,
		[VERIFY_LIVE] = live == NULL
	};

	values[VERIFY_RECORD_ID] = PointerGetDatum(record_id);
	values[VERIFY_PROBLEM] = CStringGetTextDatum(problem);
	values[VERIFY_LOGGED] = PointerGetDatum(logged);
	values[VERIFY_LIVE] = PointerGetDatum(live);
	tuplestore_putvalues(verify->result->setResult, verify->result->setDesc, values, nulls);
}

/*
 * True when the record is one of this pass.  The low bits of the hash find it in
 * tables, so these are others.
 */
static bool
is_of_pass(Verify *verify, uint64 hash)
{
	return verify->passes == 1 || ((hash >> 40) & (verify->passes - 1)) == verify->pass;
}

/*
 * The same where images are compared: of suspects alone, and with the ids of a
 * record that moved in one pass.
 */
static bool
is_suspect_of_pass(Verify *verify, text *record_id)
{
	uint64		hash = architect_audit_wide_hash(record_id);

	if (verify->suspects != NULL && suspects_lookup(verify->suspects, hash) == NULL)
		return false;
	if (verify->passes > 1 && architect_audit_find_change(verify->moved, record_id) != NULL)
		return verify->pass == 0;
	return is_of_pass(verify, hash);
}

static void
add_suspect(uint64 hash, void *argument)
{
	bool		found;

	(void) suspects_insert(((Verify *) argument)->suspects, hash, &found);
}

/*
 * Collects the ids between which records have moved.
 */
static void
take_moved(const AuditLogEvent *event, void *argument)
{
	Verify	   *verify = argument;
	AuditLogEvent arrival = {.operation = AUDIT_OPERATION_INSERT};

	if (event->new_record_id == NULL)
		return;
	arrival.record_id = event->record_id;
	architect_audit_replay(verify->moved, &arrival);
	arrival.record_id = event->new_record_id;
	architect_audit_replay(verify->moved, &arrival);
}

/*
 * Takes an event of the whole table: from a baseline on, and after all rows were
 * removed, what was before does not count.
 */
static void
take_whole_table(const AuditLogEvent *event, void *argument)
{
	Verify	   *verify = argument;

	if (event->operation == AUDIT_OPERATION_BASELINE ||
		(event->operation == AUDIT_OPERATION_TRUNCATE && event->detail == NULL))
	{
		verify->reset_id = event->id;
		verify->is_complete = true;
		verify->needs_images = false;
	}
	else if (event->operation == AUDIT_OPERATION_TRUNCATE)
		verify->needs_images = true;
}

static void
take_fingerprint(const AuditLogEvent *event, void *argument)
{
	Verify	   *verify = argument;

	if (event->record_id != NULL && event->operation <= AUDIT_OPERATION_BASELINE &&
		is_of_pass(verify, architect_audit_wide_hash(event->record_id)))
		architect_audit_add_fingerprint(verify->fingerprints, event);
}

static void
take_event(const AuditLogEvent *event, void *argument)
{
	Verify	   *verify = argument;

	if (event->record_id == NULL || is_suspect_of_pass(verify, event->record_id))
		architect_audit_replay(verify->replay, event);
}

/*
 * Lists the columns whose last logged value may not be the present one: they are
 * hidden, or were at some time since this event.
 */
static List *
untold_columns(AuditTarget *target, int64 since)
{
	List	   *names = NIL;

	for (int i = 0; i < target->nshapes; i++)
	{
		if (i < target->nshapes - 1 && target->shapes[i + 1].log_id < since)
			continue;
		for (int j = 0; j < target->shapes[i].ncolumns; j++)
		{
			AuditShapeColumn *column = &target->shapes[i].columns[j];

			if ((column->masked || column->excluded) && column->present_name != NULL)
				names = lappend(names, column->present_name);
		}
	}
	return names;
}

static bool
is_untold(Verify *verify, Jsonb *logged, const JsonbValue *name)
{
	return architect_audit_is_in_list(verify->untold_columns, name) ||
		architect_audit_is_erased(logged, name->val.string.val, name->val.string.len);
}

/* Stands for a value that cannot be read; known by its address. */
static const char unreadable[] = "";

/*
 * A value as the present type of the column writes it: NULL for SQL NULL, and
 * unreadable where the type does not take it.  A failure must not end the
 * transaction, so it is read in a subtransaction.
 */
static const char *
text_in_type(Verify *verify, AuditColumnReader *reader, Jsonb *image, JsonbValue *value)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	const char *volatile text = NULL;
	AuditReading reading;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		bool		isnull;
		Datum		datum;
		Oid			output;
		bool		is_varlena;

		architect_audit_begin_reading(verify->target, &reading);
		datum = architect_audit_read_column(reader, image, value, &isnull);
		getTypeOutputInfo(reader->type, &output, &is_varlena);
		text = isnull ? NULL : OidOutputFunctionCall(output, datum);
		architect_audit_end_reading(&reading);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category == ERRCODE_OPERATOR_INTERVENTION || category == ERRCODE_INSUFFICIENT_RESOURCES)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		text = unreadable;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return text;
}

static bool
is_same_text(const char *left, const char *right)
{
	if (left == NULL || right == NULL)
		return left == right;
	return left != unreadable && strcmp(left, right) == 0;
}

/*
 * True when a value that was logged under another type of the column is the live
 * one in its present type.
 */
static bool
is_same_in_present_type(Verify *verify, const JsonbValue *name, Jsonb *logged, JsonbValue *value,
						Jsonb *live, JsonbValue *live_value)
{
	int			column = architect_audit_find_reader(verify->readers, RelationGetDescr(verify->root)->natts, name);
	AuditColumnReader *reader = &verify->readers[column];

	return column >= 0 && architect_audit_type_changed(verify->target, reader) &&
		is_same_text(text_in_type(verify, reader, logged, value), text_in_type(verify, reader, live, live_value));
}

/*
 * Compares a row with what the log says of it, column by column, and emits the
 * columns that differ.
 */
static void
compare_columns(Verify *verify, text *record_id, Jsonb *logged, Jsonb *live)
{
	JsonbIterator *iterator = JsonbIteratorInit(&logged->root);
	JsonbParseState *logged_state = NULL;
	JsonbParseState *live_state = NULL;
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		found = false;

	pushJsonbValue(&logged_state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&live_state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		JsonbValue	name = value;
		JsonbValue	live_value;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (name.val.string.len == 0 ||
			architect_audit_get(live, name.val.string.val, name.val.string.len, &live_value) == NULL)
			continue;
		if (architect_audit_same_value(&value, &live_value) &&
			(value.type != jbvNull ||
			 architect_audit_is_json_null(logged, name.val.string.val, name.val.string.len) ==
			 architect_audit_is_json_null(live, name.val.string.val, name.val.string.len)))
			continue;
		if (is_untold(verify, logged, &name) ||
			is_same_in_present_type(verify, &name, logged, &value, live, &live_value))
			continue;

		pushJsonbValue(&logged_state, WJB_KEY, &name);
		pushJsonbValue(&logged_state, WJB_VALUE, &value);
		pushJsonbValue(&live_state, WJB_KEY, &name);
		pushJsonbValue(&live_state, WJB_VALUE, &live_value);
		found = true;
	}
	if (found)
		put_problem(verify, record_id, "different",
					JsonbValueToJsonb(pushJsonbValue(&logged_state, WJB_END_OBJECT, NULL)),
					JsonbValueToJsonb(pushJsonbValue(&live_state, WJB_END_OBJECT, NULL)));
}

/*
 * Compares a row with the fingerprint of its record.
 */
static void
check_fingerprint(Verify *verify, text *record_id, Jsonb *live)
{
	switch (architect_audit_check_fingerprint(verify->fingerprints, record_id, live))
	{
		case AUDIT_VERDICT_SAME:
			break;
		case AUDIT_VERDICT_SUSPECT:
			add_suspect(architect_audit_wide_hash(record_id), verify);
			break;
		case AUDIT_VERDICT_UNTOLD:
			verify->untold++;
			break;
	}
}

/*
 * Compares a row with the images of its record.
 */
static void
check_images(Verify *verify, text *record_id, Jsonb *live)
{
	AuditChange *record = architect_audit_find_change(verify->replay, record_id);

	if (record == NULL && !verify->is_complete)
		verify->untold++;
	else if (record == NULL || !record->exists)
		put_problem(verify, record_id, "unexpected", NULL, live);
	else
	{
		record->seen = true;
		if (record->after != NULL)
			compare_columns(verify, record_id, record->after, live);
	}
}

/*
 * Checks the rows of a table or a partition that belong to this pass.
 */
static void
check_rows(Verify *verify, Relation rel)
{
	AuditTable *table = architect_audit_capture_of(rel);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	AuditColumnSet set = {.columns = palloc(table->ncolumns * sizeof(int))};
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "architect audit row",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(row_context);

	while (set.count < table->ncolumns)
	{
		set.columns[set.count] = set.count;
		set.count++;
	}
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		text	   *record_id;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_context);
		slot_getallattrs(slot);
		record_id = architect_audit_record_id(table, slot);
		if (verify->fingerprints != NULL && is_of_pass(verify, architect_audit_wide_hash(record_id)))
			check_fingerprint(verify, record_id, architect_audit_image(table, &set, slot));
		else if (verify->replay != NULL && is_suspect_of_pass(verify, record_id))
			check_images(verify, record_id, architect_audit_image(table, &set, slot));
	}
	MemoryContextSwitchTo(caller);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_context);
}

static void
check_all_rows(Verify *verify)
{
	ListCell   *cell;

	foreach(cell, architect_audit_tables_of(verify->root))
	{
		Relation	rel = table_open(lfirst_oid(cell), AccessShareLock);

		check_rows(verify, rel);
		table_close(rel, NoLock);
	}
}

/*
 * Finds suspects among the records of one pass.
 */
static void
run_fingerprint_pass(Verify *verify)
{
	AuditEventFilter filter = {.after_id = verify->reset_id, .in_any_order = true};
	MemoryContext pass_context = AllocSetContextCreate(CurrentMemoryContext, "architect audit fingerprints",
													   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(pass_context);

	verify->fingerprints = architect_audit_begin_fingerprints(verify->untold_columns, verify->is_complete);
	architect_audit_read_events(verify->target, &filter, take_fingerprint, verify);
	check_all_rows(verify);
	architect_audit_unseen_suspects(verify->fingerprints, add_suspect, verify);
	verify->fingerprints = NULL;

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(pass_context);
}

/*
 * Replays and compares the suspects of one pass.
 */
static void
run_image_pass(Verify *verify)
{
	AuditEventFilter filter = {.after_id = verify->reset_id};
	MemoryContext pass_context = AllocSetContextCreate(CurrentMemoryContext, "architect audit images",
													   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(pass_context);
	ListCell   *cell;

	verify->replay = architect_audit_begin_replay(false, true, true);
	architect_audit_read_events(verify->target, &filter, take_event, verify);
	check_all_rows(verify);
	foreach(cell, architect_audit_net_changes(verify->replay))
	{
		AuditChange *record = lfirst(cell);

		if (record->exists && !record->doubtful && !record->seen)
			put_problem(verify, record->id, "missing", record->after, NULL);
	}
	verify->replay = NULL;

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(pass_context);
}

/*
 * How often to read for so many records to fit into maintenance_work_mem.
 */
static int
count_passes(double records, int bytes)
{
	double		parts = records * bytes / (maintenance_work_mem * 1024.0);

	return pg_nextpower2_32(1 + (uint32) Min(parts, 1023));
}

/*
 * Compares by fingerprints, as far as they can tell.
 */
static void
find_suspects(Verify *verify)
{
	verify->suspects = suspects_create(CurrentMemoryContext, 64, NULL);
	verify->passes = count_passes(architect_audit_estimate_rows(verify->root), FINGERPRINT_BYTES);
	for (verify->pass = 0; verify->pass < verify->passes; verify->pass++)
		run_fingerprint_pass(verify);
}

/*
 * Compares suspects, or all records, by their images.
 */
static void
compare_images(Verify *verify)
{
	double		records = verify->suspects != NULL ? verify->suspects->members :
		architect_audit_estimate_rows(verify->root);

	verify->passes = count_passes(records, IMAGE_BYTES);
	if (verify->passes > 1)
	{
		AuditEventFilter filter = {.in_any_order = true};

		verify->moved = architect_audit_begin_replay(false, false, false);
		architect_audit_read_events(verify->target, &filter, take_moved, verify);
	}
	for (verify->pass = 0; verify->pass < verify->passes; verify->pass++)
		run_image_pass(verify);
}

/*
 * Finds where the log begins to name rows by the present key, and whether it has
 * had every row since.
 */
static void
take_shapes(Verify *verify)
{
	AuditShape *shapes = verify->target->shapes;

	for (int i = 0; i < verify->target->nshapes; i++)
	{
		if (i > 0 && architect_audit_has_other_key(&shapes[i - 1], &shapes[i]))
		{
			verify->reset_id = shapes[i].log_id;
			verify->is_complete = false;
		}
		verify->is_complete |= shapes[i].whole;
	}
}

/*
 * Raises where the log leaves out changes by intent.
 */
static void
check_shapes(AuditTarget *target)
{
	AuditShape *present = &target->shapes[target->nshapes - 1];

	if (present->gap != NULL || present->condition != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot verify the log of table \"%s\"", target->name),
				 present->gap != NULL ? errdetail("Its changes are not logged: %s.", present->gap) :
				 errdetail("It is audited under a condition, so its log has not every row."),
				 errhint("Call architect.audit_enable for the whole of the table, and then architect.audit_baseline.")));
}

/*
 * architect.audit_verify(target)
 */
Datum
architect_audit_verify(PG_FUNCTION_ARGS)
{
	Verify	   *verify = palloc0(sizeof(Verify));
	AuditEventFilter whole_table = {.whole_table = true};

	verify->target = architect_audit_read_target(PG_GETARG_OID(0), NULL, "verify the log of");
	architect_audit_check_row_security(verify->target);
	check_shapes(verify->target);
	InitMaterializedSRF(fcinfo, 0);
	verify->result = (ReturnSetInfo *) fcinfo->resultinfo;

	verify->root = table_open(verify->target->relation, AccessShareLock);
	verify->readers = architect_audit_column_readers(verify->root);
	take_shapes(verify);
	verify->is_complete &= verify->target->removed_before == DT_NOBEGIN;
	whole_table.after_id = verify->reset_id;
	architect_audit_read_events(verify->target, &whole_table, take_whole_table, verify);
	verify->untold_columns = untold_columns(verify->target, verify->reset_id);
	for (int i = 0; i < RelationGetDescr(verify->root)->natts; i++)
		verify->needs_images |= verify->readers[i].name != NULL &&
			architect_audit_type_changed(verify->target, &verify->readers[i]);

	if (!verify->needs_images)
		find_suspects(verify);
	if (verify->needs_images || verify->suspects->members > 0)
		compare_images(verify);
	table_close(verify->root, NoLock);

	if (verify->untold > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " rows of table \"%s\" are not in its log", verify->untold, verify->target->name),
				 errdetail("They are older than what the log has of the table, and have not changed since."),
				 errhint("architect.audit_baseline puts them into the log, to be verified from then on.")));
	return (Datum) 0;
}
