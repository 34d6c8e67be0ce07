"""Who is told of outcomes, and when: after the answers, of all that ended in a turn of the loop together."""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from nexus.core.decision import Decision, Finished
from nexus.core.flight import Flight
from nexus.core.outcome import AttemptOutcome, RequestOutcome

_log: Final = logging.getLogger("nexus.proxy")

AttemptRecorder = Callable[[Sequence[AttemptOutcome]], None]
RequestRecorder = Callable[[Sequence[Finished]], None]


Ended = TypeVar("Ended", AttemptOutcome, Finished)


class Landing(Protocol):
    """Who is told how a flight ended."""

    def finished(self, flight: Flight, outcome: AttemptOutcome) -> None:
        """The attempt has ended; called once."""
        ...


def at_once(step: Callable[[], None]) -> None:
    """Call it: for where nothing is sent that could go first."""
    step()


class Recording:
    """Tells recorders of outcomes in order: first of all attempts, then of all requests, each exactly once.

    Nobody's answer waits for that. And since one recorder after the other hears of everything that ended in a
    turn, each works with warm caches: under load that costs about half of what it does in between other work.

    Args:
        landing: told of every attempt first.
        attempts, requests: the recorders. The fault of one is logged; it costs that one the rest of
            what ended in the turn, and nobody else anything.
        after_writes: calls what it is given once the answers of this turn are on their way.
    """

    def __init__(
        self,
        landing: Landing,
        attempts: tuple[AttemptRecorder, ...],
        requests: tuple[RequestRecorder, ...],
        after_writes: Callable[[Callable[[], None]], None] = at_once,
    ) -> None:
        self._landing = landing
        self._attempt_recorders = attempts
        self._request_recorders = requests
        self._after_writes = after_writes
        self._attempts: list[tuple[Flight, AttemptOutcome]] = []
        self._requests: list[Finished] = []
        self._due = False

    def attempt(self, flight: Flight, outcome: AttemptOutcome) -> None:
        """An attempt has ended."""
        self._attempts.append((flight, outcome))
        if not self._due:
            self._due = True
            self._after_writes(self.tell)

    def request(self, outcome: RequestOutcome, decision: Decision | None) -> None:
        """A request has ended; `decision` is None where none was made."""
        self._requests.append((outcome, decision))
        if not self._due:
            self._due = True
            self._after_writes(self.tell)

    def tell(self) -> None:
        """Tell of what has ended since the last time, now."""
        self._due = False
        if self._attempts:
            landed, self._attempts = self._attempts, []
            self._land(landed)
            _tell(self._attempt_recorders, [outcome for _, outcome in landed])
        if self._requests:
            requests, self._requests = self._requests, []
            _tell(self._request_recorders, requests)

    def _land(self, landed: list[tuple[Flight, AttemptOutcome]]) -> None:
        finished = self._landing.finished
        for flight, outcome in landed:
            try:
                finished(flight, outcome)
            except Exception:  # noqa: BLE001  # reason: as below
                _log.exception("learning from an attempt failed")


def _tell(recorders: tuple[Callable[[Sequence[Ended]], None], ...], ended: Sequence[Ended]) -> None:
    for record in recorders:
        try:
            record(ended)
        except Exception:  # noqa: BLE001  # reason: a recorder's fault must not cost others their records
            _log.exception("recording what has ended failed")
