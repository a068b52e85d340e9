"""The event log of a run and the history that is read from it."""
