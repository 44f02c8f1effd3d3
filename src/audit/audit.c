/*
 * audit.c
 *    The audit part: its settings, and what the other files register.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "audit/audit.h"

/* The words are those of date_trunc(), which cuts the log with them. */
enum
{
	PARTITION_DAY,
	PARTITION_WEEK,
	PARTITION_MONTH
};

static const struct config_enum_entry partition_options[] = {
	{"day", PARTITION_DAY, false},
	{"week", PARTITION_WEEK, false},
	{"month", PARTITION_MONTH, false},
	{NULL, 0, false}
};

/* Read by SQL only, through current_setting(). */
static int	partition_setting = PARTITION_MONTH;

void
architect_audit_init(void)
{
	DefineCustomEnumVariable("architect.audit_partition",
							 "How much time one partition of the audit log covers.",
							 "It counts for partitions that are made from now on.",
							 &partition_setting, PARTITION_MONTH, partition_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	architect_audit_actor_init();
	architect_audit_table_init();
	architect_audit_log_init();
}
