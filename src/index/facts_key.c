/*
 * facts_key.c
 *    Reads constraints, and which relations belong to extensions.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "utils/array.h"
#include "utils/fmgroids.h"

#include "compat.h"
#include "index/facts.h"

/*
 * Copies an array that stands in a catalog; returns how many elements there are.
 */
static int
read_array(HeapTuple tuple, int column, TupleDesc desc, void **elements)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);
	ArrayType  *array = isnull ? construct_empty_array(InvalidOid) : DatumGetArrayTypePCopy(value);

	*elements = ARR_DATA_PTR(array);
	return ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
}

/*
 * A foreign key; of a partitioned table the one that was declared.
 */
static void
read_foreign_key(IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
	IndexTable *table = architect_index_find_table(facts, form->conrelid);
	IndexTable *referenced = architect_index_find_table(facts, form->confrelid);
	IndexDefinition *index = architect_index_find_index(facts, form->conindid);
	IndexForeignKey *key;

	if (table == NULL || referenced == NULL || OidIsValid(form->conparentid))
		return;
	key = palloc0(sizeof(IndexForeignKey));
	key->oid = form->oid;
	key->name = pstrdup(NameStr(form->conname));
	key->table = table;
	key->referenced = referenced;
	key->referenced_index = form->conindid;
	key->on_update = form->confupdtype;
	key->on_delete = form->confdeltype;
	key->is_validated = form->convalidated;
	key->is_enforced = architect_is_enforced(form);
	key->ncolumns = read_array(tuple, Anum_pg_constraint_conkey, desc, (void **) &key->attnums);
	(void) read_array(tuple, Anum_pg_constraint_confkey, desc, (void **) &key->referenced_attnums);
	(void) read_array(tuple, Anum_pg_constraint_conpfeqop, desc, (void **) &key->operators);
	table->foreign_keys = lappend(table->foreign_keys, key);
	referenced->referenced_by = lappend(referenced->referenced_by, key);
	if (index != NULL)
		index->required_by = lappend(index->required_by, key);
}

static void
read_constraint(IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
	IndexDefinition *index;

	switch (form->contype)
	{
		case CONSTRAINT_FOREIGN:
			read_foreign_key(facts, tuple, desc);
			break;
		case CONSTRAINT_PRIMARY:
		case CONSTRAINT_UNIQUE:
		case CONSTRAINT_EXCLUSION:
			index = architect_index_find_index(facts, form->conindid);
			if (index == NULL)
				break;
			index->constraint = form->oid;
			index->constraint_type = form->contype;
			index->constraint_name = pstrdup(NameStr(form->conname));
			break;
	}
}

/*
 * Marks the relations that are members of extensions.
 */
static void
read_members(IndexFacts *facts)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		IndexTable *table;
		IndexDefinition *index;

		if (form->classid != RelationRelationId || form->deptype != DEPENDENCY_EXTENSION)
			continue;
		table = architect_index_find_table(facts, form->objid);
		index = architect_index_find_index(facts, form->objid);
		if (table != NULL)
			table->of_extension = true;
		if (index != NULL)
			index->of_extension = true;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

void
architect_index_read_keys(IndexFacts *facts)
{
	architect_index_read_catalog(facts, ConstraintRelationId, read_constraint);
	read_members(facts);
}
