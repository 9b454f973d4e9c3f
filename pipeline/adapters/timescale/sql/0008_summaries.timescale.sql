-- The indexes by time of chunks are told of new pages by the pipeline; see `Summaries` in upkeep.py.
-- Cycles and spectra only come and are packed: vacuuming them for having been added would write each page twice.

ALTER INDEX cycle_time SET (autosummarize = off, pages_per_range = 128);
ALTER INDEX spectrum_time SET (autosummarize = off, pages_per_range = 128);
ALTER INDEX power_1s_time SET (autosummarize = off, pages_per_range = 128);
ALTER INDEX fleet_1s_time SET (autosummarize = off, pages_per_range = 128);
ALTER TABLE cycle SET (autovacuum_vacuum_insert_threshold = -1);
ALTER TABLE spectrum SET (autovacuum_vacuum_insert_threshold = -1);
