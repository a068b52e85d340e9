"""Measures speed and memory of a configuration here: `nanosolo fit`."""
