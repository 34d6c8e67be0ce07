"""Shipped fakes for tests of Nexus and of code that uses its libraries."""

from nexus.testing.clock import ManualClock

__all__ = ["ManualClock"]
