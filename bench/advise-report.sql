-- Reports of a wholesaler, in the shape of TPC-H: the same tables, joins and proportions, about :rows lines of
-- orders.  Unlike there some customers and parts are far more frequent than others (:skew; 1 is uniform),
-- and orders are stored as they came in.
CREATE SCHEMA report;
SET search_path = report, public;

CREATE TABLE region (
    id smallint PRIMARY KEY,
    name text NOT NULL
);
CREATE TABLE nation (
    id smallint PRIMARY KEY,
    name text NOT NULL,
    region_id smallint NOT NULL
);
CREATE TABLE supplier (
    id integer PRIMARY KEY,
    name text NOT NULL,
    address text NOT NULL,
    nation_id smallint NOT NULL,
    phone text NOT NULL,
    balance numeric(12,2) NOT NULL,
    note text NOT NULL
);
CREATE TABLE customer (
    id integer PRIMARY KEY,
    name text NOT NULL,
    address text NOT NULL,
    nation_id smallint NOT NULL,
    phone text NOT NULL,
    balance numeric(12,2) NOT NULL,
    segment text NOT NULL,
    note text NOT NULL
);
CREATE TABLE part (
    id integer PRIMARY KEY,
    name text NOT NULL,
    maker text NOT NULL,
    brand text NOT NULL,
    kind text NOT NULL,
    size integer NOT NULL,
    container text NOT NULL,
    price numeric(12,2) NOT NULL,
    note text NOT NULL
);
CREATE TABLE partsupp (
    part_id integer NOT NULL,
    supplier_id integer NOT NULL,
    available integer NOT NULL,
    cost numeric(12,2) NOT NULL,
    note text NOT NULL,
    PRIMARY KEY (part_id, supplier_id)
);
CREATE TABLE orders (
    id integer PRIMARY KEY,
    customer_id integer NOT NULL,
    status text NOT NULL,
    total numeric(12,2) NOT NULL,
    ordered_on date NOT NULL,
    priority text NOT NULL,
    clerk text NOT NULL,
    note text NOT NULL
);
CREATE TABLE lineitem (
    order_id integer NOT NULL,
    line integer NOT NULL,
    part_id integer NOT NULL,
    supplier_id integer NOT NULL,
    quantity numeric(12,2) NOT NULL,
    price numeric(12,2) NOT NULL,
    discount numeric(4,2) NOT NULL,
    tax numeric(4,2) NOT NULL,
    return_flag text NOT NULL,
    status text NOT NULL,
    shipped_on date NOT NULL,
    promised_on date NOT NULL,
    received_on date NOT NULL,
    instruction text NOT NULL,
    mode text NOT NULL,
    note text NOT NULL,
    PRIMARY KEY (order_id, line)
);

CREATE FUNCTION bench.supplier_of(part bigint, n bigint, suppliers bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT 1 + (part + part / suppliers + n * (suppliers / 4)) % suppliers
$$;
CREATE FUNCTION bench.ordered_on(i bigint, orders bigint) RETURNS date LANGUAGE sql IMMUTABLE AS $$
    SELECT date '2018-01-01' + (i * 2400 / orders + bench.any_of(i, 1, 4))::integer
$$;

SELECT greatest(:rows / 600, 20) AS suppliers, greatest(:rows / 40, 100) AS customers,
       greatest(:rows / 30, 100) AS parts, greatest(:rows / 4, 100) AS orders,
       '{AFRICA,AMERICA,ASIA,EUROPE,MIDDLE EAST}'::text[] AS regions \gset

INSERT INTO region
SELECT i - 1, (:'regions'::text[])[i]
FROM generate_series(1, 5) AS i;

INSERT INTO nation
SELECT i - 1, name, (i - 1) / 5
FROM unnest('{ALGERIA,ETHIOPIA,KENYA,MOROCCO,MOZAMBIQUE,ARGENTINA,BRAZIL,CANADA,PERU,UNITED STATES,
              CHINA,INDIA,INDONESIA,JAPAN,VIETNAM,FRANCE,GERMANY,ROMANIA,RUSSIA,UNITED KINGDOM,EGYPT,IRAN,IRAQ,JORDAN,SAUDI ARABIA}'::text[])
     WITH ORDINALITY AS names (name, i);

INSERT INTO supplier
SELECT i, format('Supplier %s', i), bench.prose(i, 10, 10, 40), nation,
       10 + nation || to_char(bench.any_of(i, 12, 10000000), 'FM"-"000"-"0000'),
       bench.any_of(i, 13, 1100000) / 100.0 - 1000,
       CASE WHEN i % 200 = 7 THEN 'customer complaints: ' ELSE '' END || bench.prose(i, 14, 25, 80)
FROM generate_series(1, :suppliers) AS i, LATERAL (SELECT bench.any_of(i, 11, 25)) AS place (nation);

INSERT INTO customer
SELECT i, format('Customer %s', i), bench.prose(i, 20, 10, 40), nation,
       10 + nation || to_char(bench.any_of(i, 22, 10000000), 'FM"-"000"-"0000'),
       bench.any_of(i, 23, 1100000) / 100.0 - 1000,
       bench.word_of(i, 24, '{AUTOMOBILE,FURNITURE,MACHINERY,HOUSEHOLD,BUILDING}', :skew), bench.prose(i, 25, 29, 110)
FROM generate_series(1, :customers) AS i, LATERAL (SELECT bench.any_of(i, 21, 25)) AS place (nation);

INSERT INTO part
SELECT i, concat_ws(' ', bench.word_of(i, 30, colours), bench.word_of(i, 31, colours), bench.word_of(i, 32, colours)),
       'Maker ' || maker, format('Brand %s%s', maker, 1 + bench.any_of(i, 34, 5)),
       concat_ws(' ', bench.word_of(i, 35, '{ECONOMY,LARGE,MEDIUM,PROMO,SMALL,STANDARD}'),
                 bench.word_of(i, 36, '{ANODIZED,BRUSHED,BURNISHED,PLATED,POLISHED}'),
                 bench.word_of(i, 37, '{BRASS,COPPER,NICKEL,STEEL,TIN}')),
       1 + bench.any_of(i, 38, 50),
       concat_ws(' ', bench.word_of(i, 39, '{JUMBO,LG,MED,SM,WRAP}'),
                 bench.word_of(i, 40, '{BAG,BOX,CAN,CASE,DRUM,JAR,PACK,PKG}')),
       900 + i % 1000 + i / 10 % 100 / 100.0, bench.prose(i, 41, 5, 20)
FROM generate_series(1, :parts) AS i,
     LATERAL (SELECT 1 + bench.any_of(i, 33, 5) AS maker,
                     '{almond,azure,black,blue,brown,coral,cream,drab,forest,ghost,gold,green,indigo,ivory,khaki,lace,
                       lemon,lime,linen,maroon,mint,navy,olive,orange,peach,pink,plum,red,rose,salmon,sienna,sky,snow,
                       tan,violet,white}'::text[] AS colours) AS choice;

INSERT INTO partsupp
SELECT part, bench.supplier_of(part, n, :suppliers), 1 + bench.any_of(part * 4 + n, 50, 9999),
       1 + bench.any_of(part * 4 + n, 51, 99900) / 100.0,
       bench.prose(part * 4 + n, 52, 49, 150)
FROM generate_series(1, :parts) AS part, generate_series(0, 3) AS n;

INSERT INTO lineitem
SELECT i, line, part, bench.supplier_of(part, bench.any_of(id, 63, 4), :suppliers), quantity,
       quantity * (900 + part % 1000),
       bench.any_of(id, 64, 11) / 100.0, bench.any_of(id, 65, 9) / 100.0,
       CASE WHEN received <= date '2024-06-17' THEN bench.word_of(id, 66, '{A,R}') ELSE 'N' END,
       CASE WHEN shipped > date '2024-06-17' THEN 'O' ELSE 'F' END,
       shipped, ordered + 30 + bench.any_of(id, 67, 61)::integer, received,
       bench.word_of(id, 68, '{DELIVER IN PERSON,COLLECT COD,TAKE BACK RETURN,NONE}'),
       bench.word_of(id, 69, '{REG AIR,AIR,RAIL,SHIP,TRUCK,MAIL,FOB}'), bench.prose(id, 70, 10, 43)
FROM generate_series(1, :orders) AS i, LATERAL generate_series(1, 1 + bench.any_of(i, 60, 7)) AS line,
     LATERAL (SELECT i * 8 + line AS id) AS key,
     LATERAL (SELECT bench.ordered_on(i, :orders) AS ordered, bench.key_of(id, 61, :parts, :skew) AS part,
                     1 + bench.any_of(id, 62, 50) AS quantity) AS choice,
     LATERAL (SELECT ordered + 1 + bench.any_of(id, 71, 121)::integer AS shipped) AS shipping,
     LATERAL (SELECT shipped + 1 + bench.any_of(id, 72, 30)::integer AS received) AS receiving;

-- A third of the customers never buys.
INSERT INTO orders
SELECT i, customer - (customer % 3 = 0)::integer, bench.word_of(i, 81, '{P,O,F}', 1.5), lines.total,
       bench.ordered_on(i, :orders), bench.word_of(i, 82, '{1-URGENT,2-HIGH,3-MEDIUM,4-LOW,5-NONE}'),
       'Clerk ' || bench.any_of(i, 83, 1000), bench.prose(i, 84, 19, 78)
FROM generate_series(1, :orders) AS i
JOIN (SELECT order_id, sum(price * (1 + tax) * (1 - discount)) AS total
      FROM lineitem GROUP BY order_id) AS lines ON order_id = i,
     LATERAL (SELECT bench.key_of(i, 80, :customers, :skew)) AS buyer (customer);

ALTER TABLE nation ADD FOREIGN KEY (region_id) REFERENCES region;
ALTER TABLE supplier ADD FOREIGN KEY (nation_id) REFERENCES nation;
ALTER TABLE customer ADD FOREIGN KEY (nation_id) REFERENCES nation;
ALTER TABLE partsupp ADD FOREIGN KEY (part_id) REFERENCES part, ADD FOREIGN KEY (supplier_id) REFERENCES supplier;
ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customer;
ALTER TABLE lineitem ADD FOREIGN KEY (order_id) REFERENCES orders,
    ADD FOREIGN KEY (part_id, supplier_id) REFERENCES partsupp;
