/*
 * guard.c
 *    What holds when the policies of a registered table are dropped or outvoted.
 *
 * Where the library is loaded before a query is planned, each registered table has
 * the restriction of its policies once more, as a policy of ours that stands in no
 * catalog.  Beside the policy in the catalog it would cost a comparison a row, so
 * it is left out where that is as it should be.
 *
 * What the register says of a table is kept for the session, until the relcache
 * says that the table has changed: the register tells it so.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_collate.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "rewrite/rowsecurity.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "core/core.h"
#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(architect_tenant_guard);

#define FLOOR_NAME "architect_tenant_floor"

/* What a policy for all commands has for its command. */
#define ALL_COMMANDS '*'

/* What is known of a table. */
typedef struct Guarded
{
	Oid			relid;			/* hash key */
	bool		valid;
	RowSecurityPolicy *floor;	/* NULL: not registered */
	MemoryContext context;		/* of the floor */
} Guarded;

static HTAB *guarded_tables = NULL;
static row_security_policy_hook_type next_restrictive_hook = NULL;

/*
 * Returns the register, or InvalidOid where the extension is not created; a table
 * that somebody else has made under its name is none.
 */
static Oid
find_register(void)
{
	Oid			extension = get_extension_oid("pg_architect", true);
	Oid			relid = OidIsValid(extension) ? architect_relation("tenant_registry", true) : InvalidOid;

	if (OidIsValid(relid) && getExtensionOfObject(RelationRelationId, relid) != extension)
		return InvalidOid;
	return relid;
}

static Datum
register_value(Relation registry, HeapTuple tuple, const char *column)
{
	bool		isnull;

	return heap_getattr(tuple, get_attnum(RelationGetRelid(registry), column), RelationGetDescr(registry), &isnull);
}

/*
 * Returns the roles of these names, as a policy has them.  Where one is not there,
 * as it was renamed or dropped, the floor is for all: whoever it was is held.
 */
static ArrayType *
find_roles(ArrayType *names)
{
	Datum	   *elements;
	int			count;
	Datum	   *roles;

	deconstruct_array(names, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, NULL, &count);
	roles = palloc(count * sizeof(Datum));
	for (int i = 0; i < count; i++)
	{
		const char *name = NameStr(*DatumGetName(elements[i]));
		Oid			role = strcmp(name, "public") == 0 ? InvalidOid : get_role_oid(name, true);

		if (!OidIsValid(role))
		{
			roles[0] = ObjectIdGetDatum(ACL_ID_PUBLIC);
			count = 1;
			break;
		}
		roles[i] = ObjectIdGetDatum(role);
	}
	return construct_array(roles, count, OIDOID, sizeof(Oid), true, TYPALIGN_INT);
}

/*
 * Returns a call of our function without arguments.
 */
static Node *
make_call(const char *name)
{
	oidvector  *no_arguments = buildoidvector(NULL, 0);
	HeapTuple	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name), PointerGetDatum(no_arguments),
										ObjectIdGetDatum(architect_schema()));
	Form_pg_proc function;
	Node	   *call;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "function %s.%s() does not exist", ARCHITECT_SCHEMA, name);
	function = (Form_pg_proc) GETSTRUCT(tuple);
	call = (Node *) makeFuncExpr(function->oid, function->prorettype, NIL, InvalidOid, InvalidOid,
								 COERCE_EXPLICIT_CALL);
	ReleaseSysCache(tuple);
	return call;
}

/*
 * Returns the expression of the policies as the parser would: the column is that
 * of the tenant, or everything is open.  Nothing is, where there is no such column.
 */
static Expr *
make_qual(Relation rel, const char *column, const char *kind)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), column);
	ParseState *pstate;
	Form_pg_attribute attribute;
	Var		   *var;
	Expr	   *same_tenant;
	Node	   *qual;

	if (attnum <= 0)
		return (Expr *) makeBoolConst(false, false);

	pstate = make_parsestate(NULL);
	attribute = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	var = makeVar(1, attnum, attribute->atttypid, attribute->atttypmod, attribute->attcollation, 0);
	same_tenant = make_op(pstate, list_make2(makeString("pg_catalog"), makeString("=")),
						  (Node *) var, make_call(psprintf("tenant_%s", kind)), NULL, -1);
	qual = (Node *) makeBoolExpr(OR_EXPR, list_make2(same_tenant, make_call("tenant_crossing")), -1);
	assign_expr_collations(pstate, qual);
	free_parsestate(pstate);
	return (Expr *) qual;
}

/*
 * Reads the floor of a table from its row in the register, into the current
 * context; NULL when it has none.
 */
static RowSecurityPolicy *
read_floor(Relation rel)
{
	Oid			register_oid = find_register();
	Relation	registry;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	RowSecurityPolicy *floor = NULL;

	if (!OidIsValid(register_oid))
		return NULL;

	registry = table_open(register_oid, AccessShareLock);
	ScanKeyInit(&key, get_attnum(register_oid, "relation"), BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(registry, architect_relation("tenant_registry_pkey", true), true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		char	   *column = NameStr(*DatumGetName(register_value(registry, tuple, "column_name")));
		char	   *kind = TextDatumGetCString(register_value(registry, tuple, "kind"));

		floor = palloc0(sizeof(RowSecurityPolicy));
		floor->policy_name = pstrdup(FLOOR_NAME);
		floor->polcmd = ALL_COMMANDS;
		floor->roles = find_roles(DatumGetArrayTypePCopy(register_value(registry, tuple, "roles")));
		floor->qual = make_qual(rel, column, kind);
		floor->with_check_qual = floor->qual;
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return floor;
}

/*
 * Returns the floor of a table, or NULL.  It belongs to the session, and lasts
 * until the next change of the table is heard of.
 */
static RowSecurityPolicy *
get_floor(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	bool		found;
	Guarded    *guarded = hash_search(guarded_tables, &relid, HASH_ENTER, &found);
	MemoryContext caller;
	RowSecurityPolicy *floor;

	if (!found)
	{
		guarded->valid = false;
		guarded->floor = NULL;
		guarded->context = AllocSetContextCreate(TopMemoryContext, "architect tenant floor", ALLOCSET_SMALL_SIZES);
	}
	if (guarded->valid)
		return guarded->floor;

	/* What is heard of meanwhile makes it invalid again. */
	guarded->valid = true;
	guarded->floor = NULL;
	MemoryContextReset(guarded->context);
	caller = MemoryContextSwitchTo(guarded->context);
	PG_TRY();
	{
		floor = read_floor(rel);
		guarded->floor = floor;
	}
	PG_CATCH();
	{
		guarded->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return floor;
}

static bool
same_roles(ArrayType *left, ArrayType *right)
{
	return VARSIZE(left) == VARSIZE(right) && memcmp(left, right, VARSIZE(left)) == 0;
}

/*
 * True when the catalog has the floor, as it should be.
 */
static bool
has_floor(Relation rel, const RowSecurityPolicy *floor)
{
	ListCell   *cell;

	foreach(cell, rel->rd_rsdesc->policies)
	{
		RowSecurityPolicy *policy = lfirst(cell);

		if (!policy->permissive && policy->polcmd == ALL_COMMANDS && same_roles(policy->roles, floor->roles) &&
			equal(policy->qual, floor->qual) && equal(policy->with_check_qual, floor->with_check_qual))
			return true;
	}
	return false;
}

/*
 * Adds the floor to the restrictive policies of a table.
 */
static List *
add_floor(CmdType command, Relation rel)
{
	List	   *policies = next_restrictive_hook != NULL ? next_restrictive_hook(command, rel) : NIL;
	RowSecurityPolicy *floor = get_floor(rel);
	RowSecurityPolicy *added;

	if (floor == NULL || has_floor(rel, floor))
		return policies;

	added = palloc(sizeof(RowSecurityPolicy));
	*added = *floor;
	added->policy_name = pstrdup(floor->policy_name);
	added->roles = DatumGetArrayTypePCopy(PointerGetDatum(floor->roles));
	added->qual = copyObject(floor->qual);
	added->with_check_qual = added->qual;
	return lappend(policies, added);
}

static void
forget_floor(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	Guarded    *guarded;

	if (OidIsValid(relid))
	{
		guarded = hash_search(guarded_tables, &relid, HASH_FIND, NULL);
		if (guarded != NULL)
			guarded->valid = false;
		return;
	}
	hash_seq_init(&status, guarded_tables);
	while ((guarded = hash_seq_search(&status)) != NULL)
		guarded->valid = false;
}

/*
 * Called when roles change: their names stand in the register.
 */
static void
forget_roles(Datum arg, int cache, uint32 hash)
{
	forget_floor(arg, InvalidOid);
}

/*
 * True when the command takes row-level security from a table or its owner.
 */
static bool
lifts_security(Node *command)
{
	ListCell   *cell;

	if (!IsA(command, AlterTableStmt))
		return false;
	foreach(cell, castNode(AlterTableStmt, command)->cmds)
	{
		AlterTableType type = lfirst_node(AlterTableCmd, cell)->subtype;

		if (type == AT_DisableRowSecurity || type == AT_NoForceRowSecurity)
			return true;
	}
	return false;
}

/*
 * Raises 42501 when the command that has just run has altered a registered table.
 */
static void
refuse_registered(void)
{
	SPI_connect();
	if (SPI_execute("SELECT registered.relation::pg_catalog.text"
					" FROM pg_catalog.pg_event_trigger_ddl_commands() AS command"
					" JOIN " ARCHITECT_SCHEMA ".tenant_registry AS registered"
					"   ON registered.relation::pg_catalog.oid OPERATOR(pg_catalog.=) command.objid"
					" WHERE command.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass",
					false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the register of tenant tables");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to take row-level security from table \"%s\"",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errdetail("Its rows are protected by tenant."),
				 errhint("To end that, call architect.tenant_disable.")));
	SPI_finish();
}

/*
 * architect._tenant_guard(): refuses to have row-level security taken from a
 * registered table by others than a superuser, the owner of the extension and
 * tenant_disable.
 */
Datum
architect_tenant_guard(PG_FUNCTION_ARGS)
{
	if (lifts_security(architect_ddl_command(fcinfo)) && !architect_tenant_is_changing &&
		!object_ownercheck(RelationRelationId, architect_relation("tenant_registry", false), GetUserId()))
		refuse_registered();
	PG_RETURN_NULL();
}

void
architect_tenant_guard_init(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Guarded)};

	guarded_tables = hash_create("architect tenant floors", 64, &control, HASH_ELEM | HASH_BLOBS);
	next_restrictive_hook = row_security_policy_hook_restrictive;
	row_security_policy_hook_restrictive = add_floor;
	CacheRegisterRelcacheCallback(forget_floor, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_roles, (Datum) 0);
}
