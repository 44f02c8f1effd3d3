-- Schemas of the audit benchmark: the same table three times.
--   plain   not audited
--   recipe  the generic PL/pgSQL trigger of the common recipe
--   ours    architect.audit_enable
\set ON_ERROR_STOP 1
\if :{?rows}
\else
\set rows 200000
\endif
CREATE EXTENSION IF NOT EXISTS pg_architect;

CREATE SCHEMA plain;
CREATE SCHEMA recipe;
CREATE SCHEMA ours;

CREATE TABLE plain.orders (
    id bigint PRIMARY KEY,
    customer_id integer NOT NULL,
    status text NOT NULL,
    total numeric(12,2) NOT NULL,
    note text,
    created_at timestamptz NOT NULL,
    active boolean NOT NULL,
    details jsonb
);
CREATE TABLE recipe.orders (LIKE plain.orders INCLUDING ALL);
CREATE TABLE ours.orders (LIKE plain.orders INCLUDING ALL);

CREATE VIEW public.source AS
    SELECT i::bigint AS id, (i * 7 % 10000)::integer AS customer_id,
           (ARRAY['new', 'paid', 'shipped', 'closed'])[1 + i % 4] AS status,
           (i % 100000) / 100.0 AS total, 'order number ' || i AS note,
           timestamptz '2026-01-01 00:00Z' + i * interval '1 second' AS created_at,
           i % 10 <> 0 AS active,
           jsonb_build_object('sku', 'A-' || i % 1000, 'quantity', i % 9, 'gift', i % 5 = 0) AS details
    FROM generate_series(1, :rows) AS i;

-- The common recipe, as it stands in many a blog post.
CREATE TABLE recipe.audit_log (
    id bigserial PRIMARY KEY,
    table_name text NOT NULL,
    record_id text NOT NULL,
    operation text NOT NULL,
    old_values jsonb,
    new_values jsonb,
    changed_by text NOT NULL DEFAULT session_user,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON recipe.audit_log (table_name, record_id);

CREATE FUNCTION recipe.audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO recipe.audit_log (table_name, record_id, operation, new_values)
        VALUES (TG_TABLE_NAME, NEW.id::text, TG_OP, to_jsonb(NEW));
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO recipe.audit_log (table_name, record_id, operation, old_values, new_values)
        VALUES (TG_TABLE_NAME, NEW.id::text, TG_OP, to_jsonb(OLD), to_jsonb(NEW));
    ELSE
        INSERT INTO recipe.audit_log (table_name, record_id, operation, old_values)
        VALUES (TG_TABLE_NAME, OLD.id::text, TG_OP, to_jsonb(OLD));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON recipe.orders
    FOR EACH ROW EXECUTE FUNCTION recipe.audit();
