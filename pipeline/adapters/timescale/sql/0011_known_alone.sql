-- What the views told and nobody had measured, and what the readers' role may read.
DO $$
DECLARE
    step text;
BEGIN
    FOREACH step IN ARRAY ARRAY['1s', '1m', '1h'] LOOP
        EXECUTE format($view$
CREATE OR REPLACE VIEW power_%1$s_by_phase AS
SELECT r.time, d.name AS device, d.rack, d.feed, s.name AS stream, r.channel AS phase, r.row_count,
       sqrt(r.rms_voltage_v_sumsq / nullif(r.rms_voltage_v_count, 0)) AS rms_voltage_v,
       r.rms_voltage_v_min, r.rms_voltage_v_max,
       r.dc_offset_voltage_v_sum / nullif(r.dc_offset_voltage_v_count, 0) AS dc_offset_voltage_v,
       r.dc_offset_voltage_v_min, r.dc_offset_voltage_v_max,
       sqrt(r.rms_current_a_sumsq / nullif(r.rms_current_a_count, 0)) AS rms_current_a,
       r.rms_current_a_min, r.rms_current_a_max,
       r.dc_offset_current_a_sum / nullif(r.dc_offset_current_a_count, 0) AS dc_offset_current_a,
       r.dc_offset_current_a_min, r.dc_offset_current_a_max,
       r.real_power_w_sum / nullif(r.real_power_w_count, 0) AS real_power_w,
       r.real_power_w_min, r.real_power_w_max,
       r.apparent_power_va_sum / nullif(r.apparent_power_va_count, 0) AS apparent_power_va,
       r.apparent_power_va_min, r.apparent_power_va_max,
       r.reactive_power_var_sum / nullif(r.reactive_power_var_count, 0) AS reactive_power_var,
       r.reactive_power_var_min, r.reactive_power_var_max,
       CASE WHEN r.real_power_w_count = r.apparent_power_va_count
            THEN r.real_power_w_sum / nullif(r.apparent_power_va_sum, 0) END AS power_factor,
       r.power_factor_min, r.power_factor_max
FROM power_%1$s r
JOIN device d ON d.id = r.device_id
JOIN stream s ON s.id = r.stream_id
$view$, step);
        EXECUTE format('COMMENT ON VIEW power_%1$s_by_phase IS %2$L', step, format(
            'Means of power_%s; of RMS quantities the root of the mean square; the power factor is that of the sums, NULL where they are not of the same cycles. _min and _max are over single cycles.', step));
    END LOOP;
END $$;

-- A frame is what came in one message: by time and sequence number, as messages without a time of their own may share
-- their arrival. Sums are of the three phases, whatever other streams there are; JSON knows no NaN.
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
        FROM (SELECT *, coalesce(sequence, max(sequence) OVER (PARTITION BY time)) AS number FROM cycle
              WHERE device_id = (
                  SELECT min(d.id) FROM device d
                  WHERE d.name = coalesce((SELECT value FROM setting WHERE setting.name = 'bibimbap_device'), d.name)
              )) c
        JOIN stream s ON s.id = c.stream_id
    ) k
    WINDOW frame AS (PARTITION BY k.time, k.number)
) f
GROUP BY f.time, f.number;

-- Every relation of ours by name: others in the schema are not ours to show. Migration 3 has granted all that were
-- there before us: who comes from there at once takes that back. Later grants are the owner's.
DO $$
DECLARE
    ours constant text[] := ARRAY['account', 'bibimbap', 'cycle', 'cycle_by_phase', 'device', 'fleet_1s', 'gap', 'ledger',
        'power_1h', 'power_1h_by_phase', 'power_1m', 'power_1m_by_phase', 'power_1s', 'power_1s_by_phase', 'power_rollup',
        'setting', 'spectrum', 'stream', 'writer'];
    one text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'karman_reader') THEN
        CREATE ROLE karman_reader NOLOGIN;
    END IF;
    GRANT USAGE ON SCHEMA public TO karman_reader;
    FOREACH one IN ARRAY ours LOOP
        EXECUTE format('GRANT SELECT ON %I TO karman_reader', one);
    END LOOP;
    FOR one IN
        SELECT c.oid::regclass FROM pg_class c
        JOIN schema_migration m ON m.version = 3 AND m.applied > now() - interval '5 min'
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
            AND pg_has_role(c.relowner, 'USAGE') AND has_table_privilege('karman_reader', c.oid, 'SELECT')
            AND c.relname <> ALL (ours)
    LOOP
        EXECUTE format('REVOKE SELECT ON %s FROM karman_reader', one);
    END LOOP;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    RAISE NOTICE 'the role karman_reader is not there, or is not ours to grant to: see docs/storage.md';
END $$;
