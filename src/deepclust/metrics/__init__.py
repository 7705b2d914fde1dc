"""How good a partition is, with labels (external) and without (internal). Labels touch nothing else."""

from deepclust.metrics.external import (
    accuracy,
    contingency,
    external_metrics,
    match_clusters,
    purity,
    representative_accuracy,
)
from deepclust.metrics.internal import internal_metrics

__all__ = [
    "accuracy",
    "contingency",
    "external_metrics",
    "internal_metrics",
    "match_clusters",
    "purity",
    "representative_accuracy",
]
