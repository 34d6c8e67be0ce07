"""Typed settings: the model, and the only reader of the file, the environment and the flags."""
