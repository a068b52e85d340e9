"""The console's screens, one a module; none is imported before it is first shown."""
