"""Talking to models from the console: their processes, conversations, and what is shown of them. No torch."""
