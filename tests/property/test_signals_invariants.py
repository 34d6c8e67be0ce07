"""What holds for every conversation: pieces do not matter, and each answer is judged at most once."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nexus.outcomes.signals.hashing import AnswerHasher
from nexus.outcomes.signals.kinds import FollowUp, classify
from nexus.outcomes.signals.messages import ChatMessage
from nexus.outcomes.signals.reader import SignalReader
from nexus.outcomes.signals.words import Terms

KEY = b"k" * 32
TEXTS = st.text(st.sampled_from("<think>/ \nabc"), max_size=60)
WORDS = st.sampled_from(
    [
        "sort a list",
        "sort the list",
        "thanks",
        "Error: x",
        "no, wrong",
        "why",
        "make it short",
        "```x``` and more text " * 3,
    ]
)


@given(TEXTS, st.lists(st.integers(0, 60), max_size=8))
def test_the_hash_does_not_depend_on_the_pieces(text, cuts):
    """However an answer is cut on its way, its hash is that of the whole."""
    whole, pieces = AnswerHasher(KEY), AnswerHasher(KEY)
    whole.add(text)
    edges = [0, *sorted(cuts), len(text)]
    for begin, end in pairwise(edges):
        pieces.add(text[begin:end])
    assert whole.digest() == pieces.digest()
    assert whole.length == pieces.length


@given(st.lists(st.text(max_size=200), min_size=1, max_size=3), st.lists(st.text(max_size=200), max_size=4))
def test_every_text_has_a_kind(said, asked):
    """No message is refused, and REGENERATED needs more than a message."""
    assert classify(said, asked) is not FollowUp.REGENERATED


@given(st.text(max_size=200), st.text(max_size=200))
def test_likeness_is_symmetric_and_bounded(one, other):
    """In [0, 1], whichever comes first."""
    assert 0.0 <= Terms(one).likeness(Terms(other)) <= 1.0
    assert Terms(one).likeness(Terms(other)) == Terms(other).likeness(Terms(one))


@given(
    st.lists(st.tuples(st.integers(0, 3), WORDS, WORDS, st.floats(0, 100)), max_size=25),
    st.integers(1, 5),
)
def test_an_answer_is_judged_at_most_once(steps, capacity):
    """In any mix of conversations that go on, stop, repeat and drop answers; memory stays bounded."""
    reader = SignalReader(key=KEY, capacity=capacity)
    conversations: dict[int, list[ChatMessage]] = {}
    judged: list[str] = []
    now = 0.0
    for number, (which, said, answer, pause) in enumerate(steps):
        now += pause
        messages = conversations.setdefault(which, [])
        if not messages or messages[-1].role == "assistant":
            messages.append(ChatMessage("user", said))
        reading = reader.read(messages, now)
        judged += [signal.trace_id for signal in reading.signals]
        assert all(0 < signal.reliability <= 1 for signal in reading.signals)
        assert reading.conversation is not None
        hasher = reader.hasher()
        hasher.add(answer)
        reader.remember(f"t{number}", hasher, reading.conversation, now)
        assert len(reader) <= capacity
        if pause < 70:
            messages.append(ChatMessage("assistant", answer))
    assert len(judged) == len(set(judged))
