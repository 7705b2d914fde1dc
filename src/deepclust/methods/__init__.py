"""The registry: one line a method. Tests, command line, documentation and benchmark read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from deepclust.errors import InvalidParameterError
from deepclust.storage import load_estimator


@dataclass(frozen=True)
class Entry:
    """A registered method.

    Attributes
    ----------
    name
        In specs, records and on the command line.
    module, class_name
        Where its class is, or the function that makes a baseline's estimator; bare modules are in this folder.
    summary
        What it is.
    kind
        ``"peer"``: somebody else's package, which the benchmark compares with.
    params
        Settings that the name stands for.
    deterministic
        Whether every seed gives the same.
    packages
        Whose versions a record states, besides those of the library itself.
    """

    name: str
    module: str
    class_name: str
    summary: str
    kind: Literal["deep", "baseline", "peer"] = "deep"
    params: Mapping[str, Any] = field(default_factory=dict)
    deterministic: bool = False
    packages: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import and return the estimator class; of a baseline, the function that makes its estimator."""
        home = self.module if self.kind == "peer" else f"{__name__}.{self.module}"
        return getattr(import_module(home), self.class_name)


_UMAP = ("umap-learn", "pynndescent")
_ENTRIES = (
    Entry("two_stage", "two_stage", "TwoStage", "auto-encoder or VAE, then k-means, a mixture or a spectral cut"),
    Entry("vade", "vade", "VaDE", "variational auto-encoder with a Gaussian mixture as its prior"),
    Entry("cluster_vae", "cluster_vae", "ClusterVAE", "one-step VAE clustering: a classifier on the code"),
    Entry("gmvae", "gmvae", "GMVAE", "Gaussian-mixture VAE, in four published forms"),
    Entry("dec", "dec", "DEC", "deep embedded clustering: codes drawn to centres by sharpened targets"),
    Entry("idec", "dec", "IDEC", "DEC that keeps its decoder"),
    Entry("dcn", "dcn", "DCN", "auto-encoder with codes that suit k-means, whose centres follow them"),
    Entry("depict", "depict", "DEPICT", "soft-max on a convolutional auto-encoder, balanced targets, a noisy pathway"),
    Entry("jule", "jule", "JULE", "agglomeration and representation in turns, from many clusters down to k"),
    Entry("spectralnet", "spectralnet", "SpectralNet", "spectral clustering by a network that gives the eigenvectors"),
    Entry(
        "dual_autoencoder",
        "dual_autoencoder",
        "DualAutoencoderSpectral",
        "dual auto-encoder and spectral network, jointly",
    ),
    Entry("kmeans", "baselines", "kmeans", "k-means on the rows as they are", "baseline"),
    Entry("gmm", "baselines", "gmm", "Gaussian mixture on principal components", "baseline"),
    Entry("spectral", "baselines", "spectral", "spectral cut of the neighbour graph", "baseline"),
    Entry("umap-gmm", "baselines", "umap_gmm", "Gaussian mixture over a UMAP layout", "baseline", packages=_UMAP),
    Entry("umap-hdbscan", "baselines", "umap_hdbscan", "HDBSCAN over a UMAP layout", "baseline", packages=_UMAP),
    Entry("n2d", "baselines", "n2d", "auto-encoder, then a mixture over a UMAP layout", "baseline", packages=_UMAP),
    Entry("gdl", "baselines", "gdl", "graph degree linkage", "baseline", deterministic=True),
    Entry("pic", "baselines", "pic", "path-integral linkage", "baseline", deterministic=True),
)
METHODS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
DEEP: dict[str, Entry] = {name: entry for name, entry in METHODS.items() if entry.kind == "deep"}


def find_method(name: str) -> Any:
    """Return the estimator class of a deep method.

    Raises
    ------
    InvalidParameterError
        Naming the registered methods.
    """
    if name not in DEEP:
        what = "is a baseline: it leaves no model to a run" if name in METHODS else "does not exist"
        raise InvalidParameterError(f"The method {name!r} {what}. There are: {', '.join(DEEP)}.")
    return DEEP[name].load()


def load(path: str | Path, *, network: Any = None) -> Any:
    """Read a fitted estimator that ``save`` wrote. Nothing in the folder is executed.

    Parameters
    ----------
    path
        The folder.
    network
        The user's own ``(encoder, decoder)``, where the estimator was made from such.
    """
    by_class = {entry.class_name: entry for entry in DEEP.values()}
    given = {} if network is None else {"network": network}
    return load_estimator(Path(path), lambda name: by_class[name].load(), **given)
