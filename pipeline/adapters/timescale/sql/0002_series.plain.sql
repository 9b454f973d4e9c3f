-- The time series on plain PostgreSQL: partitioned by time; the pipeline makes partitions and drops old ones.
-- A BRIN index on time costs the COPY nothing; rows arrive in the order of time, so it finds a minute at once.

CREATE TABLE cycle (
    time      timestamptz NOT NULL,
    received  timestamptz NOT NULL,
    device_id integer     NOT NULL,
    stream_id smallint    NOT NULL,
    sequence  bigint,
    flags     integer     NOT NULL,
    a_rms_voltage_v        real,
    a_dc_offset_voltage_v  real,
    a_rms_current_a        real,
    a_dc_offset_current_a  real,
    a_real_power_w         real,
    a_apparent_power_va    real,
    a_reactive_power_var   real,
    a_power_factor         real,
    b_rms_voltage_v        real,
    b_dc_offset_voltage_v  real,
    b_rms_current_a        real,
    b_dc_offset_current_a  real,
    b_real_power_w         real,
    b_apparent_power_va    real,
    b_reactive_power_var   real,
    b_power_factor         real
) PARTITION BY RANGE (time);
CREATE INDEX cycle_time ON cycle USING brin (time) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE spectrum (
    time      timestamptz NOT NULL,
    received  timestamptz NOT NULL,
    device_id integer     NOT NULL,
    stream_id smallint    NOT NULL,
    sequence  bigint,
    flags     integer     NOT NULL,
    magnitude real[]      NOT NULL,
    phase     real[]      NOT NULL
) PARTITION BY RANGE (time);
CREATE INDEX spectrum_time ON spectrum USING brin (time) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE power_1s (
    time      timestamptz NOT NULL,
    device_id integer     NOT NULL,
    stream_id smallint    NOT NULL,
    channel   text        NOT NULL,
    row_count integer     NOT NULL,
    rms_voltage_v_count integer NOT NULL, rms_voltage_v_sum double precision NOT NULL, rms_voltage_v_sumsq double precision NOT NULL,
    rms_voltage_v_min real, rms_voltage_v_max real,
    dc_offset_voltage_v_count integer NOT NULL, dc_offset_voltage_v_sum double precision NOT NULL, dc_offset_voltage_v_sumsq double precision NOT NULL,
    dc_offset_voltage_v_min real, dc_offset_voltage_v_max real,
    rms_current_a_count integer NOT NULL, rms_current_a_sum double precision NOT NULL, rms_current_a_sumsq double precision NOT NULL,
    rms_current_a_min real, rms_current_a_max real,
    dc_offset_current_a_count integer NOT NULL, dc_offset_current_a_sum double precision NOT NULL, dc_offset_current_a_sumsq double precision NOT NULL,
    dc_offset_current_a_min real, dc_offset_current_a_max real,
    real_power_w_count integer NOT NULL, real_power_w_sum double precision NOT NULL, real_power_w_sumsq double precision NOT NULL,
    real_power_w_min real, real_power_w_max real,
    apparent_power_va_count integer NOT NULL, apparent_power_va_sum double precision NOT NULL, apparent_power_va_sumsq double precision NOT NULL,
    apparent_power_va_min real, apparent_power_va_max real,
    reactive_power_var_count integer NOT NULL, reactive_power_var_sum double precision NOT NULL, reactive_power_var_sumsq double precision NOT NULL,
    reactive_power_var_min real, reactive_power_var_max real,
    power_factor_count integer NOT NULL, power_factor_sum double precision NOT NULL, power_factor_sumsq double precision NOT NULL,
    power_factor_min real, power_factor_max real,
    PRIMARY KEY (device_id, stream_id, channel, time)
) PARTITION BY RANGE (time);
CREATE INDEX power_1s_time ON power_1s USING brin (time) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE power_1m (
    time      timestamptz NOT NULL,
    device_id integer     NOT NULL,
    stream_id smallint    NOT NULL,
    channel   text        NOT NULL,
    row_count integer     NOT NULL,
    rms_voltage_v_count integer NOT NULL, rms_voltage_v_sum double precision NOT NULL, rms_voltage_v_sumsq double precision NOT NULL,
    rms_voltage_v_min real, rms_voltage_v_max real,
    dc_offset_voltage_v_count integer NOT NULL, dc_offset_voltage_v_sum double precision NOT NULL, dc_offset_voltage_v_sumsq double precision NOT NULL,
    dc_offset_voltage_v_min real, dc_offset_voltage_v_max real,
    rms_current_a_count integer NOT NULL, rms_current_a_sum double precision NOT NULL, rms_current_a_sumsq double precision NOT NULL,
    rms_current_a_min real, rms_current_a_max real,
    dc_offset_current_a_count integer NOT NULL, dc_offset_current_a_sum double precision NOT NULL, dc_offset_current_a_sumsq double precision NOT NULL,
    dc_offset_current_a_min real, dc_offset_current_a_max real,
    real_power_w_count integer NOT NULL, real_power_w_sum double precision NOT NULL, real_power_w_sumsq double precision NOT NULL,
    real_power_w_min real, real_power_w_max real,
    apparent_power_va_count integer NOT NULL, apparent_power_va_sum double precision NOT NULL, apparent_power_va_sumsq double precision NOT NULL,
    apparent_power_va_min real, apparent_power_va_max real,
    reactive_power_var_count integer NOT NULL, reactive_power_var_sum double precision NOT NULL, reactive_power_var_sumsq double precision NOT NULL,
    reactive_power_var_min real, reactive_power_var_max real,
    power_factor_count integer NOT NULL, power_factor_sum double precision NOT NULL, power_factor_sumsq double precision NOT NULL,
    power_factor_min real, power_factor_max real,
    PRIMARY KEY (device_id, stream_id, channel, time)
) PARTITION BY RANGE (time);
CREATE INDEX power_1m_time ON power_1m USING brin (time) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE power_1h (
    time      timestamptz NOT NULL,
    device_id integer     NOT NULL,
    stream_id smallint    NOT NULL,
    channel   text        NOT NULL,
    row_count integer     NOT NULL,
    rms_voltage_v_count integer NOT NULL, rms_voltage_v_sum double precision NOT NULL, rms_voltage_v_sumsq double precision NOT NULL,
    rms_voltage_v_min real, rms_voltage_v_max real,
    dc_offset_voltage_v_count integer NOT NULL, dc_offset_voltage_v_sum double precision NOT NULL, dc_offset_voltage_v_sumsq double precision NOT NULL,
    dc_offset_voltage_v_min real, dc_offset_voltage_v_max real,
    rms_current_a_count integer NOT NULL, rms_current_a_sum double precision NOT NULL, rms_current_a_sumsq double precision NOT NULL,
    rms_current_a_min real, rms_current_a_max real,
    dc_offset_current_a_count integer NOT NULL, dc_offset_current_a_sum double precision NOT NULL, dc_offset_current_a_sumsq double precision NOT NULL,
    dc_offset_current_a_min real, dc_offset_current_a_max real,
    real_power_w_count integer NOT NULL, real_power_w_sum double precision NOT NULL, real_power_w_sumsq double precision NOT NULL,
    real_power_w_min real, real_power_w_max real,
    apparent_power_va_count integer NOT NULL, apparent_power_va_sum double precision NOT NULL, apparent_power_va_sumsq double precision NOT NULL,
    apparent_power_va_min real, apparent_power_va_max real,
    reactive_power_var_count integer NOT NULL, reactive_power_var_sum double precision NOT NULL, reactive_power_var_sumsq double precision NOT NULL,
    reactive_power_var_min real, reactive_power_var_max real,
    power_factor_count integer NOT NULL, power_factor_sum double precision NOT NULL, power_factor_sumsq double precision NOT NULL,
    power_factor_min real, power_factor_max real,
    PRIMARY KEY (device_id, stream_id, channel, time)
) PARTITION BY RANGE (time);
CREATE INDEX power_1h_time ON power_1h USING brin (time) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE rollup_due (
    minute timestamptz PRIMARY KEY
);
COMMENT ON TABLE rollup_due IS 'Minutes whose seconds have changed: power_1m and power_1h are computed anew for them, soon.';

COMMENT ON TABLE cycle IS 'One row per device, stream and AC cycle; a_ and b_ are the two channels of a stream. NULL: not sent.';
COMMENT ON COLUMN cycle.time IS 'Start of the cycle by the device''s clock; arrival time where flags has bit 1 or 2.';
COMMENT ON COLUMN cycle.received IS 'Arrival at the pipeline.';
COMMENT ON COLUMN cycle.sequence IS 'The device''s own count; NULL if it sent none.';
COMMENT ON COLUMN cycle.flags IS '1: the device sent no time. 2: its time was implausible. 4: channels a and b disagree on time or sequence.';
COMMENT ON COLUMN cycle.a_rms_voltage_v IS 'Channel a: RMS voltage over the cycle, line to neutral, V.';
COMMENT ON COLUMN cycle.a_dc_offset_voltage_v IS 'Channel a: mean voltage over the cycle, V.';
COMMENT ON COLUMN cycle.a_rms_current_a IS 'Channel a: RMS current over the cycle, A.';
COMMENT ON COLUMN cycle.a_dc_offset_current_a IS 'Channel a: mean current over the cycle, A.';
COMMENT ON COLUMN cycle.a_real_power_w IS 'Channel a: real power, W.';
COMMENT ON COLUMN cycle.a_apparent_power_va IS 'Channel a: apparent power, VA.';
COMMENT ON COLUMN cycle.a_reactive_power_var IS 'Channel a: reactive power as the device defines it (simulated recordings: of the fundamental), lagging positive, var.';
COMMENT ON COLUMN cycle.a_power_factor IS 'Channel a: real over apparent power, unitless.';
COMMENT ON COLUMN cycle.b_rms_voltage_v IS 'Channel b: RMS voltage over the cycle, line to neutral, V.';
COMMENT ON COLUMN cycle.b_dc_offset_voltage_v IS 'Channel b: mean voltage over the cycle, V.';
COMMENT ON COLUMN cycle.b_rms_current_a IS 'Channel b: RMS current over the cycle, A.';
COMMENT ON COLUMN cycle.b_dc_offset_current_a IS 'Channel b: mean current over the cycle, A.';
COMMENT ON COLUMN cycle.b_real_power_w IS 'Channel b: real power, W.';
COMMENT ON COLUMN cycle.b_apparent_power_va IS 'Channel b: apparent power, VA.';
COMMENT ON COLUMN cycle.b_reactive_power_var IS 'Channel b: reactive power as the device defines it (simulated recordings: of the fundamental), lagging positive, var.';
COMMENT ON COLUMN cycle.b_power_factor IS 'Channel b: real over apparent power, unitless.';
COMMENT ON TABLE spectrum IS 'FFT products as the device sent them; bin spacing and units are the device''s.';
COMMENT ON TABLE power_1s IS 'Sums over the cycles of 1 second, per device, stream and channel: they merge by adding. Means are in power_1s_by_phase.';
COMMENT ON COLUMN power_1s.row_count IS 'Cycles in the interval; each quantity has a count of its own, of its known, finite values.';
COMMENT ON COLUMN power_1s.rms_voltage_v_sum IS 'Sum of RMS voltage over the cycle, line to neutral, V.';
COMMENT ON COLUMN power_1s.rms_voltage_v_sumsq IS 'Sum of squares, V squared.';
COMMENT ON COLUMN power_1s.rms_voltage_v_min IS 'Least value, V.';
COMMENT ON COLUMN power_1s.rms_voltage_v_max IS 'Greatest value, V.';
COMMENT ON COLUMN power_1s.dc_offset_voltage_v_sum IS 'Sum of mean voltage over the cycle, V.';
COMMENT ON COLUMN power_1s.dc_offset_voltage_v_sumsq IS 'Sum of squares, V squared.';
COMMENT ON COLUMN power_1s.dc_offset_voltage_v_min IS 'Least value, V.';
COMMENT ON COLUMN power_1s.dc_offset_voltage_v_max IS 'Greatest value, V.';
COMMENT ON COLUMN power_1s.rms_current_a_sum IS 'Sum of RMS current over the cycle, A.';
COMMENT ON COLUMN power_1s.rms_current_a_sumsq IS 'Sum of squares, A squared.';
COMMENT ON COLUMN power_1s.rms_current_a_min IS 'Least value, A.';
COMMENT ON COLUMN power_1s.rms_current_a_max IS 'Greatest value, A.';
COMMENT ON COLUMN power_1s.dc_offset_current_a_sum IS 'Sum of mean current over the cycle, A.';
COMMENT ON COLUMN power_1s.dc_offset_current_a_sumsq IS 'Sum of squares, A squared.';
COMMENT ON COLUMN power_1s.dc_offset_current_a_min IS 'Least value, A.';
COMMENT ON COLUMN power_1s.dc_offset_current_a_max IS 'Greatest value, A.';
COMMENT ON COLUMN power_1s.real_power_w_sum IS 'Sum of real power, W.';
COMMENT ON COLUMN power_1s.real_power_w_sumsq IS 'Sum of squares, W squared.';
COMMENT ON COLUMN power_1s.real_power_w_min IS 'Least value, W.';
COMMENT ON COLUMN power_1s.real_power_w_max IS 'Greatest value, W.';
COMMENT ON COLUMN power_1s.apparent_power_va_sum IS 'Sum of apparent power, VA.';
COMMENT ON COLUMN power_1s.apparent_power_va_sumsq IS 'Sum of squares, VA squared.';
COMMENT ON COLUMN power_1s.apparent_power_va_min IS 'Least value, VA.';
COMMENT ON COLUMN power_1s.apparent_power_va_max IS 'Greatest value, VA.';
COMMENT ON COLUMN power_1s.reactive_power_var_sum IS 'Sum of reactive power as the device defines it (simulated recordings: of the fundamental), lagging positive, var.';
COMMENT ON COLUMN power_1s.reactive_power_var_sumsq IS 'Sum of squares, var squared.';
COMMENT ON COLUMN power_1s.reactive_power_var_min IS 'Least value, var.';
COMMENT ON COLUMN power_1s.reactive_power_var_max IS 'Greatest value, var.';
COMMENT ON COLUMN power_1s.power_factor_sum IS 'Sum of real over apparent power, unitless.';
COMMENT ON COLUMN power_1s.power_factor_sumsq IS 'Sum of squares.';
COMMENT ON COLUMN power_1s.power_factor_min IS 'Least value, unitless.';
COMMENT ON COLUMN power_1s.power_factor_max IS 'Greatest value, unitless.';
COMMENT ON TABLE power_1m IS 'As power_1s, by the minute. Computed by the pipeline from the level below, within a minute; late rows included.';
COMMENT ON TABLE power_1h IS 'As power_1s, by the hour. Computed by the pipeline from the level below, within a minute; late rows included.';
