"""Adapters: each module wraps one foreign library, and is its only importer."""
