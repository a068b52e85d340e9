"""Conversations: their formats, sources, packing."""
