"""A run on disk: its directory, runner process, status and calibration."""
