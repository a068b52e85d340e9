"""Converts a model to and from other programs' files: Transformers, nanochat."""
