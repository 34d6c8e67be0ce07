"""Nexus: an OpenAI-compatible gateway that measures its backends and routes around the bad ones."""

__version__ = "0.1.0"
