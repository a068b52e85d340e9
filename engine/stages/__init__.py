"""The stages of a run, one module each, and the process that each runs in."""
