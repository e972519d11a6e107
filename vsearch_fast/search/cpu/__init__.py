"""Exact search on the processor: by stored rows, or by sketches first."""
