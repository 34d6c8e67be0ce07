"""Upstream API translations: one file per kind of server, no I/O."""
