"""Deep clustering with a scikit-learn interface.

>>> from deepclust import VaDE, load_dataset
>>> digits = load_dataset("digits")
>>> labels = VaDE(n_clusters=10, random_state=0).fit_predict(digits.X)  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepclust.data.augment import Affine
    from deepclust.data.sets import load_dataset
    from deepclust.data.tables import TableEncoder
    from deepclust.engine import Budget, Callback, Cosine, Decay, Healing, Inverse, Schedule, Trainer
    from deepclust.guidance import Guide
    from deepclust.methods import load
    from deepclust.methods.cluster_vae import ClusterVAE
    from deepclust.methods.dcn import DCN
    from deepclust.methods.dec import DEC, IDEC
    from deepclust.methods.depict import DEPICT, Balance, Pathways
    from deepclust.methods.dual_autoencoder import Dual, DualAutoencoderSpectral, Information, SpectralHead
    from deepclust.methods.gmvae import GMVAE, Gumbel, Marginal, Style
    from deepclust.methods.graph_agglomeration import GraphAgglomeration
    from deepclust.methods.jule import JULE, Merging, Triplet
    from deepclust.methods.spectralnet import Siamese, SpectralMap, SpectralNet
    from deepclust.methods.two_stage import TwoStage
    from deepclust.methods.vade import Handover, VaDE
    from deepclust.metrics import accuracy, purity
    from deepclust.networks import MLP, Conv, DoubleConv, Halving, Narrow, Normed, Pooled, Strided
    from deepclust.networks.likelihood import Gaussian
    from deepclust.networks.orthonormal import Orthonormal
    from deepclust.objectives.affinity import Affinity
    from deepclust.pretraining import Stacked
    from deepclust.result import ClusterResult
    from deepclust.targets import Refresh

__version__ = "0.1.0.dev0"

_HOME = {
    "Affinity": "objectives.affinity",
    "Dual": "methods.dual_autoencoder",
    "DualAutoencoderSpectral": "methods.dual_autoencoder",
    "Information": "methods.dual_autoencoder",
    "SpectralHead": "methods.dual_autoencoder",
    "Orthonormal": "networks.orthonormal",
    "Siamese": "methods.spectralnet",
    "SpectralMap": "methods.spectralnet",
    "SpectralNet": "methods.spectralnet",
    "DCN": "methods.dcn",
    "DEC": "methods.dec",
    "DEPICT": "methods.depict",
    "Balance": "methods.depict",
    "Pathways": "methods.depict",
    "Strided": "networks",
    "IDEC": "methods.dec",
    "JULE": "methods.jule",
    "Merging": "methods.jule",
    "Triplet": "methods.jule",
    "Halving": "networks",
    "Narrow": "networks",
    "Normed": "networks",
    "Pooled": "networks",
    "Affine": "data.augment",
    "Budget": "engine",
    "Callback": "engine",
    "ClusterResult": "result",
    "ClusterVAE": "methods.cluster_vae",
    "Conv": "networks",
    "Cosine": "engine",
    "Inverse": "engine",
    "Decay": "engine",
    "DoubleConv": "networks",
    "GMVAE": "methods.gmvae",
    "Gaussian": "networks.likelihood",
    "GraphAgglomeration": "methods.graph_agglomeration",
    "Guide": "guidance",
    "Gumbel": "methods.gmvae",
    "Handover": "methods.vade",
    "Healing": "engine",
    "MLP": "networks",
    "Marginal": "methods.gmvae",
    "Refresh": "targets",
    "Schedule": "engine",
    "Stacked": "pretraining",
    "Style": "methods.gmvae",
    "TableEncoder": "data.tables",
    "Trainer": "engine",
    "TwoStage": "methods.two_stage",
    "VaDE": "methods.vade",
    "accuracy": "metrics",
    "load": "methods",
    "load_dataset": "data.sets",
    "purity": "metrics",
}

__all__ = [
    "DCN",
    "DEC",
    "DEPICT",
    "GMVAE",
    "IDEC",
    "JULE",
    "MLP",
    "Affine",
    "Affinity",
    "Balance",
    "Budget",
    "Callback",
    "ClusterResult",
    "ClusterVAE",
    "Conv",
    "Cosine",
    "Decay",
    "DoubleConv",
    "Dual",
    "DualAutoencoderSpectral",
    "Gaussian",
    "GraphAgglomeration",
    "Guide",
    "Gumbel",
    "Halving",
    "Handover",
    "Healing",
    "Information",
    "Inverse",
    "Marginal",
    "Merging",
    "Narrow",
    "Normed",
    "Orthonormal",
    "Pathways",
    "Pooled",
    "Refresh",
    "Schedule",
    "Siamese",
    "SpectralHead",
    "SpectralMap",
    "SpectralNet",
    "Stacked",
    "Strided",
    "Style",
    "TableEncoder",
    "Trainer",
    "Triplet",
    "TwoStage",
    "VaDE",
    "accuracy",
    "load",
    "load_dataset",
    "purity",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: ``import deepclust`` must not load torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'deepclust' has no attribute {name!r}")
    return getattr(import_module(f"deepclust.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
