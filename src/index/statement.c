/*
 * statement.c
 *    Writes the statements of findings, and those that undo them.
 *
 * One statement a line, each ended.  On a partitioned table CONCURRENTLY does not
 * exist: there the parent's index is made alone, one is built on each partition, and
 * they are attached, which makes the parent's index valid.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "index/index.h"

#define LOCK_CONCURRENTLY "ShareUpdateExclusiveLock"
#define LOCK_EXCLUSIVE "AccessExclusiveLock"

static char *
qualify(Oid schema, const char *name)
{
	return architect_index_trim(quote_qualified_identifier(get_namespace_name(schema), name));
}

/*
 * Returns the name of a table, quoted and with its schema.
 */
char *
architect_index_table_name(const IndexTable *table)
{
	return qualify(table->schema, table->name);
}

char *
architect_index_name(const IndexDefinition *index)
{
	return qualify(index->table->schema, index->name);
}

/*
 * Returns a column of an index as it stands in its definition: a name, quoted, or an
 * expression.
 */
char *
architect_index_column_text(const IndexDefinition *index, int column)
{
	return architect_index_definition(index, column + 1);
}

/*
 * Returns all columns of an index, as names not quoted or expressions.
 */
List *
architect_index_column_texts(const IndexDefinition *index)
{
	List	   *texts = NIL;

	for (int i = 0; i < index->ncolumns; i++)
		texts = lappend(texts, index->attnums[i] > 0 ? index->table->columns[index->attnums[i] - 1].name :
						architect_index_column_text(index, i));
	return texts;
}

/*
 * Returns an index of a partition that is what is to be created, and not attached.
 */
static IndexDefinition *
find_same(const IndexTable *table, const List *names)
{
	ListCell   *cell;

	foreach(cell, table->indexes)
	{
		IndexDefinition *index = lfirst(cell);
		bool		is_same = index->is_valid && index->parent == NULL && index->access_method == BTREE_AM_OID &&
			index->predicate == NULL && index->expressions == NULL && index->constraint_type == '\0' &&
			!index->is_unique && index->ncolumns == list_length(names);

		for (int i = 0; is_same && i < index->ncolumns; i++)
			is_same = index->attnums[i] > 0 && index->options[i] == 0 &&
				index->collations[i] == table->columns[index->attnums[i] - 1].collation &&
				index->opclasses[i] == GetDefaultOpClass(table->columns[index->attnums[i] - 1].type, BTREE_AM_OID) &&
				strcmp(table->columns[index->attnums[i] - 1].name, list_nth(names, i)) == 0;
		if (is_same)
			return index;
	}
	return NULL;
}

/* A name that a statement of the review gives. */
typedef struct GivenName
{
	Oid			schema;
	char		name[NAMEDATALEN];
} GivenName;

static bool
is_given(IndexReview *review, Oid schema, const char *name)
{
	GivenName	key = {.schema = schema};
	bool		found;

	if (review->names == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(GivenName),
			.entrysize = sizeof(GivenName),
			.hcxt = CurrentMemoryContext,
		};

		review->names = hash_create("names of proposed indexes", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	strlcpy(key.name, name, NAMEDATALEN);
	(void) hash_search(review->names, &key, HASH_ENTER, &found);
	return found;
}

/*
 * Returns a name for an index as the server would choose it, that no relation has and
 * no other finding of the review gives.
 */
char *
architect_index_choose_name(const IndexFinding *finding, const IndexTable *table, const char *label,
							const char *kind, bool is_constraint)
{
	for (int pass = 0;; pass++)
	{
		char	   *name = ChooseRelationName(table->name, label, pass == 0 ? kind : psprintf("%s%d", kind, pass),
											  table->schema, is_constraint);

		if (finding->review == NULL || !is_given(finding->review, table->schema, name))
			return name;
	}
}

/* An index to be created. */
typedef struct Proposal
{
	const IndexFinding *finding;
	StringInfoData statement;
	StringInfoData undo;
	const List *names;			/* columns, for its name */
	const char *label;			/* names, as one */
	const char *body;			/* from USING on */
	bool		is_plain;		/* a btree index of these columns and no more */
} Proposal;

static const char *
choose_name(const IndexTable *table, const Proposal *proposal)
{
	return architect_index_choose_name(proposal->finding, table, proposal->label, "idx", false);
}

static void
create_on_partitions(Proposal *proposal, const IndexTable *table, const char *parent)
{
	ListCell   *cell;

	foreach(cell, table->partitions)
	{
		IndexTable *partition = lfirst(cell);
		IndexDefinition *same = proposal->is_plain ? find_same(partition, proposal->names) : NULL;
		const char *name;

		if (same != NULL)
		{
			name = qualify(partition->schema, same->name);
			architect_index_append_restore(&proposal->undo, same);
		}
		else
		{
			name = choose_name(partition, proposal);
			appendStringInfo(&proposal->statement, "CREATE INDEX %s%s ON %s%s %s;\n",
							 partition->kind == RELKIND_PARTITIONED_TABLE ? "" : "CONCURRENTLY ",
							 quote_identifier(name),
							 partition->kind == RELKIND_PARTITIONED_TABLE ? "ONLY " : "",
							 architect_index_table_name(partition), proposal->body);
			name = qualify(partition->schema, name);
			create_on_partitions(proposal, partition, name);
		}
		appendStringInfo(&proposal->statement, "ALTER INDEX %s ATTACH PARTITION %s;\n", parent, name);
	}
}

/*
 * Returns the statements without the last line's end.
 */
char *
architect_index_finish_lines(StringInfo lines)
{
	while (lines->len > 0 && lines->data[lines->len - 1] == '\n')
		lines->data[--lines->len] = '\0';
	return architect_index_trim(lines->data);
}

static char *
join(const List *names, const char *separator, bool quotes)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, names)
	{
		if (text.len > 0)
			appendStringInfoString(&text, separator);
		appendStringInfoString(&text, quotes ? quote_identifier(lfirst(cell)) : lfirst(cell));
	}
	return text.data;
}

/*
 * Proposes an index on the finding's table.  The names are for its name: column names
 * not quoted, or words.  The body begins with USING; NULL is a btree index of the
 * columns of these names.
 */
void
architect_index_propose_create(IndexFinding *finding, const List *names, const char *body)
{
	IndexTable *table = finding->table;
	Proposal	proposal = {
		.finding = finding,
		.names = names,
		.label = join(names, "_", false),
		.body = body,
		.is_plain = body == NULL,
	};
	bool		is_parent = table->kind == RELKIND_PARTITIONED_TABLE;
	bool		is_alone = is_parent && !table->has_foreign_partitions;
	const char *name = choose_name(table, &proposal);
	const char *full = qualify(table->schema, name);

	if (body == NULL)
		proposal.body = psprintf("USING btree (%s)", join(names, ", ", true));
	initStringInfo(&proposal.statement);
	initStringInfo(&proposal.undo);
	appendStringInfo(&proposal.statement, "CREATE INDEX %s%s ON %s%s %s;\n", is_parent ? "" : "CONCURRENTLY ",
					 quote_identifier(name), is_alone ? "ONLY " : "", architect_index_table_name(table), proposal.body);
	appendStringInfo(&proposal.undo, "DROP INDEX %s%s;\n", is_parent ? "" : "CONCURRENTLY ", full);
	if (is_alone)
		create_on_partitions(&proposal, table, full);

	finding->statement = architect_index_finish_lines(&proposal.statement);
	finding->undo = architect_index_finish_lines(&proposal.undo);
	if (!is_parent)
		finding->lock = LOCK_CONCURRENTLY " on the table";
	else if (is_alone)
		finding->lock = "ShareLock on the partitioned table for an instant, " LOCK_CONCURRENTLY " on one "
				"partition after the other";
	else
		finding->lock = "ShareLock on all partitions while it builds: CONCURRENTLY cannot be used with foreign "
				"partitions";
}

/*
 * Appends what pg_get_indexdef() does not say.
 */
static void
append_marks(StringInfo lines, const IndexDefinition *index)
{
	const char *table = architect_index_table_name(index->table);
	const char *name = quote_identifier(index->name);
	char	   *comment = GetComment(index->oid, RelationRelationId, 0);
	char	   *constraint_comment = index->constraint_type == '\0' ? NULL :
		GetComment(index->constraint, ConstraintRelationId, 0);

	if (index->is_clustered)
		appendStringInfo(lines, "ALTER TABLE %s CLUSTER ON %s;\n", table, name);
	if (index->is_replica_identity)
		appendStringInfo(lines, "ALTER TABLE %s REPLICA IDENTITY USING INDEX %s;\n", table, name);
	for (int i = 0; i < index->ncolumns; i++)
	{
		if (index->columns[i].statistics_target >= 0)
			appendStringInfo(lines, "ALTER INDEX %s ALTER COLUMN %d SET STATISTICS %d;\n",
							 architect_index_name(index), i + 1, index->columns[i].statistics_target);
	}
	if (comment != NULL)
		appendStringInfo(lines, "COMMENT ON INDEX %s IS %s;\n", architect_index_name(index),
						 quote_literal_cstr(comment));
	if (constraint_comment != NULL)
		appendStringInfo(lines, "COMMENT ON CONSTRAINT %s ON %s IS %s;\n", quote_identifier(index->constraint_name),
						 table, quote_literal_cstr(constraint_comment));
}

/*
 * Returns when a constraint is checked, as its definition ends.
 */
const char *
architect_index_deferral(const IndexDefinition *index)
{
	HeapTuple	tuple;
	bool		waits;

	if (index->is_immediate)
		return "";
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(index->constraint));
	waits = HeapTupleIsValid(tuple) && ((Form_pg_constraint) GETSTRUCT(tuple))->condeferred;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return waits ? " DEFERRABLE INITIALLY DEFERRED" : " DEFERRABLE";
}

/*
 * Appends a constraint as it is now: on top of its index, which was built before, or,
 * where that cannot be, with it.
 */
static void
append_constraint(StringInfo lines, const IndexDefinition *index, bool is_built)
{
	const char *kind = index->constraint_type == CONSTRAINT_PRIMARY ? "PRIMARY KEY" : "UNIQUE";

	appendStringInfo(lines, "ALTER TABLE %s%s ADD CONSTRAINT %s ", index->is_partitioned &&
			!index->is_valid ? "ONLY " : "",
					 architect_index_table_name(index->table), quote_identifier(index->constraint_name));
	if (is_built)
		appendStringInfo(lines, "%s USING INDEX %s%s;\n", kind, quote_identifier(index->name),
						 architect_index_deferral(index));
	else
		appendStringInfo(lines, "%s;\n", architect_index_constraint(index));
}

/*
 * Appends the statements that make an index, which is dropped, what it is now.
 */
void
architect_index_append_restore(StringInfo lines, const IndexDefinition *index)
{
	char	   *definition = architect_index_definition(index, 0);
	char	   *name = strstr(definition, "INDEX ") + strlen("INDEX ");
	char	   *tablespace = get_tablespace_name(index->tablespace);
	bool		is_whole = index->constraint_type == CONSTRAINT_EXCLUSION ||
		(index->constraint_type != '\0' && index->is_partitioned);
	ListCell   *cell;

	if (tablespace != NULL)
		appendStringInfo(lines, "SET default_tablespace = %s;\n", quote_identifier(tablespace));
	if (!is_whole)
		appendStringInfo(lines, "%.*s%s%s;\n", (int) (name - definition), definition,
						 index->is_partitioned ? "" : "CONCURRENTLY ", name);
	if (index->constraint_type != '\0')
		append_constraint(lines, index, !is_whole);
	if (tablespace != NULL)
		appendStringInfoString(lines, "RESET default_tablespace;\n");

	/* A constraint of a partitioned table makes those of its partitions, if it has all of them. */
	foreach(cell, is_whole && index->is_valid ? NIL : index->partitions)
	{
		const IndexDefinition *partition = lfirst(cell);

		architect_index_append_restore(lines, partition);
		appendStringInfo(lines, "ALTER INDEX %s ATTACH PARTITION %s;\n", architect_index_name(index),
						 architect_index_name(partition));
	}
	append_marks(lines, index);
}

/*
 * Proposes to drop an index, with its constraint if it has one.
 */
void
architect_index_propose_drop(IndexFinding *finding, IndexDefinition *index)
{
	StringInfoData undo;

	if (index->constraint_type != '\0')
	{
		finding->statement = psprintf("ALTER TABLE %s DROP CONSTRAINT %s;", architect_index_table_name(index->table),
									  quote_identifier(index->constraint_name));
		finding->lock = LOCK_EXCLUSIVE " on the table";
	}
	else if (index->is_partitioned)
	{
		finding->statement = psprintf("DROP INDEX %s;", architect_index_name(index));
		finding->lock = LOCK_EXCLUSIVE " on the partitioned table and its partitions";
	}
	else
	{
		finding->statement = psprintf("DROP INDEX CONCURRENTLY %s;", architect_index_name(index));
		finding->lock = LOCK_CONCURRENTLY " on the table";
	}
	initStringInfo(&undo);
	architect_index_append_restore(&undo, index);
	finding->undo = architect_index_finish_lines(&undo);
}

/*
 * Proposes to make an index with this body, and these columns more than there are, and then
 * to drop the one that there is.
 */
void
architect_index_propose_replace(IndexFinding *finding, IndexDefinition *index, const List *more, const char *body)
{
	List	   *names = NIL;
	char	   *create;
	char	   *undo;
	char	   *lock;

	for (int i = 0; i < index->ncolumns; i++)
		names = lappend(names, index->attnums[i] > 0 ? index->table->columns[index->attnums[i] - 1].name :
						get_attname(index->oid, i + 1, false));
	architect_index_propose_create(finding, list_concat(names, more), body);
	create = finding->statement;
	undo = finding->undo;
	lock = finding->lock;
	architect_index_propose_drop(finding, index);
	finding->statement = psprintf("%s\n%s", create, finding->statement);
	finding->undo = psprintf("%s\n%s", finding->undo, undo);
	if (strcmp(finding->lock, lock) != 0)
		finding->lock = psprintf("%s; %s", lock, finding->lock);
}

/*
 * Proposes to build an index anew.  There is nothing to undo.
 */
void
architect_index_propose_rebuild(IndexFinding *finding, IndexDefinition *index)
{
	bool		can_wait = !index->is_exclusion;

	finding->statement = psprintf("REINDEX INDEX %s%s;", can_wait ? "CONCURRENTLY " : "", architect_index_name(index));
	finding->lock = can_wait ? LOCK_CONCURRENTLY " on the table" :
			"ShareLock on the table, " LOCK_EXCLUSIVE " on the index";
}
