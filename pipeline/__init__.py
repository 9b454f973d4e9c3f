"""Karman Pipeline: per-cycle power telemetry, from ZeroMQ through Ray to TimescaleDB and Prometheus.

`core` is pure arithmetic over Arrow and NumPy, `simulation` makes the recordings, `adapters` wraps one foreign
library each, `cli` is the command line. The Ray actors that join them stand beside this package, in `actors`.
"""

__version__ = "0.1.0"
