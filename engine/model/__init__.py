"""The transformer, its attention, its loss and its activation checkpointing."""
