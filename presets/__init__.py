"""The presets that ship with nanosolo, one TOML file each."""
