"""The transformer, its loss and its activation checkpointing."""
