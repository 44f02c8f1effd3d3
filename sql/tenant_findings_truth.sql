-- What the findings say of an expression, held against what a query sees through it.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_find_app;
CREATE SCHEMA find;
GRANT USAGE ON SCHEMA find TO regress_find_app;

CREATE DOMAIN find.tenant AS text;
CREATE TABLE find.doc (id integer, tenant_id text, is_public boolean, label text, org find.tenant);
INSERT INTO find.doc VALUES (1, 'a', true, 'a', 'a'), (2, 'a', false, 'x', 'b'), (3, 'a', NULL, NULL, NULL);
CREATE TABLE find.member (tenant_id text, name text);
INSERT INTO find.member VALUES ('b', 'regress_find_app');
GRANT SELECT ON find.doc, find.member TO regress_find_app;
ALTER TABLE find.doc ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION find.me() RETURNS text LANGUAGE sql STABLE AS
    $$SELECT nullif(current_setting('find.tenant', true), '')$$;
CREATE FUNCTION find.may(tenant text) RETURNS boolean LANGUAGE sql STABLE AS $$SELECT tenant = find.me()$$;
CREATE FUNCTION find.may_see(doc find.doc) RETURNS boolean LANGUAGE sql STABLE AS
    $$SELECT doc.tenant_id = find.me()$$;

CREATE TABLE find.expression (id integer GENERATED ALWAYS AS IDENTITY, text text);
INSERT INTO find.expression (text) VALUES
    -- Closed, by whatever means.
    ('tenant_id = architect.tenant_text()'),
    ('(tenant_id = architect.tenant_text()) OR architect.tenant_crossing()'),
    ($$tenant_id = current_setting('find.tenant')$$),
    ($$tenant_id = current_setting('find.tenant', true)$$),
    ($$tenant_id = (SELECT nullif(current_setting('find.tenant', true), ''))$$),
    ('find.me() = tenant_id AND is_public'),
    ('find.may(tenant_id)'),
    ('find.may_see(doc)'),
    ('(doc.*).tenant_id = find.me()'),
    ('NOT (tenant_id <> find.me())'),
    ('tenant_id IS NOT DISTINCT FROM find.me()'),
    ('(tenant_id = find.me()) IS TRUE'),
    ('coalesce(tenant_id = find.me(), false)'),
    ('tenant_id::find.tenant = find.me()::find.tenant'),
    ('lower(tenant_id) = lower(find.me())'),
    ('(tenant_id, id) = (find.me(), 1)'),
    ('(tenant_id, id) IN ((find.me(), 1), (find.me(), 2))'),
    ('tenant_id IN (find.me(), ''shared'')'),
    ($$tenant_id = ANY (string_to_array(current_setting('find.tenant', true), ','))$$),
    ('ARRAY[tenant_id] <@ ARRAY[find.me()]'),
    ('tenant_id = (ARRAY[find.me()])[1]'),
    ('tenant_id IN (SELECT tenant_id FROM find.member WHERE name = current_user)'),
    ('EXISTS (SELECT FROM find.member WHERE member.tenant_id = doc.tenant_id AND name = current_user)'),
    ('CASE WHEN find.me() IS NULL THEN false ELSE tenant_id = find.me() END'),
    ('tenant_id = ''b'''),
    ('tenant_id IS NULL OR tenant_id = find.me()'),
    ('false'), ('NULL'), ('1 = 2'),
    -- Open to other tenants.
    ('true'), ('1 = 1'), ('tenant_id IS NOT NULL'), ('tenant_id = tenant_id'), ('tenant_id = find.me() OR true'),
    ('tenant_id <> find.me()'), ('tenant_id IS DISTINCT FROM find.me()'), ('tenant_id <> ALL (ARRAY[find.me()])'),
    ('is_public'), ('tenant_id = find.me() OR is_public'), ('tenant_id = find.me() OR label IS NULL'),
    ('CASE WHEN is_public THEN true ELSE tenant_id = find.me() END'),
    ('org = find.me()'), ('label <> find.me()'), ('length(tenant_id) = 1'), ('tenant_id < ''b'''),
    ('(tenant_id, id) <= (find.me(), 1)'), ('greatest(tenant_id, find.me()) = find.me()'),
    ('EXISTS (SELECT FROM find.member WHERE name = current_user)'),
    ('NOT EXISTS (SELECT FROM find.member WHERE member.tenant_id = doc.tenant_id)'),
    ('tenant_id = find.me() OR current_user = ''regress_find_app'''),
    ('tenant_id = find.me() OR pg_has_role(current_user, ''MEMBER'')'),
    -- Open until somebody says who asks.
    ('find.me() IS NULL OR tenant_id = find.me()'),
    ('coalesce(tenant_id = find.me(), true)'),
    ('(tenant_id = find.me()) IS NOT FALSE'),
    ('tenant_id = coalesce(find.me(), tenant_id)'),
    ('CASE WHEN find.me() IS NULL THEN true ELSE tenant_id = find.me() END'),
    ($$coalesce(current_setting('find.tenant', true), '') = '' OR tenant_id = find.me()$$),
    ($$current_setting('find.tenant', true) = '' OR tenant_id = find.me()$$),
    ($$current_setting('find.tenant', true) IS NULL OR tenant_id = current_setting('find.tenant')$$),
    ($$tenant_id = find.me() OR (find.me() IS NULL AND is_public)$$),
    ($$tenant_id = find.me() OR current_setting('app.all', true) IS DISTINCT FROM 'no' AND find.me() IS NULL$$);

-- Whether any row of tenant a is seen by the tenant, or, for NULL, as things are.
CREATE FUNCTION find.sees(expression text, tenant text) RETURNS boolean LANGUAGE plpgsql AS $function$
DECLARE
    seen boolean;
BEGIN
    EXECUTE format('CREATE POLICY p ON find.doc USING (%s)', expression);
    IF tenant IS NOT NULL THEN
        PERFORM set_config('find.tenant', tenant, true), set_config('app.tenant_id', tenant, true);
    END IF;
    SET LOCAL ROLE regress_find_app;
    SELECT EXISTS (SELECT FROM find.doc) INTO seen;
    RESET ROLE;
    DROP POLICY p ON find.doc;
    RETURN seen;
EXCEPTION
    WHEN undefined_object THEN
        RETURN false;
END
$function$;

-- In this session nobody has said who the tenant is; then it is '', as after a transaction; then it is b.
ALTER TABLE find.expression ADD sees_unset boolean, ADD sees_empty boolean, ADD sees_other boolean,
    ADD says_unset boolean, ADD says_other boolean;
SELECT current_setting('find.tenant', true) IS NULL AS unset;
UPDATE find.expression SET sees_unset = find.sees(text, NULL);
SELECT current_setting('find.tenant', true) IS NULL AS unset;
UPDATE find.expression SET sees_empty = find.sees(text, '');
UPDATE find.expression SET sees_other = find.sees(text, 'b');

CREATE FUNCTION find.says(INOUT expression find.expression) LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE format('CREATE POLICY p ON find.doc USING (%s)', expression.text);
    SELECT said.shows_others, said.opens_unset OR said.always_true
    INTO expression.says_other, expression.says_unset
    FROM pg_policy, architect.tenant_expression(polqual, 2::smallint) AS said
    WHERE polrelid = 'find.doc'::regclass;
    DROP POLICY p ON find.doc;
END
$function$;
UPDATE find.expression SET (says_other, says_unset) = (
    SELECT says_other, says_unset FROM find.says(expression) OFFSET 0);

-- What another tenant sees is what is said.
SELECT id, text, says_other, sees_other FROM find.expression
WHERE says_other <> sees_other
ORDER BY id;

-- What is seen without a tenant was said, where it is not what every other tenant sees.  Of one that is
-- said to be open the planner's estimate fails first, yet a WITH CHECK, which is not estimated, is open.
SELECT id, text, says_unset, sees_unset, sees_empty FROM find.expression
WHERE says_unset <> (sees_unset OR sees_empty) AND NOT says_other
ORDER BY id;

CREATE POLICY p ON find.doc FOR INSERT
    WITH CHECK (current_setting('find.never', true) IS NULL OR tenant_id = current_setting('find.never'));
GRANT INSERT ON find.doc TO regress_find_app;
SET ROLE regress_find_app;
INSERT INTO find.doc (tenant_id) VALUES ('a');
RESET ROLE;

-- There are some of each kind.
SELECT sees_other, sees_unset, sees_empty, count(*) FROM find.expression
GROUP BY sees_other, sees_unset, sees_empty
ORDER BY sees_other, sees_unset, sees_empty;

SET client_min_messages = warning;
DROP SCHEMA find CASCADE;
DROP ROLE regress_find_app;
DROP EXTENSION pg_architect;
