"""Choosing where a request goes: pure functions of the request, the fleet and the time. No I/O."""
