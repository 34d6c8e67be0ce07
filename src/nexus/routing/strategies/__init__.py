"""The ways to rank backends that could all answer, one per file."""
