"""Disks that are full or read-only, clocks that jump and settings that break cost no client anything."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nexus.ledger.open import open_ledger
from nexus.testing import Answer, FaultyBackend, GatewayProcess, GatewayProcessError, Status
from tests.e2e.gateway_client import attempts, backend, backend_stats, chat, post, samples
from tests.fault.process_watch import complaints
from tests.fault.small_disk import fill, remount

MODEL = "gpt-4o-mini"
CONFIG = """
[health_check]
enabled = false
[breaker]
enabled = false
[quality]
metrics_interval_seconds = 1
error_rate_threshold = 1.0
[logging]
format = "json"
[outcomes]
pending_ttl_seconds = 0.01
"""


def config(url: str, ledger: str) -> str:
    """A gateway whose one backend is paid for, so that its spend is kept too."""
    kept = f'[ledger]\nurl = "{ledger}"\nflush_interval_seconds = 0.05\n'
    return CONFIG + kept + backend("one", url, models=[MODEL], type="openai")


def ask(gateway: GatewayProcess, count: int) -> Counter[str]:
    """Requests, half of them streamed, that must all be answered; their trace ids."""
    found: Counter[str] = Counter()
    for number in range(count):
        reply = post(gateway.port, chat(MODEL, stream=number % 2 == 0))
        assert (reply.status, reply.whole) == (200, True)
        found[reply.headers["x-nexus-trace-id"]] += 1
    return found


def kept(url: str) -> tuple[Counter[str], float]:
    """The requests that the ledger has receipts of, and what they cost together in USD."""
    store = open_ledger(url)
    try:
        entries = store.read()
    finally:
        store.close()
    return Counter(entry.trace_id for entry in entries), sum(entry.cost_usd or 0.0 for entry in entries)


def spend(folder: Path) -> float:
    """The USD in the file of the month's spend."""
    return float(sum(msgspec.json.decode((folder / "spend.json").read_bytes())["months"].values()))


def written(gateway: GatewayProcess) -> float:
    return samples(gateway, "nexus_receipts_total").get(frozenset({("result", "written")}), 0)


def full_disk_is_said(gateway: GatewayProcess) -> bool:
    """Whether the log says of the ledger that it has no room."""
    gateway.read_output()
    return any(
        '"nexus.ledger"' in line or "receipts" in line
        for line in gateway.stdout.splitlines()
        if "No space left" in line or "disk is full" in line
    )


def waiting(gateway: GatewayProcess) -> float:
    return samples(gateway, "nexus_receipts_waiting")[frozenset()]


# --- disks


def ask_on_a_full_disk(gateway: GatewayProcess, ballast: Path) -> Counter[str]:
    """Requests whose receipts wait for room. Replacing a file leaves some, so that is filled too."""
    asked: Counter[str] = Counter()

    def is_stuck(_: Any) -> bool:
        fill(ballast)
        asked.update(ask(gateway, 10))
        return full_disk_is_said(gateway) and waiting(gateway) >= 20

    gateway.wait_for(is_stuck)
    return asked


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_full_disk_costs_no_answer_and_loses_nothing_once_there_is_room(kind: str, small_disk: Path):
    """Receipts and spend wait in memory, the log says why, and in the end each is there once."""
    data, ballast = small_disk / "data", small_disk / "ballast"
    url = f"{kind}:///{data}/ledger"
    with FaultyBackend() as one:
        one.always(Answer(usage=True))
        with GatewayProcess(config(one.url, url), env={"NEXUS_DATA_DIR": str(data)}) as gateway:
            asked = ask(gateway, 4)
            gateway.wait_for(lambda _: written(gateway) == 4)
            asked += ask_on_a_full_disk(gateway, ballast)
            assert gateway.get("/health")["status"] in {"healthy", "degraded"}
            asked += ask(gateway, 10)
            ballast.unlink()
            gateway.wait_for(lambda _: written(gateway) == asked.total() and waiting(gateway) == 0)
    receipts, cost = kept(url)
    assert receipts == asked
    assert spend(data) == pytest.approx(cost)
    assert cost > 0
    assert complaints(gateway) == []


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_read_only_disk_costs_no_answer_and_loses_nothing_once_it_is_writable(kind: str, small_disk: Path):
    """The gateway starts all the same, says so, and writes what it kept as soon as it can."""
    data = small_disk / "data"
    data.mkdir()
    remount(small_disk, "ro")
    url = f"{kind}:///{data}/ledger"
    with (
        FaultyBackend(Answer(usage=True)) as one,
        GatewayProcess(config(one.url, url), env={"NEXUS_DATA_DIR": str(data)}) as gateway,
    ):
        asked = ask(gateway, 6)
        gateway.wait_for(lambda _: waiting(gateway) == 6)
        remount(small_disk, "rw")
        asked += ask(gateway, 2)
        gateway.wait_for(lambda _: written(gateway) == 8 and waiting(gateway) == 0)
    receipts, cost = kept(url)
    assert receipts == asked
    assert spend(data) == pytest.approx(cost)
    assert cost > 0
    assert "ead-only" in gateway.stdout
    assert complaints(gateway) == []


def test_a_data_directory_that_can_not_be_made_is_a_plain_sentence(small_disk: Path):
    """There is nothing to serve with yet, so the gateway says what is wrong and ends."""
    remount(small_disk, "ro")
    process = GatewayProcess(CONFIG, env={"NEXUS_DATA_DIR": str(small_disk / "data")})
    with pytest.raises(GatewayProcessError, match="can't create the data directory: Read-only") as caught:
        process.start()
    process.stop()
    assert process.returncode == 1
    assert "Traceback" not in str(caught.value)


# --- clocks


def has_counted(name: str, count: int) -> Callable[[Any], bool]:
    """Whether the published figures of a backend hold so many outcomes of the last hour."""

    def condition(stats: Any) -> bool:
        quality = backend_stats(stats, name)["quality"]
        return quality is not None and quality["request_count_1h"] == count

    return condition


JUMPING = """
import time
from pathlib import Path

real, offset = time.time, Path({offset!r})
time.time = lambda: real() + float(offset.read_text())
"""


def _jump(offset: Path, seconds: int) -> None:
    """Move the clock at once: the gateway may read the file at any moment, so it is never half written."""
    beside = offset.with_name("beside")
    beside.write_text(str(seconds))
    beside.replace(offset)


def test_a_clock_that_jumps_changes_no_window_no_pause_and_no_answer(tmp_path: Path):
    """A year ahead, ten years back: what is measured and what is waited for has another clock."""
    offset = tmp_path / "offset"
    _jump(offset, 0)
    (tmp_path / "sitecustomize.py").write_text(JUMPING.format(offset=str(offset)))
    paths = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    limited = "[rate_limit]\nenabled = true\nper_second = 0.001\nburst = 40\nmax_wait_seconds = 0\n"
    with FaultyBackend() as one, FaultyBackend(Status(429, retry_after=600)) as two:
        toml = limited + config(one.url, f"jsonl:///{tmp_path}/ledger")
        toml += backend("two", two.url, models=["m"])
        with GatewayProcess(toml, env={"PYTHONPATH": paths}) as gateway:
            one.script(Status(500), then=Answer())
            assert post(gateway.port, chat(MODEL)).status == 502
            assert post(gateway.port, chat("m")).status == 429
            year = 365 * 86400
            for number, jump in enumerate((year, -10 * year, 0), start=1):
                _jump(offset, jump)
                ask(gateway, 2)
                paused = post(gateway.port, chat("m"))
                assert (paused.status, 500 < int(paused.headers["retry-after"]) <= 600) == (429, True)
                count = 1 + 2 * number
                stats = gateway.wait_for(has_counted("one", count))
                quality = backend_stats(stats, "one")["quality"]
                assert quality["error_rate_1h"] == pytest.approx(1 / count)
                assert 0 <= quality["last_failure_seconds_ago"] < 100
                assert 0 <= stats["uptime_seconds"] < 100
                assert int(paused.headers["x-ratelimit-remaining-requests"]) == 40 - 2 - 3 * number
            assert attempts(gateway, "two") == {("rate_limited", ""): 1}
    assert len(two.posts) == 1
    assert set(kept(f"jsonl:///{tmp_path}/ledger")[0].values()) == {1}
    assert complaints(gateway) == []


# --- settings


BROKEN = ("[[[", "\x00", "[retry]\nmax_retrys = 1\n", '[[backends]]\nname = "x"\n', "port = true\n")


def has_refused(gateway: GatewayProcess, count: int) -> Callable[[Any], bool]:
    """Whether the running gateway's log says so often that a configuration was not taken in."""

    def condition(_: Any) -> bool:
        gateway.read_output()
        return gateway.stdout.count("the configuration was not changed") == count

    return condition


def test_a_configuration_that_breaks_while_serving_changes_nothing(tmp_path: Path):
    """No TOML, unknown settings, wrong types: the log says so, requests go on, and a good one counts."""
    with FaultyBackend() as one:
        good = config(one.url, "none")
        with GatewayProcess(good, env={"NEXUS_DATA_DIR": str(tmp_path)}) as gateway:
            for number, bad in enumerate(BROKEN, start=1):
                gateway.configure(bad, hang_up=True)
                gateway.wait_for(has_refused(gateway, number))
                ask(gateway, 2)
                assert [each["id"] for each in gateway.get("/v1/stats")["backends"]] == ["one"]
            gateway.configure(good.replace("error_rate_threshold = 1.0", "error_rate_threshold = 0.7"))
            gateway.wait_for(lambda stats: stats["config"]["quality"]["error_rate_threshold"] == 0.7)
            ask(gateway, 1)
    assert "Traceback" not in gateway.stdout + gateway.stderr
