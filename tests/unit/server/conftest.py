"""The edge is tested on the event loop it runs on."""

from tests.product_loop import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
