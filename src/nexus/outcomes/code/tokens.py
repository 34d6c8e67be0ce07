"""Source text as tokens that survive a formatter. One rule for every language."""

import re
from collections.abc import Iterator
from itertools import islice

_TOKEN = re.compile(r"\w+|,(?!\s*[)\]}])|[^\w\s,;]")
"""A word or one other character. White space, semicolons and commas before a closing bracket do not count."""
_QUOTE = '"'


def placed_tokens(text: str) -> Iterator[tuple[str, int]]:
    """The tokens of `text` in order, each with the index of its first character; either quote is `"`."""
    for match in _TOKEN.finditer(text):
        token = match[0]
        yield (_QUOTE if token == "'" else token), match.start()


def tokens(text: str) -> list[str]:
    """As `placed_tokens`, without the places."""
    return [_QUOTE if token == "'" else token for token in _TOKEN.findall(text)]


def first_tokens(text: str, count: int) -> list[str]:
    """The first tokens, at most `count`."""
    if len(text) <= count:
        return tokens(text)
    return [token for token, _ in islice(placed_tokens(text), count)]
