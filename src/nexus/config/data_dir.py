"""The directory that holds what Nexus keeps."""

import sys
from collections.abc import Mapping
from pathlib import Path

from nexus.config.errors import ConfigError, Problem


def default_data_dir(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """The platform's place for an application's data.

    `$XDG_DATA_HOME/nexus` where that is set (a relative one is ignored, as its standard says); else on macOS
    `~/Library/Application Support/nexus` and elsewhere `~/.local/share/nexus`.
    """
    xdg = Path(environ.get("XDG_DATA_HOME", ""))
    if xdg.is_absolute():
        return xdg / "nexus"
    if platform == "darwin":
        return home(environ) / "Library" / "Application Support" / "nexus"
    return home(environ) / ".local" / "share" / "nexus"


def home(environ: Mapping[str, str]) -> Path:
    """The user's home directory."""
    given = environ.get("HOME", "")
    return Path(given) if given else Path.home()


def resolve_data_dir(value: str, base: Path, environ: Mapping[str, str]) -> Path:
    """`value` as an absolute path: `~` is the home directory, a relative path starts at `base`."""
    if value == "~" or value.startswith("~/"):
        return home(environ) / value[2:]
    return base / value


def create_data_dir(path: Path) -> None:
    """Make the directory, readable by its owner only (mode 0700). One that exists is left as it is.

    Raises:
        ConfigError: It can't be made, or something else has its name.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = Problem(str(path), f"can't create the data directory: {error.strerror}", "see --data-dir")
        raise ConfigError((problem,)) from error
