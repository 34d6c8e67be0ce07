"""Each gauge counts what is under way at all workers."""

from nexus.app.workers.pending import PendingBook
from nexus.core.backend import Backend
from nexus.core.fleet import BackendStatus, BackendView
from nexus.core.live import BackendLive


def view(backend_id: str) -> BackendView:
    backend = Backend(backend_id, backend_id, "http://127.0.0.1:1")
    return BackendView(backend, BackendStatus.HEALTHY, {}, BackendLive())


def test_others_are_added_to_the_gauge_and_ours_alone_are_told():
    a, b = view("a"), view("b")
    book = PendingBook()
    a.live.pending = 2
    assert book.take([a, b]) == {"a": 2}
    assert book.take([a, b]) == {}
    book.hear(7, {"a": 5, "b": 1}, [a, b])
    book.hear(8, {"a": 1}, [a, b])
    assert (a.live.pending, b.live.pending) == (8, 1)
    assert book.take([a, b]) == {}, "others' attempts are not ours"
    a.live.pending -= 1
    assert book.take([a, b]) == {"a": 1}
    book.hear(7, {"a": 0}, [a, b])
    assert (a.live.pending, b.live.pending) == (2, 1)
    assert book.everything(1) == {1: {"a": 1}, 7: {"a": 0, "b": 1}, 8: {"a": 1}}


def test_a_worker_that_is_gone_has_nothing_under_way():
    a, b = view("a"), view("b")
    book = PendingBook()
    book.hear(7, {"a": 5, "b": 0}, [a, b])
    book.hear(8, {"a": 1}, [a, b])
    assert book.forget(7, [a, b]) == {"a"}
    assert book.forget(7, [a, b]) == set()
    assert a.live.pending == 1


def test_a_backend_that_was_replaced_gets_the_others_again():
    """Its new gauge starts at zero; what ends on the old one is not told as negative."""
    a = view("a")
    book = PendingBook()
    book.hear(7, {"a": 5}, [a])
    a.live.pending += 1
    assert book.take([a]) == {"a": 1}
    anew = view("a")
    assert book.take([anew]) == {"a": 0}
    assert anew.live.pending == 5
    a.live.pending -= 1
    assert book.take([anew]) == {}
    book.hear(7, {"a": 2}, [anew])
    assert anew.live.pending == 2
