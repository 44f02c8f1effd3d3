-- What the application sends, and how often.

-- 900: session by token
SELECT id, user_id, expires_at FROM sessions WHERE token = md5('token 150101') AND revoked_at IS NULL;

-- 900: user by key
SELECT id, account_id, email, name, role, locale FROM users WHERE id = 7919 AND deleted_at IS NULL;

-- 900: account by key
SELECT id, name, plan, status, settings FROM accounts WHERE id = 1597;

-- 300: seen now
UPDATE users SET last_seen_at = timestamptz '2026-01-01 00:00Z' WHERE id = 471;

-- 120: log in
SELECT id, account_id, role FROM users WHERE lower(email) = 'priya3@example21.com' AND deleted_at IS NULL;

-- 100: start of a session
INSERT INTO sessions (id, user_id, token, address, created_at, expires_at)
VALUES ('00000000-0000-4000-8000-000000000001', 471, 'new token', '10.1.2.3', '2026-01-01 00:00Z', '2026-01-31 00:00Z');

-- 30: end of all sessions of a user
UPDATE sessions SET revoked_at = timestamptz '2026-01-01 00:00Z' WHERE user_id = 7919 AND revoked_at IS NULL;

-- 1: sessions long over
DELETE FROM sessions WHERE expires_at < timestamptz '2024-02-10 00:00Z';

-- 250: notifications not seen
SELECT id, kind, created_at FROM notifications WHERE user_id = 7920 AND seen_at IS NULL
ORDER BY created_at DESC LIMIT 20;

-- 250: how many are not seen
SELECT count(*) FROM notifications WHERE user_id = 1 AND seen_at IS NULL;

-- 60: all seen
UPDATE notifications SET seen_at = timestamptz '2026-01-01 00:00Z' WHERE user_id = 7920 AND seen_at IS NULL;

-- 80: notify
INSERT INTO notifications (id, user_id, kind, created_at) VALUES (1000000001, 471, 'mention', '2026-01-01 00:00Z');

-- 200: latest orders of a user
SELECT id, number, status, total, placed_at FROM orders WHERE user_id = 7920 AND deleted_at IS NULL
ORDER BY placed_at DESC LIMIT 10;

-- 150: latest orders of an account
SELECT id, number, status, total, placed_at
FROM orders WHERE account_id = 1 AND deleted_at IS NULL ORDER BY placed_at DESC, id DESC LIMIT 25;

-- 40: page of the orders of an account
SELECT id, number, status, total, placed_at
FROM orders WHERE account_id = 1 AND deleted_at IS NULL AND (placed_at, id) < (timestamptz '2025-06-01 00:00Z', 190000)
ORDER BY placed_at DESC, id DESC LIMIT 25;

-- 120: order by number
SELECT * FROM orders WHERE number = 'A-000001234';

-- 200: order by key
SELECT * FROM orders WHERE id = 1234;

-- 200: lines of an order
SELECT l.line, p.name, l.quantity, l.price FROM order_lines l JOIN products p ON p.id = l.product_id
WHERE l.order_id = 1234 ORDER BY l.line;

-- 80: payments of an order
SELECT id, provider, status, amount FROM payments WHERE order_id = 1234 ORDER BY created_at;

-- 60: payment by reference
SELECT id, order_id, status FROM payments WHERE provider = 'card' AND reference = md5('payment 1234');

-- 40: orders to pack
SELECT id, account_id, placed_at FROM orders WHERE status = 'paid' ORDER BY placed_at LIMIT 50;

-- 20: orders by status of an account
SELECT status, count(*) FROM orders WHERE account_id = 1 AND deleted_at IS NULL GROUP BY status;

-- 5: revenue of a day by account
SELECT account_id, count(*), sum(total) FROM orders
WHERE placed_at >= timestamptz '2025-11-03 00:00Z' AND placed_at < timestamptz '2025-11-04 00:00Z'
  AND status <> 'cancelled'
GROUP BY account_id ORDER BY sum(total) DESC LIMIT 20;

-- 1: revenue of a year by month
SELECT date_trunc('month', placed_at) AS month, sum(total) FROM orders
WHERE placed_at >= timestamptz '2025-01-01 00:00Z' AND deleted_at IS NULL GROUP BY month ORDER BY month;

-- 60: new order
INSERT INTO orders (id, account_id, user_id, number, status, total, placed_at)
VALUES (1000000001, 1, 1, 'A-1000000001', 'new', 99.90, '2026-01-01 00:00Z');

-- 120: new line
INSERT INTO order_lines (order_id, line, product_id, quantity, price) VALUES (1234, 99, 77, 1, 9.90);

-- 80: order has been shipped
UPDATE orders SET status = 'shipped', shipped_at = timestamptz '2026-01-01 00:00Z' WHERE id = 2499;

-- 2: order is removed
DELETE FROM order_lines WHERE order_id = 1230;

-- 60: new payment
INSERT INTO payments (id, order_id, provider, reference, status, amount, created_at)
VALUES (1000000001, 1234, 'card', 'new reference', 'captured', 99.90, '2026-01-01 00:00Z');

-- 4: disputed payments of a week
SELECT p.id, p.amount, o.number, u.email
FROM payments p JOIN orders o ON o.id = p.order_id JOIN users u ON u.id = o.user_id
WHERE p.status = 'disputed' AND p.created_at >= timestamptz '2025-12-20 00:00Z'
  AND p.created_at < timestamptz '2025-12-27 00:00Z'
ORDER BY p.amount DESC LIMIT 50;

-- 150: product by code
SELECT * FROM products WHERE sku = 'SKU-00000471';

-- 80: products of an account
SELECT id, sku, name, price, stock FROM products WHERE account_id = 1 AND active ORDER BY name LIMIT 50;

-- 60: products by tag
SELECT id, name, price FROM products WHERE tags @> '{tag979}' AND active;

-- 40: products by two tags
SELECT id, name, price FROM products WHERE tags @> '{sale,tag17}' ORDER BY price LIMIT 20;

-- 60: products by attributes
SELECT id, name, price FROM products WHERE attributes @> '{"brand": "brand 74", "colour": "red"}' AND active
ORDER BY price LIMIT 20;

-- 30: products of a brand
SELECT count(*) FROM products WHERE attributes ->> 'brand' = 'brand 113';

-- 40: search of products
SELECT id, name, price FROM products WHERE name ILIKE '%old harbour%' ORDER BY name LIMIT 20;

-- 40: cheap products of an account
SELECT id, name, price FROM products WHERE account_id = 1 AND price BETWEEN 10 AND 20 ORDER BY price LIMIT 20;

-- 10: what has run out
SELECT id, sku, name FROM products WHERE account_id = 1 AND stock = 0 AND active;

-- 120: stock goes down
UPDATE products SET stock = stock - 1 WHERE id = 471;

-- 20: how a product sells
SELECT count(*), sum(quantity) FROM order_lines WHERE product_id = 471;

-- 5: who bought a product
SELECT DISTINCT u.id, u.name
FROM order_lines l JOIN orders o ON o.id = l.order_id JOIN users u ON u.id = o.user_id
WHERE l.product_id = 472 AND o.placed_at >= timestamptz '2025-01-01 00:00Z' ORDER BY u.name LIMIT 50;

-- 2: best products of an account
SELECT p.id, p.name, sum(l.quantity * l.price) AS revenue
FROM products p JOIN order_lines l ON l.product_id = p.id
WHERE p.account_id = 17 GROUP BY p.id, p.name ORDER BY revenue DESC LIMIT 10;

-- 500: event
INSERT INTO events (id, account_id, user_id, kind, data, created_at)
VALUES (1000000001, 1, 1, 'page.viewed', '{"path": "/orders/1", "browser": "chrome", "ms": 12}', '2026-01-01 00:00Z');

-- 60: latest events of an account
SELECT id, kind, user_id, created_at FROM events WHERE account_id = 1 ORDER BY created_at DESC LIMIT 50;

-- 20: what a user did in a month
SELECT id, kind, data, created_at FROM events
WHERE user_id = 7920 AND created_at >= timestamptz '2025-11-01 00:00Z'
  AND created_at < timestamptz '2025-12-01 00:00Z' ORDER BY created_at;

-- 3: events of an hour by kind
SELECT kind, count(*) FROM events
WHERE created_at >= timestamptz '2025-12-24 10:00Z' AND created_at < timestamptz '2025-12-24 11:00Z' GROUP BY kind;

-- 6: failed exports of a day
SELECT account_id, count(*) FROM events
WHERE kind = 'export.failed' AND created_at >= timestamptz '2025-12-30 00:00Z'
GROUP BY account_id ORDER BY count(*) DESC LIMIT 20;

-- 8: events of a campaign
SELECT count(*) FROM events WHERE data @> '{"campaign": "campaign 7"}';

-- 8: slow views of a path
SELECT id, created_at, data -> 'ms' AS ms FROM events
WHERE data ->> 'path' = '/orders/17' AND (data ->> 'ms')::integer > 500
ORDER BY created_at DESC LIMIT 20;

-- 1: users of an account active in a quarter
SELECT count(DISTINCT user_id) FROM events
WHERE account_id = 1 AND created_at >= timestamptz '2025-10-01 00:00Z' AND created_at < timestamptz '2026-01-01 00:00Z';

-- 100: inbox
SELECT m.id, m.subject, u.name, m.created_at
FROM messages m JOIN users u ON u.id = m.sender_id
WHERE m.recipient_id = 7920 ORDER BY m.created_at DESC LIMIT 20;

-- 120: how many are not read
SELECT count(*) FROM messages WHERE recipient_id = 1 AND read_at IS NULL;

-- 50: message has been read
UPDATE messages SET read_at = timestamptz '2026-01-01 00:00Z' WHERE id = 2490;

-- 40: new message
INSERT INTO messages (id, account_id, sender_id, recipient_id, subject, body, created_at)
VALUES (1000000001, 1, 1, 471, 'subject', 'body', '2026-01-01 00:00Z');

-- 4: search in messages
SELECT id, subject, created_at FROM messages WHERE account_id = 17 AND body ILIKE '%theodolite%'
ORDER BY created_at DESC LIMIT 20;

-- 100: comments of a product
SELECT c.id, c.body, u.name, c.created_at
FROM comments c JOIN users u ON u.id = c.author_id
WHERE c.subject_type = 'product' AND c.subject_id = 7920 AND c.deleted_at IS NULL ORDER BY c.created_at DESC LIMIT 20;

-- 20: comments of a user
SELECT id, subject_type, subject_id, created_at FROM comments WHERE author_id = 7920 AND deleted_at IS NULL
ORDER BY created_at DESC LIMIT 20;

-- 200: next job
SELECT id FROM jobs WHERE status = 'queued' AND queue = 'mail' AND run_at <= timestamptz '2026-01-01 00:00Z'
ORDER BY priority, run_at LIMIT 1 FOR UPDATE SKIP LOCKED;

-- 100: job is done
UPDATE jobs SET status = 'done', finished_at = timestamptz '2026-01-01 00:00Z' WHERE id = 1660;

-- 10: jobs by state
SELECT queue, count(*) FROM jobs WHERE status IN ('queued', 'running') GROUP BY queue;

-- 40: files of an account
SELECT id, name, bytes FROM files WHERE account_id = 1 AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 30;

-- 30: is the file there
SELECT id FROM files WHERE checksum = md5('file 4713') AND deleted_at IS NULL;

-- 1: files of users who are gone
SELECT u.id, count(*), sum(f.bytes) FROM files f JOIN users u ON u.id = f.owner_id
WHERE u.deleted_at IS NOT NULL GROUP BY u.id ORDER BY sum(f.bytes) DESC LIMIT 20;

-- 50: is the room free
SELECT id FROM bookings WHERE room = 'room 8' AND during && tstzrange('2025-06-11 09:00Z', '2025-06-11 12:00Z');

-- 20: bookings of a user
SELECT id, room, during FROM bookings WHERE user_id = 7920 ORDER BY lower(during) DESC LIMIT 10;

-- 60: members of an account
SELECT id, name, email, role FROM users WHERE account_id = 1 AND deleted_at IS NULL ORDER BY name LIMIT 50;

-- 5: account with its figures
SELECT a.name, (SELECT count(*) FROM users u WHERE u.account_id = a.id) AS users,
       (SELECT count(*) FROM orders o WHERE o.account_id = a.id) AS orders,
       (SELECT max(created_at) FROM events e WHERE e.account_id = a.id) AS last_event
FROM accounts a WHERE a.id = 17;

-- 2: accounts that fell asleep
SELECT a.id, a.name FROM accounts a
WHERE a.status = 'active' AND a.plan = 'enterprise'
  AND NOT EXISTS (SELECT FROM orders o WHERE o.account_id = a.id AND o.placed_at >= timestamptz '2025-09-01 00:00Z')
ORDER BY a.id LIMIT 50;
