-- Names, gaps, and what makes storage exactly-once. The same on plain PostgreSQL and on TimescaleDB.

CREATE TABLE device (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name   text NOT NULL UNIQUE,
    rack   text,
    feed   text,
    labels jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE device IS 'A Karman device: one publisher endpoint.';
COMMENT ON COLUMN device.feed IS 'The power feed that it measures, for example A or B.';
COMMENT ON COLUMN device.labels IS 'Free-form, for joining with inventories and schedulers.';

CREATE TABLE stream (
    id   smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
COMMENT ON TABLE stream IS 'A calculation name; threephase/karman1, 2 and 3 are the electrical phases A, B and C.';

CREATE TABLE gap (
    noticed         timestamptz NOT NULL DEFAULT now(),
    device_id       integer     NOT NULL,
    stream_id       smallint    NOT NULL,
    product         text        NOT NULL,
    after_sequence  bigint      NOT NULL,
    before_sequence bigint      NOT NULL,
    missing         bigint      NOT NULL,
    from_time       timestamptz NOT NULL,
    to_time         timestamptz NOT NULL,
    reason          text        NOT NULL
);
CREATE INDEX gap_device_time ON gap (device_id, from_time);
COMMENT ON TABLE gap IS 'Rows that never arrived: the sequence numbers strictly between after_sequence and before_sequence.';
COMMENT ON COLUMN gap.missing IS 'Frames missing. A frame that came late after all is still counted here, and stands in cycle.';
COMMENT ON COLUMN gap.from_time IS 'Time of the last row before the gap.';
COMMENT ON COLUMN gap.to_time IS 'Time of the first row after it.';
COMMENT ON COLUMN gap.reason IS 'transport: lost between device and pipeline. restart: the pipeline, or its ingest, was down.';

CREATE TABLE ledger (
    producer  text   NOT NULL,
    epoch     bigint NOT NULL,
    number    bigint NOT NULL,
    received  bigint NOT NULL,
    stored    bigint NOT NULL,
    missing   bigint NOT NULL,
    row_count bigint NOT NULL,
    dropped   jsonb  NOT NULL,
    committed timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (producer, epoch, number)
);
COMMENT ON TABLE ledger IS 'Batches that are stored, entered in the same transaction as their rows: what is here is not stored again.';

CREATE TABLE account (
    producer  text   NOT NULL,
    epoch     bigint NOT NULL,
    received  bigint NOT NULL,
    stored    bigint NOT NULL,
    missing   bigint NOT NULL,
    row_count bigint NOT NULL,
    dropped   jsonb  NOT NULL,
    PRIMARY KEY (producer, epoch)
);
COMMENT ON TABLE account IS 'Sums of the ledger rows that were pruned, because their sender cannot send them again.';

CREATE TABLE quarantine (
    noticed  timestamptz NOT NULL DEFAULT now(),
    producer text   NOT NULL,
    epoch    bigint NOT NULL,
    number   bigint NOT NULL,
    product  text   NOT NULL,
    row_count bigint NOT NULL,
    error    text   NOT NULL,
    rows     bytea  NOT NULL
);
COMMENT ON TABLE quarantine IS 'Rows that the database refused for good, with its error; rows holds them as an Arrow IPC stream.';

CREATE TABLE setting (
    name  text PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE setting IS 'bibimbap_device: the device that the view bibimbap shows; without it, the first.';
