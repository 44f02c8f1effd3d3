# What logical decoding saw, put in the form of the log and compared with it.
#
# wal2json shows NaN and infinities as null: columns whose names begin with odd are left out
# on both sides.  It leaves out NULLs of deleted rows: there both sides go without.

package Fuzz::Decode;

use strict;
use warnings;

use Fuzz::Value qw(quoted);

my $functions = <<'SQL';
CREATE TABLE oracle.relation (name text PRIMARY KEY, root text, capture text, hidden text[], masked text[]);
CREATE TABLE oracle.key (root text, place int, names text[]);

-- A value as the log has it; a JSON null, unlike NULL, as an object that no column holds.
CREATE FUNCTION oracle.logged(type text, value json) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN value::text = 'null' THEN 'null'::jsonb
        WHEN type = 'jsonb' THEN coalesce(nullif((value #>> '{}')::jsonb, 'null'), '{"JSON": null}')
        WHEN value::text = '-0' THEN '"-0"'
        WHEN type = 'fuzz.small' THEN (value #>> '{}')::jsonb
        WHEN type = 'bytea' THEN to_jsonb('\x' || (value #>> '{}'))
        WHEN type = 'time with time zone' THEN to_jsonb(regexp_replace(value #>> '{}', '([+-]\d\d)$', '\1:00'))
        WHEN type = 'date' THEN to_jsonb((value #>> '{}')::date)
        WHEN type = 'timestamp without time zone' THEN to_jsonb((value #>> '{}')::timestamp)
        WHEN type = 'timestamp with time zone' THEN to_jsonb((value #>> '{}')::timestamptz)
        WHEN json_typeof(value) = 'string' THEN to_jsonb(value #>> '{}')
        ELSE value::text::jsonb
    END
$$;

CREATE FUNCTION oracle.row_of(columns json) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_object_agg(c ->> 'name', oracle.logged(c ->> 'type', c -> 'value')), '{}')
    FROM json_array_elements(columns) AS c
    WHERE c ->> 'name' NOT LIKE 'odd%'
$$;

-- A row, or a part of it, with the columns that hold a JSON null under the empty key.
CREATE FUNCTION oracle.listed(row_values jsonb, masked text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (coalesce(jsonb_object_agg(name, CASE WHEN name = ANY (masked) THEN '"***"' WHEN is_null THEN 'null' ELSE value END), '{}')
        || CASE WHEN bool_or(is_null AND name <> ALL (masked))
            THEN jsonb_build_object('', jsonb_agg(name ORDER BY name) FILTER (WHERE is_null AND name <> ALL (masked)))
            ELSE '{}' END)::text
    FROM (SELECT key AS name, value, value = '{"JSON": null}' AS is_null FROM jsonb_each(row_values)) AS field
    HAVING row_values IS NOT NULL
$$;

-- The same of what the log has.
CREATE FUNCTION oracle.plain(row_values jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_object_agg(key, CASE WHEN key = '' THEN (SELECT jsonb_agg(name ORDER BY name)
            FROM jsonb_array_elements_text(value) AS name) ELSE value END), '{}')::text
    FROM jsonb_each(row_values)
    WHERE key NOT LIKE 'odd%'
    HAVING row_values IS NOT NULL
$$;

CREATE FUNCTION oracle.without_nulls(row_values jsonb, hidden text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_object_agg(key, value), '{}')
    FROM jsonb_each(row_values - hidden)
    WHERE value <> 'null'
    HAVING row_values IS NOT NULL
$$;

CREATE FUNCTION oracle.record_id(relation text, row_values jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN count(*) = 1 THEN min(part) ELSE jsonb_agg(part ORDER BY place)::text END
    FROM (SELECT place, (SELECT row_values ->> name FROM unnest(names) AS name WHERE row_values ? name) AS part
          FROM oracle.key WHERE root = relation) AS key
$$;

-- The columns that an UPDATE changed.
CREATE FUNCTION oracle.changed(old jsonb, new jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_agg(name), '{}')
    FROM (SELECT jsonb_object_keys(old || new)) AS field (name)
    WHERE coalesce(old -> name, 'null')::text <> coalesce(new -> name, old -> name)::text
$$;

CREATE FUNCTION oracle.part_of(row_values jsonb, names text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_object_agg(name, coalesce(row_values -> name, 'null')), '{}')
    FROM unnest(names) AS name
    HAVING names IS NOT NULL
$$;

-- The log rows that the decoded changes should have, in order.
CREATE FUNCTION oracle.expected()
    RETURNS TABLE (relation text, xid text, step bigint, operation text, record_id text, new_record_id text, old_values text, new_values text)
    LANGUAGE sql SET enable_material = off AS $$
    WITH decoded AS MATERIALIZED (
        SELECT n, xid::text AS xid, data::json AS data
        FROM pg_logical_slot_get_changes('fuzz', NULL, NULL, 'format-version', '2', 'include-transaction', 'false',
            'add-tables', 'fuzz.*') WITH ORDINALITY AS got (lsn, xid, data, n)
    ), image AS MATERIALIZED (
        SELECT n, xid, root, capture, masked, hidden, data ->> 'action' AS action,
            oracle.row_of(data -> 'identity') - hidden AS old, oracle.row_of(data -> 'columns') - hidden AS new
        FROM decoded
        JOIN oracle.relation ON name = data ->> 'table'
        WHERE data ->> 'action' IN ('I', 'U', 'D')
    ), difference AS MATERIALIZED (
        SELECT *, CASE WHEN action = 'U' THEN oracle.changed(old, new) END AS changed,
            oracle.record_id(root, CASE action WHEN 'I' THEN new ELSE old END) AS record_id,
            CASE WHEN action = 'U' THEN oracle.record_id(root, old || new) END AS new_record_id
        FROM image
    ), shown AS (
        SELECT *, CASE
                WHEN capture = 'full' THEN ARRAY(SELECT jsonb_object_keys(old || new))
                WHEN capture = 'changes' OR record_id <> new_record_id THEN ARRAY(SELECT unnest(changed)
                    INTERSECT SELECT unnest(names) FROM oracle.key WHERE root = difference.root AND capture = 'keys'
                    UNION SELECT unnest(changed) WHERE capture = 'changes')
            END AS shows
        FROM difference
        WHERE action <> 'U' OR changed <> '{}'
    )
    SELECT root, xid, row_number() OVER (PARTITION BY root, xid ORDER BY n),
        CASE action WHEN 'I' THEN 'INSERT' WHEN 'U' THEN 'UPDATE' ELSE 'DELETE' END, record_id, nullif(new_record_id, record_id),
        CASE action WHEN 'U' THEN oracle.listed(oracle.part_of(old, shows), masked)
            WHEN 'D' THEN CASE WHEN capture <> 'keys' THEN oracle.without_nulls(oracle.listed(old, masked)::jsonb, masked)::text END END,
        CASE action WHEN 'U' THEN oracle.listed(oracle.part_of(old || new, shows), masked)
            WHEN 'I' THEN CASE WHEN capture <> 'keys' THEN oracle.listed(new, masked) END END
    FROM shown
$$;

-- The log rows since then, in order, those of TRUNCATE left out.
CREATE FUNCTION oracle.found(since bigint)
    RETURNS TABLE (relation text, xid text, step bigint, operation text, record_id text, new_record_id text, old_values text, new_values text)
    LANGUAGE sql AS $$
    SELECT root, transaction_id::xid::text, row_number() OVER (PARTITION BY root, transaction_id ORDER BY id),
        operation, record_id, new_record_id,
        CASE operation WHEN 'DELETE' THEN oracle.plain(oracle.without_nulls(old_values, masked)) ELSE oracle.plain(old_values) END,
        oracle.plain(new_values)
    FROM architect.audit_log
    JOIN oracle.relation ON name = table_name
    WHERE id > since AND table_schema = 'fuzz' AND operation IN ('INSERT', 'UPDATE', 'DELETE')
      AND (operation <> 'UPDATE' OR capture = 'keys'
           OR oracle.plain(old_values) <> oracle.plain(new_values) OR old_values ?| masked)
$$;
SQL

# Makes the slot, if wal2json is there; returns whether it is.
sub start
{
	my ($session) = @_;

	# Newer minor releases have a list of the plugins that may be used.
	if ($session->value("SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'"))
	{
		$session->value("ALTER SYSTEM SET output_plugin_libraries = 'wal2json'");
		$session->value("SELECT pg_reload_conf(), pg_sleep(0.2)");
	}
	$session->ask("SELECT FROM pg_create_logical_replication_slot('fuzz', 'wal2json')");
	return 0 if grep { $_ eq '58P01' } @{ $session->{errors} };
	die "wal2json cannot be used: @{ $session->{errors} }\n" if @{ $session->{errors} };
	$session->value($functions);
	return 1;
}

sub text_array { return quoted('{' . join(',', map { "\"$_\"" } @_) . '}') }

# Tells the server what the tables look like; a column has had all of its names.
sub describe
{
	my ($session, @tables) = @_;
	my $sql = "TRUNCATE oracle.relation, oracle.key;\n";

	foreach my $table (@tables)
	{
		my $capture = $table->{audit} =~ /capture => '(\w+)'/ ? $1 : 'changes';
		my $hidden = text_array(map { @{ $_->{names} } } grep { ($_->{hidden} // '') eq 'exclude' } @{ $table->{columns} });
		my $masked = text_array(map { @{ $_->{names} } } grep { ($_->{hidden} // '') eq 'mask' } @{ $table->{columns} });
		my $place = 0;

		$sql .= "INSERT INTO oracle.relation VALUES ('$_', '$table->{name}', '$capture', $hidden, $masked);\n"
		  foreach $table->{name}, map { "$table->{name}_$_" } sort keys %{ $table->{partitions} // {} };
		$sql .= "INSERT INTO oracle.key VALUES ('$table->{name}', " . ++$place . ', ' . text_array(@{ $_->{names} }) . ");\n"
		  foreach Fuzz::Table::key_columns($table);
	}
	$session->value($sql);
}

# The first differences between what was decoded and what was logged since a row of the log.
sub differences
{
	my ($session, $since) = @_;

	return $session->value(<<"SQL");
SELECT relation, xid, step, E'\\n decoded: ', decoded, E'\\n  logged: ', logged
FROM oracle.expected() AS decoded
FULL JOIN oracle.found($since) AS logged USING (relation, xid, step)
WHERE (decoded.operation, decoded.record_id, decoded.new_record_id, decoded.old_values, decoded.new_values)
    IS DISTINCT FROM (logged.operation, logged.record_id, logged.new_record_id, logged.old_values, logged.new_values)
ORDER BY relation, xid::bigint, step
LIMIT 3
SQL
}

1;
