"""The stages of a run, one module each, and the process that runs a stage."""
