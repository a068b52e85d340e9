"""The campaign of kills and full disks: its worlds and faults."""
