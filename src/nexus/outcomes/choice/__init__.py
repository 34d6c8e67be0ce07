"""Choosing the model for a request that leaves it open, from what became of earlier answers."""
