"""From an answer to the fingerprints of what it suggests."""

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from nexus.outcomes.code.blocks import code_blocks
from nexus.outcomes.code.tokens import tokens
from nexus.outcomes.code.winnow import PROCESS_KEY, Fingerprint, GramHasher, pack, unpack

MAX_CHARS = 128 * 1024
"""So much of what was said before is looked at, the newest first."""
_STEP_CHARS = 4096
_MIN_NEW = 3


def suggestions_in(
    answer: str, said_before: Iterable[str] = (), *, key: bytes = PROCESS_KEY
) -> tuple[Fingerprint, ...]:
    """The fingerprints of the code blocks of an answer, in order.

    Code in `said_before`, the texts of the conversation (newest last), is no suggestion: answers often quote
    it. Blocks with nothing else in them are left out.
    """
    found: list[Fingerprint] = []
    for _ in fingerprinting(answer, lambda: said_before, found.extend, key=key):
        pass
    return tuple(found)


def fingerprinting(
    answer: str,
    said_before: Callable[[], Iterable[str]],
    done: Callable[[tuple[Fingerprint, ...]], object],
    *,
    key: bytes = PROCESS_KEY,
) -> Iterator[None]:
    """`suggestions_in` in steps; what was found goes to `done` at the end.

    A step is one block, at most some 10 ms, or 4 kB of what was said before.
    `said_before` is asked only where there is code. `done` is called only where something was found.
    """
    found = []
    hasher = GramHasher(key)
    for block in code_blocks(answer):
        made = hasher.fingerprint(block.text, block.language)
        if made.hashes:
            found.append(made)
        yield
    if not found:
        return
    hashes = [unpack(each.hashes) for each in found]
    wanted = frozenset[int]().union(*hashes)
    known: set[int] = set()
    for piece in _newest(said_before()):
        known.update(wanted.intersection(hasher.grams(tokens(piece))))
        yield
    new = tuple(
        replace(each, known=pack(held & known)) if held & known else each
        for each, held in zip(found, hashes, strict=True)
        if len(held - known) >= _MIN_NEW
    )
    if new:
        done(new)


def _newest(texts: Iterable[str]) -> Iterator[str]:
    """Pieces of the texts, the newest text first, within the limit."""
    room = MAX_CHARS
    for text in reversed(list(texts)):
        for start in range(0, min(len(text), room), _STEP_CHARS):
            yield text[start : start + _STEP_CHARS]
        room -= len(text)
        if room <= 0:
            return
