"""Closed-form partitions of codes: nothing here trains a network."""

from deepclust.partition.kmeans import KMeansPartition, kmeans
from deepclust.partition.mixture import GaussianMixturePartition, diagonal_moments, gaussian_mixture
from deepclust.partition.spectral import spectral_labels

__all__ = [
    "GaussianMixturePartition",
    "KMeansPartition",
    "diagonal_moments",
    "gaussian_mixture",
    "kmeans",
    "spectral_labels",
]
