-- What people and dashboards read.

CREATE VIEW cycle_by_phase AS
SELECT c.time, d.name AS device, d.rack, d.feed, s.name AS stream, p.phase, c.sequence, c.flags,
       p.rms_voltage_v,
       p.dc_offset_voltage_v,
       p.rms_current_a,
       p.dc_offset_current_a,
       p.real_power_w,
       p.apparent_power_va,
       p.reactive_power_var,
       p.power_factor
FROM cycle c
JOIN device d ON d.id = c.device_id
JOIN stream s ON s.id = c.stream_id
CROSS JOIN LATERAL (VALUES
    ('a', c.a_rms_voltage_v, c.a_dc_offset_voltage_v, c.a_rms_current_a, c.a_dc_offset_current_a, c.a_real_power_w, c.a_apparent_power_va, c.a_reactive_power_var, c.a_power_factor),
    ('b', c.b_rms_voltage_v, c.b_dc_offset_voltage_v, c.b_rms_current_a, c.b_dc_offset_current_a, c.b_real_power_w, c.b_apparent_power_va, c.b_reactive_power_var, c.b_power_factor)
) AS p (phase, rms_voltage_v, dc_offset_voltage_v, rms_current_a, dc_offset_current_a, real_power_w, apparent_power_va, reactive_power_var, power_factor)
WHERE num_nonnulls(p.rms_voltage_v, p.dc_offset_voltage_v, p.rms_current_a, p.dc_offset_current_a, p.real_power_w, p.apparent_power_va, p.reactive_power_var, p.power_factor) > 0;
COMMENT ON VIEW cycle_by_phase IS 'cycle by names, one row per channel (phase a or b) that has values. Units stand in the names.';

CREATE VIEW power_1s_by_phase AS
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
       r.real_power_w_sum / nullif(r.apparent_power_va_sum, 0) AS power_factor,
       r.power_factor_min, r.power_factor_max
FROM power_1s r
JOIN device d ON d.id = r.device_id
JOIN stream s ON s.id = r.stream_id;
COMMENT ON VIEW power_1s_by_phase IS 'Means of power_1s; of RMS quantities the root of the mean square; the power factor is that of the sums. _min and _max are over single cycles.';

CREATE VIEW power_1m_by_phase AS
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
       r.real_power_w_sum / nullif(r.apparent_power_va_sum, 0) AS power_factor,
       r.power_factor_min, r.power_factor_max
FROM power_1m r
JOIN device d ON d.id = r.device_id
JOIN stream s ON s.id = r.stream_id;
COMMENT ON VIEW power_1m_by_phase IS 'Means of power_1m; of RMS quantities the root of the mean square; the power factor is that of the sums. _min and _max are over single cycles.';

CREATE VIEW power_1h_by_phase AS
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
       r.real_power_w_sum / nullif(r.apparent_power_va_sum, 0) AS power_factor,
       r.power_factor_min, r.power_factor_max
FROM power_1h r
JOIN device d ON d.id = r.device_id
JOIN stream s ON s.id = r.stream_id;
COMMENT ON VIEW power_1h_by_phase IS 'Means of power_1h; of RMS quantities the root of the mean square; the power factor is that of the sums. _min and _max are over single cycles.';

CREATE VIEW bibimbap AS
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
            'three_phase_reactive_power', CASE WHEN f.a_phases = 3 THEN f.a_sum_var END) END,
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
            'three_phase_reactive_power', CASE WHEN f.b_phases = 3 THEN f.b_sum_var END) END))) AS data
FROM (
    SELECT c.*, s.name AS stream,
           num_nonnulls(c.a_rms_voltage_v, c.a_dc_offset_voltage_v, c.a_rms_current_a, c.a_dc_offset_current_a, c.a_real_power_w, c.a_apparent_power_va, c.a_reactive_power_var, c.a_power_factor) > 0 AS a_known,
           count(c.a_real_power_w) OVER frame AS a_phases,
           sum(c.a_real_power_w) OVER frame AS a_sum_w,
           sum(c.a_reactive_power_var) OVER frame AS a_sum_var,
           num_nonnulls(c.b_rms_voltage_v, c.b_dc_offset_voltage_v, c.b_rms_current_a, c.b_dc_offset_current_a, c.b_real_power_w, c.b_apparent_power_va, c.b_reactive_power_var, c.b_power_factor) > 0 AS b_known,
           count(c.b_real_power_w) OVER frame AS b_phases,
           sum(c.b_real_power_w) OVER frame AS b_sum_w,
           sum(c.b_reactive_power_var) OVER frame AS b_sum_var
    FROM cycle c
    JOIN stream s ON s.id = c.stream_id
    WHERE c.device_id = (
        SELECT id FROM device
        ORDER BY name = (SELECT value FROM setting WHERE setting.name = 'bibimbap_device') DESC NULLS LAST, id
        LIMIT 1
    )
    WINDOW frame AS (PARTITION BY c.time)
) f
GROUP BY f.time;
COMMENT ON VIEW bibimbap IS 'One device in the shape of the original system, under the name bibimbap; which one: setting bibimbap_device.';

-- Dashboards log in as a user that is granted this role. It may be missing the right to create roles: then the owner of
-- the database creates it, and applies the grants below.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'karman_reader') THEN
        CREATE ROLE karman_reader NOLOGIN;
    END IF;
    GRANT USAGE ON SCHEMA public TO karman_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO karman_reader;
    REVOKE SELECT ON quarantine FROM karman_reader;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'the role karman_reader was not created: the user of this DSN may not create roles';
END $$;
