"""What the console shows of a run: series, figures, panels, charts."""
