"""Settings: schema, sources (presets, files, flags), validation, and the list of stages."""
