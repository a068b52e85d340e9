"""The data behind the Plan and Launch review screens: draft, settings, figures."""
