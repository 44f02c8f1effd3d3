/*
 * key.c
 *    The key in whose order a table is walked: which index, and how it is said in SQL.
 *
 * The texts name operators, collations and the place of NULLs as the index has them, so
 * that the planner finds the index's own order in them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "backfill/backfill.h"
#include "compat.h"
#include "core/core.h"

/* A column of the key, as text. */
typedef struct Column
{
	char	   *name;			/* under the alias */
	char	   *expression;		/* the same in the collation of the index */
	char	   *operators[BTMaxStrategyNumber + 1];
	Oid			type;
	bool		descending;
	bool		nulls_first;
} Column;

/*
 * Returns why a table cannot be walked in the order of the index, as a sentence; NULL
 * if it can.
 */
static char *
why_not(Relation rel, Relation index, List *assigned)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID)
		return "It is not a btree index.";
	if (!form->indisunique)
		return "It is not unique.";
	if (!form->indisvalid || !form->indisready || !form->indislive)
		return "It is not valid.";
	if (!form->indimmediate)
		return "It is deferrable, and so not unique at every moment.";
	if (!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return "It does not have all rows.";
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		AttrNumber	attnum = form->indkey.values[i];
		char	   *name;
		ListCell   *cell;

		if (attnum <= 0)
			return "It is made of expressions.";
		name = get_attname(RelationGetRelid(rel), attnum, false);
		if (!architect_is_never_null(RelationGetDescr(rel), attnum))
			return psprintf("Its column \"%s\" can be NULL.", name);
		foreach(cell, assigned)
		{
			if (strcmp(lfirst(cell), name) == 0)
				return psprintf("Its column \"%s\" is set by the backfill.", name);
		}
	}
	return NULL;
}

/*
 * Raises unless the index can be walked.
 */
static void
check_wanted(Relation rel, Oid wanted, List *assigned)
{
	char		kind = get_rel_relkind(wanted);
	Relation	index;
	char	   *reason;

	if ((kind != RELKIND_INDEX && kind != RELKIND_PARTITIONED_INDEX) ||
		!list_member_oid(RelationGetIndexList(rel), wanted))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an index of table \"%s\"",
						kind != '\0' ? get_rel_name(wanted) : psprintf("%u", wanted), RelationGetRelationName(rel)),
				 errhint("Name a unique index of the table in the \"key\" argument.")));

	index = index_open(wanted, AccessShareLock);
	reason = why_not(rel, index, assigned);
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" cannot be walked in the order of index \"%s\"", RelationGetRelationName(rel),
						RelationGetRelationName(index)),
				 errdetail("%s", reason),
				 errhint("Name a valid unique index on columns that are NOT NULL and not set.")));
	index_close(index, AccessShareLock);
}

/*
 * Returns the name of the index to walk by: the one that is wanted, for which it raises
 * where that is not possible, or the primary key, or else any that will do; NULL where
 * there is none.
 */
char *
architect_backfill_choose_key(Relation rel, Oid wanted, List *assigned)
{
	char	   *chosen = NULL;
	bool		has_children = rel->rd_rel->relkind == RELKIND_RELATION &&
		find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL;
	ListCell   *cell;

	if (OidIsValid(wanted))
	{
		if (has_children)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" cannot be walked in key order", RelationGetRelationName(rel)),
					 errdetail("Other tables inherit from it, and its indexes do not have their rows."),
					 errhint("Use walk => 'block', or name these tables one by one.")));
		check_wanted(rel, wanted, assigned);
		return pstrdup(get_rel_name(wanted));
	}
	if (has_children)
		return NULL;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (why_not(rel, index, assigned) == NULL && (chosen == NULL || index->rd_index->indisprimary))
			chosen = pstrdup(RelationGetRelationName(index));
		index_close(index, AccessShareLock);
	}
	return chosen;
}

/*
 * Returns the operator of the index column that has this strategy.
 */
static char *
operator_name(Relation index, int column, StrategyNumber strategy)
{
	Oid			type = index->rd_opcintype[column];
	Oid			oid = get_opfamily_member(index->rd_opfamily[column], type, type, strategy);
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(oid));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "operator %d of index \"%s\" is missing", strategy, RelationGetRelationName(index));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

static char *
collation_name(Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	name = quote_qualified_identifier(get_namespace_name(form->collnamespace), NameStr(form->collname));
	ReleaseSysCache(tuple);
	return name;
}

static Column
describe(Relation rel, Relation index, int number)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), index->rd_index->indkey.values[number] - 1);
	Oid			collation = index->rd_indcollation[number];
	Column		column = {0};

	column.name = psprintf(BACKFILL_ALIAS ".%s", quote_identifier(NameStr(attribute->attname)));
	column.expression = !OidIsValid(collation) || collation == attribute->attcollation ? column.name :
		psprintf("%s COLLATE %s", column.name, collation_name(collation));
	for (int strategy = 1; strategy <= BTMaxStrategyNumber; strategy++)
		column.operators[strategy] = operator_name(index, number, strategy);
	column.type = attribute->atttypid;
	column.descending = (index->rd_indoption[number] & INDOPTION_DESC) != 0;
	column.nulls_first = (index->rd_indoption[number] & INDOPTION_NULLS_FIRST) != 0;
	return column;
}

/*
 * Returns the operator that is true for what comes after a value in the order of the
 * index, or before it where that is asked for; or for the value too.
 */
static char *
operator_of(const Column *column, bool after, bool inclusive)
{
	if (after != column->descending)
		return column->operators[inclusive ? BTGreaterEqualStrategyNumber : BTGreaterStrategyNumber];
	return column->operators[inclusive ? BTLessEqualStrategyNumber : BTLessStrategyNumber];
}

/*
 * Returns an ORDER BY list in the order of the index, or in the reverse.
 */
static char *
write_order(const Column *columns, int ncolumns, bool forward)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&text, "%s%s USING %s NULLS %s", i > 0 ? ", " : "", columns[i].expression,
						 operator_of(&columns[i], !forward, false),
						 columns[i].nulls_first == forward ? "FIRST" : "LAST");
	return text.data;
}

/*
 * Returns the list of columns.
 */
static char *
write_list(const Column *columns, int ncolumns)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "", columns[i].name);
	return text.data;
}

/*
 * True when one operator compares the whole key as a row.
 */
static bool
compares_as_row(const Column *columns, int ncolumns)
{
	for (int i = 1; i < ncolumns; i++)
	{
		if (columns[i].descending != columns[0].descending)
			return false;
		for (int strategy = 1; strategy <= BTMaxStrategyNumber; strategy++)
		{
			if (strcmp(columns[i].operators[strategy], columns[0].operators[strategy]) != 0)
				return false;
		}
	}
	return ncolumns > 1;
}

static char *
write_row_comparison(const Column *columns, int ncolumns, int parameter, bool after, bool inclusive)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "(", columns[i].expression);
	appendStringInfo(&text, ") %s ", operator_of(&columns[0], after, inclusive));
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&text, "%s$%d", i > 0 ? ", " : "(", parameter + i);
	appendStringInfoChar(&text, ')');
	return text.data;
}

/*
 * Returns what is true for keys after that of the parameters, from the first one on, or
 * before it; or for that key too.
 */
static char *
write_comparison(const Column *columns, int ncolumns, int parameter, bool after, bool inclusive)
{
	StringInfoData text;
	int			last = ncolumns - 1;

	if (compares_as_row(columns, ncolumns))
		return write_row_comparison(columns, ncolumns, parameter, after, inclusive);

	/* The first column alone bounds the scan of the index. */
	initStringInfo(&text);
	for (int i = 0; i < last; i++)
		appendStringInfo(&text, "%s %s $%d AND (%s %s $%d OR (%s %s $%d AND ",
						 columns[i].expression, operator_of(&columns[i], after, true), parameter + i,
						 columns[i].expression, operator_of(&columns[i], after, false), parameter + i,
						 columns[i].expression, columns[i].operators[BTEqualStrategyNumber], parameter + i);
	appendStringInfo(&text, "%s %s $%d", columns[last].expression, operator_of(&columns[last], after, inclusive),
					 parameter + last);
	for (int i = 0; i < last; i++)
		appendStringInfoString(&text, "))");
	return text.data;
}

/*
 * Returns the texts for a walk in the order of the index of this name, which is in the
 * schema of the target.
 */
BackfillKey *
architect_backfill_open_key(Oid target, const char *name)
{
	Relation	rel = table_open(target, AccessShareLock);
	Oid			oid = get_relname_relid(name, RelationGetNamespace(rel));
	Relation	index;
	BackfillKey *key = palloc0(sizeof(BackfillKey));
	Column	   *columns;

	if (!OidIsValid(oid) || !list_member_oid(RelationGetIndexList(rel), oid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" of table \"%s\" does not exist any more", name, RelationGetRelationName(rel)),
				 errdetail("The backfill walks the table in its order."),
				 errhint("Start a new backfill.")));
	index = index_open(oid, AccessShareLock);

	key->ncolumns = index->rd_index->indnkeyatts;
	key->columns = palloc(key->ncolumns * sizeof(char *));
	key->types = palloc(key->ncolumns * sizeof(Oid));
	columns = palloc(key->ncolumns * sizeof(Column));
	for (int i = 0; i < key->ncolumns; i++)
	{
		columns[i] = describe(rel, index, i);
		key->columns[i] = get_attname(target, index->rd_index->indkey.values[i], false);
		key->types[i] = columns[i].type;
	}
	key->list = write_list(columns, key->ncolumns);
	key->order = write_order(columns, key->ncolumns, true);
	key->backwards = write_order(columns, key->ncolumns, false);
	key->after = write_comparison(columns, key->ncolumns, 1, true, false);
	key->upto = write_comparison(columns, key->ncolumns, key->ncolumns + 1, false, true);

	index_close(index, NoLock);
	table_close(rel, NoLock);
	return key;
}

/*
 * Returns the index that a relation of the target's tree has for the key; InvalidOid
 * where it lacks one.
 */
Oid
architect_backfill_leaf_index(Relation leaf, Oid target, const char *name)
{
	Oid			index = get_relname_relid(name, get_rel_namespace(target));
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(leaf))
	{
		if (lfirst_oid(cell) == index || list_member_oid(get_partition_ancestors(lfirst_oid(cell)), index))
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

/*
 * Returns the columns by which users know a row: the key that the audit goes by, or else
 * any; NIL where there is none.
 */
static List *
find_record_key(Relation rel)
{
	List	   *key = architect_find_key(rel, NIL);
	char	   *name = key == NIL ? architect_backfill_choose_key(rel, InvalidOid, NIL) : NULL;

	if (name != NULL)
	{
		Relation	index = index_open(get_relname_relid(name, RelationGetNamespace(rel)), AccessShareLock);

		for (int i = 0; i < index->rd_index->indnkeyatts; i++)
			key = lappend_int(key, index->rd_index->indkey.values[i]);
		index_close(index, AccessShareLock);
	}
	return key;
}

/*
 * Returns an expression, over the alias, for the text by which a row is known to users:
 * its key as in the audit's record_id, or its place where it has none.
 */
char *
architect_backfill_record_id(Relation rel)
{
	List	   *key = find_record_key(rel);
	StringInfoData text;
	ListCell   *cell;

	if (key == NIL)
		return BACKFILL_ALIAS ".ctid::pg_catalog.text";

	initStringInfo(&text);
	foreach(cell, key)
	{
		const char *name = quote_identifier(get_attname(RelationGetRelid(rel), lfirst_int(cell), false));

		appendStringInfo(&text, "%s" BACKFILL_ALIAS ".%s::pg_catalog.text",
						 foreach_current_index(cell) > 0 ? ", " : "", name);
	}
	if (list_length(key) > 1)
		return psprintf("pg_catalog.json_build_array(%s)::pg_catalog.text", text.data);
	return text.data;
}
