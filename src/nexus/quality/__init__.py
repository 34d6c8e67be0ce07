"""Outcomes per agent in constant memory: error rates, time to first token, and who fails too often.

Works without the gateway; see `QualityMetricsStore`.
"""

from nexus.core.quality import AgentFigures, AgentQualityMetrics, QualityView, exceeds
from nexus.quality.config import QualityConfig
from nexus.quality.loop import OverThreshold, QualityLoop
from nexus.quality.store import QualityMetricsStore

__all__ = [
    "AgentFigures",
    "AgentQualityMetrics",
    "OverThreshold",
    "QualityConfig",
    "QualityLoop",
    "QualityMetricsStore",
    "QualityView",
    "exceeds",
]
