/*
 * argument.c
 *    What functions of several parts are called with.
 */
#include "postgres.h"

#include "commands/event_trigger.h"

#include "core/core.h"

/*
 * Returns the table in the first argument; raises 22004 where there is none.
 */
Oid
architect_target_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("target must not be NULL"),
				 errhint("Name the table, as in 'public.orders'.")));
	return PG_GETARG_OID(0);
}

/*
 * Returns the command that an event trigger is called for; raises 39P03 when the
 * caller is none.
 */
Node *
architect_ddl_command(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function must be called as an event trigger")));
	return ((EventTriggerData *) fcinfo->context)->parsetree;
}
