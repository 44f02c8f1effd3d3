/*
 * capture_show.c
 *    Shows what was captured, to those who may see it.
 *
 * Values are as sensitive as tables are: an entry is for members of the role that ran
 * the statement, and of pg_read_all_stats.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "core/core.h"
#include "index/advise.h"
#include "index/capture.h"

PG_FUNCTION_INFO_V1(architect_index_capture);
PG_FUNCTION_INFO_V1(architect_index_capture_status);
PG_FUNCTION_INFO_V1(architect_index_capture_reset);

typedef void (*Visit) (void *argument, const CaptureEntry *entry);

static void
check_store(void)
{
	if (architect_capture_has_store())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no statements are captured"),
			 errdetail("That takes memory from the server's start."),
			 errhint("Name pg_architect in shared_preload_libraries, let architect.index_capture_size not be 0, "
					 "and restart the server.")));
}

/*
 * Visits the entries of this database that the caller may see.  No lock is held then.
 */
static void
visit_entries(Visit visit, void *argument)
{
	bool		sees_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	CaptureEntry entry;

	for (int i = 0; i < CAPTURE_EXAMPLES; i++)
		entry.bytes[i] = palloc(architect_capture_most_bytes());
	for (int number = 0; architect_capture_copy(number, &entry); number++)
	{
		CHECK_FOR_INTERRUPTS();
		if (entry.nexamples > 0 && entry.key.database == MyDatabaseId &&
			(sees_all || has_privs_of_role(GetUserId(), entry.key.role)))
			visit(argument, &entry);
	}
	for (int i = 0; i < CAPTURE_EXAMPLES; i++)
		pfree(entry.bytes[i]);
}

static double
estimate_calls(const CaptureCounts *counts)
{
	return Max(counts->calls, counts->seen);
}

static double
estimate_milliseconds(const CaptureCounts *counts)
{
	return counts->calls >= counts->seen ? counts->milliseconds : counts->seen_milliseconds;
}

static const char *
example_path(const CaptureExample *example, const char *bytes)
{
	return bytes + example->text_length + 1;
}

/*
 * Returns the values of an example as text[]; NULL where there are none.
 */
static ArrayType *
example_values(const CaptureExample *example, const char *bytes)
{
	const char *at = example_path(example, bytes) + example->path_length + 1;
	int			count = example->nvalues;
	Datum	   *values = palloc(count * sizeof(Datum));
	bool	   *nulls = palloc(count * sizeof(bool));
	int			bound = 1;

	if (count == 0)
		return NULL;
	for (int i = 0; i < count; i++)
	{
		int32		length;

		memcpy(&length, at, sizeof(length));
		at += sizeof(length);
		nulls[i] = length < 0;
		if (nulls[i])
			continue;
		values[i] = PointerGetDatum(cstring_to_text_with_len(at, length));
		at += length;
	}
	return construct_md_array(values, nulls, 1, &count, &bound, TEXTOID, -1, false, TYPALIGN_INT);
}

static const char *
left_out(CaptureOutcome outcome)
{
	switch (outcome)
	{
		case CAPTURE_LONG_TEXT:
			return "the text is too long";
		case CAPTURE_LONG_VALUES:
			return "the values of its parameters are too long";
		case CAPTURE_FAILED_VALUES:
			return "the values of its parameters could not be written";
		default:
			return NULL;
	}
}

static void
set_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	if (text != NULL)
		*value = CStringGetTextDatum(text);
}

static void
put_entry(void *argument, const CaptureEntry *entry)
{
	ReturnSetInfo *result = argument;

	for (int i = 0; i < entry->nexamples; i++)
	{
		const CaptureExample *example = &entry->examples[i];
		ArrayType  *parameters = example->length > 0 ? example_values(example, entry->bytes[i]) : NULL;
		Datum		values[11];
		bool		nulls[11] = {false};

		values[0] = Int64GetDatum(entry->key.query_id);
		values[1] = ObjectIdGetDatum(entry->key.role);
		values[2] = Int64GetDatum(entry->counts.seen);
		values[3] = Float8GetDatum(estimate_calls(&entry->counts));
		values[4] = Float8GetDatum(estimate_milliseconds(&entry->counts));
		set_text(&values[5], &nulls[5], example->length > 0 ? entry->bytes[i] : NULL);
		nulls[6] = parameters == NULL;
		values[6] = PointerGetDatum(parameters);
		set_text(&values[7], &nulls[7], example->length > 0 ? example_path(example, entry->bytes[i]) : NULL);
		values[8] = Int64GetDatum(example->times);
		values[9] = TimestampTzGetDatum(example->taken_at);
		set_text(&values[10], &nulls[10], left_out(example->outcome));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * architect.index_capture() → one row an example
 */
Datum
architect_index_capture(PG_FUNCTION_ARGS)
{
	check_store();
	InitMaterializedSRF(fcinfo, 0);
	visit_entries(put_entry, fcinfo->resultinfo);
	return (Datum) 0;
}

/*
 * architect.index_capture_status() → one row; NULL is what there cannot be now
 */
Datum
architect_index_capture_status(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	CaptureStatus status;
	Datum		values[13];
	bool		nulls[13];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));
	set_text(&values[0], &nulls[0], architect_capture_problem());
	if (architect_capture_has_store())
	{
		architect_capture_status(&status);
		memset(nulls + 1, false, sizeof(nulls) - sizeof(bool));
		values[1] = Int32GetDatum(status.entries);
		values[2] = Int32GetDatum(status.most_entries);
		values[3] = Int64GetDatum(status.bytes);
		values[4] = Int64GetDatum(status.most_bytes);
		values[5] = Int64GetDatum(status.sightings);
		values[6] = Int64GetDatum(status.evicted);
		values[7] = Int64GetDatum(status.outcomes[CAPTURE_LONG_TEXT]);
		values[8] = Int64GetDatum(status.outcomes[CAPTURE_LONG_VALUES]);
		values[9] = Int64GetDatum(status.outcomes[CAPTURE_FAILED_VALUES]);
		values[10] = Int64GetDatum(status.outcomes[CAPTURE_UNCLEAR_TEXT]);
		values[11] = Int64GetDatum(status.outcomes[CAPTURE_BUSY]);
		values[12] = TimestampTzGetDatum(status.since);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * architect.index_capture_reset() → void
 */
Datum
architect_index_capture_reset(PG_FUNCTION_ARGS)
{
	check_store();
	architect_capture_clear();
	PG_RETURN_VOID();
}

static void
add_statements(void *argument, const CaptureEntry *entry)
{
	List	  **statements = argument;
	double		times = 0;

	for (int i = 0; i < entry->nexamples; i++)
		times += entry->examples[i].times;
	for (int i = 0; i < entry->nexamples; i++)
	{
		const CaptureExample *example = &entry->examples[i];
		AdviseStatement *statement = palloc0(sizeof(AdviseStatement));

		statement->query_id = entry->key.query_id;
		statement->role = entry->key.role;
		statement->calls = estimate_calls(&entry->counts) * example->times / times;
		statement->milliseconds = estimate_milliseconds(&entry->counts) * example->times / times;
		if (example->length > 0)
		{
			statement->text = pstrdup(entry->bytes[i]);
			statement->search_path = pstrdup(example_path(example, entry->bytes[i]));
			statement->values = example_values(example, entry->bytes[i]);
		}
		else
		{
			statement->text = pstrdup("");
			statement->problem = pstrdup(left_out(example->outcome));
		}
		*statements = lappend(*statements, statement);
	}
}

/*
 * Returns the statements of this database that the caller may see, as AdviseStatement
 * without numbers: those of a query id share its calls.  NIL where none are captured.
 */
List *
architect_capture_read(void)
{
	List	   *statements = NIL;

	if (architect_capture_has_store())
		visit_entries(add_statements, &statements);
	return statements;
}
