"""Errors, file writing, checksums, formatting, paths, units. Imports none of the other folders."""
