-- One relation for all roll-ups, so that a query chooses the step by a constant: the planner leaves the others out.
-- Counts are of one type in all branches; otherwise the conditions of a query would not reach the indexes.

CREATE VIEW power_rollup AS
SELECT r.step_s, r.time, d.name AS device, d.rack, d.feed, s.name AS stream, r.channel AS phase, r.row_count,
       r.rms_voltage_v_count, r.rms_voltage_v_sum, r.rms_voltage_v_sumsq, r.rms_voltage_v_min, r.rms_voltage_v_max,
       r.dc_offset_voltage_v_count, r.dc_offset_voltage_v_sum, r.dc_offset_voltage_v_sumsq, r.dc_offset_voltage_v_min, r.dc_offset_voltage_v_max,
       r.rms_current_a_count, r.rms_current_a_sum, r.rms_current_a_sumsq, r.rms_current_a_min, r.rms_current_a_max,
       r.dc_offset_current_a_count, r.dc_offset_current_a_sum, r.dc_offset_current_a_sumsq, r.dc_offset_current_a_min, r.dc_offset_current_a_max,
       r.real_power_w_count, r.real_power_w_sum, r.real_power_w_sumsq, r.real_power_w_min, r.real_power_w_max,
       r.apparent_power_va_count, r.apparent_power_va_sum, r.apparent_power_va_sumsq, r.apparent_power_va_min, r.apparent_power_va_max,
       r.reactive_power_var_count, r.reactive_power_var_sum, r.reactive_power_var_sumsq, r.reactive_power_var_min, r.reactive_power_var_max,
       r.power_factor_count, r.power_factor_sum, r.power_factor_sumsq, r.power_factor_min, r.power_factor_max
FROM (
    SELECT 1 AS step_s, time, device_id, stream_id, channel, row_count::bigint AS row_count,
           rms_voltage_v_count::bigint AS rms_voltage_v_count, rms_voltage_v_sum, rms_voltage_v_sumsq, rms_voltage_v_min, rms_voltage_v_max,
           dc_offset_voltage_v_count::bigint AS dc_offset_voltage_v_count, dc_offset_voltage_v_sum, dc_offset_voltage_v_sumsq, dc_offset_voltage_v_min, dc_offset_voltage_v_max,
           rms_current_a_count::bigint AS rms_current_a_count, rms_current_a_sum, rms_current_a_sumsq, rms_current_a_min, rms_current_a_max,
           dc_offset_current_a_count::bigint AS dc_offset_current_a_count, dc_offset_current_a_sum, dc_offset_current_a_sumsq, dc_offset_current_a_min, dc_offset_current_a_max,
           real_power_w_count::bigint AS real_power_w_count, real_power_w_sum, real_power_w_sumsq, real_power_w_min, real_power_w_max,
           apparent_power_va_count::bigint AS apparent_power_va_count, apparent_power_va_sum, apparent_power_va_sumsq, apparent_power_va_min, apparent_power_va_max,
           reactive_power_var_count::bigint AS reactive_power_var_count, reactive_power_var_sum, reactive_power_var_sumsq, reactive_power_var_min, reactive_power_var_max,
           power_factor_count::bigint AS power_factor_count, power_factor_sum, power_factor_sumsq, power_factor_min, power_factor_max
    FROM power_1s
    UNION ALL
    SELECT 60, time, device_id, stream_id, channel, row_count::bigint,
           rms_voltage_v_count::bigint, rms_voltage_v_sum, rms_voltage_v_sumsq, rms_voltage_v_min, rms_voltage_v_max,
           dc_offset_voltage_v_count::bigint, dc_offset_voltage_v_sum, dc_offset_voltage_v_sumsq, dc_offset_voltage_v_min, dc_offset_voltage_v_max,
           rms_current_a_count::bigint, rms_current_a_sum, rms_current_a_sumsq, rms_current_a_min, rms_current_a_max,
           dc_offset_current_a_count::bigint, dc_offset_current_a_sum, dc_offset_current_a_sumsq, dc_offset_current_a_min, dc_offset_current_a_max,
           real_power_w_count::bigint, real_power_w_sum, real_power_w_sumsq, real_power_w_min, real_power_w_max,
           apparent_power_va_count::bigint, apparent_power_va_sum, apparent_power_va_sumsq, apparent_power_va_min, apparent_power_va_max,
           reactive_power_var_count::bigint, reactive_power_var_sum, reactive_power_var_sumsq, reactive_power_var_min, reactive_power_var_max,
           power_factor_count::bigint, power_factor_sum, power_factor_sumsq, power_factor_min, power_factor_max
    FROM power_1m
    UNION ALL
    SELECT 3600, time, device_id, stream_id, channel, row_count::bigint,
           rms_voltage_v_count::bigint, rms_voltage_v_sum, rms_voltage_v_sumsq, rms_voltage_v_min, rms_voltage_v_max,
           dc_offset_voltage_v_count::bigint, dc_offset_voltage_v_sum, dc_offset_voltage_v_sumsq, dc_offset_voltage_v_min, dc_offset_voltage_v_max,
           rms_current_a_count::bigint, rms_current_a_sum, rms_current_a_sumsq, rms_current_a_min, rms_current_a_max,
           dc_offset_current_a_count::bigint, dc_offset_current_a_sum, dc_offset_current_a_sumsq, dc_offset_current_a_min, dc_offset_current_a_max,
           real_power_w_count::bigint, real_power_w_sum, real_power_w_sumsq, real_power_w_min, real_power_w_max,
           apparent_power_va_count::bigint, apparent_power_va_sum, apparent_power_va_sumsq, apparent_power_va_min, apparent_power_va_max,
           reactive_power_var_count::bigint, reactive_power_var_sum, reactive_power_var_sumsq, reactive_power_var_min, reactive_power_var_max,
           power_factor_count::bigint, power_factor_sum, power_factor_sumsq, power_factor_min, power_factor_max
    FROM power_1h
) r
JOIN device d ON d.id = r.device_id
JOIN stream s ON s.id = r.stream_id;
COMMENT ON VIEW power_rollup IS 'power_1s, power_1m and power_1h by names, told apart by step_s (1, 60, 3600): ask for one. Counts and sums merge by adding over any number of rows.';
COMMENT ON COLUMN power_rollup.step_s IS 'Length of the interval that begins at time, seconds.';

DO $$
BEGIN
    GRANT SELECT ON power_rollup TO karman_reader;
EXCEPTION WHEN undefined_object OR insufficient_privilege THEN
    RAISE NOTICE 'karman_reader may not read power_rollup: the role is missing, or is not ours to grant to';
END $$;
