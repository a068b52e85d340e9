"""Prepares, starts, stops and resumes runs."""
