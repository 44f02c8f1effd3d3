/*
 * history.c
 *    architect.audit_history: the versions of a record, rebuilt from the log.
 *
 * A capture of changes has the whole row where it begins and where it ends, and
 * in between only what changed.  So each life is gone through twice: forwards
 * from its beginning, and backwards from its end for what the log does not reach
 * back to.  Nothing is carried across a gap, or across an event that says that
 * the row was not what the log knew it to be, without being called incomplete.
 */
#include "postgres.h"

#include "access/relation.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "audit/record.h"
#include "audit/replay.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_history);

/* The columns of architect.audit_history(). */
enum HistoryColumn
{
	HISTORY_VERSION,
	HISTORY_OPERATION,
	HISTORY_RECORD,
	HISTORY_OLD_VALUES,
	HISTORY_NEW_VALUES,
	HISTORY_CHANGED_BY,
	HISTORY_CHANGED_AT,
	HISTORY_TRANSACTION_ID,
	HISTORY_COMPLETE,
	HISTORY_LOG_ID,
	HISTORY_NEW_RECORD_ID,
	HISTORY_SESSION_ROLE,
	HISTORY_CONTEXT,
	HISTORY_COLUMNS
};

/* Those that are the log's, as they are. */
static const int log_columns[HISTORY_COLUMNS] = {
	[HISTORY_VERSION] = -1,
	[HISTORY_OPERATION] = LOG_OPERATION,
	[HISTORY_RECORD] = -1,
	[HISTORY_OLD_VALUES] = LOG_OLD_VALUES,
	[HISTORY_NEW_VALUES] = LOG_NEW_VALUES,
	[HISTORY_CHANGED_BY] = LOG_CHANGED_BY,
	[HISTORY_CHANGED_AT] = LOG_CHANGED_AT,
	[HISTORY_TRANSACTION_ID] = LOG_TRANSACTION_ID,
	[HISTORY_COMPLETE] = -1,
	[HISTORY_LOG_ID] = LOG_ID,
	[HISTORY_NEW_RECORD_ID] = LOG_NEW_RECORD_ID,
	[HISTORY_SESSION_ROLE] = LOG_SESSION_ROLE,
	[HISTORY_CONTEXT] = LOG_CONTEXT,
};

/* A life on its way to versions. */
typedef struct Rebuild
{
	AuditLife  *life;
	AuditTarget *target;		/* how the table was audited, or NULL: always as now */
	List	   *table_rows;		/* gaps among them */
	int			count;
	AuditVersion *versions;
	bool	   *breaks;			/* something may have happened unseen before this one */
} Rebuild;

/* What is known of the row at one moment. */
typedef struct State
{
	AuditRecord *record;
	bool		whole;
} State;

static AuditRecord *
copy_record(const AuditRecord *record)
{
	AuditRecord *copy = architect_audit_make_record();

	architect_audit_merge(copy, record);
	return copy;
}

static State
unknown_state(void)
{
	return (State) {.record = architect_audit_make_record()};
}

static State
image_state(Jsonb *image)
{
	return (State) {.record = architect_audit_read_record(image), .whole = image != NULL};
}

/*
 * Takes the state over an UPDATE, in either direction.
 */
static void
apply_update(State *state, const AuditLogRow *event, Jsonb *becomes)
{
	AuditRecord *before = architect_audit_read_record(event->old_values);
	AuditRecord *after = architect_audit_read_record(event->new_values);

	if (architect_audit_is_full(before, after))
		*state = image_state(becomes);
	else
		architect_audit_merge(state->record, architect_audit_read_record(becomes));
}

/*
 * The text of this member of an event's context, or "".
 */
static char *
context_text(const AuditLogRow *row, const char *name)
{
	JsonbValue	value;

	if (row->nulls[LOG_CONTEXT] ||
		getKeyJsonValueFromContainer(&DatumGetJsonbP(row->values[LOG_CONTEXT])->root,
									 name, strlen(name), &value) == NULL || value.type != jbvString)
		return "";
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/*
 * True for a gap after which a row may not be what it was.  Where the server has
 * rewritten the table, it has changed values only with the type of a column.
 */
static bool
is_gap(const AuditLogRow *row)
{
	return row->operation == 'G' &&
		(strcmp(context_text(row, "gap"), "rewrite") != 0 ||
		 strstr(context_text(row, "detail"), "type of a column") != NULL);
}

/*
 * True when the table was not audited, or not all of it, at some moment between
 * these ids.
 */
static bool
was_not_audited(AuditTarget *target, int64 after, int64 before)
{
	for (int i = 0; target != NULL && i < target->nshapes; i++)
	{
		if (target->shapes[i].gap != NULL && target->shapes[i].log_id < before &&
			(i + 1 == target->nshapes || target->shapes[i + 1].log_id >= after))
			return true;
	}
	return false;
}

static bool
has_gap_between(List *table_rows, int64 after, int64 before)
{
	ListCell   *cell;

	foreach(cell, table_rows)
	{
		AuditLogRow *row = lfirst(cell);

		if (row->id > after && row->id < before && is_gap(row))
			return true;
	}
	return false;
}

/*
 * True when the row may have changed unseen since the event before this one.
 */
static bool
is_break(const Rebuild *rebuild, int place, const State *state)
{
	AuditLogRow *event = list_nth(rebuild->life->events, place);
	Jsonb	   *shown = event->operation == 'B' ? event->new_values : event->old_values;
	AuditLogRow *previous;

	if (place == 0)
		return false;
	previous = list_nth(rebuild->life->events, place - 1);
	return (event->operation == 'U' && event->keys_only) ||
		has_gap_between(rebuild->table_rows, previous->id, event->id) ||
		was_not_audited(rebuild->target, previous->id, event->id) ||
		architect_audit_contradicts(state->record, architect_audit_read_record(shown));
}

static void
make_stale(State *state)
{
	state->whole = false;
	for (int i = 0; i < state->record->count; i++)
		state->record->fields[i].stale = true;
}

/*
 * Fills in the versions from the beginning of the life on.
 */
static void
rebuild_forwards(Rebuild *rebuild)
{
	State		state = unknown_state();

	for (int i = 0; i < rebuild->count; i++)
	{
		AuditLogRow *event = list_nth(rebuild->life->events, i);
		AuditVersion *version = &rebuild->versions[i];

		rebuild->breaks[i] = is_break(rebuild, i, &state);
		if (rebuild->breaks[i])
			make_stale(&state);

		version->event = event;
		version->life = rebuild->life;
		if (event->operation == 'D' || event->operation == 'T')
		{
			version->complete = event != rebuild->life->doubtful;
			state = unknown_state();
			continue;
		}

		if (event->operation == 'U')
			apply_update(&state, event, event->new_values);
		else
			state = image_state(event->new_values);
		version->record = copy_record(state.record);
		version->complete = state.whole;
	}
}

/*
 * Completes a version by what later events say of it.
 */
static void
complete_version(AuditVersion *version, const State *later)
{
	AuditRecord *record = version->record;

	if (record == NULL || version->complete)
		return;

	version->record = copy_record(later->record);
	version->complete = later->whole;
	for (int i = 0; !later->whole && i < record->count; i++)
	{
		AuditField *field = &record->fields[i];

		if (!field->stale ||
			architect_audit_get_field(version->record, field->name, field->length) == NULL)
			architect_audit_set_field(version->record, field);
	}
}

/*
 * Completes the versions from the end of the life back.
 */
static void
rebuild_backwards(Rebuild *rebuild)
{
	State		state = unknown_state();

	for (int i = rebuild->count - 1; i >= 0; i--)
	{
		AuditVersion *version = &rebuild->versions[i];

		complete_version(version, &state);

		if (rebuild->breaks[i])
			state = unknown_state();
		else if (version->event->operation == 'U')
			apply_update(&state, version->event, version->event->old_values);
		else
			state = image_state(version->event->operation == 'B' ? version->event->new_values :
								version->event->old_values);
	}
}

/*
 * Returns the versions (AuditVersion *) of every life that ever had this
 * record_id, one life after the other, each from its beginning.  Records are under
 * present names.
 */
List *
architect_audit_versions(AuditReader *reader, struct AuditTarget *target, int32 table_id, const char *record_id)
{
	List	   *table_rows = architect_audit_record_rows(reader, AUDIT_BY_RECORD, table_id, NULL);
	List	   *versions = NIL;
	ListCell   *cell;

	foreach(cell, architect_audit_lives(reader, target, table_id, record_id, table_rows))
	{
		Rebuild		rebuild = {.life = lfirst(cell), .target = target, .table_rows = table_rows};

		rebuild.count = list_length(rebuild.life->events);
		rebuild.versions = palloc0(rebuild.count * sizeof(AuditVersion));
		rebuild.breaks = palloc0(rebuild.count * sizeof(bool));
		rebuild_forwards(&rebuild);
		rebuild_backwards(&rebuild);
		for (int i = 0; i < rebuild.count; i++)
			versions = lappend(versions, &rebuild.versions[i]);
	}
	return versions;
}

static void
put_version(ReturnSetInfo *result, struct AuditTarget *target, int64 number, const AuditVersion *version)
{
	Datum		values[HISTORY_COLUMNS] = {0};
	bool		nulls[HISTORY_COLUMNS] = {false};

	for (int i = 0; i < HISTORY_COLUMNS; i++)
	{
		if (log_columns[i] >= 0)
		{
			values[i] = version->event->values[log_columns[i]];
			nulls[i] = version->event->nulls[log_columns[i]];
		}
	}
	values[HISTORY_VERSION] = Int64GetDatum(number);
	values[HISTORY_COMPLETE] = BoolGetDatum(version->complete);
	if (version->record != NULL && version->record->count > 0)
		values[HISTORY_RECORD] = JsonbPGetDatum(architect_audit_write_record(
			architect_audit_rename_back(target, version->event, version->record)));
	else
		nulls[HISTORY_RECORD] = true;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Opens a table whose log the caller may read, as its owner, and gives its
 * number; raises otherwise.
 */
Relation
architect_audit_open_target(Oid target, const char *purpose, int32 *table_id)
{
	Relation	rel = architect_audit_open_root(target, purpose);

	*table_id = architect_audit_table_id(RelationGetRelid(rel));
	if (*table_id == 0 || !OidIsValid(architect_relation("audit_log", true)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was never audited", RelationGetRelationName(rel)),
				 errhint("Call architect.audit_enable, which records every change from then on.")));
	return rel;
}

/*
 * architect.audit_history(target, record_id)
 */
Datum
architect_audit_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	rel;
	int32		table_id;
	struct AuditTarget *target;
	AuditReader *reader;
	int64		number = 0;
	ListCell   *cell;

	rel = architect_audit_open_target(PG_GETARG_OID(0), "show the history of", &table_id);
	InitMaterializedSRF(fcinfo, 0);

	target = architect_audit_past_names(RelationGetRelid(rel), table_id);
	reader = architect_audit_open_log();
	foreach(cell, architect_audit_versions(reader, target, table_id, text_to_cstring(PG_GETARG_TEXT_PP(1))))
		put_version(result, target, ++number, lfirst(cell));
	architect_audit_close_log(reader);
	relation_close(rel, NoLock);
	return (Datum) 0;
}
