-- Devices, streams, cycles, spectra, gaps, and the ledger that makes storage exactly-once.

CREATE TABLE device (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
COMMENT ON TABLE device IS 'A Karman device: one publisher endpoint.';

CREATE TABLE stream (
    id   smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
COMMENT ON TABLE stream IS 'A calculation name; threephase/karman1, 2 and 3 are the electrical phases A, B and C.';

CREATE TABLE cycle (
    time      timestamptz NOT NULL,
    received  timestamptz NOT NULL,
    device_id integer     NOT NULL,
    stream_id smallint    NOT NULL,
    sequence  bigint,
    flags     integer     NOT NULL,
    a_rms_voltage_v       real,
    a_dc_offset_voltage_v real,
    a_rms_current_a       real,
    a_dc_offset_current_a real,
    a_real_power_w        real,
    a_apparent_power_va   real,
    a_reactive_power_var  real,
    a_power_factor        real,
    b_rms_voltage_v       real,
    b_dc_offset_voltage_v real,
    b_rms_current_a       real,
    b_dc_offset_current_a real,
    b_real_power_w        real,
    b_apparent_power_va   real,
    b_reactive_power_var  real,
    b_power_factor        real
);
CREATE INDEX cycle_device_stream_time ON cycle (device_id, stream_id, time);
COMMENT ON TABLE cycle IS 'One row per device, stream and AC cycle; a_ and b_ are the two channels of a stream. NULL: not sent.';
COMMENT ON COLUMN cycle.time IS 'Start of the cycle by the device''s clock; arrival time where flags has bit 1 or 2.';
COMMENT ON COLUMN cycle.received IS 'Arrival at the pipeline.';
COMMENT ON COLUMN cycle.sequence IS 'The device''s own count; NULL if it sent none.';
COMMENT ON COLUMN cycle.flags IS '1: the device sent no time. 2: its time was implausible. 4: channels a and b disagree on time or sequence.';
COMMENT ON COLUMN cycle.a_rms_voltage_v IS 'RMS voltage over the cycle, line to neutral, V.';
COMMENT ON COLUMN cycle.a_dc_offset_voltage_v IS 'Mean voltage over the cycle, V.';
COMMENT ON COLUMN cycle.a_rms_current_a IS 'RMS current over the cycle, A.';
COMMENT ON COLUMN cycle.a_dc_offset_current_a IS 'Mean current over the cycle, A.';
COMMENT ON COLUMN cycle.a_real_power_w IS 'Real power, W.';
COMMENT ON COLUMN cycle.a_apparent_power_va IS 'Apparent power, VA.';
COMMENT ON COLUMN cycle.a_reactive_power_var IS 'Reactive power, var, as the device defines it; in the simulated recordings that of the fundamental, lagging positive.';
COMMENT ON COLUMN cycle.a_power_factor IS 'Power factor, real over apparent power.';

CREATE TABLE spectrum (
    time      timestamptz NOT NULL,
    received  timestamptz NOT NULL,
    device_id integer     NOT NULL,
    stream_id smallint    NOT NULL,
    sequence  bigint,
    flags     integer     NOT NULL,
    magnitude real[]      NOT NULL,
    phase     real[]      NOT NULL
);
CREATE INDEX spectrum_device_stream_time ON spectrum (device_id, stream_id, time);
COMMENT ON TABLE spectrum IS 'FFT products as the device sent them; bin spacing and units are the device''s.';

CREATE TABLE gap (
    noticed   timestamptz NOT NULL DEFAULT now(),
    device_id integer     NOT NULL,
    stream_id smallint    NOT NULL,
    product   text        NOT NULL,
    after_sequence  bigint NOT NULL,
    before_sequence bigint NOT NULL,
    missing   bigint      NOT NULL,
    from_time timestamptz NOT NULL,
    to_time   timestamptz NOT NULL,
    reason    text        NOT NULL
);
COMMENT ON TABLE gap IS 'Rows that never arrived: the sequence numbers strictly between after_sequence and before_sequence.';
COMMENT ON COLUMN gap.reason IS 'transport: lost between device and pipeline. restart: the pipeline, or its ingest, was down.';

CREATE TABLE stream_position (
    device_id integer     NOT NULL,
    stream_id smallint    NOT NULL,
    product   text        NOT NULL,
    sequence  bigint      NOT NULL,
    time      timestamptz NOT NULL,
    PRIMARY KEY (device_id, stream_id, product)
);
COMMENT ON TABLE stream_position IS 'The newest stored row of each stream, so that a restarted pipeline can tell what it missed.';

CREATE TABLE ledger (
    producer     text   NOT NULL,
    epoch        bigint NOT NULL,
    number       bigint NOT NULL,
    received     bigint NOT NULL,
    stored       bigint NOT NULL,
    missing      bigint NOT NULL,
    row_count    bigint NOT NULL,
    dropped      jsonb  NOT NULL,
    committed    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (producer, epoch, number)
);
COMMENT ON TABLE ledger IS 'Batches that are stored, written in the same transaction as their rows: a batch that is here is not stored again.';

CREATE VIEW cycle_by_phase AS
SELECT c.time, d.name AS device, s.name AS stream, p.phase, c.sequence, c.flags,
       p.rms_voltage_v, p.dc_offset_voltage_v, p.rms_current_a, p.dc_offset_current_a,
       p.real_power_w, p.apparent_power_va, p.reactive_power_var, p.power_factor
FROM cycle c
JOIN device d ON d.id = c.device_id
JOIN stream s ON s.id = c.stream_id
CROSS JOIN LATERAL (VALUES
    ('a', c.a_rms_voltage_v, c.a_dc_offset_voltage_v, c.a_rms_current_a, c.a_dc_offset_current_a,
          c.a_real_power_w, c.a_apparent_power_va, c.a_reactive_power_var, c.a_power_factor),
    ('b', c.b_rms_voltage_v, c.b_dc_offset_voltage_v, c.b_rms_current_a, c.b_dc_offset_current_a,
          c.b_real_power_w, c.b_apparent_power_va, c.b_reactive_power_var, c.b_power_factor)
) AS p (phase, rms_voltage_v, dc_offset_voltage_v, rms_current_a, dc_offset_current_a,
        real_power_w, apparent_power_va, reactive_power_var, power_factor)
WHERE p.rms_voltage_v IS NOT NULL OR p.rms_current_a IS NOT NULL OR p.real_power_w IS NOT NULL;
COMMENT ON VIEW cycle_by_phase IS 'cycle by names, one row per channel (phase a or b) that has values.';
