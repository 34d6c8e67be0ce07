"""Runs the gateway, in one process or in several."""

import importlib

from nexus.config.data_dir import create_data_dir
from nexus.config.load import LoadedConfig

_ONE_PROCESS, _WORKERS = "nexus.app.serving", "nexus.app.workers.supervisor"


def run(loaded: LoadedConfig) -> int:
    """Run the gateway until it is told to stop; returns the exit code.

    Raises:
        NexusError: it can't start; the message says what to do.
    """
    create_data_dir(loaded.config.data_dir)
    # A supervisor serves nobody itself, so it should not pay for the modules that do.
    module = importlib.import_module(_WORKERS if loaded.config.server.workers > 1 else _ONE_PROCESS)
    code: int = module.run(loaded)
    return code
