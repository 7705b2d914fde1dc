"""The networks of SpectralNet, and the parameters that describe them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.engine import Budget, Schedule
from deepclust.model import AbstractClusterModel
from deepclust.networks.autoencoder import Autoencoder, initialise
from deepclust.networks.heads import CenterHead
from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.networks.orthonormal import Orthonormal, OrthonormalLayer
from deepclust.networks.precision import full_precision
from deepclust.params import ADDED, AbstractParameters, Auto, Count, NonNegativeFloat, PositiveFloat

_PAIRS = Schedule(epochs=Budget(passes=20, least_steps=500, most_steps=4_000), batch_size=384)


@dataclass(frozen=True, repr=False)
class Siamese(AbstractParameters):
    """The network whose distances give the graph.

    Parameters
    ----------
    hidden
        Units of all its layers on codes, the last of which is the embedding; all are ReLU, as published.
    neighbors
        Near rows that are pairs; each has as many pairs with others.
    margin
        Beyond which pairs with others cost nothing.
    slack
        Up to which pairs of neighbours cost nothing; 0.05 in the TensorFlow program.
    schedule
        Of its training; a batch holds a third each of rows, their neighbours and others.
    sees
        ``"codes"``, as published; or ``"rows"``, where these are images: a convolutional network (`Pooled`) with
        features of unit length, which learns from images changed a little if its schedule has ``augment``, and whose
        features the spectral map then takes in place of codes. Flat rows are always seen as codes.
    """

    hidden: tuple[Count, ...] = (1024, 1024, 512, 10)
    neighbors: Count = 2
    margin: PositiveFloat = 1.0
    slack: NonNegativeFloat = 0.0
    schedule: Schedule = _PAIRS
    sees: Literal["codes", "rows"] = field(default="codes", metadata=ADDED)


@dataclass(frozen=True, repr=False)
class SpectralMap(AbstractParameters):
    """The network whose outputs become the eigenvectors.

    Parameters
    ----------
    hidden
        Units of its hidden layers; ``"auto"`` takes the published 1024, 1024, 512 for codes, 128 and 128 for rows
        that are their own.
    units
        What they are.
    normalized
        Of the symmetric Laplacian instead of the plain one; edges of the whole graph always stand for the normalised
        cut.
    more
        Eigenvectors beyond one a cluster, as a share of these, and at least one; 0 for none. Clusters that differ in
        how tightly they hang together are cut apart after parts of loose ones are.
    directions
        Partition the directions of outputs instead of the outputs (Ng, Jordan, Weiss 2002): those of rows at a rim are
        smaller than those within.
    """

    hidden: tuple[Count, ...] | Auto = "auto"
    units: Literal["relu", "leaky", "softplus"] = "relu"
    normalized: bool = False
    more: NonNegativeFloat = field(default=0.0, metadata=ADDED)
    directions: bool = field(default=False, metadata=ADDED)


class SpectralNetModel(AbstractClusterModel):
    """Auto-encoder, Siamese network (on codes, or on rows), spectral map, orthonormal layer, centres."""

    shift: Tensor
    unit: Tensor

    def __init__(
        self,
        network: Autoencoder | None,
        likelihood: AbstractLikelihood,
        size: int,
        k: int,
        siamese: Siamese | Autoencoder | None,
        mapping: SpectralMap,
        rule: Orthonormal,
    ) -> None:
        super().__init__()
        self.network = network
        self.likelihood = likelihood
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("unit", torch.ones(()))
        self.siamese: nn.Module | None = None
        self.seeing: nn.Module | None = None  # in place of the former, where it sees rows
        if isinstance(siamese, Siamese):
            self.siamese = _layers((size, *siamese.hidden), nn.ReLU).apply(initialise)
        elif siamese is not None:
            self.seeing = nn.ModuleDict({"trunk": siamese.encoder, "head": siamese.head})
        self.has_directions = mapping.directions
        unit = {"relu": nn.ReLU, "leaky": nn.LeakyReLU, "softplus": nn.Softplus}[mapping.units]
        small = (128, 128) if network is None else (1024, 1024, 512)
        first = siamese.latent if isinstance(siamese, Autoencoder) else size
        sizes = (first, *(small if isinstance(mapping.hidden, str) else mapping.hidden))
        dimensions = k + (max(1, int(mapping.more * k)) if mapping.more else 0)
        self.mapping = nn.Sequential(*_layers(sizes, unit), nn.Linear(sizes[-1], dimensions), nn.Tanh())
        self.mapping.apply(initialise)
        self.last = OrthonormalLayer(dimensions, rule)
        self.head = CenterHead(k, dimensions)

    @torch.no_grad()
    def measure(self, shift: Float[Tensor, " d"], unit: Float[Tensor, ""]) -> None:
        """Bring codes to mean zero and a mean square of one."""
        self.shift.copy_(shift)
        self.unit.copy_(unit)

    def raw_code(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return codes as the auto-encoder gives them."""
        return x.flatten(1) if self.network is None else self.network.embed(x)

    def code(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return codes."""
        return (self.raw_code(x) - self.shift) / self.unit

    def metric(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b e"]:
        """Return the points whose distances give the graph."""
        if self.seeing is not None:
            features = self.seeing["head"](self.seeing["trunk"](x))  # type: ignore[index]
            return F.normalize(features.float(), dim=1)
        return self.distances_of(self.code(x))

    def distances_of(self, codes: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """Return the same for codes."""
        with full_precision(codes):
            points: Tensor = codes if self.siamese is None else self.siamese(codes.float())
        return points

    def mapped(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return what the spectral map takes: features of rows, or codes."""
        return self.code(x) if self.seeing is None else self.metric(x)

    def raw_of(self, mapped: Float[Tensor, "b d"]) -> Float[Tensor, "b q"]:
        """Return the map's outputs before the last layer."""
        with full_precision(mapped):
            raw: Tensor = self.mapping(mapped.float())
        return raw

    def raw(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b q"]:
        """Return the same for rows."""
        return self.raw_of(self.mapped(x))

    def place(self, y: Float[Tensor, "b q"]) -> Float[Tensor, "b q"]:
        """Return where outputs lie among the centres."""
        return F.normalize(y.float(), dim=1) if self.has_directions else y.float()

    def complaints(self) -> list[str]:
        """Tell of a last layer that has next to nothing to make orthonormal."""
        return self.last.complaints()

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b q"]:
        """Return the spectral embedding."""
        y: Tensor = self.last(self.raw(x))
        return y.float()

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the probability of every cluster; the nearest centre has the largest."""
        return self.head.assign(self.place(self.embed(x)))

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return minus the squared distance to the nearest centre."""
        return self.head.score(self.place(self.embed(x)))


def code_spread(codes: Float[Tensor, "n d"]) -> dict[str, Tensor]:
    """Return the mean of codes, and the root of their mean square around it."""
    wide = codes.double()
    unit = wide.var(dim=0, correction=0).mean().sqrt().clamp(min=1e-12)
    return {"shift": wide.mean(0), "unit": unit}


def _layers(sizes: tuple[int, ...], unit: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), unit()]
    return nn.Sequential(*layers)
