"""Closed-form partitions of codes: nothing here trains a network."""

from deepclust.partition.kmeans import KMeansPartition, kmeans
from deepclust.partition.linkage import graph_degree_linkage
from deepclust.partition.manifold import manifold_coordinates, manifold_labels
from deepclust.partition.mixture import GaussianMixturePartition, diagonal_moments, gaussian_mixture
from deepclust.partition.sampled import Sampled, by_sample, sample_of, some_of
from deepclust.partition.spectral import spectral_labels
from deepclust.partition.start import Partition, Start, start_labels
from deepclust.partition.views import PrincipalView, principal_view, side_by_side

__all__ = [
    "GaussianMixturePartition",
    "KMeansPartition",
    "Partition",
    "PrincipalView",
    "Sampled",
    "Start",
    "by_sample",
    "diagonal_moments",
    "gaussian_mixture",
    "graph_degree_linkage",
    "kmeans",
    "manifold_coordinates",
    "manifold_labels",
    "principal_view",
    "sample_of",
    "side_by_side",
    "some_of",
    "spectral_labels",
    "start_labels",
]
