"""Neighbour graphs: closed form, beside the objectives."""

from deepclust.graph.affinity import (
    gaussian_affinity,
    global_affinity,
    local_affinity,
    transition_matrix,
    weighted_edges,
)
from deepclust.graph.differences import moved, neighbor_differences
from deepclust.graph.neighbours import mutual_share, nearest_neighbors, suited_neighbors

__all__ = [
    "gaussian_affinity",
    "global_affinity",
    "local_affinity",
    "moved",
    "mutual_share",
    "nearest_neighbors",
    "neighbor_differences",
    "suited_neighbors",
    "transition_matrix",
    "weighted_edges",
]
