"""Checkpoints: written, verified, kept, chosen."""
