"""Adapters: each foreign library is imported in one module or package here, and what the core must not know is done."""
