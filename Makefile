# pg_architect: parts, objects and tests are listed by hand.

srcdir := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

EXTENSION = pg_architect
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(srcdir)/$(EXTENSION).control)

# core comes first; tenant, whose event triggers are called for CREATE TABLE, last.
PARTS = core audit backfill index tenant

MODULE_big = $(EXTENSION)
OBJS = \
	src/pg_architect.o \
	src/core/argument.o \
	src/core/attempt.o \
	src/core/core.o \
	src/core/relation.o \
	src/audit/audit.o \
	src/audit/actor.o \
	src/audit/asof.o \
	src/audit/asof_scan.o \
	src/audit/baseline.o \
	src/audit/capture.o \
	src/audit/changes.o \
	src/audit/column.o \
	src/audit/commit.o \
	src/audit/condition.o \
	src/audit/conflict.o \
	src/audit/enable.o \
	src/audit/erase.o \
	src/audit/event.o \
	src/audit/fingerprint.o \
	src/audit/history.o \
	src/audit/image.o \
	src/audit/life.o \
	src/audit/live.o \
	src/audit/log.o \
	src/audit/merkle.o \
	src/audit/moment.o \
	src/audit/names.o \
	src/audit/number.o \
	src/audit/order.o \
	src/audit/overlay.o \
	src/audit/partition.o \
	src/audit/reader.o \
	src/audit/record.o \
	src/audit/reference.o \
	src/audit/replay.o \
	src/audit/restore.o \
	src/audit/retain.o \
	src/audit/seal.o \
	src/audit/seal_check.o \
	src/audit/seal_record.o \
	src/audit/shape.o \
	src/audit/statement.o \
	src/audit/table.o \
	src/audit/target.o \
	src/audit/truncate.o \
	src/audit/undo.o \
	src/audit/value.o \
	src/audit/verify.o \
	src/backfill/backfill.o \
	src/backfill/batch.o \
	src/backfill/begin.o \
	src/backfill/block.o \
	src/backfill/canonical.o \
	src/backfill/configure.o \
	src/backfill/ddl.o \
	src/backfill/estimate.o \
	src/backfill/expression.o \
	src/backfill/finish.o \
	src/backfill/history.o \
	src/backfill/job.o \
	src/backfill/key.o \
	src/backfill/keyed.o \
	src/backfill/launcher.o \
	src/backfill/leaf.o \
	src/backfill/lock.o \
	src/backfill/manners.o \
	src/backfill/pace.o \
	src/backfill/parse.o \
	src/backfill/part.o \
	src/backfill/procedure.o \
	src/backfill/progress.o \
	src/backfill/register.o \
	src/backfill/reject.o \
	src/backfill/repeat.o \
	src/backfill/request.o \
	src/backfill/retry.o \
	src/backfill/run.o \
	src/backfill/sample.o \
	src/backfill/shape.o \
	src/backfill/start.o \
	src/backfill/statement.o \
	src/backfill/target.o \
	src/backfill/throttle.o \
	src/backfill/total.o \
	src/backfill/watch.o \
	src/backfill/worker.o \
	src/index/advise.o \
	src/index/advise_access.o \
	src/index/advise_candidate.o \
	src/index/advise_change.o \
	src/index/advise_cost.o \
	src/index/advise_drop.o \
	src/index/advise_explore.o \
	src/index/advise_keep.o \
	src/index/advise_key.o \
	src/index/advise_pool.o \
	src/index/advise_row.o \
	src/index/advise_search.o \
	src/index/advise_workload.o \
	src/index/advise_write.o \
	src/index/advise_write_cost.o \
	src/index/as_owner.o \
	src/index/body.o \
	src/index/candidate.o \
	src/index/counts.o \
	src/index/capture.o \
	src/index/capture_id.o \
	src/index/capture_show.o \
	src/index/capture_store.o \
	src/index/capture_text.o \
	src/index/cover.o \
	src/index/cover_foreign_key.o \
	src/index/definition.o \
	src/index/facts.o \
	src/index/facts_column.o \
	src/index/facts_key.o \
	src/index/finding.o \
	src/index/index.o \
	src/index/jsonb.o \
	src/index/jsonb_advice.o \
	src/index/jsonb_keys.o \
	src/index/jsonb_sample.o \
	src/index/kept.o \
	src/index/missing_candidate.o \
	src/index/repair.o \
	src/index/replacement.o \
	src/index/rule_advised.o \
	src/index/rule_bloat.o \
	src/index/rule_brin.o \
	src/index/rule_covering.o \
	src/index/rule_duplicate.o \
	src/index/rule_expression.o \
	src/index/rule_foreign_key.o \
	src/index/rule_gin.o \
	src/index/rule_hash.o \
	src/index/rule_hot_blocking.o \
	src/index/rule_invalid.o \
	src/index/rule_missing.o \
	src/index/rule_partial.o \
	src/index/rule_redundant.o \
	src/index/rule_type.o \
	src/index/rule_unused.o \
	src/index/size.o \
	src/index/size_btree.o \
	src/index/size_hash.o \
	src/index/size_sample.o \
	src/index/size_statement.o \
	src/index/statement.o \
	src/index/statement_complete.o \
	src/index/usage.o \
	src/index/whatif.o \
	src/index/whatif_brin.o \
	src/index/whatif_distinct.o \
	src/index/whatif_entries.o \
	src/index/whatif_explain.o \
	src/index/whatif_index.o \
	src/index/whatif_inverted.o \
	src/index/whatif_plan.o \
	src/index/whatif_question.o \
	src/index/whatif_sample.o \
	src/index/whatif_statistics.o \
	src/index/whatif_template.o \
	src/index/whatif_use.o \
	src/index/workload.o \
	src/index/workload_expression.o \
	src/index/workload_from.o \
	src/index/workload_name.o \
	src/index/workload_predicate.o \
	src/index/workload_show.o \
	src/index/workload_text.o \
	src/tenant/claims.o \
	src/tenant/context.o \
	src/tenant/cross.o \
	src/tenant/enable.o \
	src/tenant/expression.o \
	src/tenant/follow.o \
	src/tenant/guard.o \
	src/tenant/key.o \
	src/tenant/nonce.o \
	src/tenant/outcome.o \
	src/tenant/schema.o \
	src/tenant/source.o \
	src/tenant/tenant.o \
	src/tenant/token.o \
	src/tenant/trial.o \
	src/tenant/trial_act.o \
	src/tenant/trial_command.o \
	src/tenant/trial_copy.o \
	src/tenant/trial_made.o \
	src/tenant/trial_path.o \
	src/tenant/trial_row.o \
	src/tenant/wrap.o

OUR_HEADERS := $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h)

PG_CPPFLAGS = -I$(srcdir)/src -DARCHITECT_VERSION='"$(EXTVERSION)"'

# The install script: header, then the tables of every part, then the rest of
# every part: <part>.sql and then <part>_<topic>.sql.  There a leading CREATE OR
# REPLACE becomes CREATE, so that an object made beforehand by somebody else is an
# error and not ours.
INSTALL_SQL = $(EXTENSION)--$(EXTVERSION).sql
PART_SQL := $(foreach part,$(PARTS),$(srcdir)/sql/install/$(part).sql \
	$(sort $(wildcard $(srcdir)/sql/install/$(part)_*.sql)))
INSTALL_PARTS = $(srcdir)/sql/install/header.sql \
	$(wildcard $(PARTS:%=$(srcdir)/sql/install/%.tables.sql)) \
	$(PART_SQL)

# An update script: its hand-written delta, then the same parts unchanged.
UPGRADES := $(notdir $(wildcard $(srcdir)/sql/upgrade/*--*.sql))
UPGRADE_SQL = $(UPGRADES:%=$(EXTENSION)--%)

DATA_built = $(INSTALL_SQL) $(UPGRADE_SQL)
EXTRA_CLEAN = META.json $(EXTENSION)--*.sql output_iso results tmp_check

REGRESS_LIST = $(patsubst $(srcdir)/sql/%.sql,%,$(sort $(wildcard $(srcdir)/sql/*.sql)))
REGRESS = $(REGRESS_LIST)
REGRESS_OPTS = --inputdir=$(srcdir)
ENCODING = UTF8
ISOLATION = $(patsubst $(srcdir)/specs/%.spec,%,$(sort $(wildcard $(srcdir)/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)
TAP_TESTS = 1

# Out of tree, the objects need their folders, and a server that was itself built in
# its tree does not set VPATH.
$(shell mkdir -p $(sort $(dir $(OBJS))))
ifneq ($(srcdir),.)
VPATH := $(srcdir)
endif

# make would take what it finds there for made already.
ifneq ($(realpath $(srcdir)),$(realpath $(CURDIR)))
ifneq ($(wildcard $(srcdir)/src/*.o $(srcdir)/$(INSTALL_SQL)),)
$(error run "make clean" in $(srcdir) before building elsewhere)
endif
endif

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

all: META.json

META.json: META.json.in $(EXTENSION).control
	sed 's/@VERSION@/$(EXTVERSION)/' $< > $@.tmp && mv $@.tmp $@

$(INSTALL_SQL): $(INSTALL_PARTS) $(EXTENSION).control
	sed 's/^CREATE OR REPLACE /CREATE /' $(INSTALL_PARTS) > $@.tmp && mv $@.tmp $@

$(UPGRADE_SQL): $(EXTENSION)--%: sql/upgrade/% $(PART_SQL) sql/upgrade/header.sql
	cat $(srcdir)/sql/upgrade/header.sql $< $(PART_SQL) > $@.tmp && mv $@.tmp $@

# A header or the version touches everything that may include it.
$(OBJS) $(OBJS:.o=.bc): $(OUR_HEADERS) $(EXTENSION).control
