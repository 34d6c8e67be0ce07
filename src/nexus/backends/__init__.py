"""The upstreams: which there are, what they serve, whether they are up, and what they cost."""
