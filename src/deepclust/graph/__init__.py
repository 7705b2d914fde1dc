"""Neighbour graphs: closed form, beside the objectives."""

from deepclust.graph.affinity import local_affinity
from deepclust.graph.neighbours import nearest_neighbors

__all__ = ["local_affinity", "nearest_neighbors"]
