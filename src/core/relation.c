/*
 * relation.c
 *    Checks that a relation is what a part can work on, and its key.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/reltrigger.h"
#include "utils/syscache.h"

#include "compat.h"
#include "core/core.h"

/*
 * Raises 42501 unless the current user owns the table.
 */
void
architect_check_owner(Relation rel)
{
	if (!object_ownercheck(RelationRelationId, RelationGetRelid(rel), GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(rel->rd_rel->relkind),
					   RelationGetRelationName(rel));
}

/*
 * What the user calls a relation of this kind, with its article.
 */
static const char *
kind_of(Relation rel)
{
	switch (rel->rd_rel->relkind)
	{
		case RELKIND_VIEW:
			return "a view";
		case RELKIND_MATVIEW:
			return "a materialized view";
		case RELKIND_FOREIGN_TABLE:
			return "a foreign table";
		case RELKIND_SEQUENCE:
			return "a sequence";
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			return "an index";
		case RELKIND_COMPOSITE_TYPE:
			return "a composite type";
		default:
			return "not a table";
	}
}

/*
 * True when another extension spreads this table over chunks or nodes, where
 * none of our parts has been proven yet.
 */
static bool
is_distributed(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;
	Oid			citus = get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
	bool		found = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (strcmp(triggers->triggers[i].tgname, "ts_insert_blocker") == 0)
			return true;
	}

	if (OidIsValid(citus))
	{
		Oid			argtypes[] = {REGCLASSOID};
		Datum		args[] = {ObjectIdGetDatum(RelationGetRelid(rel))};

		SPI_connect();
		if (SPI_execute_with_args("SELECT FROM pg_catalog.pg_dist_partition"
								  " WHERE logicalrelid OPERATOR(pg_catalog.=) $1",
								  1, argtypes, args, NULL, true, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not read pg_dist_partition");
		found = SPI_processed > 0;
		SPI_finish();
	}
	return found;
}

/*
 * Raises unless the relation is an ordinary or partitioned user table that is
 * neither temporary nor ours.  The purpose completes "cannot ...".
 */
void
architect_check_plain_table(Relation rel, const char *purpose)
{
	const char *name = RelationGetRelationName(rel);

	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s \"%s\"", purpose, name),
				 errdetail("It is %s.", kind_of(rel)),
				 errhint("Name an ordinary or a partitioned table.")));

	if (IsCatalogRelation(rel) || IsToastRelation(rel) ||
		RelationGetNamespace(rel) == PG_CATALOG_NAMESPACE ||
		RelationGetNamespace(rel) == get_namespace_oid("information_schema", true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s \"%s\"", purpose, name),
				 errdetail("It is a system catalog."),
				 errhint("Name a table of your own.")));

	if (RelationGetNamespace(rel) == architect_schema())
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s \"%s\"", purpose, name),
				 errdetail("It belongs to pg_architect itself."),
				 errhint("Name a table of your own.")));

	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s \"%s\"", purpose, name),
				 errdetail("It is a temporary table, which ends with its session."),
				 errhint("Name a permanent table.")));

	if (is_distributed(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot %s \"%s\"", purpose, name),
				 errdetail("It is a Citus distributed table or a TimescaleDB hypertable, on which this is not proven to work."),
				 errhint("Name a table that lives in this server alone.")));
}

/*
 * True when the index identifies every row: unique, complete and checked, over
 * plain columns that cannot be NULL.
 */
static bool
identifies_rows(Relation rel, Form_pg_index index, HeapTuple tuple)
{
	if (!index->indisunique || !index->indisvalid || !index->indislive ||
		!heap_attisnull(tuple, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(tuple, Anum_pg_index_indexprs, NULL))
		return false;

	for (int i = 0; i < index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->indkey.values[i];

		if (attnum <= 0 || !architect_is_never_null(RelationGetDescr(rel), attnum))
			return false;
	}
	return true;
}

/*
 * True when the index has exactly these columns, in any order.
 */
static bool
has_columns(Form_pg_index index, List *columns)
{
	if (index->indnkeyatts != list_length(columns))
		return false;
	for (int i = 0; i < index->indnkeyatts; i++)
	{
		if (!list_member_int(columns, index->indkey.values[i]))
			return false;
	}
	return true;
}

/*
 * Returns the columns that identify a row, as attribute numbers in key order:
 * the primary key, else the replica identity index, or the given columns if
 * any, which a unique index must then cover.  NIL when there is no such key.
 */
List *
architect_find_key(Relation rel, List *columns)
{
	List	   *indexes = RelationGetIndexList(rel);
	List	   *key = NIL;
	bool		best_is_primary = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for index %u", lfirst_oid(cell));
		index = (Form_pg_index) GETSTRUCT(tuple);

		if (identifies_rows(rel, index, tuple))
		{
			if (columns != NIL)
			{
				if (has_columns(index, columns))
					key = columns;
			}
			else if (!best_is_primary && (index->indisprimary || index->indisreplident))
			{
				list_free(key);
				key = NIL;
				for (int i = 0; i < index->indnkeyatts; i++)
					key = lappend_int(key, index->indkey.values[i]);
				best_is_primary = index->indisprimary;
			}
		}
		ReleaseSysCache(tuple);
	}

	list_free(indexes);
	return key;
}

/*
 * True when no two rows can have the same values in these columns, not even
 * until the end of a statement or transaction.
 */
bool
architect_key_is_immediate(Relation rel, List *key)
{
	bool		found = false;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for index %u", lfirst_oid(cell));
		index = (Form_pg_index) GETSTRUCT(tuple);
		found |= index->indimmediate && identifies_rows(rel, index, tuple) && has_columns(index, key);
		ReleaseSysCache(tuple);
	}
	return found;
}
