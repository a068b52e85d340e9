"""Line charts for the terminal. Usable without the rest."""
