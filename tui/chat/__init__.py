"""Conversations with models in the console."""
