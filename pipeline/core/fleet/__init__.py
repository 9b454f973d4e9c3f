"""The power of many devices, added up cycle by cycle along the topology.

`membership` says who belongs where, `concentrator` brings the devices' cycles onto one grid, `sums` adds them up to
parts that combine exactly, `windows` and `percentiles` keep what is told of the sums, `clocks` estimates how far the
devices' clocks are off. `shard` puts these together for a part of a fleet, `combiner` makes one of the parts, `summary`
says what is told of it.
"""
