"""What the console shows of runs: series, figures, panels."""
