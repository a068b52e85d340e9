"""The fault campaign: kills, full disks and damaged files on real runs."""
