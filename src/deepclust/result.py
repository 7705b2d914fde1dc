"""What a fit found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ClusterResult:
    """What a fit found on its own rows.

    Attributes
    ----------
    labels : (n,) int64
        Cluster of every row; the same as ``predict`` on those rows.
    proba : (n, k) float32
        Probability of every cluster; rows sum to one.
    embedding : (n, d) float32
        Codes.
    start_labels : (n,) int64 or None
        The partition that the clustering phase started from, so that it can be told what the deep step added.
    history : list of dict
        One line an epoch.
    events : list of dict
        What happened besides.
    provenance : dict
        Parameters, seed, versions, machine, fingerprint of the data, wall time.
    """

    labels: npt.NDArray[np.int64]
    proba: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    start_labels: npt.NDArray[np.int64] | None = None
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)
    events: list[dict[str, Any]] = field(default_factory=list, repr=False)
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Rows in every cluster, empty ones included."""
        return np.bincount(self.labels, minlength=self.proba.shape[1])
