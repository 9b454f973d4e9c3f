-- What one of two feeds would have left if the other failed.

ALTER TABLE fleet_1s ADD COLUMN redundancy_headroom_a double precision;
COMMENT ON COLUMN fleet_1s.redundancy_headroom_a IS '80 % of what the lesser of two feeds may carry, less the current of both, in A. NULL: not two feeds, or something is unknown.';
