"""Encoders, decoders and heads. Builders are parameters, modules are products."""

from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, Custom, build_network
from deepclust.networks.conv import Conv
from deepclust.networks.double_conv import DoubleConv
from deepclust.networks.halving import Halving
from deepclust.networks.mlp import MLP
from deepclust.networks.narrow import Narrow
from deepclust.networks.normed import Normed
from deepclust.networks.pooled import Pooled
from deepclust.networks.scaler import Scaler, Scaling
from deepclust.networks.strided import Strided
from deepclust.networks.variational import Variational

__all__ = [
    "MLP",
    "AbstractNetwork",
    "Autoencoder",
    "Conv",
    "Custom",
    "DoubleConv",
    "Halving",
    "Narrow",
    "Normed",
    "Pooled",
    "Scaler",
    "Scaling",
    "Strided",
    "Variational",
    "build_network",
]
