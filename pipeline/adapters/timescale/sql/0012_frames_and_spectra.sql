-- A stream that a device leaves out of messages which come is no loss on the way.
COMMENT ON COLUMN gap.reason IS 'transport: lost between device and pipeline. restart: the pipeline, or its ingest, was down. absent: the device left the stream out of messages that came.';

-- Where the streams of spectra stand is asked whenever an ingest begins: without it a day of all of them was read.
CREATE INDEX IF NOT EXISTS spectrum_device_time ON spectrum (device_id, stream_id, time);

-- A frame is what a device says to be of one time. Messages without a time of their own may share their arrival: those
-- are told apart by their numbers, which each stream may count for itself.
CREATE OR REPLACE VIEW bibimbap AS
SELECT f.time, 'bibimbap'::text AS device,
       jsonb_object_agg(f.stream, jsonb_strip_nulls(jsonb_build_object(
        'phase_a', CASE WHEN f.a_known THEN jsonb_build_object(
            'rms_current', f.a_rms_current_a,
            'rms_voltage', f.a_rms_voltage_v,
            'dc_offset_voltage', f.a_dc_offset_voltage_v,
            'dc_offset_current', f.a_dc_offset_current_a,
            'real_power', f.a_real_power_w,
            'apparent_power', f.a_apparent_power_va,
            'reactive_power', f.a_reactive_power_var,
            'power_factor', f.a_power_factor,
            'three_phase_real_power', CASE WHEN f.a_phases = 3 THEN f.a_sum_w END,
            'three_phase_reactive_power', CASE WHEN f.a_var_phases = 3 THEN f.a_sum_var END) END,
        'phase_b', CASE WHEN f.b_known THEN jsonb_build_object(
            'rms_current', f.b_rms_current_a,
            'rms_voltage', f.b_rms_voltage_v,
            'dc_offset_voltage', f.b_dc_offset_voltage_v,
            'dc_offset_current', f.b_dc_offset_current_a,
            'real_power', f.b_real_power_w,
            'apparent_power', f.b_apparent_power_va,
            'reactive_power', f.b_reactive_power_var,
            'power_factor', f.b_power_factor,
            'three_phase_real_power', CASE WHEN f.b_phases = 3 THEN f.b_sum_w END,
            'three_phase_reactive_power', CASE WHEN f.b_var_phases = 3 THEN f.b_sum_var END) END))) AS data
FROM (
    SELECT k.*,
           count(k.a_real_power_w) FILTER (WHERE k.of_phase) OVER frame AS a_phases,
           count(k.a_reactive_power_var) FILTER (WHERE k.of_phase) OVER frame AS a_var_phases,
           sum(k.a_real_power_w) FILTER (WHERE k.of_phase) OVER frame AS a_sum_w,
           sum(k.a_reactive_power_var) FILTER (WHERE k.of_phase) OVER frame AS a_sum_var,
           count(k.b_real_power_w) FILTER (WHERE k.of_phase) OVER frame AS b_phases,
           count(k.b_reactive_power_var) FILTER (WHERE k.of_phase) OVER frame AS b_var_phases,
           sum(k.b_real_power_w) FILTER (WHERE k.of_phase) OVER frame AS b_sum_w,
           sum(k.b_reactive_power_var) FILTER (WHERE k.of_phase) OVER frame AS b_sum_var
    FROM (
        SELECT c.time, c.number, s.name AS stream,
               s.name IN ('threephase/karman1', 'threephase/karman2', 'threephase/karman3') AS of_phase,
               num_nonnulls(c.a_rms_voltage_v, c.a_dc_offset_voltage_v, c.a_rms_current_a, c.a_dc_offset_current_a, c.a_real_power_w, c.a_apparent_power_va, c.a_reactive_power_var, c.a_power_factor) > 0 AS a_known,
               CASE WHEN abs(c.a_rms_current_a) < 'Infinity' THEN c.a_rms_current_a END AS a_rms_current_a,
               CASE WHEN abs(c.a_rms_voltage_v) < 'Infinity' THEN c.a_rms_voltage_v END AS a_rms_voltage_v,
               CASE WHEN abs(c.a_dc_offset_voltage_v) < 'Infinity' THEN c.a_dc_offset_voltage_v END AS a_dc_offset_voltage_v,
               CASE WHEN abs(c.a_dc_offset_current_a) < 'Infinity' THEN c.a_dc_offset_current_a END AS a_dc_offset_current_a,
               CASE WHEN abs(c.a_real_power_w) < 'Infinity' THEN c.a_real_power_w END AS a_real_power_w,
               CASE WHEN abs(c.a_apparent_power_va) < 'Infinity' THEN c.a_apparent_power_va END AS a_apparent_power_va,
               CASE WHEN abs(c.a_reactive_power_var) < 'Infinity' THEN c.a_reactive_power_var END AS a_reactive_power_var,
               CASE WHEN abs(c.a_power_factor) < 'Infinity' THEN c.a_power_factor END AS a_power_factor,
               num_nonnulls(c.b_rms_voltage_v, c.b_dc_offset_voltage_v, c.b_rms_current_a, c.b_dc_offset_current_a, c.b_real_power_w, c.b_apparent_power_va, c.b_reactive_power_var, c.b_power_factor) > 0 AS b_known,
               CASE WHEN abs(c.b_rms_current_a) < 'Infinity' THEN c.b_rms_current_a END AS b_rms_current_a,
               CASE WHEN abs(c.b_rms_voltage_v) < 'Infinity' THEN c.b_rms_voltage_v END AS b_rms_voltage_v,
               CASE WHEN abs(c.b_dc_offset_voltage_v) < 'Infinity' THEN c.b_dc_offset_voltage_v END AS b_dc_offset_voltage_v,
               CASE WHEN abs(c.b_dc_offset_current_a) < 'Infinity' THEN c.b_dc_offset_current_a END AS b_dc_offset_current_a,
               CASE WHEN abs(c.b_real_power_w) < 'Infinity' THEN c.b_real_power_w END AS b_real_power_w,
               CASE WHEN abs(c.b_apparent_power_va) < 'Infinity' THEN c.b_apparent_power_va END AS b_apparent_power_va,
               CASE WHEN abs(c.b_reactive_power_var) < 'Infinity' THEN c.b_reactive_power_var END AS b_reactive_power_var,
               CASE WHEN abs(c.b_power_factor) < 'Infinity' THEN c.b_power_factor END AS b_power_factor
        FROM (SELECT *, CASE WHEN bool_or(flags & 3 <> 0) OVER (PARTITION BY time) THEN coalesce(sequence, max(sequence) OVER (PARTITION BY time)) END AS number FROM cycle
              WHERE device_id = (
                  SELECT min(d.id) FROM device d
                  WHERE d.name = coalesce((SELECT value FROM setting WHERE setting.name = 'bibimbap_device'), d.name)
              )) c
        JOIN stream s ON s.id = c.stream_id
    ) k
    WINDOW frame AS (PARTITION BY k.time, k.number)
) f
GROUP BY f.time, f.number;

-- The tables are in the schema that was current when they were made.
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO karman_reader', current_schema());
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    RAISE NOTICE 'the role karman_reader is not there, or is not ours to grant to: see docs/storage.md';
END $$;
