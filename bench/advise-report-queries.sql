-- The 22 reports, each called as often.

-- 1: what was shipped, by state
SELECT return_flag, status, count(*) AS lines, sum(quantity) AS quantity, sum(price) AS gross,
       sum(price * (1 - discount)) AS net, sum(price * (1 - discount) * (1 + tax)) AS paid,
       avg(quantity) AS average_quantity, avg(discount) AS average_discount
FROM lineitem
WHERE shipped_on <= date '2024-09-01'
GROUP BY return_flag, status
ORDER BY return_flag, status;

-- 1: cheapest source of a part
SELECT s.balance, s.name, n.name AS nation, p.id, p.maker, s.address, s.phone
FROM part p
JOIN partsupp ps ON ps.part_id = p.id
JOIN supplier s ON s.id = ps.supplier_id
JOIN nation n ON n.id = s.nation_id
JOIN region r ON r.id = n.region_id
WHERE p.size = 17 AND p.kind LIKE '%STEEL' AND r.name = 'ASIA'
  AND ps.cost = (SELECT min(other.cost)
                 FROM partsupp other
                 JOIN supplier os ON os.id = other.supplier_id
                 JOIN nation o ON o.id = os.nation_id
                 JOIN region orr ON orr.id = o.region_id
                 WHERE other.part_id = p.id AND orr.name = 'ASIA')
ORDER BY s.balance DESC, nation, s.name, p.id
LIMIT 100;

-- 1: largest orders not yet shipped
SELECT o.id, sum(l.price * (1 - l.discount)) AS revenue, o.ordered_on
FROM customer c
JOIN orders o ON o.customer_id = c.id
JOIN lineitem l ON l.order_id = o.id
WHERE c.segment = 'FURNITURE' AND o.ordered_on < date '2021-03-10' AND l.shipped_on > date '2021-03-10'
GROUP BY o.id, o.ordered_on
ORDER BY revenue DESC, o.ordered_on
LIMIT 10;

-- 1: orders of a quarter that came late
SELECT o.priority, count(*) AS orders
FROM orders o
WHERE o.ordered_on >= date '2022-04-01' AND o.ordered_on < date '2022-07-01'
  AND EXISTS (SELECT FROM lineitem l WHERE l.order_id = o.id AND l.received_on > l.promised_on)
GROUP BY o.priority
ORDER BY o.priority;

-- 1: trade inside the nations of a region
SELECT n.name, sum(l.price * (1 - l.discount)) AS revenue
FROM region r
JOIN nation n ON n.region_id = r.id
JOIN customer c ON c.nation_id = n.id
JOIN orders o ON o.customer_id = c.id
JOIN lineitem l ON l.order_id = o.id
JOIN supplier s ON s.id = l.supplier_id AND s.nation_id = c.nation_id
WHERE r.name = 'EUROPE' AND o.ordered_on >= date '2023-01-01' AND o.ordered_on < date '2023-07-01'
GROUP BY n.name
ORDER BY revenue DESC;

-- 1: what small discounts cost
SELECT sum(price * discount) AS given_away
FROM lineitem
WHERE shipped_on >= date '2021-01-01' AND shipped_on < date '2021-02-01'
  AND discount BETWEEN 0.05 AND 0.07 AND quantity < 24;

-- 1: trade between two nations by year
SELECT seller.name AS seller, buyer.name AS buyer, extract(year FROM l.shipped_on) AS year,
       sum(l.price * (1 - l.discount)) AS revenue
FROM supplier s
JOIN nation seller ON seller.id = s.nation_id
JOIN lineitem l ON l.supplier_id = s.id
JOIN orders o ON o.id = l.order_id
JOIN customer c ON c.id = o.customer_id
JOIN nation buyer ON buyer.id = c.nation_id
WHERE ((seller.name = 'KENYA' AND buyer.name = 'PERU') OR (seller.name = 'PERU' AND buyer.name = 'KENYA'))
  AND l.shipped_on BETWEEN date '2022-01-01' AND date '2022-12-31'
GROUP BY seller.name, buyer.name, year
ORDER BY seller, buyer, year;

-- 1: share of a nation in a market
SELECT year, sum(revenue) FILTER (WHERE nation = 'INDIA') / sum(revenue) AS share
FROM (SELECT extract(year FROM o.ordered_on) AS year, l.price * (1 - l.discount) AS revenue, n.name AS nation
      FROM part p
      JOIN lineitem l ON l.part_id = p.id
      JOIN supplier s ON s.id = l.supplier_id
      JOIN nation n ON n.id = s.nation_id
      JOIN orders o ON o.id = l.order_id
      JOIN customer c ON c.id = o.customer_id
      JOIN nation cn ON cn.id = c.nation_id
      JOIN region r ON r.id = cn.region_id
      WHERE p.kind = 'PROMO PLATED TIN' AND r.name = 'ASIA'
        AND o.ordered_on BETWEEN date '2021-01-01' AND date '2022-12-31') AS market
GROUP BY year
ORDER BY year;

-- 1: profit on parts of a colour
SELECT n.name AS nation, extract(year FROM o.ordered_on) AS year,
       sum(l.price * (1 - l.discount) - ps.cost * l.quantity) AS profit
FROM part p
JOIN lineitem l ON l.part_id = p.id
JOIN partsupp ps ON ps.part_id = l.part_id AND ps.supplier_id = l.supplier_id
JOIN supplier s ON s.id = l.supplier_id
JOIN nation n ON n.id = s.nation_id
JOIN orders o ON o.id = l.order_id
WHERE p.name LIKE 'ghost%'
GROUP BY nation, year
ORDER BY nation, year DESC;

-- 1: customers who send most back
SELECT c.id, c.name, sum(l.price * (1 - l.discount)) AS lost, c.balance, n.name AS nation, c.address, c.phone
FROM customer c
JOIN nation n ON n.id = c.nation_id
JOIN orders o ON o.customer_id = c.id
JOIN lineitem l ON l.order_id = o.id
WHERE o.ordered_on >= date '2021-10-01' AND o.ordered_on < date '2021-11-01' AND l.return_flag = 'R'
GROUP BY c.id, c.name, c.balance, nation, c.address, c.phone
ORDER BY lost DESC
LIMIT 20;

-- 1: stock that matters in a nation
SELECT ps.part_id, sum(ps.cost * ps.available) AS stock
FROM partsupp ps
JOIN supplier s ON s.id = ps.supplier_id
JOIN nation n ON n.id = s.nation_id
WHERE n.name = 'ROMANIA'
GROUP BY ps.part_id
HAVING sum(ps.cost * ps.available) > (SELECT sum(all_of.cost * all_of.available) * 0.001
                                      FROM partsupp all_of
                                      JOIN supplier os ON os.id = all_of.supplier_id
                                      JOIN nation o ON o.id = os.nation_id
                                      WHERE o.name = 'ROMANIA')
ORDER BY stock DESC;

-- 1: late lines by mode of transport
SELECT l.mode, count(*) FILTER (WHERE o.priority IN ('1-URGENT', '2-HIGH')) AS urgent,
       count(*) FILTER (WHERE o.priority NOT IN ('1-URGENT', '2-HIGH')) AS other
FROM lineitem l
JOIN orders o ON o.id = l.order_id
WHERE l.mode IN ('MAIL', 'SHIP') AND l.promised_on < l.received_on AND l.shipped_on < l.promised_on
  AND l.received_on >= date '2020-05-01' AND l.received_on < date '2020-06-01'
GROUP BY l.mode
ORDER BY l.mode;

-- 1: customers by the number of their orders
SELECT orders, count(*) AS customers
FROM (SELECT c.id, count(o.id) AS orders
      FROM customer c
      LEFT JOIN orders o ON o.customer_id = c.id AND o.note NOT LIKE '%special%requests%'
      GROUP BY c.id) AS per_customer
GROUP BY orders
ORDER BY customers DESC, orders DESC;

-- 1: share of promotions in a week
SELECT 100 * sum(l.price * (1 - l.discount)) FILTER (WHERE p.kind LIKE 'PROMO%') /
       sum(l.price * (1 - l.discount)) AS percent
FROM lineitem l
JOIN part p ON p.id = l.part_id
WHERE l.shipped_on >= date '2023-09-04' AND l.shipped_on < date '2023-09-11';

-- 1: best supplier of a month
WITH revenue AS (
    SELECT supplier_id, sum(price * (1 - discount)) AS total
    FROM lineitem
    WHERE shipped_on >= date '2022-02-01' AND shipped_on < date '2022-03-01'
    GROUP BY supplier_id
)
SELECT s.id, s.name, s.address, s.phone, revenue.total
FROM supplier s
JOIN revenue ON revenue.supplier_id = s.id
WHERE revenue.total = (SELECT max(total) FROM revenue)
ORDER BY s.id;

-- 1: how many suppliers could deliver
SELECT p.brand, p.kind, p.size, count(DISTINCT ps.supplier_id) AS suppliers
FROM part p
JOIN partsupp ps ON ps.part_id = p.id
WHERE p.brand <> 'Brand 45' AND p.kind NOT LIKE 'MEDIUM POLISHED%' AND p.size IN (49, 14, 23, 45)
  AND ps.supplier_id NOT IN (SELECT id FROM supplier WHERE note LIKE '%customer complaints%')
GROUP BY p.brand, p.kind, p.size
ORDER BY suppliers DESC, p.brand, p.kind, p.size
LIMIT 200;

-- 1: revenue of orders too small to be worth it
SELECT sum(l.price) / 7 AS a_year
FROM lineitem l
JOIN part p ON p.id = l.part_id
WHERE p.brand = 'Brand 23' AND p.container = 'MED BOX'
  AND l.quantity < (SELECT 0.2 * avg(other.quantity) FROM lineitem other WHERE other.part_id = p.id);

-- 1: customers with very large orders
SELECT c.name, c.id, o.id AS order_id, o.ordered_on, o.total, sum(l.quantity) AS quantity
FROM customer c
JOIN orders o ON o.customer_id = c.id
JOIN lineitem l ON l.order_id = o.id
WHERE o.id IN (SELECT order_id FROM lineitem GROUP BY order_id HAVING sum(quantity) > 280)
GROUP BY c.name, c.id, o.id, o.ordered_on, o.total
ORDER BY o.total DESC, o.ordered_on
LIMIT 100;

-- 1: revenue of three kinds of packages
SELECT sum(l.price * (1 - l.discount)) AS revenue
FROM lineitem l
JOIN part p ON p.id = l.part_id
WHERE l.mode IN ('AIR', 'REG AIR') AND l.instruction = 'DELIVER IN PERSON'
  AND ((p.brand = 'Brand 12' AND p.container IN ('SM CASE', 'SM BOX', 'SM PACK')
        AND l.quantity BETWEEN 1 AND 11 AND p.size <= 5)
       OR (p.brand = 'Brand 23' AND p.container IN ('MED BAG', 'MED BOX', 'MED PKG')
           AND l.quantity BETWEEN 10 AND 20 AND p.size <= 10)
       OR (p.brand = 'Brand 34' AND p.container IN ('LG CASE', 'LG BOX', 'LG PACK')
           AND l.quantity BETWEEN 20 AND 30 AND p.size <= 15));

-- 1: suppliers with far more than they sold
SELECT s.name, s.address
FROM supplier s
JOIN nation n ON n.id = s.nation_id
WHERE n.name = 'CANADA'
  AND s.id IN (SELECT ps.supplier_id
               FROM partsupp ps
               WHERE ps.part_id IN (SELECT id FROM part WHERE name LIKE 'forest%')
                 AND ps.available > (SELECT 0.5 * sum(l.quantity)
                                     FROM lineitem l
                                     WHERE l.part_id = ps.part_id AND l.supplier_id = ps.supplier_id
                                       AND l.shipped_on >= date '2021-01-01' AND l.shipped_on < date '2022-01-01'))
ORDER BY s.name;

-- 1: suppliers who alone kept an order waiting
SELECT s.name, count(*) AS waiting
FROM supplier s
JOIN nation n ON n.id = s.nation_id
JOIN lineitem l ON l.supplier_id = s.id
JOIN orders o ON o.id = l.order_id
WHERE n.name = 'SAUDI ARABIA' AND o.status = 'F' AND l.received_on > l.promised_on
  AND EXISTS (SELECT FROM lineitem other WHERE other.order_id = l.order_id AND other.supplier_id <> l.supplier_id)
  AND NOT EXISTS (SELECT FROM lineitem late
                  WHERE late.order_id = l.order_id AND late.supplier_id <> l.supplier_id
                    AND late.received_on > late.promised_on)
GROUP BY s.name
ORDER BY waiting DESC, s.name
LIMIT 100;

-- 1: customers with money who do not buy
SELECT code, count(*) AS customers, sum(balance) AS balance
FROM (SELECT left(c.phone, 2) AS code, c.balance
      FROM customer c
      WHERE left(c.phone, 2) IN ('13', '31', '23', '29', '30', '18', '17')
        AND c.balance > (SELECT avg(balance) FROM customer
                         WHERE balance > 0 AND left(phone, 2) IN ('13', '31', '23', '29', '30', '18', '17'))
        AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id)) AS asleep
GROUP BY code
ORDER BY code;
