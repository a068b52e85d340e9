"""Line charts in the terminal: series of any length, braille, smoothing, zoom, a cursor. Needs nothing else of ours."""
