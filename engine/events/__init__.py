"""The record of a run: kinds of events, the log, and the history that is read from it."""
