"""Follow-ups and receipts over workers: hashes travel, words never do."""

from pathlib import Path

import msgspec
import pytest

from nexus.app.workers.outcomes import OutcomeNews, SharedOutcomes
from nexus.config.model import Config
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task
from nexus.outcomes import Call, InferredOutcome
from nexus.outcomes.signals.messages import ChatMessage, decode_messages
from nexus.testing import ManualClock

KEY = b"k" * 32
QUESTION = "Why is the sky blue on most days?"


class Side:
    """One worker's outcomes, and the receipts it learned from."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.learned: list[LedgerEntry] = []
        config = Config.model_validate({"data_dir": str(folder), "ledger": {"url": "none"}})
        self.outcomes = SharedOutcomes(config, clock, key=KEY, receivers=(self._learn,))
        self.reader = self.outcomes._reader

    def _learn(self, *entries: LedgerEntry) -> None:
        self.learned += entries

    def answer(self, trace_id: str, text: str, now: float) -> None:
        """Read a question, and give and remember an answer."""
        reading = self.reader.read(messages(), now)
        for signal in reading.signals:
            self.outcomes._resolve(signal.trace_id, signal.outcome, signal.name)
        hasher = self.reader.hasher()
        hasher.add(text)
        assert reading.conversation is not None
        self.reader.remember(trace_id, hasher, reading.conversation, now)
        self.call(trace_id)

    def call(self, trace_id: str) -> None:
        ended = Call(
            trace_id, "m", next(iter(Task)), "", 0.0, latency_ms=1.0, output_tokens=1, has_output=True
        )
        self.outcomes.tracker.record_calls([ended])

    def told(self) -> OutcomeNews:
        news = self.outcomes.take()
        assert news is not None
        encoded = msgspec.msgpack.encode(news)
        assert b"sky" not in encoded
        assert b"Rayleigh" not in encoded
        return msgspec.msgpack.decode(encoded, type=OutcomeNews)


def messages() -> list[ChatMessage]:
    body = msgspec.json.encode({"messages": [{"role": "user", "content": QUESTION}]})
    return list(decode_messages(body))


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Side, Side]:
    clock = ManualClock()
    return Side(tmp_path, clock), Side(tmp_path, clock)


def test_a_second_try_elsewhere_resolves_the_first_call(sides):
    """One gave the answer; the other is asked the same again and tells what that says of the first."""
    one, two = sides
    one.answer("first", "Rayleigh scattering", 10.0)
    two.outcomes.hear(one.told())
    two.answer("second", "Rayleigh scattering, again", 20.0)
    news = two.told()
    assert [(each.trace_id, each.signal) for each in news.signals] == [("first", "regenerated")]
    assert [each.repeats for each in news.answers] == [1]
    one.outcomes.hear(news)
    receipt = one.outcomes.tracker.receipt("first")
    assert receipt is not None
    assert receipt.signal == "regenerated"
    two.outcomes.hear(one.told())
    assert [each.trace_id for each in two.learned] == ["first"], "and the other learns from the receipt"
    assert one.outcomes.take() is None
    assert two.outcomes.take() is None


def test_an_answer_followed_up_elsewhere_teaches_all(sides):
    """The worker that gave it notes it, once; it stays open."""
    one, two = sides
    one.call("first")
    assert two.outcomes._followed_up("first") is None
    news = two.told()
    assert news.followed == ["first"]
    one.outcomes.hear(news)
    one.outcomes.hear(news)
    [learned] = one.learned
    assert (learned.trace_id, learned.signal) == ("first", "followed_up")
    two.outcomes.hear(one.told())
    assert two.learned == [learned]
    assert two.outcomes.take() is None
    assert one.outcomes.tracker.get_pending("first") is not None


def test_a_follow_up_of_a_call_that_is_resolved_here_is_told_to_nobody(sides):
    one, _ = sides
    one.call("first")
    one.outcomes.tracker.resolve_rest()
    one.outcomes.take()
    assert one.outcomes._followed_up("first") is None
    assert one.outcomes.take() is None


def test_of_many_answers_and_expired_calls_only_some_are_told(sides):
    one, _ = sides
    for at in range(150):
        one.answer(f"t{at}", f"Answer number {at}", float(at))
    one.outcomes.tracker.record_inferred_outcome("t149", InferredOutcome.accepted(1.0))
    one.outcomes.tracker.resolve_rest()
    news = one.told()
    assert len(news.answers) == 100
    assert [each.signal for each in news.receipts].count("expired") == 25
    assert "t149" in [each.trace_id for each in news.receipts]


async def test_profiles_take_in_what_another_worker_added_to_the_file(sides):
    one, two = sides
    for side in sides:
        side.outcomes.load()
    one.call("a")
    await one.outcomes.save()
    await two.outcomes.save()
    assert two.outcomes.tracker.profile("m") is None
    two.outcomes.outdated = True
    await two.outcomes.save()
    profile = two.outcomes.tracker.profile("m")
    assert profile is not None
    assert profile.total_calls == 1
    assert not two.outcomes.outdated
