"""The stages of the pipeline, one policy per file."""
