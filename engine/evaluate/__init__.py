"""Judging a model: bits per byte and samples."""
