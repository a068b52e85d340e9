"""Muon for the matrices, AdamW for embedding and head, and the schedules that drive them."""
