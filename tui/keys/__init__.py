"""The table of key bindings and the names of keys."""
