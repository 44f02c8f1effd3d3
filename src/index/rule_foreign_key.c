/*
 * rule_foreign_key.c
 *    Foreign keys that no index serves: each row that is deleted from the referenced
 *    table, or gets another key there, reads the whole table.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "catalog/pg_constraint.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "index/replacement.h"
#include "index/rules.h"
#include "index/workload.h"

/* Fewer pages than these are read in no time: 1 MB. */
#define FEW_PAGES (1024 * 1024 / BLCKSZ)

/* Read for checks in a day, this is a load of its own: 100 GB. */
#define MANY_PAGES (100.0 * 1024 * 1024 * 1024 / BLCKSZ)

/* A foreign key that no index serves. */
typedef struct Unserved
{
	IndexForeignKey *key;
	Oid			method;			/* of an index that would; InvalidOid: there is none */
	List	   *columns;		/* char *, as that index must have them */
} Unserved;

/* Keys that one index would serve: each one's columns are among those of the one before. */
typedef struct Need
{
	List	   *keys;			/* Unserved */
	List	   *attnums;		/* in the index's order */
	List	   *columns;		/* char * */
} Need;

/*
 * True when the index of a partitioned table would support the key if no partition
 * lacked its own.
 */
static bool
would_support(const IndexDefinition *index, const IndexForeignKey *key)
{
	IndexDefinition whole = *index;

	whole.is_valid = true;
	return index->is_partitioned && index->table->partitions != NIL && architect_index_supports(&whole, key);
}

/*
 * True when the checks of the key find their rows by index, in each partition; or would,
 * once all indexes of partitioned tables are complete.
 */
static bool
is_served(const IndexTable *table, const IndexForeignKey *key, bool is_complete)
{
	ListCell   *cell;

	foreach(cell, table->indexes)
	{
		if (architect_index_supports(lfirst(cell), key) || (is_complete && would_support(lfirst(cell), key)))
			return true;
	}
	foreach(cell, table->partitions)
	{
		if (!is_served(lfirst(cell), key, is_complete))
			return false;
	}
	return table->partitions != NIL;
}

/*
 * Returns the operator class that an index must have on a column of a key; InvalidOid
 * where no index of this kind can.
 */
static Oid
find_opclass(const IndexForeignKey *key, int position, Oid method)
{
	Oid			operator = get_commutator(key->operators[position]);
	Oid			types[] = {key->table->columns[key->attnums[position] - 1].type, InvalidOid};
	Oid			left;

	op_input_types(key->operators[position], &left, &types[1]);
	for (int i = 0; i < lengthof(types); i++)
	{
		Oid			opclass = GetDefaultOpClass(types[i], method);

		if (OidIsValid(opclass) && op_in_opfamily(operator, get_opclass_family(opclass)))
			return opclass;
	}
	return InvalidOid;
}

/*
 * Returns a column of a key as an index must have it for the check to search by it;
 * NULL where an index of this kind cannot have it so.
 */
static char *
describe_column(const IndexForeignKey *key, int position, Oid method)
{
	const IndexColumn *column = &key->table->columns[key->attnums[position] - 1];
	Oid			collation = architect_index_check_collation(key, position);
	Oid			opclass = find_opclass(key, position, method);
	StringInfoData text;

	if (!OidIsValid(opclass))
		return NULL;
	initStringInfo(&text);
	appendStringInfoString(&text, quote_identifier(column->name));
	if (collation != column->collation)
		appendStringInfo(&text, " COLLATE %s", generate_collation_name(collation));
	if (opclass != GetDefaultOpClass(column->type, method))
		appendStringInfo(&text, " %s", generate_opclass_name(opclass));
	return text.data;
}

static Unserved *
describe_key(IndexForeignKey *key)
{
	static const Oid methods[] = {BTREE_AM_OID, GIST_AM_OID};
	Unserved   *unserved = palloc0(sizeof(Unserved));

	unserved->key = key;
	for (int i = 0; i < key->ncolumns; i++)
	{
		if (!architect_index_compares_column(key, i))
			return unserved;
	}
	for (int i = 0; i < lengthof(methods); i++)
	{
		char	   *column = "";

		unserved->columns = NIL;
		for (int j = 0; j < key->ncolumns && column != NULL; j++)
		{
			column = describe_column(key, j, methods[i]);
			unserved->columns = lappend(unserved->columns, column);
		}
		if (column == NULL)
			continue;
		unserved->method = methods[i];
		break;
	}
	return unserved;
}

/* The keys of most columns come first. */
static int
compare_keys(const ListCell *left, const ListCell *right)
{
	const Unserved *one = lfirst(left);
	const Unserved *other = lfirst(right);

	if (one->key->ncolumns != other->key->ncolumns)
		return one->key->ncolumns > other->key->ncolumns ? -1 : 1;
	return strcmp(one->key->name, other->key->name);
}

/*
 * True when an index of the other key's columns, these first, serves both.
 */
static bool
is_part_of(const Unserved *one, const Unserved *other)
{
	if (!OidIsValid(one->method) || one->method != other->method)
		return false;
	for (int i = 0; i < one->key->ncolumns; i++)
	{
		int			j = 0;

		while (j < other->key->ncolumns && strcmp(list_nth(one->columns, i), list_nth(other->columns, j)) != 0)
			j++;
		if (j == other->key->ncolumns)
			return false;
	}
	return true;
}

static List *
find_needs(List *unserved)
{
	List	   *needs = NIL;
	ListCell   *cell;

	list_sort(unserved, compare_keys);
	foreach(cell, unserved)
	{
		Need	   *need = NULL;
		ListCell   *inner;

		foreach(inner, needs)
		{
			if (is_part_of(lfirst(cell), llast(((Need *) lfirst(inner))->keys)))
			{
				need = lfirst(inner);
				break;
			}
		}
		if (need == NULL)
		{
			need = palloc0(sizeof(Need));
			needs = lappend(needs, need);
		}
		need->keys = lappend(need->keys, lfirst(cell));
	}
	return needs;
}

/*
 * True when an index that begins with these columns would make another one redundant.
 */
static bool
outdoes_index(const IndexTable *table, const List *attnums)
{
	ListCell   *cell;

	foreach(cell, table->indexes)
	{
		const IndexDefinition *index = lfirst(cell);
		int			column = 0;

		if (index->access_method != BTREE_AM_OID || index->is_unique || index->ncolumns > list_length(attnums))
			continue;
		while (column < index->ncolumns && index->attnums[column] == list_nth_int(attnums, column))
			column++;
		if (column == index->ncolumns)
			return true;
	}
	return false;
}

/*
 * Chooses the order of columns: those of the smallest key first, so that one index
 * serves all; where that is left open, so that no index becomes redundant.
 */
static void
order_columns(Need *need, const IndexTable *table)
{
	const Unserved *widest = linitial(need->keys);
	const Unserved *smallest = llast(need->keys);

	for (int i = list_length(need->keys) - 1; i >= 0; i--)
	{
		const Unserved *unserved = list_nth(need->keys, i);

		for (int j = 0; j < unserved->key->ncolumns; j++)
		{
			if (list_member_int(need->attnums, unserved->key->attnums[j]))
				continue;
			need->attnums = lappend_int(need->attnums, unserved->key->attnums[j]);
			if (OidIsValid(unserved->method))
				need->columns = lappend(need->columns, list_nth(unserved->columns, j));
		}
	}
	if (widest->key->ncolumns > smallest->key->ncolumns || !OidIsValid(widest->method))
		return;
	for (int i = 1; i < list_length(need->attnums) && outdoes_index(table, need->attnums); i++)
	{
		int			attnum = linitial_int(need->attnums);
		char	   *column = linitial(need->columns);

		need->attnums = lappend_int(list_delete_first(need->attnums), attnum);
		need->columns = lappend(list_delete_first(need->columns), column);
	}
}

/*
 * Returns the index by which the check reads the fewest rows, and which share of the
 * table these are; NULL and all of it where there is none.
 */
static const IndexDefinition *
find_narrowing(const IndexForeignKey *key, double *share)
{
	const IndexTable *table = key->table;
	const IndexDefinition *best = NULL;
	ListCell   *cell;

	*share = 1;
	foreach(cell, table->indexes)
	{
		const IndexDefinition *index = lfirst(cell);
		double		values = 1;

		if (architect_index_serves(index, key) == 0)
			continue;
		for (int i = 0; i < index->nkeys; i++)
		{
			const IndexColumn *column = index->attnums[i] > 0 ? &table->columns[index->attnums[i] - 1] : NULL;
			bool		is_searched = false;

			for (int j = 0; j < key->ncolumns; j++)
				is_searched = is_searched || key->attnums[j] == index->attnums[i];
			if (!is_searched)
				break;
			if (column->has_statistics)
				values = Max(values, column->distinct < 0 ? -column->distinct * Max(table->rows, 0) : column->distinct);
		}
		if (best == NULL || 1 / values < *share)
		{
			best = index;
			*share = 1 / values;
		}
	}
	return best;
}

static const char *
action_name(char action)
{
	switch (action)
	{
		case FKCONSTR_ACTION_RESTRICT:
			return "RESTRICT";
		case FKCONSTR_ACTION_CASCADE:
			return "CASCADE";
		case FKCONSTR_ACTION_SETNULL:
			return "SET NULL";
		case FKCONSTR_ACTION_SETDEFAULT:
			return "SET DEFAULT";
		default:
			return "NO ACTION";
	}
}

/* How much the checks of a need cost. */
typedef struct Weight
{
	double		deletes;
	double		updates;		/* that may have changed the key */
	double		key_updates;	/* of one key, that set it as their texts say */
	double		pages;			/* a check */
	const IndexDefinition *narrowing;
} Weight;

static Weight
weigh(IndexReview *review, const Need *need)
{
	const IndexForeignKey *widest = ((Unserved *) linitial(need->keys))->key;
	Weight		weight = {0};
	List	   *seen = NIL;
	double		share;
	ListCell   *cell;

	weight.narrowing = find_narrowing(widest, &share);
	weight.pages = widest->table->pages * share;
	foreach(cell, need->keys)
	{
		const IndexForeignKey *key = ((Unserved *) lfirst(cell))->key;
		IndexTable *referenced = key->referenced;

		if (weight.pages >= FEW_PAGES && referenced->counts.updates > referenced->counts.hot_updates)
			weight.key_updates = Max(weight.key_updates, architect_index_count_key_updates(review, key));
		if (list_member_ptr(seen, referenced))
			continue;
		seen = lappend(seen, referenced);
		weight.deletes += referenced->counts.deletes;
		weight.updates += referenced->counts.updates - referenced->counts.hot_updates;
	}
	return weight;
}

static void
add_evidence(IndexReview *review, IndexFinding *finding, const Need *need, const Weight *weight)
{
	const Unserved *widest = linitial(need->keys);
	StringInfoData names;
	ListCell   *cell;

	initStringInfo(&names);
	foreach(cell, need->keys)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", ((Unserved *) lfirst(cell))->key->name);
	architect_index_evidence_text(finding, "foreign_keys", names.data);
	architect_index_evidence_text(finding, "referenced", architect_index_table_name(widest->key->referenced));
	architect_index_evidence_text(finding, "on_delete", action_name(widest->key->on_delete));
	architect_index_evidence_text(finding, "on_update", action_name(widest->key->on_update));
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "table_bytes", (double) finding->table->pages * BLCKSZ);
	architect_index_evidence(finding, "referenced_deletes", weight->deletes);
	architect_index_evidence(finding, "referenced_updates_not_hot", weight->updates);
	if (weight->key_updates > 0)
		architect_index_evidence(finding, "referenced_key_updates", weight->key_updates);
	architect_index_evidence(finding, "bytes_read_a_check", weight->pages * BLCKSZ);
	if (weight->narrowing != NULL)
		architect_index_evidence_text(finding, "narrowed_by", weight->narrowing->name);
	architect_index_evidence_counts(review, finding);
}

static const char *
describe_changes(const Weight *weight)
{
	if (weight->deletes > 0)
		return weight->key_updates > 0 ? "; rows were deleted there, and updates set the key" :
			"; rows were deleted there";
	if (weight->key_updates > 0)
		return "; updates set the key there";
	return weight->updates > 0 ? "; rows were updated there, which may have changed the key" : "";
}

static void
explain(IndexFinding *finding, const Need *need, const Weight *weight)
{
	const IndexForeignKey *key = ((Unserved *) linitial(need->keys))->key;
	const char *referenced = architect_index_table_name(key->referenced);
	Oid			left;
	Oid			right;

	for (int i = 0; i < key->ncolumns; i++)
	{
		const IndexColumn *column = &key->table->columns[key->attnums[i] - 1];

		if (architect_index_compares_column(key, i))
			continue;
		op_input_types(key->operators[i], &left, &right);
		architect_index_reason(finding, "No index can serve foreign key \"%s\" as long as column \"%s\" is of type "
							   "%s: each check turns all its values into %s to compare them with %s; give both "
							   "columns one type.",
							   key->name, column->name, format_type_be(column->type), format_type_be(right),
							   referenced);
		return;
	}
	if (!OidIsValid(((Unserved *) linitial(need->keys))->method))
		architect_index_reason(finding, "No index can serve foreign key \"%s\": no default operator class has its "
							   "operator.", key->name);
	else if (weight->narrowing != NULL)
		architect_index_reason(finding, "No index serves foreign key \"%s\" by all its columns: for each row deleted "
							   "from %s, or given another key there, index \"%s\" finds more rows than refer to it%s.",
							   key->name, referenced, weight->narrowing->name, describe_changes(weight));
	else
		architect_index_reason(finding, "No index serves foreign key \"%s\": for each row deleted from %s, or given "
							   "another key there, the whole table is read%s.", key->name, referenced,
							   describe_changes(weight));
}

static void
propose(IndexFinding *finding, const Need *need)
{
	const Unserved *widest = linitial(need->keys);
	StringInfoData body;
	bool		is_plain = widest->method == BTREE_AM_OID;

	if (!OidIsValid(widest->method))
		return;
	initStringInfo(&body);
	appendStringInfo(&body, "USING %s (", widest->method == BTREE_AM_OID ? "btree" : "gist");
	for (int i = 0; i < list_length(need->columns); i++)
	{
		const char *column = list_nth(need->columns, i);

		is_plain = is_plain && strcmp(column, quote_identifier(list_nth(finding->columns, i))) == 0;
		appendStringInfo(&body, "%s%s", i > 0 ? ", " : "", column);
	}
	appendStringInfoChar(&body, ')');
	architect_index_propose_create(finding, finding->columns, is_plain ? NULL : body.data);
}

/*
 * Returns the index that the statement makes.
 */
static IndexDefinition *
foresee(const Need *need, IndexTable *table)
{
	const Unserved *widest = linitial(need->keys);
	const IndexForeignKey *key = widest->key;
	IndexDefinition *made = palloc0(sizeof(IndexDefinition));

	made->table = table;
	made->access_method = widest->method;
	made->is_valid = made->is_ready = made->is_live = made->is_immediate = true;
	made->oid = PG_UINT32_MAX;	/* the newest */
	made->nkeys = made->ncolumns = list_length(need->attnums);
	made->attnums = palloc0(made->nkeys * sizeof(int16));
	made->opclasses = palloc0(made->nkeys * sizeof(Oid));
	made->collations = palloc0(made->nkeys * sizeof(Oid));
	made->options = palloc0(made->nkeys * sizeof(int16));
	for (int i = 0; i < made->nkeys; i++)
	{
		int			position = 0;

		while (key->attnums[position] != list_nth_int(need->attnums, i))
			position++;
		made->attnums[i] = key->attnums[position];
		made->opclasses[i] = find_opclass(key, position, widest->method);
		made->collations[i] = architect_index_check_collation(key, position);
	}
	return made;
}

/*
 * True when the table has an index on an expression, which may serve a key whose values
 * are cast: that is not looked into.
 */
static bool
may_serve_cast(const IndexTable *table)
{
	ListCell   *cell;

	foreach(cell, table->indexes)
	{
		if (((IndexDefinition *) lfirst(cell))->expressions != NULL)
			return true;
	}
	return false;
}

static void
report(IndexReview *review, IndexTable *table, Need *need)
{
	const Unserved *widest = linitial(need->keys);
	Weight		weight = weigh(review, need);
	double		changes = weight.deletes + weight.key_updates;
	double		pages_a_day = changes * weight.pages / Max(review->facts->days, 1);
	IndexSeverity severity = INDEX_HINT;
	IndexConfidence confidence = INDEX_CONFIDENCE_LIKELY;
	IndexFinding *finding;
	ListCell   *cell;

	if (!OidIsValid(widest->method) && may_serve_cast(table))
	{
		architect_index_doubt(review, "whether an index on an expression serves a key whose values are cast");
		return;
	}
	if (weight.pages < FEW_PAGES)
		confidence = INDEX_CONFIDENCE_HINT;
	else if (changes > 0)
	{
		severity = pages_a_day >= MANY_PAGES ? INDEX_CRITICAL : INDEX_WARNING;
		confidence = INDEX_CONFIDENCE_PROVEN;
	}

	order_columns(need, table);
	finding = architect_index_finding(review, severity, confidence, table, NULL);
	foreach(cell, need->attnums)
		finding->columns = lappend(finding->columns, table->columns[lfirst_int(cell) - 1].name);
	explain(finding, need, &weight);
	add_evidence(review, finding, need, &weight);
	propose(finding, need);
	if (OidIsValid(widest->method))
		architect_index_tell_outdone(review, finding, foresee(need, table));
}

void
architect_index_rule_foreign_key(IndexReview *review)
{
	ListCell   *cell;

	foreach(cell, review->facts->tables)
	{
		IndexTable *table = lfirst(cell);
		List	   *unserved = NIL;
		ListCell   *inner;

		if (!table->reported || table->of_extension)
			continue;
		foreach(inner, table->foreign_keys)
		{
			IndexForeignKey *key = lfirst(inner);

			if (!key->is_enforced || is_served(table, key, false))
				continue;
			if (is_served(table, key, true))
				architect_index_doubt(review, "an index of a partitioned table would serve the key if it were valid");
			else
				unserved = lappend(unserved, describe_key(key));
		}
		foreach(inner, find_needs(unserved))
			report(review, table, lfirst(inner));
	}
}
