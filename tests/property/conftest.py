"""How long the properties are tried: `pytest tests/property/test_http_edge.py --hypothesis-profile=long`."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "long", max_examples=4_000, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
