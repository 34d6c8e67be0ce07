"""The one source of time. Everything that waits or measures takes a `Clock`, so tests run in virtual time."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the code may ask of time. `nexus.testing.ManualClock` is the virtual one."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never jumps. Windows, deadlines and latencies use this."""
        ...

    def time(self) -> float:
        """Unix time in seconds. Only for timestamps that people or other machines read."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        ...

    async def sleep_async(self, seconds: float) -> None:
        """Suspend the calling task."""
        ...


class SystemClock:
    """The real time of this machine."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
    time = staticmethod(time.time)

    async def sleep_async(self, seconds: float) -> None:
        """Suspend the calling task for at least `seconds`."""
        import asyncio  # noqa: PLC0415 - half of what the libraries need to load, and not used by those without a loop

        await asyncio.sleep(seconds)
