/*
 * rule_gin.c
 *    Columns and expressions that queries search by what is in them: jsonb, arrays,
 *    tsvector, and texts by a pattern.
 *
 * Which operator class of GIN knows the operators seen is asked of the catalogs, so
 * that those of extensions are found too.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "index/candidate.h"
#include "index/rules.h"

/* What queries search by its content, and how. */
typedef struct Candidate
{
	IndexTable *table;
	const IndexPredicate *predicate;	/* the first of those seen */
	List	   *operators;		/* char *, names */
	List	   *queries;		/* IndexQuery */
} Candidate;

/*
 * True when a family has a search operator of this name for a type.
 */
static bool
family_has(Oid family, Oid type, const char *operator)
{
	CatCList   *members = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(family));
	bool		found = false;

	for (int i = 0; i < members->n_members && !found; i++)
	{
		Form_pg_amop member = (Form_pg_amop) GETSTRUCT(&members->members[i]->tuple);
		char	   *name;

		if (member->amoppurpose != AMOP_SEARCH || member->amoplefttype != type)
			continue;
		name = get_opname(member->amopopr);
		found = name != NULL && strcmp(name, operator) == 0;
	}
	ReleaseSysCacheList(members);
	return found;
}

/*
 * True for a type that has the operator for itself, as citext has: one of the type that
 * it can be taken for is another.
 */
static bool
has_own(Oid type, const char *operator)
{
	CatCList   *operators = SearchSysCacheList2(OPERNAMENSP, CStringGetDatum(operator), ObjectIdGetDatum(type));
	bool		found = operators->n_members > 0;

	ReleaseSysCacheList(operators);
	return found;
}

/*
 * True when a family with this input type has the operator for values of the type.
 */
static bool
serves_type(Oid family, Oid input, Oid type, const char *operator)
{
	if (input != type && !(input == ANYARRAYOID && type_is_array(type)) &&
		!(IsBinaryCoercible(type, input) && !has_own(type, operator)))
		return false;
	return family_has(family, input, operator);
}

/*
 * True for an operator that a btree index does not know: it is of no use to compare by.
 */
static bool
is_of_content(const IndexPredicate *predicate)
{
	static const char *const names[] = {"@>", "<@", "?", "?|", "?&", "&&", "@@", "@@@", "@?", "~~*", "~", "~*"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(predicate->operator, names[i]) == 0)
			return true;
	}

	/* LIKE, where the pattern is known to begin with anything. */
	return strcmp(predicate->operator, "~~") == 0 && predicate->value != NULL &&
		(predicate->value[0] == '%' || predicate->value[0] == '_');
}

/*
 * True when an index of the table can search by the predicate; of one that is partial
 * that is not known.
 */
static bool
is_served(IndexReview *review, const IndexTable *table, const IndexPredicate *predicate)
{
	ListCell   *cell;

	foreach(cell, table->indexes)
	{
		const IndexDefinition *index = lfirst(cell);

		if (!architect_index_is_usable(index) || index->access_method == BTREE_AM_OID ||
			index->access_method == HASH_AM_OID || index->access_method == BRIN_AM_OID)
			continue;
		for (int i = 0; i < index->nkeys; i++)
		{
			Oid			class = index->opclasses[i];

			if (!architect_index_key_is(index, i, predicate) ||
				!family_has(get_opclass_family(class), get_opclass_input_type(class), predicate->operator))
				continue;
			if (index->predicate != NULL)
				architect_index_doubt(review, "a partial index may do");
			return true;
		}
	}
	return false;
}

static bool
knows_all(Form_pg_opclass class, Oid type, List *operators)
{
	ListCell   *cell;

	foreach(cell, operators)
	{
		if (!serves_type(class->opcfamily, class->opcintype, type, lfirst(cell)))
			return false;
	}
	return true;
}

/*
 * Returns the operator class of GIN to use, with whether it is the default; InvalidOid
 * where none knows all operators.  jsonb_path_ops is smaller than the default.
 */
static Oid
find_class(Oid type, List *operators, bool *is_default)
{
	CatCList   *classes = SearchSysCacheList1(CLAAMNAMENSP, ObjectIdGetDatum(GIN_AM_OID));
	Oid			best = InvalidOid;
	int			best_rank = 0;

	for (int i = 0; i < classes->n_members; i++)
	{
		Form_pg_opclass class = (Form_pg_opclass) GETSTRUCT(&classes->members[i]->tuple);
		int			rank;

		if (!knows_all(class, type, operators))
			continue;
		rank = strcmp(NameStr(class->opcname), "jsonb_path_ops") == 0 ? 3 : class->opcdefault ? 2 : 1;
		if (rank <= best_rank)
			continue;
		best = class->oid;
		best_rank = rank;
		*is_default = class->opcdefault;
	}
	ReleaseSysCacheList(classes);
	return best;
}

static bool
is_member_test(const IndexPredicate *predicate)
{
	return predicate->attnum > 0 && strcmp(predicate->operator, "= ANY") == 0;
}

static bool
is_about_same(const IndexPredicate *left, const IndexPredicate *right)
{
	if (is_member_test(left) != is_member_test(right))
		return false;
	if (left->expression == NULL || right->expression == NULL)
		return left->expression == right->expression && left->attnum == right->attnum;
	return strcmp(left->expression, right->expression) == 0;
}

static bool
has_name(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

static void
add_predicate(List **candidates, IndexTable *table, IndexUse *use, const IndexPredicate *predicate)
{
	Candidate  *candidate = NULL;
	ListCell   *cell;

	foreach(cell, *candidates)
	{
		Candidate  *found = lfirst(cell);

		if (is_about_same(found->predicate, predicate))
			candidate = found;
	}
	if (candidate == NULL)
	{
		candidate = palloc0(sizeof(Candidate));
		candidate->table = table;
		candidate->predicate = predicate;
		*candidates = lappend(*candidates, candidate);
	}
	candidate->queries = list_append_unique_ptr(candidate->queries, use->query);
	if (!has_name(candidate->operators, predicate->operator))
		candidate->operators = lappend(candidate->operators, predicate->operator);
}

/*
 * Returns what queries of one table search by (Candidate), and no index knows.
 */
static List *
find_candidates(IndexReview *review, IndexTableUses *table)
{
	List	   *candidates = NIL;
	ListCell   *cell;

	foreach(cell, table->uses)
	{
		IndexUse   *use = lfirst(cell);
		ListCell   *inner;

		foreach(inner, use->access->predicates)
		{
			const IndexPredicate *predicate = lfirst(inner);

			if (is_member_test(predicate) ||
				(is_of_content(predicate) && !is_served(review, table->table, predicate)))
				add_predicate(&candidates, table->table, use, predicate);
			else if (strcmp(predicate->operator, "~~") == 0 && predicate->value == NULL)
				architect_index_doubt(review, "the pattern of LIKE is a parameter");
		}
	}
	return candidates;
}

/*
 * Returns the operators as one writes them.
 */
static char *
join(List *operators)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, operators)
	{
		const char *name = lfirst(cell);

		if (strcmp(name, "~~") == 0)
			name = "LIKE";
		else if (strcmp(name, "~~*") == 0)
			name = "ILIKE";
		appendStringInfo(&text, "%s%s", text.len > 0 ? " and " : "", name);
	}
	return text.data;
}

static IndexFinding *
begin_finding(IndexReview *review, const Candidate *candidate, const char *what)
{
	IndexTable *table = candidate->table;
	bool		is_warning = table->pages >= INDEX_LARGE_PAGES && table->counts.seq_scans > 0;
	IndexFinding *finding = architect_index_finding(review, is_warning ? INDEX_WARNING : INDEX_HINT,
													INDEX_CONFIDENCE_LIKELY, table, NULL);

	finding->columns = list_make1(unconstify(char *, what));
	architect_index_evidence_text(finding, "operators", join(candidate->operators));
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "table_bytes", (double) table->pages * BLCKSZ);
	architect_index_evidence(finding, "seq_scans", table->counts.seq_scans);
	architect_index_evidence_queries(finding, candidate->queries);
	architect_index_evidence_counts(review, finding);
	return finding;
}

static void
propose(IndexFinding *finding, Oid class, bool is_default, const char *key, const char *label)
{
	architect_index_propose_create(finding, list_make1(pstrdup(label != NULL ? label : "expr")),
								   psprintf("USING gin (%s%s%s)", key, is_default ? "" : " ",
											is_default ? "" : generate_opclass_name(class)));
}

/*
 * Reports an expression that has a parameter in it: which one it is, is not known.
 */
static void
report_unknown(IndexReview *review, const Candidate *candidate)
{
	IndexFinding *finding = begin_finding(review, candidate, candidate->predicate->expression);

	finding->severity = INDEX_HINT;
	finding->confidence = INDEX_CONFIDENCE_HINT;
	architect_index_reason(finding, "Queries search by what is in an expression that no index has: pg_stat_statements "
						   "does not keep the constant in it, so there is no statement.");
	architect_index_evidence_keys(finding, candidate->predicate);
}

/*
 * Reports operators that GIN has no operator class for, if there is something to do.
 */
static void
report_unsupported(IndexReview *review, const Candidate *candidate, const char *what, Oid type)
{
	bool		is_text = IsBinaryCoercible(type, TEXTOID);
	IndexFinding *finding;

	if (!is_text && !is_member_test(candidate->predicate))
	{
		architect_index_doubt(review, "no operator class of GIN has the operator");
		return;
	}
	finding = begin_finding(review, candidate, what);
	finding->severity = INDEX_HINT;
	finding->confidence = INDEX_CONFIDENCE_HINT;
	if (is_text)
		architect_index_reason(finding, "Queries search the texts with %s, which an index can do once the extension "
							   "pg_trgm is installed.", join(candidate->operators));
	else
		architect_index_reason(finding, "Queries look for a value with = ANY of the column, which no index can do: "
							   "write column @> ARRAY[value], which a GIN index can.");
}

/*
 * Returns the operators that an operator class has.
 */
static List *
find_supported(Oid type, List *operators)
{
	List	   *supported = NIL;
	bool		is_default;
	ListCell   *cell;

	foreach(cell, operators)
	{
		if (OidIsValid(find_class(type, list_make1(lfirst(cell)), &is_default)))
			supported = lappend(supported, lfirst(cell));
	}
	return supported;
}

static void
report(IndexReview *review, const Candidate *candidate)
{
	const IndexPredicate *predicate = candidate->predicate;
	IndexColumn *column = predicate->attnum > 0 ? &candidate->table->columns[predicate->attnum - 1] : NULL;
	const char *what = column != NULL ? column->name : predicate->expression;
	Oid			type = getBaseType(column != NULL ? column->type : predicate->type);
	List	   *operators;
	bool		is_default = false;
	Oid			class;
	IndexFinding *finding;

	if (column == NULL && predicate->has_parameters)
	{
		report_unknown(review, candidate);
		return;
	}
	if (column == NULL && !predicate->is_immutable)
	{
		architect_index_doubt(review, "an expression is not immutable");
		return;
	}
	operators = find_supported(type, candidate->operators);
	class = find_class(type, operators, &is_default);
	if (operators == NIL || !OidIsValid(class))
	{
		report_unsupported(review, candidate, what, type);
		return;
	}
	finding = begin_finding(review, candidate, what);
	architect_index_reason(finding, "Queries search the %s by what is in it, with %s, and no index can do that.",
						   column != NULL ? "column" : "expression", join(operators));
	propose(finding, class, is_default, column != NULL ? quote_identifier(what) : what,
			column != NULL ? column->name : predicate->label);
}

void
architect_index_rule_gin(IndexReview *review)
{
	ListCell   *cell;

	foreach(cell, architect_index_uses(review))
	{
		IndexTableUses *table = lfirst(cell);
		ListCell   *inner;

		if (table->table->pages < INDEX_SMALL_PAGES)
			continue;
		foreach(inner, find_candidates(review, table))
			report(review, lfirst(inner));
	}
}
