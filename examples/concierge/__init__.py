"""A hotel's concierge: a small service that survives its parts failing, built on `nexus.resilience`."""
