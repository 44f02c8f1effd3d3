/*
 * audit.c
 *    The audit part: its settings, and what the other files register.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "audit/audit.h"
#include "audit/log.h"
#include "audit/replay.h"
#include "core/core.h"

enum
{
	PARTITION_DAY,
	PARTITION_WEEK,
	PARTITION_MONTH
};

/* In the order of the enum; the words are those of date_trunc(). */
static const struct config_enum_entry partition_options[] = {
	{"day", PARTITION_DAY, false},
	{"week", PARTITION_WEEK, false},
	{"month", PARTITION_MONTH, false},
	{NULL, 0, false}
};

static int	partition_setting = PARTITION_MONTH;

PG_FUNCTION_INFO_V1(architect_audit_partition);

/*
 * architect._audit_partition()
 */
Datum
architect_audit_partition(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(partition_options[partition_setting].name));
}

void
architect_audit_init(void)
{
	DefineCustomEnumVariable("architect.audit_partition",
							 "How much time one partition of the audit log covers.",
							 "It counts for partitions that are made from now on.",
							 &partition_setting, PARTITION_MONTH, partition_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	architect_audit_actor_init();
	architect_audit_as_of_scan_init();
	architect_audit_table_init();
	architect_audit_partition_init();
	architect_audit_log_init();
}
