"""Keys of the beginnings of a prompt, made of the body as it came."""

_FIRST = 1024
_LAST = 32 * 1024
_FIELDS = (b'"messages"', b'"prompt"')


def prefix_keys(body: bytes) -> tuple[int, ...]:
    """Keys of the first 1,024, 2,048, 4,096, … bytes of the prompt (32 KiB at most), as far as it goes.

    Equal keys mean equal beginnings, for all practical purposes. They are hashes with a key of this process,
    so nothing can be read out of them, and they are of no use to another process.
    """
    if len(body) < _FIRST:
        return ()
    start = -1
    for field in _FIELDS:
        start = body.find(field)
        if start >= 0:
            break
    start = max(0, start)
    keys = []
    size = _FIRST
    while start + size <= len(body) and size <= _LAST:
        keys.append(hash(body[start : start + size]))
        size *= 2
    return tuple(keys)
