"""Which model each conversation has: a bounded memory with an end."""

from collections import OrderedDict


class Conversations:
    """Remembers one model per conversation, at most `capacity` of them, each until `idle_seconds` unused.

    Where there are too many, the one that was used the longest ago is forgotten.
    """

    def __init__(self, capacity: int, idle_seconds: float) -> None:
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._models: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._models)

    def model(self, conversation: str, now: float) -> str | None:
        """The model of a conversation, None where there is none (any more). `now` is monotonic seconds."""
        found = self._models.get(conversation)
        if found is None or now - found[1] > self._idle_seconds:
            return None
        return found[0]

    def remember(self, conversation: str, model: str, now: float) -> None:
        """Note that a conversation uses a model now."""
        self._models[conversation] = (model, now)
        self._models.move_to_end(conversation)
        if len(self._models) > self._capacity:
            self._models.popitem(last=False)
