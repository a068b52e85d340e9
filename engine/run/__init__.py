"""A run on disk: its directory, its events, the runner process and the system monitor."""
