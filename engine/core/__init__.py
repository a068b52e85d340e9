"""What everything else stands on: errors, files, formatting, paths, units. Imports nothing of ours."""
