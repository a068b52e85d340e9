"""Generates text: cache, decoding, batching, conversations."""
