"""What a model name means: the aliases it goes through, the policies that match it, the names close to it."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from msgspec import Struct

from nexus.config.model import RoutingPolicy
from nexus.core.request import Task

AUTO = "auto"
_AUTO_TASK = "auto:"
MAX_ALIAS_HOPS = 3
_MAX_COMPARED_LENGTH = 128
_MAX_COMPARED_NAMES = 2000
_CLOSE_NAMES = 3


class Rule(Struct, frozen=True, gc=False):
    """What policies demand: restricted backends only, and a lowest tier (None: any tier)."""

    restricted: bool = False
    min_tier: int | None = None


def is_auto(name: str) -> bool:
    """Whether a name leaves the model open: `auto`, or `auto:` and a task."""
    return name == AUTO or (name.startswith(_AUTO_TASK) and name[len(_AUTO_TASK) :] in set(Task))


def auto_names() -> tuple[str, ...]:
    """Every name that leaves the model open."""
    return (AUTO, *(f"{_AUTO_TASK}{task}" for task in Task))


def named_task(name: str) -> Task | None:
    """The task that `auto:<task>` names; None for every other name."""
    return Task(name[len(_AUTO_TASK) :]) if name != AUTO and is_auto(name) else None


def alias_path(name: str, aliases: Mapping[str, str]) -> tuple[str, ...]:
    """The name asked for, then each name it becomes; the last one is the model. At most three hops."""
    path = [name]
    while len(path) <= MAX_ALIAS_HOPS:
        target = aliases.get(path[-1])
        if target is None or target in path:
            break
        path.append(target)
    return tuple(path)


def matching_rule(names: Iterable[str], policies: Sequence[RoutingPolicy]) -> Rule:
    """The strictest of the policies of these names; for each name the first matching policy counts."""
    restricted = False
    min_tier: int | None = None
    for name in names:
        for policy in policies:
            if fnmatchcase(name, policy.model_pattern):
                restricted = restricted or policy.privacy == "restricted"
                min_tier = higher_tier(min_tier, policy.min_tier)
                break
    return Rule(restricted, min_tier)


def higher_tier(one: int | None, other: int | None) -> int | None:
    """The higher of two lowest tiers, where None asks for nothing."""
    if one is None:
        return other
    return one if other is None else max(one, other)


def close_names(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Up to three known names that look like this one, the closest first; letter case does not count.

    Names over 128 characters get none, and at most 2000 known names are compared: the work is bounded
    whatever a client sends.
    """
    if len(name) > _MAX_COMPARED_LENGTH:
        return ()
    by_lower: dict[str, str] = {}
    for candidate in known:
        if len(by_lower) >= _MAX_COMPARED_NAMES:
            break
        by_lower.setdefault(candidate.lower(), candidate)
    matches = get_close_matches(name.lower(), by_lower, n=_CLOSE_NAMES)
    return tuple(by_lower[match] for match in matches)
