"""How good a partition is, with labels (external) and without (internal). Labels touch nothing else."""

from deepclust.metrics.external import (
    accuracy,
    contingency,
    external_metrics,
    match_clusters,
    purity,
    representative_accuracy,
)
from deepclust.metrics.internal import effective_clusters, internal_metrics
from deepclust.metrics.stability import Moves, cluster_stability, moves

__all__ = [
    "Moves",
    "accuracy",
    "cluster_stability",
    "contingency",
    "effective_clusters",
    "external_metrics",
    "internal_metrics",
    "match_clusters",
    "moves",
    "purity",
    "representative_accuracy",
]
