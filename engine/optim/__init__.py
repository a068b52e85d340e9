"""The optimizer: Muon for matrices, AdamW for embedding and head, and the schedules."""
