"""Every constant of the strategy `expected_time`."""

from msgspec import Struct


class ExpectedTimeSettings(Struct, frozen=True, kw_only=True):
    """Every constant of `expected_time` and of the learning it rests on. Times are in seconds.

    Time to first token of a model, by length of the prompt:
        first_guess: what is assumed until the first answer.
        length_memory: how many answers are remembered, roughly; older ones count less and less.
        outlier_factor: an answer counts as at most this many times what was expected (and at least one such
            part), so that one stall does not bend the line.
        loaded_weight: weight of an answer from a backend that was well used: its time tells of the load too.

    Slowness of a backend beside that line:
        good_seconds: time constant of believing that a backend is faster than thought.
        bad_seconds: the same for slower.
        relax_after, relax_seconds: once nothing was heard of a backend for `relax_after`, its slowness
            returns to the fleet's median with this time constant, so that it is tried again.
        most_slowness: no answer counts as slower than this many times the median, so that a backend which
            once took a minute is not shunned for many.
        dead_band: slowness this near to the median counts as the median, so that noise does not herd; the
            same holds for limits.
        stall_factor: after a silence of this many times what a waiting attempt was expected to take, its
            backend looks slow already, the more the longer it lasts.
        whole_stall_factor: the same for whole answers, whose time depends on their length too.

    Concurrency that a backend carries:
        first_limit, least_limit, most_limit: where learning starts, and its bounds.
        limit_step: over the root of the limit, added for an answer that was fast while well used.
        limit_cut: factor for one that was slow while well used.
        well_used: share of the limit from which on a backend is well used.
        slow_factor, slow_seconds: slow is over this many times what the backend takes unhurried, and by this
            much at least: a few milliseconds more do not mean that a backend is full.
        learned_answers: answers that a limit needs before it makes requests wait.

    Failures:
        error_memory: time constant with which successes and failures are forgotten.
        confidence: z of the Wilson lower bound that takes the place of the observed share.
        late_factor, late_seconds: a first token this many times later than its backend is used to while not
            busy, and at least this late, counts as a failure.
        failure_cost: what a failed attempt costs a client; divided by the expected time to first token, or by
            the usual one where the prompt is longer than usual.
        most_penalty: bound of that penalty.

    The choice:
        ramp_start, ramp_seconds: share of its load that a recovered backend gets at first, and until all.
        priority_tolerance: a lower priority number goes first while it costs at most this times the best.
        exact_up_to, sample: up to this many candidates all are compared, else this many of them.
        noise: relative random change of each cost, against herds of several gateways.
        cached_cost: cost of a prompt that a backend has cached as a whole, as a share of that of a new one.
    """

    first_guess: float = 0.5
    length_memory: float = 500.0
    outlier_factor: float = 4.0
    loaded_weight: float = 0.1
    good_seconds: float = 15.0
    bad_seconds: float = 5.0
    relax_after: float = 15.0
    relax_seconds: float = 30.0
    most_slowness: float = 20.0
    dead_band: float = 0.25
    stall_factor: float = 3.0
    whole_stall_factor: float = 10.0
    first_limit: float = 8.0
    least_limit: float = 2.0
    most_limit: float = 256.0
    limit_step: float = 1.0
    limit_cut: float = 0.97
    well_used: float = 0.7
    slow_factor: float = 2.0
    slow_seconds: float = 1.0
    learned_answers: int = 50
    error_memory: float = 30.0
    confidence: float = 1.28
    late_factor: float = 10.0
    late_seconds: float = 2.0
    failure_cost: float = 20.0
    most_penalty: float = 50.0
    ramp_start: float = 0.1
    ramp_seconds: float = 10.0
    priority_tolerance: float = 2.0
    exact_up_to: int = 16
    sample: int = 8
    noise: float = 0.02
    cached_cost: float = 0.4
