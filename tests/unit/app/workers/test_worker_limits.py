"""Rate limits over several workers: what one grants the others count."""

from nexus.app.workers.limits import NotedBuckets
from nexus.config.model import RateLimitSettings


def buckets(**settings: object) -> NotedBuckets:
    return NotedBuckets(RateLimitSettings.model_validate({"per_second": 1, "burst": 4, **settings}))


def test_requests_of_both_workers_fill_one_bucket():
    """Six requests, three at each: four fit, and a tick later both workers know that none is left."""
    one, two = buckets(max_wait_seconds=0), buckets(max_wait_seconds=0)
    assert [one.take("k", 10.0).granted for _ in range(3)] == [True, True, True]
    two.hear("k", one.granted()["k"], 10.0)
    assert [two.take("k", 10.0).granted for _ in range(3)] == [True, False, False]
    told = two.granted()
    assert told == {"k": 1}
    assert two.granted() == {}
    one.hear("k", told["k"], 10.0)
    assert not one.take("k", 10.0).granted
    assert one.take("k", 11.0).granted


def test_what_crosses_on_the_way_is_paid_back():
    """Both grant a full burst before they hear of each other; nobody gets more until it is made up for."""
    one, two = buckets(max_wait_seconds=0), buckets(max_wait_seconds=0)
    assert all(each.take("k", 0.0).granted for each in (one, two) for _ in range(4))
    first, second = one.granted(), two.granted()
    one.hear("k", second["k"], 0.0)
    two.hear("k", first["k"], 0.0)
    assert not one.take("k", 4.5).granted
    assert not two.take("k", 4.5).granted
    assert one.take("k", 5.0).granted


def test_a_request_given_back_is_given_back_everywhere():
    one, two = buckets(max_wait_seconds=60), buckets(max_wait_seconds=60)
    for _ in range(5):
        one.take("k", 0.0)
    two.hear("k", one.granted()["k"], 0.0)
    one.give_back("k")
    two.hear("k", one.granted()["k"], 0.0)
    assert one.filling(0.0) == two.filling(0.0) == {"k": 4.0}
    two.hear("k", -9, 0.0)
    assert two.filling(0.0) == {}


def test_a_new_worker_begins_with_the_others_buckets():
    one, new = buckets(max_wait_seconds=0), buckets(max_wait_seconds=0)
    for _ in range(4):
        one.take("k", 100.0)
    new.begin(one.filling(101.0), 7.0)
    assert new.take("k", 7.0).granted
    assert not new.take("k", 7.0).granted
