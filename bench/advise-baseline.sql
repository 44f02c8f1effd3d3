-- Two selections of indexes as they are done by hand, over candidates of one and two columns: the greatest benefit
-- for a byte first, and what is best for each statement alone.

-- Every column that a statement names, alone and before every other one of its table.
CREATE TABLE bench.candidates (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation text NOT NULL,
    columns text[] NOT NULL,
    statement text NOT NULL,
    size bigint,
    UNIQUE (relation, columns)
);
-- The statements that each improves, and their cost with it and with what has been chosen (or nothing yet).
CREATE TABLE bench.gains (
    number integer REFERENCES bench.workload,
    candidate integer REFERENCES bench.candidates,
    alone float8 NOT NULL,
    cost float8 NOT NULL,
    PRIMARY KEY (number, candidate)
);
CREATE TABLE bench.costs (
    number integer PRIMARY KEY REFERENCES bench.workload,
    alone float8 NOT NULL,
    cost float8 NOT NULL
);
CREATE TABLE bench.chosen (
    candidate integer PRIMARY KEY REFERENCES bench.candidates
);

-- What a statement costs with these candidates, those that improve it at all.
CREATE FUNCTION bench.cost(statement integer, ids integer[]) RETURNS float8 LANGUAGE sql STABLE AS $$
    SELECT cost_after
    FROM bench.workload,
         architect.index_what_if(query, create_indexes => (
             SELECT coalesce(array_agg(c.statement ORDER BY c.id), '{}')
             FROM bench.candidates AS c JOIN bench.gains AS g ON g.candidate = c.id
             WHERE g.number = $1 AND c.id = ANY (ids)))
    WHERE workload.number = $1
$$;

-- Finds the candidates, and what each does for the statements that name its columns.
CREATE PROCEDURE bench.prepare() LANGUAGE plpgsql AS $$
DECLARE
    item record;
    answer record;
BEGIN
    CREATE TEMPORARY TABLE named ON COMMIT DROP AS
    SELECT number, query, relname::text AS relation, attname::text AS name
    FROM bench.workload,
         LATERAL (SELECT regexp_split_to_array(lower(query), '\W+') AS words) AS tokens
    JOIN pg_class AS c ON relnamespace = current_database()::regnamespace AND relkind = 'r' AND relname = ANY (words)
    JOIN pg_attribute AS a ON attrelid = c.oid AND attnum > 0 AND attname = ANY (words)
    JOIN pg_type AS t ON t.oid = atttypid AND typcategory NOT IN ('A', 'R') AND typname <> 'jsonb'
    WHERE query !~ '^INSERT';

    INSERT INTO bench.candidates (relation, columns, statement)
    SELECT relation, columns, format('CREATE INDEX ON %s (%s)', relation, array_to_string(columns, ', '))
    FROM (SELECT relation, ARRAY[name] AS columns FROM named
          UNION
          SELECT relation, ARRAY[a.name, b.name] FROM named AS a JOIN named AS b USING (number, relation)
          WHERE a.name <> b.name) AS found
    ORDER BY relation, columns;

    -- One column, and two where they do more than the first.
    FOR item IN
        SELECT n.number, n.query, c.id, c.columns, c.statement,
               (SELECT id FROM bench.candidates AS s
                WHERE s.relation = c.relation AND s.columns = c.columns[1:1]) AS single
        FROM bench.candidates AS c
        JOIN (SELECT number, query, relation, array_agg(name) AS names FROM named GROUP BY 1, 2, 3) AS n
            ON n.relation = c.relation AND c.columns <@ n.names
        ORDER BY cardinality(c.columns), n.number, c.id
    LOOP
        SELECT cost_before, cost_after, index_sizes[1] AS size, error INTO answer
        FROM architect.index_what_if(item.query, create_indexes => ARRAY[item.statement]);
        IF answer.error IS NOT NULL THEN
            RAISE EXCEPTION 'statement %, %: %', item.number, item.statement, answer.error;
        END IF;
        UPDATE bench.candidates SET size = answer.size WHERE id = item.id AND size IS NULL;
        INSERT INTO bench.costs VALUES (item.number, answer.cost_before, answer.cost_before) ON CONFLICT DO NOTHING;
        INSERT INTO bench.gains
        SELECT item.number, item.id, answer.cost_after, answer.cost_after
        WHERE answer.cost_after < 0.99 * least(answer.cost_before, (
                  SELECT alone FROM bench.gains
                  WHERE number = item.number AND candidate = item.single AND candidate <> item.id));
    END LOOP;
END
$$;

-- The candidate with the greatest benefit for a byte, again and again while one fits into the budget; one of two
-- columns takes the place of its first column alone.
CREATE FUNCTION bench.greedy(budget bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    room bigint := budget;
    best record;
    changed integer[];
BEGIN
    DELETE FROM bench.chosen;
    UPDATE bench.gains SET cost = alone;
    UPDATE bench.costs SET cost = alone;
    LOOP
        SELECT c.id, narrow.id AS replaced, bytes, benefit INTO best
        FROM bench.candidates AS c
        LEFT JOIN (bench.candidates AS narrow JOIN bench.chosen ON narrow.id = chosen.candidate)
            ON narrow.relation = c.relation AND narrow.columns = c.columns[1:1],
             LATERAL (SELECT greatest(c.size - coalesce(narrow.size, 0), 8192)) AS growth (bytes),
             LATERAL (SELECT sum(calls * (costs.cost - gains.cost))
                      FROM bench.gains JOIN bench.costs USING (number) JOIN bench.workload USING (number)
                      WHERE candidate = c.id AND gains.cost < costs.cost) AS gain (benefit)
        WHERE c.id NOT IN (SELECT candidate FROM bench.chosen) AND bytes <= room
        ORDER BY benefit / bytes DESC NULLS LAST, c.id
        LIMIT 1;
        EXIT WHEN coalesce(best.benefit, 0) <= 0.0001 * (
            SELECT sum(calls * cost) FROM bench.costs JOIN bench.workload USING (number));

        INSERT INTO bench.chosen VALUES (best.id);
        DELETE FROM bench.chosen WHERE candidate = best.replaced;
        room := room - best.bytes;
        changed := ARRAY(SELECT DISTINCT number FROM bench.gains WHERE candidate IN (best.id, best.replaced));
        UPDATE bench.costs SET cost = bench.cost(number, ARRAY(SELECT candidate FROM bench.chosen))
        WHERE number = ANY (changed);
        UPDATE bench.gains SET cost = bench.cost(number, ARRAY(SELECT candidate FROM bench.chosen) || gains.candidate)
        WHERE number = ANY (changed);
    END LOOP;
    RETURN QUERY SELECT statement FROM bench.chosen JOIN bench.candidates ON id = candidate ORDER BY id;
END
$$;

-- For each statement alone the candidates that lower its cost most, one after the other; of all these the ones with the
-- greatest benefit that fit into the budget.
CREATE FUNCTION bench.alone(budget bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    item record;
    best record;
    taken integer[];
    now float8;
    room bigint := budget;
BEGIN
    IF to_regclass('bench.picks') IS NULL THEN
        CREATE TABLE bench.picks (candidate integer, benefit float8);
        FOR item IN SELECT number, calls, alone FROM bench.costs JOIN bench.workload USING (number) LOOP
            taken := '{}';
            now := item.alone;
            LOOP
                SELECT candidate, bench.cost(item.number, taken || candidate) AS cost INTO best
                FROM bench.gains
                WHERE number = item.number AND candidate <> ALL (taken)
                ORDER BY cost, candidate
                LIMIT 1;
                EXIT WHEN NOT FOUND OR best.cost > 0.99 * now;
                INSERT INTO bench.picks VALUES (best.candidate, item.calls * (now - best.cost));
                taken := taken || best.candidate;
                now := best.cost;
            END LOOP;
        END LOOP;
    END IF;
    FOR item IN
        SELECT statement, size
        FROM bench.picks JOIN bench.candidates ON id = candidate
        GROUP BY id
        ORDER BY sum(benefit) DESC, id
    LOOP
        IF item.size <= room THEN
            room := room - item.size;
            RETURN NEXT item.statement;
        END IF;
    END LOOP;
END
$$;
