-- A fleet's sums by the second, on TimescaleDB. Written by upsert: a second that is told again replaces itself.

CREATE TABLE fleet_1s (
    time             timestamptz      NOT NULL,
    level            text             NOT NULL,
    name             text             NOT NULL,
    phase            text             NOT NULL,
    members          integer          NOT NULL,
    members_present  integer          NOT NULL,
    coverage_ratio   real             NOT NULL,
    real_power_w     double precision,
    real_power_max_w double precision,
    real_power_min_w double precision,
    current_a        double precision,
    energy_j         double precision NOT NULL,
    coincidence_ratio real,
    PRIMARY KEY (level, name, phase, time)
) WITH (
    tsdb.hypertable, tsdb.partition_column = 'time', tsdb.chunk_interval = '6 hours', tsdb.create_default_indexes = false,
    tsdb.segmentby = 'level, name, phase', tsdb.orderby = 'time'
);
CREATE INDEX fleet_1s_time ON fleet_1s USING brin (time) WITH (pages_per_range = 16, autosummarize = on);

COMMENT ON TABLE fleet_1s IS 'What racks, rows, halls, sites and feeds draw together, by the second: sums of what was drawn in the same cycle.';
COMMENT ON COLUMN fleet_1s.time IS 'Beginning of the second, by the devices'' clocks.';
COMMENT ON COLUMN fleet_1s.level IS 'rack, row, hall, site or feed.';
COMMENT ON COLUMN fleet_1s.name IS 'Which one, as the fleet file names it.';
COMMENT ON COLUMN fleet_1s.phase IS 'A, B or C; all: the phases together.';
COMMENT ON COLUMN fleet_1s.members IS 'Devices that are configured there and have the phase.';
COMMENT ON COLUMN fleet_1s.members_present IS 'Devices that are in the sums; the others are unknown, not zero.';
COMMENT ON COLUMN fleet_1s.coverage_ratio IS 'Share of all members'' cycles of the second that is known.';
COMMENT ON COLUMN fleet_1s.real_power_w IS 'Mean real power of the second in W. NULL: no member was present.';
COMMENT ON COLUMN fleet_1s.real_power_max_w IS 'Greatest cycle of the sum in W.';
COMMENT ON COLUMN fleet_1s.real_power_min_w IS 'Least cycle of the sum in W, of those with the members present.';
COMMENT ON COLUMN fleet_1s.current_a IS 'Sum of the members'' RMS currents in A, mean of the second. NULL for phase all, and where one is unknown.';
COMMENT ON COLUMN fleet_1s.energy_j IS 'Real energy of the known cycles in J.';
COMMENT ON COLUMN fleet_1s.coincidence_ratio IS 'real_power_max_w over the sum of the members'' own greatest cycles.';

DO $$
BEGIN
    GRANT SELECT ON fleet_1s TO karman_reader;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    RAISE NOTICE 'the role karman_reader may not read fleet_1s yet: the owner of the database grants it';
END $$;
