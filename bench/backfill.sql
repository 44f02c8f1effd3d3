-- What the benchmarks of backfill share: the rows of a table of orders, and how people change them in batches.
\set ON_ERROR_STOP 1
CREATE EXTENSION pg_architect;

-- The rows, each of some 100 bytes; keys and customers are in no order.
CREATE TABLE source AS
    SELECT md5(i::text)::uuid AS id, i::bigint AS number, (hashint8extended(i, 0) & 65535)::integer AS customer_id,
           ((i % 100000) / 100.0)::numeric(12,2) AS total, (ARRAY['new', 'paid', 'shipped', 'closed'])[1 + i % 4] AS status,
           'order number ' || i AS note, timestamptz '2026-01-01 00:00Z' + i * interval '1 second' AS created_at
    FROM generate_series(1, :rows) AS i;

-- Batches in the order of the key, as libraries for applications make them.
CREATE PROCEDURE keyset(batch integer) LANGUAGE plpgsql AS $$
DECLARE
    last_id uuid := '00000000-0000-0000-0000-000000000000';
    next_id uuid;
BEGIN
    LOOP
        SELECT id INTO next_id
        FROM (SELECT id FROM orders WHERE id > last_id ORDER BY id LIMIT batch) AS batch
        ORDER BY id DESC LIMIT 1;
        EXIT WHEN next_id IS NULL;
        UPDATE orders SET total_cents = (total * 100)::bigint
        WHERE id > last_id AND id <= next_id AND total_cents IS NULL;
        COMMIT;
        last_id := next_id;
    END LOOP;
END $$;

-- Batches of whatever rows are left, as in many a blog post.
CREATE PROCEDURE where_limit(batch integer) LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        UPDATE orders SET total_cents = (total * 100)::bigint
        WHERE id IN (SELECT id FROM orders WHERE total_cents IS NULL LIMIT batch);
        EXIT WHEN NOT FOUND;
        COMMIT;
    END LOOP;
END $$;
