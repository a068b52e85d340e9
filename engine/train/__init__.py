"""The training loop, saving and exact resume."""
