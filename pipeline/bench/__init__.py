"""Measurements of this machine: each stage alone, storage, a whole pipeline under load."""
