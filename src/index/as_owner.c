/*
 * as_owner.c
 *    Functions that the planner and samples run are run as the owner of the table, who
 *    may change nothing meanwhile: as CREATE INDEX and ANALYZE do.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"

#include "index/as_owner.h"

/*
 * Becomes the owner of a table, or stays the caller where that is another who has not
 * the owner's rights.  An error ends it, too.
 */
void
architect_index_begin_as_owner(const IndexTable *table, IndexUser *user)
{
	Oid			role;

	GetUserIdAndSecContext(&user->role, &user->security);
	user->level = NewGUCNestLevel();
	role = has_privs_of_role(user->role, table->owner) ? table->owner : user->role;
	SetUserIdAndSecContext(role, user->security | SECURITY_RESTRICTED_OPERATION);
}

void
architect_index_end_as_owner(const IndexUser *user)
{
	AtEOXact_GUC(false, user->level);
	SetUserIdAndSecContext(user->role, user->security);
}
