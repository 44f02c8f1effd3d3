-- backfill: what is made once.

CREATE TABLE architect.backfill_register (
    job bigint GENERATED ALWAYS AS IDENTITY,
    target regclass NOT NULL,
    root regclass NOT NULL,
    assignment text NOT NULL,
    filter text,
    set_list text NOT NULL,
    condition text,
    guard text,
    repeatable boolean NOT NULL,
    closes boolean NOT NULL,
    columns name[] NOT NULL,
    walk text NOT NULL,
    key_index name,
    state text NOT NULL DEFAULT 'waiting',
    phase text NOT NULL DEFAULT 'walk',
    error text,
    owner name NOT NULL,
    home text NOT NULL,
    settings jsonb NOT NULL,
    shape jsonb NOT NULL,
    workers integer NOT NULL,
    allow_subqueries boolean NOT NULL,
    on_error text NOT NULL,
    max_rejects bigint NOT NULL,
    batch_time interval NOT NULL,
    lock_timeout interval NOT NULL,
    max_lag interval,
    max_lag_bytes bigint,
    max_slot_bytes bigint,
    max_wal_rate bigint,
    max_archive_queue integer,
    max_transaction_age interval,
    max_vacuum_wait interval,
    max_active_sessions integer,
    throttle_query text,
    rows_total bigint,
    rows_left bigint,
    rows_unchanged bigint,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    called_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    CONSTRAINT backfill_register_pkey PRIMARY KEY (job),
    CONSTRAINT backfill_register_walk_check CHECK (walk IN ('block', 'key')),
    CONSTRAINT backfill_register_state_check
        CHECK (state IN ('waiting', 'running', 'paused', 'cancelled', 'failed', 'done')),
    CONSTRAINT backfill_register_phase_check CHECK (phase IN ('walk', 'sweep', 'proof')),
    CONSTRAINT backfill_register_on_error_check CHECK (on_error IN ('stop', 'skip'))
);
-- One unfinished job for a table, or for a tree of partitions.
CREATE UNIQUE INDEX backfill_register_unfinished_idx ON architect.backfill_register (root)
    WHERE state IN ('waiting', 'running', 'paused');
COMMENT ON TABLE architect.backfill_register IS
'jobs as the engine keeps them; for everybody there is the view backfill_jobs
SELECT * FROM architect.backfill_jobs;';
COMMENT ON COLUMN architect.backfill_register.root IS 'top of the tree of partitions or children';
COMMENT ON COLUMN architect.backfill_register.set_list IS 'assignment, said so that it means the same anywhere';
COMMENT ON COLUMN architect.backfill_register.condition IS 'filter, said so that it means the same anywhere';
COMMENT ON COLUMN architect.backfill_register.guard IS 'true for a row that the assignment would change';
COMMENT ON COLUMN architect.backfill_register.repeatable IS 'doing it twice gives what doing it once gives';
COMMENT ON COLUMN architect.backfill_register.closes IS 'rows done leave the filter';
COMMENT ON COLUMN architect.backfill_register.phase IS 'the walk, sweeps for rows that moved, and the count at the end';
COMMENT ON COLUMN architect.backfill_register.owner IS 'role that it runs as; by name, so that a dump can be restored';
COMMENT ON COLUMN architect.backfill_register.home IS 'server, database and timeline where it may start by itself';
COMMENT ON COLUMN architect.backfill_register.settings IS 'settings of the caller, for background workers';
COMMENT ON COLUMN architect.backfill_register.shape IS 'the table as it was; a job ends when that changes';
COMMENT ON COLUMN architect.backfill_register.workers IS 'background workers; 0: the session of the caller';
COMMENT ON COLUMN architect.backfill_register.rows_left IS 'rows that matched the filter when they were last counted';
COMMENT ON COLUMN architect.backfill_register.rows_unchanged IS 'of them, rows that the assignment leaves as they are';
COMMENT ON COLUMN architect.backfill_register.called_at IS 'when it was begun or resumed';

-- What is walked: the table itself, or its partitions.
CREATE TABLE architect.backfill_parts (
    job bigint NOT NULL,
    relation regclass NOT NULL,
    blocks bigint NOT NULL,
    next_block bigint NOT NULL DEFAULT 0,
    cursor_key text[],
    last_key text[],
    done boolean NOT NULL DEFAULT false,
    CONSTRAINT backfill_parts_pkey PRIMARY KEY (job, relation),
    CONSTRAINT backfill_parts_job_fkey
        FOREIGN KEY (job) REFERENCES architect.backfill_register (job) ON DELETE CASCADE
);
COMMENT ON TABLE architect.backfill_parts IS
'how far jobs are with their tables and partitions
SELECT * FROM architect.backfill_progress;';
COMMENT ON COLUMN architect.backfill_parts.next_block IS 'what is before it was given to a worker';
COMMENT ON COLUMN architect.backfill_parts.cursor_key IS 'key order: the last key that is done';
COMMENT ON COLUMN architect.backfill_parts.last_key IS 'key order: the last key when it began';

-- The processes of a job, the last ones; 0 is the one that leads.
CREATE TABLE architect.backfill_workers (
    job bigint NOT NULL,
    worker integer NOT NULL,
    rows_done bigint NOT NULL DEFAULT 0,
    rows_hot bigint NOT NULL DEFAULT 0,
    wal_bytes bigint NOT NULL DEFAULT 0,
    busy_ms bigint NOT NULL DEFAULT 0,
    retries bigint NOT NULL DEFAULT 0,
    batch_rows bigint,
    open_blocks bigint NOT NULL DEFAULT 0,
    progressed_at timestamptz,
    recent_rows double precision NOT NULL DEFAULT 0,
    recent_ms double precision NOT NULL DEFAULT 0,
    waiting_for text,
    waiting_since timestamptz,
    seen_at timestamptz,
    CONSTRAINT backfill_workers_pkey PRIMARY KEY (job, worker),
    CONSTRAINT backfill_workers_job_fkey
        FOREIGN KEY (job) REFERENCES architect.backfill_register (job) ON DELETE CASCADE
);
COMMENT ON TABLE architect.backfill_workers IS
'what the processes of jobs have done, and what they wait for
SELECT * FROM architect.backfill_progress;';
COMMENT ON COLUMN architect.backfill_workers.busy_ms IS 'time in batches';
COMMENT ON COLUMN architect.backfill_workers.open_blocks IS 'blocks that it was given and has still to do';
COMMENT ON COLUMN architect.backfill_workers.progressed_at IS 'when it last changed rows';
COMMENT ON COLUMN architect.backfill_workers.recent_rows IS 'rows of about the last minute';
COMMENT ON COLUMN architect.backfill_workers.recent_ms IS 'that minute, with what was spent waiting';

CREATE TABLE architect.backfill_rejected (
    job bigint NOT NULL,
    relation regclass NOT NULL,
    record_id text NOT NULL,
    row_place tid NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    undone boolean NOT NULL DEFAULT false,
    CONSTRAINT backfill_rejected_pkey PRIMARY KEY (job, relation, record_id),
    CONSTRAINT backfill_rejected_job_fkey
        FOREIGN KEY (job) REFERENCES architect.backfill_register (job) ON DELETE CASCADE
);
COMMENT ON TABLE architect.backfill_rejected IS
'rows that could not be changed; for everybody there is the view backfill_rejects
SELECT * FROM architect.backfill_rejects;';
COMMENT ON COLUMN architect.backfill_rejected.undone IS
    'its batch was taken back with the error that ended the run; it is tried again when the job goes on';

CREATE TABLE architect.backfill_log (
    id bigint GENERATED ALWAYS AS IDENTITY,
    job bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    detail text,
    CONSTRAINT backfill_log_pkey PRIMARY KEY (id),
    CONSTRAINT backfill_log_job_fkey
        FOREIGN KEY (job) REFERENCES architect.backfill_register (job) ON DELETE CASCADE
);
CREATE INDEX backfill_log_job_idx ON architect.backfill_log (job, id);
COMMENT ON TABLE architect.backfill_log IS
'what happened to jobs; for everybody there is the view backfill_events
SELECT * FROM architect.backfill_events;';

-- A restored copy shows the jobs, and starts none: its home is another.
SELECT pg_extension_config_dump('architect.backfill_register', '');
SELECT pg_extension_config_dump('architect.backfill_register_job_seq', '');
SELECT pg_extension_config_dump('architect.backfill_parts', '');
SELECT pg_extension_config_dump('architect.backfill_workers', '');
SELECT pg_extension_config_dump('architect.backfill_rejected', '');
SELECT pg_extension_config_dump('architect.backfill_log', '');
SELECT pg_extension_config_dump('architect.backfill_log_id_seq', '');
