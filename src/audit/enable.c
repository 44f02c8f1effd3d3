/*
 * enable.c
 *    architect.audit_enable and architect.audit_disable.
 *
 * Triggers are made and dropped with the rights of the caller, who must own the
 * table; only the log and the register of tables are made with those of the
 * extension's owner.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "audit/audit.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_enable);
PG_FUNCTION_INFO_V1(architect_audit_disable);
PG_FUNCTION_INFO_V1(architect_audit_follow_partitions);

/* True while we change triggers ourselves. */
bool		architect_audit_is_changing = false;

static const char *const trigger_names[] = {
	AUDIT_ROW_TRIGGER, AUDIT_DELETE_TRIGGER, AUDIT_TRUNCATE_TRIGGER
};

/* What a caller asked for. */
typedef struct Request
{
	char	   *capture;
	List	   *exclude;		/* of char * */
	List	   *mask;
	List	   *key;
	char	   *condition;
	char	   *truncate;
	bool		replica;
} Request;

static char *
quoted_name(Relation rel)
{
	return architect_audit_relation_name(RelationGetRelid(rel));
}

/*
 * The trigger as CREATE TRIGGER would say it, whatever settings say.
 */
static char *
definition_of(Trigger *trigger)
{
	int			pin_level = architect_audit_pin(AUDIT_PIN_NAMES);
	char	   *definition = TextDatumGetCString(DirectFunctionCall1(pg_get_triggerdef,
																	 ObjectIdGetDatum(trigger->tgoid)));

	architect_audit_unpin(pin_level);
	return definition;
}

/*
 * Runs the statements as the current user.  No relation may be held open by
 * the caller: ALTER TABLE would refuse to work on it.
 */
static void
execute_all(List *statements)
{
	ListCell   *cell;

	SPI_connect();
	architect_audit_is_changing = true;
	PG_TRY();
	{
		foreach(cell, statements)
		{
			if (SPI_execute(lfirst(cell), false, 0) != SPI_OK_UTILITY)
				elog(ERROR, "unexpected result of: %s", (char *) lfirst(cell));
		}
	}
	PG_FINALLY();
	{
		architect_audit_is_changing = false;
	}
	PG_END_TRY();
	SPI_finish();
}

static Trigger *
find_trigger(Relation rel, const char *name)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (strcmp(triggers->triggers[i].tgname, name) == 0 &&
			get_func_namespace(triggers->triggers[i].tgfoid) == architect_schema())
			return &triggers->triggers[i];
	}
	return NULL;
}

/*
 * Opens the table for a caller who owns it; raises otherwise.
 */
static Relation
open_target(Oid target, const char *purpose)
{
	Relation	rel = try_relation_open(target, AccessShareLock);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", target),
				 errhint("Name the table, as in 'public.orders'.")));

	architect_check_plain_table(rel, purpose);
	architect_check_owner(rel);
	return rel;
}

/*
 * Locks the whole tree for these statements, if any, as strongly as they will
 * need: to take a stronger lock later would invite a deadlock.
 */
static void
lock_tree(Oid target, List *statements)
{
	LOCKMODE	mode = ShareRowExclusiveLock;
	ListCell   *cell;

	foreach(cell, statements)
	{
		if (strncmp(lfirst(cell), "DROP", 4) == 0)
			mode = AccessExclusiveLock;
	}
	if (statements != NIL)
	{
		LockRelationOid(target, mode);
		find_all_inheritors(target, mode, NULL);
	}
}

/*
 * Refuses a partition, whose audit is that of its root, unless it was audited
 * before it became one.
 */
static void
check_is_root(Relation rel, const char *purpose)
{
	Trigger    *trigger = architect_audit_find_trigger(rel);

	if (rel->rd_rel->relispartition && (trigger == NULL || trigger->tgisclone))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s \"%s\"", purpose, RelationGetRelationName(rel)),
				 errdetail("It is a partition, and a record has one history under the name of the partitioned table."),
				 errhint("Call it for the partitioned table at the top.")));
}

/*
 * Opens the table under whose name records are logged, for a caller who owns it;
 * raises otherwise.  The purpose completes "cannot ...".
 */
Relation
architect_audit_open_root(Oid target, const char *purpose)
{
	Relation	rel = open_target(target, purpose);

	check_is_root(rel, purpose);
	return rel;
}

/*
 * Says which children an audit of the parent does not reach.
 */
static void
notice_children(Relation rel)
{
	List	   *children;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return;
	children = find_inheritance_children(RelationGetRelid(rel), AccessShareLock);
	if (children != NIL)
		ereport(NOTICE,
				(errmsg("tables that inherit from \"%s\" are not audited by this",
						RelationGetRelationName(rel)),
				 errhint("Call architect.audit_enable for each of them that should be.")));
}

static void
check_word(const char *argument, const char *value, const char *const words[3])
{
	for (int i = 0; i < 3; i++)
	{
		if (strcmp(value, words[i]) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for \"%s\": \"%s\"", argument, value),
			 errhint("Available values: %s, %s, %s.", words[0], words[1], words[2])));
}

/*
 * Returns the columns' numbers; raises 42703 for one that does not exist.
 */
static List *
column_numbers(Relation rel, const char *argument, List *names)
{
	List	   *numbers = NIL;
	ListCell   *cell;

	foreach(cell, names)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), lfirst(cell));

		if (attnum <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s\" does not exist",
							(char *) lfirst(cell), RelationGetRelationName(rel)),
					 errdetail("It is named in the \"%s\" argument.", argument),
					 errhint("Name columns of the table.")));
		numbers = list_append_unique_int(numbers, attnum);
	}
	return numbers;
}

/*
 * Refuses to hide a column in a way that contradicts another.
 */
static void
check_hidden(Relation rel, const char *argument, List *hidden, List *against, const char *reason)
{
	ListCell   *cell;

	foreach(cell, hidden)
	{
		if (list_member_int(against, lfirst_int(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" cannot be in the \"%s\" argument",
							get_attname(RelationGetRelid(rel), lfirst_int(cell), false), argument),
					 errdetail("%s", reason),
					 errhint("Leave the column out of this argument.")));
	}
}

static List *
find_key(Relation rel, List *columns)
{
	List	   *key = architect_find_key(rel, columns);

	if (key == NIL && columns != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the \"key\" argument does not identify the rows of table \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("There is no valid unique index on just these columns, without a predicate and with all of them NOT NULL."),
				 errhint("Create such an index, or name the columns of another.")));
	if (key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key and no replica identity index",
						RelationGetRelationName(rel)),
				 errdetail("The audit names a row by its key."),
				 errhint("Add a primary key, or name the columns of a unique index: key => '{a,b}'.")));
	return key;
}

static void
append_member(StringInfo json, const char *name)
{
	if (json->len > 1)
		appendStringInfoString(json, ", ");
	escape_json(json, name);
	appendStringInfoString(json, ": ");
}

static void
append_columns(StringInfo json, const char *name, Relation rel, List *numbers)
{
	ListCell   *cell;
	const char *separator = "";

	if (numbers == NIL)
		return;

	append_member(json, name);
	appendStringInfoChar(json, '[');
	foreach(cell, numbers)
	{
		appendStringInfoString(json, separator);
		escape_json(json, get_attname(RelationGetRelid(rel), lfirst_int(cell), false));
		separator = ", ";
	}
	appendStringInfoChar(json, ']');

	append_member(json, psprintf("%s_attnums", name));
	separator = "";
	appendStringInfoChar(json, '[');
	foreach(cell, numbers)
	{
		appendStringInfo(json, "%s%d", separator, lfirst_int(cell));
		separator = ", ";
	}
	appendStringInfoChar(json, ']');
}

/*
 * Checks the request against the table and returns it as the argument of the
 * triggers, which table.c reads.
 */
static char *
make_options(Relation rel, Request *request)
{
	static const char *const captures[] = {"changes", "full", "keys"};
	static const char *const truncates[] = {"event", "rows", "refuse"};
	List	   *exclude = column_numbers(rel, "exclude", request->exclude);
	List	   *mask = column_numbers(rel, "mask", request->mask);
	List	   *masked = architect_audit_extend_mask(rel, mask);
	List	   *key_columns = column_numbers(rel, "key", request->key);
	List	   *key = find_key(rel, key_columns);
	StringInfoData json;

	check_word("capture", request->capture, captures);
	check_word("truncate", request->truncate, truncates);
	check_hidden(rel, "exclude", exclude, key, "It belongs to the key, by which the log names a row.");
	check_hidden(rel, "mask", mask, key, "It belongs to the key, by which the log names a row.");
	check_hidden(rel, "key", key, masked, "It is generated from a masked column, and the log shows the key.");
	check_hidden(rel, "mask", mask, exclude, "It is in the \"exclude\" argument too.");

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_member(&json, "capture");
	escape_json(&json, request->capture);
	append_columns(&json, "exclude", rel, exclude);
	append_columns(&json, "mask", rel, mask);
	append_columns(&json, "key", rel, key_columns);
	append_member(&json, "truncate");
	escape_json(&json, request->truncate);
	if (exclude != NIL || mask != NIL || key_columns != NIL)
	{
		append_member(&json, "source");
		escape_json(&json, architect_audit_witness(rel));
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

static char
enabled_state(bool replica)
{
	return replica ? TRIGGER_FIRES_ALWAYS : TRIGGER_FIRES_ON_ORIGIN;
}

static List *
plan_enabled(List *statements, Relation rel, const char *name, bool replica)
{
	return lappend(statements, psprintf("ALTER TABLE %s ENABLE %s TRIGGER %s", quoted_name(rel),
										replica ? "ALWAYS" : "", name));
}

/*
 * Appends what it takes for the relation to have the trigger exactly so, which
 * may be nothing; for a definition of NULL, not to have it.
 */
static List *
plan_trigger(List *statements, Relation rel, const char *name, const char *definition, bool replica)
{
	Trigger    *existing = find_trigger(rel, name);
	bool		exists = existing != NULL && definition != NULL &&
		strcmp(definition_of(existing), definition) == 0;

	if (existing != NULL && !exists)
		statements = lappend(statements, psprintf("DROP TRIGGER %s ON %s", name, quoted_name(rel)));
	if (definition != NULL && !exists)
		statements = lappend(statements, pstrdup(definition));
	if (definition != NULL &&
		enabled_state(replica) != (exists ? existing->tgenabled : TRIGGER_FIRES_ON_ORIGIN))
		statements = plan_enabled(statements, rel, name, replica);
	return statements;
}

/*
 * The definitions are worded as pg_get_triggerdef() words them.
 */
static List *
plan_row_trigger(List *statements, Relation rel, const char *name, const char *events,
				 const char *condition, const char *options, bool replica)
{
	return plan_trigger(statements, rel, name,
						psprintf("CREATE TRIGGER %s AFTER %s ON %s FOR EACH ROW %sEXECUTE FUNCTION "
								 ARCHITECT_SCHEMA ".audit_capture(%s)",
								 name, events, quoted_name(rel),
								 condition != NULL ? psprintf("WHEN (%s) ", condition) : "",
								 quote_literal_cstr(options)),
						replica);
}

static List *
plan_truncate_trigger(List *statements, Relation rel, bool replica)
{
	return plan_trigger(statements, rel, AUDIT_TRUNCATE_TRIGGER,
						psprintf("CREATE TRIGGER %s BEFORE TRUNCATE ON %s FOR EACH STATEMENT "
								 "EXECUTE FUNCTION " ARCHITECT_SCHEMA ".audit_truncate()",
								 AUDIT_TRUNCATE_TRIGGER, quoted_name(rel)),
						replica);
}

/*
 * Appends what rids the relation of our triggers.  Row triggers of a partition
 * go with its parent's.
 */
static List *
plan_no_triggers(List *statements, Relation rel, bool keep_truncate)
{
	for (int i = 0; i < lengthof(trigger_names); i++)
	{
		Trigger    *existing = find_trigger(rel, trigger_names[i]);

		if (existing != NULL && !existing->tgisclone &&
			!(keep_truncate && strcmp(existing->tgname, AUDIT_TRUNCATE_TRIGGER) == 0))
			statements = plan_trigger(statements, rel, trigger_names[i], NULL, false);
	}
	return statements;
}

/*
 * Appends what enables a partition's row triggers again, if somebody has
 * disabled them there alone.
 */
static List *
plan_clones_enabled(List *statements, Relation partition, bool replica)
{
	for (int i = 0; i < lengthof(trigger_names); i++)
	{
		Trigger    *existing = find_trigger(partition, trigger_names[i]);

		if (existing != NULL && existing->tgisclone && existing->tgenabled != enabled_state(replica))
			statements = plan_enabled(statements, partition, trigger_names[i], replica);
	}
	return statements;
}

/*
 * The partitions below a table, at every level.
 */
static List *
find_partitions(Oid top)
{
	if (get_rel_relkind(top) != RELKIND_PARTITIONED_TABLE)
		return NIL;
	return list_delete_oid(find_all_inheritors(top, AccessShareLock, NULL), top);
}

/*
 * Returns the statements that make the audit of this root as requested.
 */
static List *
plan_enable(Relation rel, Request *request, const char *options)
{
	List	   *statements = NIL;
	ListCell   *cell;
	bool		replica = request->replica;

	foreach(cell, find_partitions(RelationGetRelid(rel)))
	{
		Relation	partition = relation_open(lfirst_oid(cell), NoLock);

		architect_check_owner(partition);
		statements = plan_no_triggers(statements, partition, true);
		statements = plan_clones_enabled(statements, partition, replica);
		statements = plan_truncate_trigger(statements, partition, replica);
		relation_close(partition, NoLock);
	}

	if (request->condition == NULL)
	{
		statements = plan_trigger(statements, rel, AUDIT_DELETE_TRIGGER, NULL, false);
		statements = plan_row_trigger(statements, rel, AUDIT_ROW_TRIGGER, "INSERT OR DELETE OR UPDATE",
									  NULL, options, replica);
	}
	else
	{
		statements = plan_row_trigger(statements, rel, AUDIT_ROW_TRIGGER, "INSERT OR UPDATE",
									  architect_audit_condition(rel, request->condition, "new"),
									  options, replica);
		statements = plan_row_trigger(statements, rel, AUDIT_DELETE_TRIGGER, "DELETE",
									  architect_audit_condition(rel, request->condition, "old"),
									  options, replica);
	}
	return plan_truncate_trigger(statements, rel, replica);
}

/*
 * Returns the statements that end the audit of this root.
 */
static List *
plan_disable(Relation rel)
{
	List	   *statements = plan_no_triggers(NIL, rel, false);
	ListCell   *cell;

	foreach(cell, find_partitions(RelationGetRelid(rel)))
	{
		Relation	partition = relation_open(lfirst_oid(cell), NoLock);

		statements = plan_no_triggers(statements, partition, false);
		relation_close(partition, NoLock);
	}
	return statements;
}

/*
 * Makes the log if there is none yet and registers the table.
 */
static void
prepare_log(Oid target)
{
	Oid			types[] = {REGCLASSOID};
	Datum		values[] = {ObjectIdGetDatum(target)};

	architect_run_as_owner("SELECT " ARCHITECT_SCHEMA "._audit_prepare($1)", 1, types, values);
}

/*
 * Returns an argument of type name[] as a list of strings.
 */
List *
architect_audit_names(FunctionCallInfo fcinfo, int argument)
{
	List	   *names = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (PG_ARGISNULL(argument))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), NAMEOID, NAMEDATALEN, false,
					  TYPALIGN_CHAR, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a list of columns must not contain NULL"),
					 errhint("Name columns of the table.")));
		names = lappend(names, NameStr(*DatumGetName(elements[i])));
	}
	return names;
}

static char *
text_argument(FunctionCallInfo fcinfo, int argument, char *if_null)
{
	return PG_ARGISNULL(argument) ? if_null : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/*
 * architect.audit_enable(target, capture, exclude, mask, condition, key,
 *                        truncate, replica)
 */
Datum
architect_audit_enable(PG_FUNCTION_ARGS)
{
	Request		request = {
		.capture = text_argument(fcinfo, 1, "changes"),
		.exclude = architect_audit_names(fcinfo, 2),
		.mask = architect_audit_names(fcinfo, 3),
		.condition = text_argument(fcinfo, 4, NULL),
		.key = architect_audit_names(fcinfo, 5),
		.truncate = text_argument(fcinfo, 6, "event"),
		.replica = PG_ARGISNULL(7) ? false : PG_GETARG_BOOL(7)
	};
	Relation	rel = open_target(architect_target_argument(fcinfo), "audit");
	Oid			target = RelationGetRelid(rel);
	List	   *statements;

	architect_check_version();
	check_is_root(rel, "audit");
	lock_tree(target, plan_enable(rel, &request, make_options(rel, &request)));
	relation_close(rel, NoLock);

	/* Once more, now that it stands still. */
	rel = relation_open(target, NoLock);
	statements = plan_enable(rel, &request, make_options(rel, &request));
	if (statements == NIL)
		ereport(NOTICE,
				(errmsg("table \"%s\" is audited in this way already", RelationGetRelationName(rel))));
	else
		notice_children(rel);
	relation_close(rel, NoLock);

	prepare_log(target);
	execute_all(statements);
	architect_audit_note_shape(target, true);
	PG_RETURN_VOID();
}

/*
 * architect.audit_disable(target)
 */
Datum
architect_audit_disable(PG_FUNCTION_ARGS)
{
	Relation	rel = open_target(architect_target_argument(fcinfo), "stop the audit of");
	Oid			target = RelationGetRelid(rel);
	List	   *statements;

	check_is_root(rel, "stop the audit of");
	lock_tree(target, plan_disable(rel));
	relation_close(rel, NoLock);

	rel = relation_open(target, NoLock);
	statements = plan_disable(rel);
	if (statements == NIL)
		ereport(NOTICE,
				(errmsg("table \"%s\" is not audited", RelationGetRelationName(rel))));
	relation_close(rel, NoLock);

	execute_all(statements);
	architect_audit_note_shape(target, false);
	PG_RETURN_VOID();
}

/*
 * Returns the statements that a new partition and those below it need.
 */
static List *
plan_partition(Relation rel, bool replica)
{
	List	   *statements = plan_truncate_trigger(NIL, rel, replica);
	ListCell   *cell;

	foreach(cell, find_partitions(RelationGetRelid(rel)))
	{
		Relation	partition = relation_open(lfirst_oid(cell), NoLock);

		statements = plan_truncate_trigger(statements, partition, replica);
		relation_close(partition, NoLock);
	}
	return statements;
}

/*
 * The table that a command has just made a partition, or InvalidOid.
 */
static Oid
new_partition(Node *command)
{
	if (IsA(command, CreateStmt) && ((CreateStmt *) command)->partbound != NULL)
		return RangeVarGetRelid(((CreateStmt *) command)->relation, AccessShareLock, true);

	if (IsA(command, AlterTableStmt))
	{
		ListCell   *cell;

		foreach(cell, ((AlterTableStmt *) command)->cmds)
		{
			AlterTableCmd *part = lfirst(cell);

			if (part->subtype == AT_AttachPartition)
				return RangeVarGetRelid(((PartitionCmd *) part->def)->name, AccessShareLock, true);
		}
	}
	return InvalidOid;
}

/*
 * Event trigger at the end of CREATE TABLE and ALTER TABLE: a new partition of
 * an audited table gets the trigger that PostgreSQL does not clone, for TRUNCATE.
 */
Datum
architect_audit_follow_partitions(PG_FUNCTION_ARGS)
{
	Oid			partition = new_partition(architect_ddl_command(fcinfo));
	Relation	rel;
	Trigger    *row_trigger;
	List	   *statements = NIL;

	rel = OidIsValid(partition) ? try_relation_open(partition, AccessShareLock) : NULL;
	if (rel == NULL)
		return PointerGetDatum(NULL);
	row_trigger = architect_audit_find_trigger(rel);
	if (row_trigger != NULL && row_trigger->tgisclone)
		statements = plan_partition(rel, row_trigger->tgenabled == TRIGGER_FIRES_ALWAYS);
	relation_close(rel, NoLock);

	execute_all(statements);
	return PointerGetDatum(NULL);
}
