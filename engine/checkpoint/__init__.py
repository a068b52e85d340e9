"""Checkpoints: write, verify, retain, select."""
