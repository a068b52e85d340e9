"""The terminal: colors, clipboard, signals, background threads."""
