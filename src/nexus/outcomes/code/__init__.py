"""Suggested code: its fingerprints, the search for it in a git repository, and verdicts."""
