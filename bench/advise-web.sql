-- A shop with many tenants as a web application keeps it: about :rows lines of orders and as many events, a few
-- accounts, users and products far more frequent than others (:skew; 1 is uniform), rows stored as they came in.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE SCHEMA web;
SET search_path = web, public;

CREATE TABLE accounts (
    id integer PRIMARY KEY,
    name text NOT NULL,
    plan text NOT NULL,
    status text NOT NULL,
    settings jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE TABLE users (
    id integer PRIMARY KEY,
    account_id integer NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    locale text NOT NULL,
    last_seen_at timestamptz,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id integer NOT NULL,
    token text NOT NULL,
    address inet NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE TABLE products (
    id integer PRIMARY KEY,
    account_id integer NOT NULL,
    sku text NOT NULL,
    name text NOT NULL,
    price numeric(10,2) NOT NULL,
    stock integer NOT NULL,
    tags text[] NOT NULL,
    attributes jsonb NOT NULL,
    active boolean NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    account_id integer NOT NULL,
    user_id integer NOT NULL,
    number text NOT NULL,
    status text NOT NULL,
    total numeric(12,2) NOT NULL,
    placed_at timestamptz NOT NULL,
    shipped_at timestamptz,
    deleted_at timestamptz
);
CREATE TABLE order_lines (
    order_id bigint NOT NULL,
    line integer NOT NULL,
    product_id integer NOT NULL,
    quantity integer NOT NULL,
    price numeric(10,2) NOT NULL,
    PRIMARY KEY (order_id, line)
);
CREATE TABLE payments (
    id bigint PRIMARY KEY,
    order_id bigint NOT NULL,
    provider text NOT NULL,
    reference text NOT NULL,
    status text NOT NULL,
    amount numeric(12,2) NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE events (
    id bigint PRIMARY KEY,
    account_id integer NOT NULL,
    user_id integer,
    kind text NOT NULL,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE messages (
    id bigint PRIMARY KEY,
    account_id integer NOT NULL,
    sender_id integer NOT NULL,
    recipient_id integer NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    read_at timestamptz,
    created_at timestamptz NOT NULL
);
CREATE TABLE comments (
    id bigint PRIMARY KEY,
    account_id integer NOT NULL,
    author_id integer NOT NULL,
    subject_type text NOT NULL,
    subject_id bigint NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE TABLE notifications (
    id bigint PRIMARY KEY,
    user_id integer NOT NULL,
    kind text NOT NULL,
    seen_at timestamptz,
    created_at timestamptz NOT NULL
);
CREATE TABLE jobs (
    id bigint PRIMARY KEY,
    queue text NOT NULL,
    status text NOT NULL,
    priority integer NOT NULL,
    attempts integer NOT NULL,
    payload jsonb NOT NULL,
    run_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE TABLE files (
    id integer PRIMARY KEY,
    account_id integer NOT NULL,
    owner_id integer NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    bytes bigint NOT NULL,
    checksum text NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE TABLE bookings (
    id integer PRIMARY KEY,
    account_id integer NOT NULL,
    user_id integer NOT NULL,
    room text NOT NULL,
    during tstzrange NOT NULL
);

SELECT greatest(:rows / 300, 50) AS accounts, greatest(:rows / 10, 1000) AS users,
       greatest(:rows / 5, 1000) AS sessions,
       greatest(:rows / 20, 1000) AS products, greatest(:rows / 4, 1000) AS orders, greatest(:rows, 1000) AS events,
       greatest(:rows / 4, 1000) AS messages, greatest(:rows / 6, 1000) AS comments,
       greatest(:rows / 2, 1000) AS notifications,
       greatest(:rows / 6, 1000) AS jobs, greatest(:rows / 12, 1000) AS files,
       greatest(:rows / 20, 1000) AS bookings \gset

-- Two years up to 2026, one after the other.
CREATE FUNCTION bench.moment(i bigint, n bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT timestamptz '2024-01-01 00:00Z' + i * interval '730 days' / n
$$;
-- The account of a user.
CREATE FUNCTION bench.account_of(user_id bigint, accounts bigint, skew float8)
    RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT bench.key_of(user_id, 100, accounts, skew)
$$;

INSERT INTO accounts
SELECT i, 'Account ' || i, bench.word_of(i, 101, '{enterprise,team,starter,free}', 2),
       bench.word_of(i, 102, '{closed,suspended,trial,active}', 3),
       jsonb_build_object('theme', bench.word_of(i, 103, '{dark,light}'), 'seats', 1 + bench.any_of(i, 104, 50)),
       bench.moment(i, :accounts),
       CASE WHEN bench.chance(i, 105) < 0.05 THEN bench.moment(i, :accounts) + interval '90 days' END
FROM generate_series(1, :accounts) AS i;

INSERT INTO users
SELECT i, bench.account_of(i, :accounts, :skew), format('%s%s@Example%s.com', first, i, bench.any_of(i, 112, 50)),
       first || ' ' || last,
       bench.word_of(i, 113, '{owner,admin,editor,member}', 3), bench.word_of(i, 114, '{fr,de,es,en}', 2),
       CASE WHEN bench.chance(i, 115) < 0.9
           THEN timestamptz '2026-01-01 00:00Z' - bench.chance(i, 116) ^ 4 * interval '700 days' END,
       bench.moment(i, :users), CASE WHEN bench.chance(i, 117) < 0.04 THEN timestamptz '2025-12-01 00:00Z' END
FROM generate_series(1, :users) AS i,
     LATERAL (SELECT bench.word_of(i, 110, '{Ana,Ben,Chloe,Dmitri,Elif,Farid,Greta,Hiro,Ines,Jan,Kofi,Lea,Marek,Nadia,
                                             Omar,Priya}') AS first,
                     bench.word_of(i, 111, '{Abel,Brandt,Costa,Duarte,Eriksen,Fischer,Garcia,Haddad,Ivanov,Jensen,Khan,
                                             Lopez,Moreau,Novak,Okafor,Petit}') AS last) AS named;

INSERT INTO sessions
SELECT md5('session ' || i)::uuid, bench.key_of(i, 120, :users, :skew), md5('token ' || i),
       inet '10.0.0.0' + bench.any_of(i, 121, 1000000), started, started + interval '30 days',
       CASE WHEN bench.chance(i, 122) < 0.3 THEN started + interval '2 days' END
FROM generate_series(1, :sessions) AS i, LATERAL (SELECT bench.moment(i, :sessions) AS started) AS start;

INSERT INTO products
SELECT i, bench.key_of(i, 130, :accounts, :skew), 'SKU-' || to_char(i, 'FM00000000'),
       initcap(bench.prose(i, 131, 12, 40)),
       1 + bench.any_of(i, 133, 50000) / 100.0, bench.any_of(i, 134, 500) * (bench.chance(i, 135) < 0.9)::integer,
       ARRAY[bench.word_of(i, 136, labels, 2), bench.word_of(i, 137, labels), 'tag' || bench.any_of(i, 138, 2000)],
       jsonb_build_object('colour', bench.word_of(i, 139, '{silver,violet,green,blue,red,white,black}', 2),
                          'size', bench.word_of(i, 140, '{XS,XXL,XL,S,L,M}', 2),
                          'brand', 'brand ' || bench.key_of(i, 141, 400, 2),
                          'weight', bench.any_of(i, 142, 900), 'eco', bench.chance(i, 143) < 0.02),
       bench.chance(i, 144) < 0.85, bench.moment(i, :products)
FROM generate_series(1, :products) AS i,
     LATERAL (SELECT '{vintage,handmade,limited,outlet,gift,summer,winter,kids,office,garden,new,sale}'::text[] AS labels) AS choice;

INSERT INTO orders
SELECT i, bench.account_of(buyer, :accounts, :skew), buyer, 'A-' || to_char(i, 'FM000000000'), status,
       5 + bench.any_of(i, 151, 90000) / 100.0,
       placed, CASE WHEN status IN ('shipped', 'done') THEN placed + interval '1 day' * (1 + bench.chance(i, 152)) END,
       CASE WHEN bench.chance(i, 153) < 0.02 THEN placed + interval '3 days' END
FROM generate_series(1, :orders) AS i,
     LATERAL (SELECT bench.key_of(i, 150, :users, :skew) AS buyer, bench.moment(i, :orders) AS placed,
                     CASE WHEN i > :orders * 0.98 THEN bench.word_of(i, 154, '{new,paid,packed,shipped}')
                          ELSE bench.word_of(i, 155, '{disputed,returned,cancelled,done}', 6) END AS status) AS choice;

INSERT INTO order_lines
SELECT i, line, bench.key_of(i * 8 + line, 160, :products, :skew), 1 + bench.any_of(i * 8 + line, 161, 4),
       1 + bench.any_of(i * 8 + line, 162, 50000) / 100.0
FROM generate_series(1, :orders) AS i, LATERAL generate_series(1, 1 + bench.any_of(i, 163, 7)) AS line;

INSERT INTO payments
SELECT id, id, bench.word_of(id, 170, '{invoice,transfer,wallet,card}', 2), md5('payment ' || id),
       bench.word_of(id, 171, '{disputed,failed,refunded,captured}', 5), total, placed_at + interval '5 minutes'
FROM orders
WHERE bench.chance(id, 172) < 0.95;

INSERT INTO events
SELECT i, bench.account_of(actor, :accounts, :skew), CASE WHEN bench.chance(i, 181) < 0.9 THEN actor END,
       bench.word_of(i, 182, '{export.failed,user.invited,order.refunded,order.placed,cart.changed,page.viewed}', 3),
       jsonb_strip_nulls(jsonb_build_object(
           'path', '/' || bench.word_of(i, 183, '{admin,help,cart,orders,products}', 2) || '/' || bench.any_of(i, 184, 3000),
           'browser', bench.word_of(i, 185, '{edge,safari,firefox,chrome}', 2), 'ms', bench.any_of(i, 186, 900),
           'campaign', CASE WHEN bench.chance(i, 187) < 0.03 THEN 'campaign ' || bench.any_of(i, 188, 40) END)),
       bench.moment(i, :events)
FROM generate_series(1, :events) AS i, LATERAL (SELECT bench.key_of(i, 180, :users, :skew) AS actor) AS choice;

INSERT INTO messages
SELECT i, bench.account_of(sender, :accounts, :skew), sender, bench.key_of(i, 191, :users, :skew),
       bench.prose(i, 192, 10, 40), bench.prose(i, 194, 80, 300),
       CASE WHEN bench.chance(i, 196) < 0.93 THEN bench.moment(i, :messages) + interval '4 hours' END,
       bench.moment(i, :messages)
FROM generate_series(1, :messages) AS i, LATERAL (SELECT bench.key_of(i, 190, :users, :skew) AS sender) AS choice;

INSERT INTO comments
SELECT i, bench.account_of(author, :accounts, :skew), author, subject,
       CASE subject WHEN 'order' THEN 1 + bench.any_of(i, 202, :orders)
           WHEN 'product' THEN bench.key_of(i, 203, :products, :skew)
           ELSE 1 + bench.any_of(i, 204, :files) END,
       bench.prose(i, 205, 30, 200), bench.moment(i, :comments),
       CASE WHEN bench.chance(i, 207) < 0.06 THEN bench.moment(i, :comments) + interval '1 day' END
FROM generate_series(1, :comments) AS i,
     LATERAL (SELECT bench.key_of(i, 200, :users, :skew) AS author,
                     bench.word_of(i, 201, '{file,order,product}', 1.5) AS subject) AS choice;

INSERT INTO notifications
SELECT i, bench.key_of(i, 210, :users, :skew), bench.word_of(i, 211, '{security,billing,mention,order,digest}', 1.5),
       CASE WHEN bench.chance(i, 212) < 0.95 THEN bench.moment(i, :notifications) + interval '6 hours' END,
       bench.moment(i, :notifications)
FROM generate_series(1, :notifications) AS i;

INSERT INTO jobs
SELECT i, bench.word_of(i, 220, '{import,report,billing,mail}', 2), status, bench.any_of(i, 222, 5),
       (bench.chance(i, 223) ^ 4 * 6)::integer,
       jsonb_build_object('account_id', bench.key_of(i, 224, :accounts, :skew), 'step', bench.any_of(i, 225, 10)),
       bench.moment(i, :jobs),
       CASE WHEN status IN ('done', 'failed') THEN bench.moment(i, :jobs) + interval '1 minute' END
FROM generate_series(1, :jobs) AS i,
     LATERAL (SELECT CASE WHEN i > :jobs * 0.99 THEN bench.word_of(i, 221, '{running,queued}', 2)
                          ELSE bench.word_of(i, 226, '{failed,done}', 5) END AS status) AS choice;

INSERT INTO files
SELECT i, bench.account_of(owner, :accounts, :skew), owner, replace(bench.prose(i, 231, 8, 30), ' ', '_') || '.' || kind,
       kind, (1000 * 10 ^ (4 * bench.chance(i, 233)))::bigint, md5('file ' || bench.any_of(i, 234, :files)),
       bench.moment(i, :files),
       CASE WHEN bench.chance(i, 235) < 0.15 THEN bench.moment(i, :files) + interval '10 days' END
FROM generate_series(1, :files) AS i,
     LATERAL (SELECT bench.key_of(i, 230, :users, :skew) AS owner,
                     bench.word_of(i, 232, '{zip,csv,pdf,png,jpg}', 2) AS kind) AS choice;

INSERT INTO bookings
SELECT i, bench.account_of(guest, :accounts, :skew), guest, 'room ' || bench.any_of(i, 241, 60),
       tstzrange(starts, starts + interval '1 hour' * (1 + bench.any_of(i, 242, 4)))
FROM generate_series(1, :bookings) AS i,
     LATERAL (SELECT bench.key_of(i, 240, :users, :skew) AS guest,
                     bench.moment(i, :bookings) + interval '1 day' * bench.any_of(i, 243, 60) AS starts) AS choice;

ALTER TABLE users ADD FOREIGN KEY (account_id) REFERENCES accounts;
ALTER TABLE sessions ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE products ADD FOREIGN KEY (account_id) REFERENCES accounts;
ALTER TABLE orders ADD FOREIGN KEY (account_id) REFERENCES accounts, ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE order_lines ADD FOREIGN KEY (order_id) REFERENCES orders, ADD FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE payments ADD FOREIGN KEY (order_id) REFERENCES orders;
ALTER TABLE events ADD FOREIGN KEY (account_id) REFERENCES accounts, ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE messages ADD FOREIGN KEY (account_id) REFERENCES accounts, ADD FOREIGN KEY (sender_id) REFERENCES users,
    ADD FOREIGN KEY (recipient_id) REFERENCES users;
ALTER TABLE comments ADD FOREIGN KEY (account_id) REFERENCES accounts, ADD FOREIGN KEY (author_id) REFERENCES users;
ALTER TABLE notifications ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE files ADD FOREIGN KEY (account_id) REFERENCES accounts, ADD FOREIGN KEY (owner_id) REFERENCES users;
ALTER TABLE bookings ADD FOREIGN KEY (account_id) REFERENCES accounts, ADD FOREIGN KEY (user_id) REFERENCES users;
