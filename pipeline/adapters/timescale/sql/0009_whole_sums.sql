-- A sum of three phases needs a value of each; that of reactive power did not.

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
    SELECT c.*, s.name AS stream,
           num_nonnulls(c.a_rms_voltage_v, c.a_dc_offset_voltage_v, c.a_rms_current_a, c.a_dc_offset_current_a, c.a_real_power_w, c.a_apparent_power_va, c.a_reactive_power_var, c.a_power_factor) > 0 AS a_known,
           count(c.a_real_power_w) OVER frame AS a_phases,
           count(c.a_reactive_power_var) OVER frame AS a_var_phases,
           sum(c.a_real_power_w) OVER frame AS a_sum_w,
           sum(c.a_reactive_power_var) OVER frame AS a_sum_var,
           num_nonnulls(c.b_rms_voltage_v, c.b_dc_offset_voltage_v, c.b_rms_current_a, c.b_dc_offset_current_a, c.b_real_power_w, c.b_apparent_power_va, c.b_reactive_power_var, c.b_power_factor) > 0 AS b_known,
           count(c.b_real_power_w) OVER frame AS b_phases,
           count(c.b_reactive_power_var) OVER frame AS b_var_phases,
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

COMMENT ON COLUMN fleet_1s.current_a IS 'Sum of the members'' RMS currents of the second in A. NULL for phase all, and where one is unknown.';
