"""The answers given lately are remembered within bounds."""

from nexus.outcomes.signals.memory import MATCH_CHARS, AnswerMemory, Remembered

LONG = MATCH_CHARS


def entry(
    trace: str, answer: bytes = b"a", at: float = 0.0, whole: bytes = b"w", opening: bytes | None = None
) -> Remembered:
    return Remembered(trace, answer, LONG, whole, opening, b"", at)


def test_an_answer_is_found_by_its_hash():
    """A long answer is found wherever it turns up; an unknown one is not."""
    memory = AnswerMemory(10, 60.0)
    one = entry("t1")
    memory.add(one)
    assert memory.given(b"a", LONG, None, 1.0) is one
    assert memory.given(b"a", LONG, b"another history", 1.0) is one
    assert memory.given(b"b", LONG, None, 1.0) is None


def test_a_short_answer_is_found_in_its_own_conversation_only():
    """ "Yes." is given many times; a tool call's id is not."""
    memory = AnswerMemory(10, 60.0)
    one = entry("t1")
    memory.add(one)
    assert memory.given(b"a", LONG - 1, None, 1.0) is None
    assert memory.given(b"a", LONG - 1, b"w", 1.0) is one
    assert memory.given(b"a", 0, None, 1.0, called_tools=True) is one


def test_one_of_several_equal_answers_is_told_by_its_conversation():
    """Without the conversation it could be either, so it is neither."""
    memory = AnswerMemory(10, 60.0)
    one, other = entry("t1", whole=b"w1"), entry("t2", whole=b"w2")
    memory.add(one)
    memory.add(other)
    assert memory.given(b"a", LONG, b"w1", 1.0) is one
    assert memory.given(b"a", LONG, b"w2", 1.0) is other
    assert memory.given(b"a", LONG, b"w3", 1.0) is None


def test_many_equal_answers_are_not_all_kept():
    """The list behind one hash is bounded."""
    memory = AnswerMemory(100, 60.0)
    for number in range(20):
        memory.add(entry(f"t{number}", whole=b"w%d" % number))
    assert memory.given(b"a", LONG, b"w0", 1.0) is None
    assert memory.given(b"a", LONG, b"w19", 1.0) is not None
    assert len(memory) == 20


def test_the_oldest_goes_when_it_is_full():
    """Capacity is a hard bound, and what went is not found by any key."""
    memory = AnswerMemory(2, 60.0)
    for number in range(3):
        name = b"%d" % number
        memory.add(entry(f"t{number}", answer=name, whole=b"w" + name, opening=b"o" + name))
    assert len(memory) == 2
    assert memory.given(b"0", LONG, None, 0.0) is None
    assert memory.to_same_messages(b"w0", 0.0) is None
    assert memory.after_opening(b"o0", 0.0) is None
    assert memory.after_opening(b"o2", 0.0) is not None


def test_answers_are_forgotten_in_time():
    """An answer is not found past its time, and goes when the next one comes."""
    memory = AnswerMemory(10, 60.0)
    memory.add(entry("t1", opening=b"o"))
    assert memory.given(b"a", LONG, None, 61.0) is None
    assert memory.given(b"a", LONG, b"w", 61.0) is None
    assert memory.to_same_messages(b"w", 61.0) is None
    assert memory.after_opening(b"o", 61.0) is None
    memory.add(entry("t2", answer=b"b", at=61.0))
    assert len(memory) == 1


def test_a_trace_id_is_remembered_once():
    """The second answer under a trace id replaces the first."""
    memory = AnswerMemory(10, 60.0)
    memory.add(entry("t1", answer=b"a"))
    memory.add(entry("t1", answer=b"b"))
    assert len(memory) == 1
    assert memory.given(b"a", LONG, None, 0.0) is None


def test_the_latest_answer_to_the_same_messages_counts():
    """Dropping an older one leaves the newer one's place alone."""
    memory = AnswerMemory(2, 60.0)
    older, newer = entry("t1", answer=b"a", opening=b"o"), entry("t2", answer=b"b", opening=b"o")
    memory.add(older)
    memory.add(newer)
    memory.add(entry("t3", answer=b"c", whole=b"other"))
    assert memory.to_same_messages(b"w", 0.0) is newer
    assert memory.after_opening(b"o", 0.0) is newer


def test_answers_that_wait_for_no_word_any_more_are_forgotten_from_the_oldest_on():
    """One that waits keeps those behind it: they go when it does."""
    waiting = {"t1", "t3", "new"}
    memory = AnswerMemory(100, 60.0, waits=waiting.__contains__)
    for number in range(4):
        name = b"%d" % number
        memory.add(entry(f"t{number}", answer=name, whole=b"w" + name))
    memory.add(entry("new", answer=b"n", whole=b"n"))
    assert memory.given(b"0", LONG, None, 1.0) is None
    assert memory.given(b"1", LONG, None, 1.0) is not None
    assert len(memory) == 4
    waiting.remove("t1")
    memory.add(entry("new", answer=b"n", whole=b"n"))
    assert [memory.given(b"%d" % number, LONG, None, 1.0) is not None for number in range(4)] == [
        False,
        False,
        False,
        True,
    ]


def test_after_a_flood_each_new_answer_makes_some_old_ones_go():
    """So that none of them takes long."""
    waiting = True
    memory = AnswerMemory(10_000, 60.0, waits=lambda _: waiting)
    for number in range(1000):
        memory.add(entry(f"t{number}", answer=b"%d" % number))
    waiting = False
    sizes: list[int] = []
    while len(memory) > 1:
        memory.add(entry(f"n{len(sizes)}"))
        sizes.append(len(memory))
    assert sizes == sorted(sizes, reverse=True)
    assert max(a - b for a, b in zip([1000, *sizes], sizes, strict=False)) < 50
