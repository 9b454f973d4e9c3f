"""The pure core: no socket, file, clock, database or Ray. Time comes in as an argument."""
