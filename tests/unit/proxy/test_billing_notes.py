"""Attempts without an answer that a cloud provider may bill all the same are logged."""

import pytest

from nexus.core.backend import Backend, BackendType
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind
from nexus.proxy.hedging import note_billing

CLOUD = Backend("cloud", "cloud", "https://cloud", type=BackendType.OPENAI)
LOCAL = Backend("local", "local", "http://local")


def ended(result: AttemptResult, kind: FailureKind | None = None) -> AttemptOutcome:
    return AttemptOutcome("t1", "cloud", "m", result, 0.0, 0.0, kind)


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (AttemptResult.CANCELLED, None),
        (AttemptResult.FAILURE, FailureKind.RESET),
        (AttemptResult.FAILURE, FailureKind.FIRST_TOKEN_TIMEOUT),
        (AttemptResult.FAILURE, FailureKind.CUT),
    ],
)
def test_what_may_have_been_worked_on_is_said(caplog, result, kind):
    note_billing(ended(result, kind), CLOUD)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "cloud" in record.message
    assert "may have been billed" in record.message
    assert record.trace_id == "t1"


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (AttemptResult.FAILURE, FailureKind.CONNECT),
        (AttemptResult.FAILURE, FailureKind.SERVER_ERROR),
        (AttemptResult.FAILURE, FailureKind.AUTH),
        (AttemptResult.RATE_LIMITED, None),
    ],
)
def test_what_was_refused_costs_nothing(caplog, result, kind):
    note_billing(ended(result, kind), CLOUD)
    assert caplog.records == []


def test_local_backends_send_no_bills(caplog):
    note_billing(ended(AttemptResult.CANCELLED), LOCAL)
    assert caplog.records == []
