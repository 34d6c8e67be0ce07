"""What `nexus serve` says when it is up: one line per backend, and where to point a client at."""

from collections.abc import Mapping

from nexus import __version__
from nexus.core.fleet import BackendView, FleetSnapshot

_SHOWN_MODELS = 3


def banner(snapshot: FleetSnapshot, errors: Mapping[str, str], host: str, port: int) -> str:
    """The text, without a last line end. `errors` says by backend id what was wrong at its last check."""
    shown = f"[{host}]" if ":" in host else host
    lines = [f"nexus {__version__}"]
    width = max((len(view.backend.id) for view in snapshot.backends), default=0)
    lines += [_line(view, errors.get(view.backend.id, ""), width) for view in snapshot.backends]
    if not snapshot.backends:
        lines.append(
            "  no backend: none is configured and no local server was found; see `nexus config init`"
        )
    lines.append(f"OpenAI-compatible endpoint: http://{shown}:{port}/v1")
    return "\n".join(lines)


def _line(view: BackendView, error: str, width: int) -> str:
    backend = view.backend
    names = sorted(view.models)
    models = ", ".join(names[:_SHOWN_MODELS]) or "no models"
    if len(names) > _SHOWN_MODELS:
        models += f" and {len(names) - _SHOWN_MODELS} more"
    line = f"  {backend.id:<{width}}  {backend.type:<8}  {backend.url}  {view.status}  {models}"
    return f"{line}  ({error})" if error else line
