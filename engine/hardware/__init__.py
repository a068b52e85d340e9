"""GPUs and hosts: catalogue, detection, drivers, faults, telemetry."""
