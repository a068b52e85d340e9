"""Measures speed and memory of a configuration on this machine (`nanosolo fit`)."""
