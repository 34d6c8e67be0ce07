"""Nexus: an OpenAI-compatible gateway that measures its backends and routes around the bad ones."""

import importlib.util
from importlib.machinery import ExtensionFileLoader

__version__ = "0.1.0"


def is_compiled() -> bool:
    """Whether the modules on the path of every request are compiled; `setup.py` says which those are."""
    spec = importlib.util.find_spec("nexus.proxy.turn")
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)
