/*
 * trial.h
 *    What the files of the trial share: its subject, its rows, its verdicts.
 */
#ifndef ARCHITECT_TENANT_TRIAL_H
#define ARCHITECT_TENANT_TRIAL_H

#include "postgres.h"

#include "executor/spi.h"
#include "storage/itemptr.h"
#include "utils/elog.h"

#include "core/core.h"

/* Whose row a trial is after, or that no tenant is set. */
typedef enum TrialTenant
{
	TRIAL_OWN,
	TRIAL_OTHER,
	TRIAL_NONE
} TrialTenant;

typedef enum TrialSeen
{
	TRIAL_DENIED,
	TRIAL_ALLOWED,
	TRIAL_FAILED,				/* stopped by something that is not row security */
	TRIAL_UNTRIED				/* there was no way to make the trial */
} TrialSeen;

/* What a call is about. */
typedef struct Trial
{
	Oid			target;
	Oid			owner;
	Oid			role;
	const char *role_name;
	bool		is_for_role;	/* the policies are made for the role */
	const char *column;			/* that says whose row it is */
	const char *type;			/* of that column, as in a cast */
	Oid			type_oid;
	const char *own;			/* the tenants, as text of that type */
	const char *other;
	bool		triggers;		/* users' triggers fire */
	const char *sample;			/* JSON, for a row that has to be made; or NULL */
} Trial;

/* A row that trials are made with. */
typedef struct TrialRow
{
	Datum		image;
	Oid			type;
	ItemPointerData tid;
	Oid			table;
	const char *tenant;
} TrialRow;

/* A way to the rows: the table, a partition or child of it, a view. */
typedef struct TrialPath
{
	Oid			relid;
	Oid			storage;		/* the table that the rows are in */
	char		kind;
	const char *stranger;		/* who has made the view, or one below it, without the owner's rights */
	const char *name;			/* qualified and quoted, as are all names below */
	const char *storage_name;
	TrialRow   *own;			/* rows of the two tenants; one of them may be missing */
	TrialRow   *other;
	bool		has_tenant;		/* shows the tenant column to the role */
	bool		is_readable;	/* the role may read all of it */
	int			updatable;		/* pg_relation_is_updatable() */
	const char *readable;		/* columns that the role may read */
	const char *columns;		/* columns that it may insert, and their values, those of $1 */
	const char *values;
	const char *values_acting;	/* the same with $4 as the tenant */
	const char *where;			/* names the row by its key; NULL where the role cannot */
	const char *stored;			/* the same for the owner, in the table */
	const char *conflict;		/* columns of a unique index */
	const char *key;			/* their values, as an array in text; and the condition */
	const char *key_match;		/* for one that is in $4 */
	const char *unshown;		/* why a view does not show the rows to the role, or NULL */
	const char *update;			/* a column that the role may update */
	const char *update_tenant;	/* the tenant column, if it is there */
} TrialPath;

typedef struct TrialResult
{
	Oid			via;
	const char *command;
	TrialTenant tenant;
	bool		is_expected;
	TrialSeen	seen;
	const char *detail;
} TrialResult;

/* A row by its place, which is in $2 and $3, and the cursor that points at it. */
#define TRIAL_PLACE "ctid OPERATOR(pg_catalog.=) $2 AND tableoid OPERATOR(pg_catalog.=) $3"
#define TRIAL_CURSOR "\"architect row\""

/* Who acts, to be again after the owner did. */
typedef struct TrialActor
{
	Oid			user;
	int			security;
} TrialActor;

/* trial.c */
extern char *architect_tenant_table_name(Oid relid);

/* trial_row.c */
extern void architect_tenant_find_tenants(Trial *trial);
extern void architect_tenant_find_rows(Trial *trial, TrialPath *path, TrialRow *model);
extern void architect_tenant_find_shown_rows(Trial *trial, TrialPath *path);

/* trial_path.c */
extern List *architect_tenant_find_paths(Trial *trial);
extern void architect_tenant_read_path(Trial *trial, TrialPath *path);

/* trial_made.c */
extern TrialRow *architect_tenant_make_row(Trial *trial, TrialPath *path, TrialRow *model);

/* trial_act.c */
extern void architect_tenant_act_as_role(Trial *trial, const char *tenant);
extern void architect_tenant_act_as_owner(Trial *trial);
extern TrialActor architect_tenant_begin_owner(Trial *trial);
extern void architect_tenant_end_owner(TrialActor actor);
extern uint64 architect_tenant_run(const char *statement, TrialRow *row, const char *tenant);
extern void architect_tenant_point(const char *query, TrialRow *row);
extern TrialRow *architect_tenant_read_row(const char *statement, TrialRow *row, const char *tenant);
extern char *architect_tenant_read_text(const char *query, const char *tenant);
extern void architect_tenant_read_catalog(const char *query, int count, Oid *types, Datum *values);
extern int	architect_tenant_begin_quiet(void);
extern void architect_tenant_end_quiet(int level);

/* trial_command.c */
extern List *architect_tenant_try_commands(Trial *trial, TrialPath *path);
extern List *architect_tenant_say_untried(Trial *trial, TrialPath *path, const char *reason);

/* trial_copy.c */
extern uint64 architect_tenant_try_copy_to(const char *statement, const char *own);
extern void architect_tenant_try_copy_from(const char *statement);

#endif							/* ARCHITECT_TENANT_TRIAL_H */
