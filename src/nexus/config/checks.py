"""What has to be right between settings: names that must exist, chains that must end.

The checks read the raw tables, so that they find their mistakes beside those of single values. What has the
wrong type is skipped: validation names it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nexus.config.backend import slug
from nexus.config.suggest import closest

MAX_ALIAS_HOPS = 3


class Finding(NamedTuple):
    """A mistake and the path of the value it is about."""

    path: tuple[str | int, ...]
    message: str
    hint: str = ""


def cross_check(data: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Every mistake that takes more than one value to see."""
    routing = _table(data, "routing")
    backends = data.get("backends")
    entries = list(backends) if isinstance(backends, list | tuple) else []
    yield from _alias_findings(_table(routing, "aliases"))
    yield from _fallback_findings(_table(routing, "fallbacks"))
    yield from _backend_findings(entries, environ)
    yield from _fallback_backend_findings(data, entries)
    yield from _server_key_findings(_table(data, "server"), environ)


def _alias_findings(raw: Mapping[str, Any]) -> Iterator[Finding]:
    aliases = {alias: model for alias, model in raw.items() if isinstance(model, str)}
    reported: set[str] = set()
    for alias in aliases:
        chain = _chain(alias, aliases)
        shown = " -> ".join(chain)
        if chain[-1] in chain[:-1]:
            cycle = set(chain[chain.index(chain[-1]) :])
            if not cycle & reported:
                yield Finding(("routing", "aliases", alias), f"alias cycle: {shown}")
            reported |= cycle
        elif len(chain) - 1 > MAX_ALIAS_HOPS:
            message = f"alias chain of {len(chain) - 1} hops, at most {MAX_ALIAS_HOPS} are allowed: {shown}"
            yield Finding(("routing", "aliases", alias), message)


def _chain(start: str, aliases: Mapping[str, str]) -> list[str]:
    """The names from `start` on, up to the model or to the first repeated name."""
    chain = [start]
    while chain[-1] in aliases:
        chain.append(aliases[chain[-1]])
        if chain[-1] in chain[:-1]:
            break
    return chain


def _fallback_findings(raw: Mapping[str, Any]) -> Iterator[Finding]:
    # Chains may name each other: the fallbacks of a fallback are not followed.
    for model, names in raw.items():
        if isinstance(names, list | tuple) and model in names:
            yield Finding(("routing", "fallbacks", model), f"{model!r} can't be its own fallback")


def backend_id(entry: Any) -> str:
    """The id an entry of `[[backends]]` will have, empty where it is too broken to tell."""
    if not isinstance(entry, Mapping):
        return ""
    given = entry.get("id") or entry.get("name")
    if not isinstance(given, str):
        return ""
    return given if entry.get("id") else slug(given)


def _backend_findings(entries: list[Any], environ: Mapping[str, str]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        identity = backend_id(entry)
        if identity and first.setdefault(identity, index) != index:
            key = "id" if entry.get("id") else "name"
            message = f"duplicate backend id {identity!r}, already that of backend {first[identity] + 1}"
            yield Finding(("backends", index, key), message, "give one of them another id")
        variable = entry.get("api_key_env") if isinstance(entry, Mapping) else None
        if isinstance(variable, str) and variable and not environ.get(variable, "").strip():
            yield Finding(("backends", index, "api_key_env"), *_unset(variable, environ))


def _fallback_backend_findings(data: Mapping[str, Any], entries: list[Any]) -> Iterator[Finding]:
    wanted = _table(data, "quality").get("fallback_backend")
    known = [identity for identity in map(backend_id, entries) if identity]
    # discovered backends have ids that nobody can know before the search
    discovers = not entries and _table(data, "discovery").get("enabled", True) is not False
    if isinstance(wanted, str) and wanted and wanted not in known and not discovers:
        message = f"{wanted!r} is the id of no backend; known: {', '.join(known) or 'none'}"
        yield Finding(("quality", "fallback_backend"), message, closest(wanted, known))


def _server_key_findings(server: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[Finding]:
    variable = server.get("api_keys_env")
    if not isinstance(variable, str) or not variable:
        return
    if not environ.get(variable, "").strip(" \t,"):
        yield Finding(("server", "api_keys_env"), *_unset(variable, environ))


def _unset(variable: str, environ: Mapping[str, str]) -> tuple[str, str]:
    state = "empty" if variable in environ else "not set"
    return f"the variable {variable} is {state}", "this key names a variable that holds the key"


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}
