"""Conversations: their format, training on them, and answering in them."""
