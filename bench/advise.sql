-- What the benchmarks of index advice share: values that are the same in every run, and the statements of
-- a workload.
\set ON_ERROR_STOP 1
CREATE SCHEMA bench;

-- A number from 0 to 1, the same for the same arguments.
CREATE FUNCTION bench.chance(i bigint, salt bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
    SELECT (hashint8extended(i, salt) & 9007199254740991) / 9007199254740992.0::float8
$$;

-- A number from 0 to n - 1, each as often as any other.
CREATE FUNCTION bench.any_of(i bigint, salt bigint, n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT floor(n * bench.chance(i, salt))::bigint
$$;

-- A key from 1 to n, a few of them far more often than the rest where skew is more than 1, and these anywhere.
CREATE FUNCTION bench.key_of(i bigint, salt bigint, n bigint, skew float8) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT 1 + floor(n * power(bench.chance(i, salt), skew))::bigint * 7919 % n
$$;

-- One of some words; the last of them comes up most.
CREATE FUNCTION bench.word_of(i bigint, salt bigint, words text[], skew float8 = 1)
    RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT words[cardinality(words) - floor(cardinality(words) * power(bench.chance(i, salt), skew))::integer]
$$;

-- A piece of prose.
CREATE FUNCTION bench.prose(i bigint, salt bigint, shortest integer, longest integer)
    RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(
        'the parcel came late and nobody at the desk knew why, so we asked the carrier for a copy of the note '
        'it had left with a neighbour; special packaging was promised, special requests were read twice and then '
        'put away, and the final deposit went to another account. please check the pending invoice against the '
        'regular price list before it is sent, because the even rows carry last year''s discount. our driver waits '
        'near the old harbour, behind the blue gate, with two pallets of green glass and one of slow moving stock. '
        'the customer complains about the colour, the supplier about the customer, and both about the weather. '
        'urgent: the courier lost a box of instructions somewhere between the airport and the river; a theodolite, '
        'three silver pins and a furious letter were in it. quiet accounts sleep above the express counter while '
        'bold ideas wake the ironic auditors, who nod, haggle and integrate whatever was left over from the spring. '
        'a refund is on its way, thank you for your patience, and tell the warehouse that the seventh floor is dry.',
        1 + bench.any_of(i, salt, 700)::integer,
        shortest + bench.any_of(i, salt + 1, longest - shortest + 1)::integer)
$$;

-- The statements, and how often each is called.
CREATE TABLE bench.workload (
    number integer PRIMARY KEY,
    calls float8 NOT NULL,
    name text NOT NULL,
    query text NOT NULL
);

-- Reads them from a file's text: before each a line "-- CALLS: NAME".
CREATE PROCEDURE bench.read_workload(content text) LANGUAGE sql AS $$
    INSERT INTO bench.workload
    SELECT row_number() OVER (ORDER BY ordinality) AS number, part[1]::float8 AS calls, part[2] AS name,
           rtrim(part[3], E' \n;') AS query
    FROM regexp_split_to_table(E'\n' || content, E'\n(?=-- [0-9]+: )') WITH ORDINALITY AS text_of,
         LATERAL regexp_match(text_of, E'^-- ([0-9]+): ([^\n]*)\n(.*)$') AS part
    WHERE part IS NOT NULL;
$$;

-- The indexes that are not of a constraint, each by its definition without the name.
CREATE VIEW bench.indexes AS
SELECT c.oid::regclass AS index, indrelid::regclass AS relation,
       replace(pg_get_indexdef(c.oid), format(' INDEX %I ON ', c.relname), ' INDEX ON ') AS definition
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE c.relnamespace = current_database()::regnamespace
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND contype IN ('p', 'u', 'x'));

-- How long each statement took with a plan.
CREATE TABLE bench.times (
    number integer NOT NULL REFERENCES bench.workload,
    plan text NOT NULL,
    milliseconds float8 NOT NULL
);
CREATE TABLE bench.plans (
    number integer PRIMARY KEY REFERENCES bench.workload,
    plan text NOT NULL
);

-- Which plan each statement has with the indexes that are there now.  Names of indexes do not count; what changes
-- rows has a plan of its own with each set of indexes on its tables.
CREATE PROCEDURE bench.look() LANGUAGE plpgsql AS $$
DECLARE
    item record;
    line text;
    lines text;
BEGIN
    FOR item IN SELECT index, 'index_' || md5(definition) AS name FROM bench.indexes LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', item.index, item.name);
    END LOOP;
    TRUNCATE bench.plans;
    FOR item IN SELECT number, query FROM bench.workload LOOP
        lines := '';
        FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || item.query LOOP
            lines := lines || E'\n' || line;
        END LOOP;
        IF item.query !~ '^SELECT|^WITH' THEN
            lines := lines || coalesce((SELECT string_agg(definition, E'\n' ORDER BY definition)
                                        FROM bench.indexes WHERE item.query ~ format('\m%s\M', relation)), '');
        END IF;
        INSERT INTO bench.plans VALUES (item.number, md5(lines));
    END LOOP;
END
$$;

-- A script for psql that runs, and takes back, what has been measured less than so many times with its plan of now:
-- ten times over when it takes but a moment, and not again when it was too slow.
CREATE FUNCTION bench.script(runs integer, cap integer) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format(E'\\echo %s\nBEGIN;\n\\timing on\n%s;\n\\timing off\nROLLBACK;', number, query),
                      E'\n' ORDER BY number)
    FROM (SELECT number, count(milliseconds) AS done, min(milliseconds) AS best
          FROM bench.plans LEFT JOIN bench.times USING (number, plan)
          GROUP BY number) AS known
    JOIN bench.workload USING (number),
         generate_series(1, CASE WHEN best < 20 THEN 10 ELSE 1 END) AS again
    WHERE done <= runs * CASE WHEN best < 20 THEN 10 ELSE 1 END AND (best IS NULL OR best < cap)
$$;

-- What the workload takes, each statement as often as it is called: the median of its times with the plan of now.
CREATE FUNCTION bench.total(cap integer) RETURNS float8 LANGUAGE sql STABLE AS $$
    SELECT sum(calls * milliseconds)
    FROM bench.workload
    JOIN (SELECT number, percentile_cont(0.5) WITHIN GROUP (ORDER BY least(milliseconds, cap)) AS milliseconds
          FROM bench.plans JOIN bench.times USING (number, plan)
          GROUP BY number) AS medians USING (number)
$$;
