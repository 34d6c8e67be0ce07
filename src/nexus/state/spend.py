"""What cloud backends have cost this month: counted in memory, kept in a file that processes share."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from nexus.core.clock import Clock
from nexus.core.live import SpendMeter
from nexus.ledger.shared_file import locked, replace_file

_LOG = logging.getLogger(__name__)
_LOCK_SECONDS = 2.0
_MONTHS_KEPT = 24


class _SpendFile(Struct, frozen=True):
    """The file's form: USD by month, such as `{"version": 1, "months": {"2026-11": 12.5}}`."""

    months: dict[str, float]
    version: int = 1


class MonthSpend(Struct, frozen=True, array_like=True, gc=False):
    """A month's spend as one process knows it: what it saw in the file, and what it has yet to add to it."""

    month: str
    saved_usd: float
    unsaved_usd: float


class SpendStore:
    """The month's spend, in UTC months by the wall clock.

    `meter` is what routing reads. `add` is for the event loop's thread and never touches the disk; `flush`
    writes what has been added since. Several processes may share one file: each adds what it spent itself,
    and its meter takes in what the others wrote at every flush. A crash loses what was added since the last
    flush. A file that can't be read is set aside; one that can't be written is reported once, and its spend
    is kept for later.

    Args:
        path: the file; None keeps the spend in memory only.
        clock: tells the month.
        warn: told in one sentence what went wrong with the file.
    """

    def __init__(
        self, path: Path | None, clock: Clock, *, warn: Callable[[str], None] = _LOG.warning
    ) -> None:
        self.meter = SpendMeter()
        self._path = path
        self._clock = clock
        self._warn = warn
        self._saved: Mapping[str, float] = {}
        """By month, what the file held when it was last read or written."""
        self._unsaved: dict[str, float] = {}
        self._flying: dict[str, float] = {}
        """What a flush under way has taken."""
        self._elsewhere: dict[int, MonthSpend] = {}
        self._month_start = self._month_end = 0.0
        self._is_failing = False
        if path is not None:
            self._start_from(path)
        self.roll_over()

    def add(self, usd: float) -> None:
        """Count a cost in USD; what is not a positive, finite number is not counted."""
        if not 0.0 < usd < math.inf:
            return
        self.roll_over()
        month = self.meter.month
        self._unsaved[month] = self._unsaved.get(month, 0.0) + usd
        self.meter.month_usd += usd

    def standing(self) -> MonthSpend:
        """This month's spend as this process knows it, without what others said."""
        self.roll_over()
        month = self.meter.month
        unsaved = self._unsaved.get(month, 0.0) + self._flying.get(month, 0.0)
        return MonthSpend(month, self._saved.get(month, 0.0), unsaved)

    def hear(self, process: int, spend: MonthSpend) -> None:
        """Take in another process's standing, so that the meter need not wait for the file."""
        self._elsewhere[process] = spend
        self._show()

    def forget(self, process: int) -> None:
        """Another process has ended; what it had not saved is lost."""
        self._elsewhere.pop(process, None)
        self._show()

    def roll_over(self) -> None:
        """Start the meter again if another month has begun. Cheap; call it before the meter is relied on."""
        now = self._clock.time()
        if self._month_start <= now < self._month_end:
            return
        today = datetime.fromtimestamp(now, UTC)
        start = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        in_december = start.month == 12  # noqa: PLR2004 - the last month
        end = start.replace(year=start.year + in_december, month=start.month % 12 + 1)
        self._month_start, self._month_end = start.timestamp(), end.timestamp()
        self.meter.month = f"{start:%Y-%m}"
        self._show()

    def flush(self) -> bool:
        """Write what is unsaved and take in what other processes wrote; blocks for the disk.

        Call it in the event loop's thread or after the loop has ended. False if the file can't be written;
        the spend is then kept in memory for the next flush.
        """
        taken = self._take()
        try:
            months = self._merge(taken)
        except OSError as error:
            self._give_back(taken, error)
            return False
        self._settle(months)
        return True

    async def flush_async(self) -> bool:
        """As `flush`, with the disk in another thread."""
        taken = self._take()
        merging = asyncio.ensure_future(asyncio.to_thread(self._merge, taken))
        try:
            await asyncio.wait((merging,))
        finally:
            # A thread can't be stopped half-way, so a cancelled flush still learns what came of it.
            if not merging.done():
                await asyncio.wait((merging,))
            is_saved = self._conclude(taken, merging)
        return is_saved

    def _start_from(self, path: Path) -> None:
        try:
            self._saved = self._read(path)
        except OSError as error:
            self._warn(
                f"the month's spend can't be read from {path} ({error.strerror}); counting starts at 0"
            )

    def _conclude(self, taken: dict[str, float], merging: "asyncio.Future[Mapping[str, float]]") -> bool:
        error = merging.exception()
        if error is None:
            self._settle(merging.result())
            return True
        self._give_back(taken, error)
        if not isinstance(error, OSError):
            raise error
        return False

    def _take(self) -> dict[str, float]:
        self.roll_over()
        taken, self._unsaved = self._unsaved, {}
        self._flying = taken
        return taken

    def _give_back(self, taken: dict[str, float], error: BaseException) -> None:
        self._flying = {}
        for month, usd in taken.items():
            self._unsaved[month] = self._unsaved.get(month, 0.0) + usd
        self._show()
        if not self._is_failing:
            self._is_failing = True
            reason = getattr(error, "strerror", None) or error
            self._warn(
                f"the month's spend can't be written to {self._path} ({reason}); it is kept in memory "
                "and lost at the end of the process unless writing works again"
            )

    def _settle(self, months: Mapping[str, float]) -> None:
        self._is_failing = False
        self._flying = {}
        self._saved = months
        self._show()

    def _show(self) -> None:
        month = self.meter.month
        others = [each for each in self._elsewhere.values() if each.month == month]
        # A file only grows within a month, so whoever saw the most of it saw it last.
        saved = max([self._saved.get(month, 0.0), *(each.saved_usd for each in others)])
        own = self._unsaved.get(month, 0.0) + self._flying.get(month, 0.0)
        self.meter.month_usd = saved + own + sum(each.unsaved_usd for each in others)

    # --- the file; may run in another thread, so nothing below changes this object

    def _merge(self, taken: Mapping[str, float]) -> Mapping[str, float]:
        """Add these amounts to the file under its lock; the months it holds then."""
        path = self._path
        if path is None:
            return _sum(self._saved, taken)
        if not taken:
            return self._read(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path, self._clock, seconds=_LOCK_SECONDS):
            months = _sum(self._read_locked(path), taken)
            kept = dict(sorted(months.items())[-_MONTHS_KEPT:])
            replace_file(path, msgspec.json.encode(_SpendFile(kept)))
        return kept

    def _read(self, path: Path) -> Mapping[str, float]:
        try:
            return _months_in(path)
        except ValueError:
            # Only under the lock: otherwise another process may be about to repair what is moved away here.
            with locked(path, self._clock, seconds=_LOCK_SECONDS):
                return self._read_locked(path)

    def _read_locked(self, path: Path) -> Mapping[str, float]:
        try:
            return _months_in(path)
        except ValueError as error:
            aside = path.with_name(f"{path.name}.corrupt-{self._clock.time():.0f}")
            path.rename(aside)
            self._warn(f"{path} is damaged ({error}): it was moved to {aside}, and what it counted is lost")
            return self._saved


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {month: one.get(month, 0.0) + other.get(month, 0.0) for month in {**one, **other}}


def _months_in(path: Path) -> Mapping[str, float]:
    """USD by month; nothing where there is no file. ValueError if it is damaged, OSError if unreadable."""
    try:
        months = msgspec.json.decode(path.read_bytes(), type=_SpendFile).months
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    for month, usd in months.items():
        if not 0.0 <= usd < math.inf:
            raise ValueError(f"the amount of {month} is {usd}")
    return months
