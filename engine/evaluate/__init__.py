"""Measures a model: bits per byte, CORE, chat tasks, samples."""
