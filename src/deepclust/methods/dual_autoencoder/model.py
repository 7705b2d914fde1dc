"""The networks of the dual auto-encoder, and the parameters that describe them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deepclust.engine import Budget, Schedule
from deepclust.model import UnitClassModel
from deepclust.networks import Variational
from deepclust.networks.autoencoder import Autoencoder, initialise
from deepclust.networks.heads import CenterHead
from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.networks.orthonormal import Orthonormal, OrthonormalLayer
from deepclust.networks.precision import full_precision
from deepclust.objectives.information import information_cost
from deepclust.params import ADDED, AbstractParameters, Count, NonNegativeFloat, NonNegativeInt, PositiveShare
from deepclust.partition import diagonal_moments
from deepclust.together import gathered, own

_RULE = Orthonormal()
_SETTLE = Schedule(epochs=Budget(passes=20, least_steps=300, most_steps=2_000))


@dataclass(frozen=True, repr=False)
class Information(AbstractParameters):
    """How much a code should say about its row.

    Parameters
    ----------
    weight
        Of the global term, and of the mean of the local ones; beta in the paper.
    local
        Every place of a middle convolutional map must go with the code, too; where there is no map, nothing is added.
    trained
        Train the discriminators; in the published program they stay as they were drawn.
    hidden
        Units of each of their three layers.
    places
        How many of the map's places a step looks at, drawn anew for every step; None looks at all. Their mean estimates
        the mean over all without bias, and on 14 by 14 places the discriminator takes a third of the step otherwise.
    """

    weight: NonNegativeFloat = 0.01
    local: bool = True
    trained: bool = True
    hidden: Count = 120
    places: Count | None = field(default=16, metadata=ADDED)


@dataclass(frozen=True, repr=False)
class Dual(AbstractParameters):
    """The reconstructions, squared errors summed over values: of rows from codes without and with noise.

    Parameters
    ----------
    clean, noisy, relative
        Weights: of the row from the code as it is; of the row from the noisy code; of the one from the other.
    noise
        ``"additive"``: a sample of q(z|x); ``"multiplicative"``: each value times 1 plus ``spread`` times a normal one.
    spread
        Of multiplicative noise; the paper does not give it.
    unit
        What squared errors are counted in: ``"values"`` as they enter the network, or ``"variance"``: shares of the
        variance of rows, so that weights serve images of any size and contrast.
    """

    clean: NonNegativeFloat = 2.5
    noisy: NonNegativeFloat = 0.0
    relative: NonNegativeFloat = 5.0
    noise: Literal["additive", "multiplicative"] = "additive"
    spread: NonNegativeFloat = 0.5
    unit: Literal["values", "variance"] = field(default="values", metadata=ADDED)

    def unit_of(self, variance: float) -> float:
        """Return what squared errors are divided by, for rows of this variance, summed over values."""
        return variance if self.unit == "variance" else 1.0


@dataclass(frozen=True, repr=False)
class SpectralHead(AbstractParameters):
    r"""The network from codes to clusters, and what it is trained by.

    Parameters
    ----------
    hidden
        Units of its layers.
    output
        ``"softmax"``: classes, which are orthonormal inside the spectral loss alone; ``"tanh"``: a map that is followed
        by k-means.
    weight
        Of the spectral loss, :math:`\tfrac{1}{2m} \sum W_{ij} \lVert y_i - y_j \rVert^2`.
    prior
        Weight of the divergence of codes from those of their class.
    entropy
        Weight of the term that keeps classes soft.
    joint
        Train codes and classes together; otherwise codes are settled before.
    orthonormal
        How outputs are made orthonormal.
    settle
        Schedule by which the network first learns the partition of the codes.
    rounds
        Of joint training, each on the graph of the codes that the one before has left, and guided in its first part;
        with 0, codes stay as they are pretrained, and classes what the class network has learned of their partition.
    renew
        Whether later rounds are guided by the classes that the one before has left, or by the first partition as well.
    sure
        Share of the rows of every class, those most surely in it, that renewed classes guide; the others find theirs.
    """

    hidden: tuple[Count, ...] = (1024, 1024, 512)
    output: Literal["softmax", "tanh"] = "softmax"
    weight: NonNegativeFloat = 2.0
    prior: NonNegativeFloat = 1.0
    entropy: NonNegativeFloat = 1.0
    joint: bool = True
    orthonormal: Orthonormal = _RULE
    settle: Schedule = _SETTLE
    rounds: NonNegativeInt = field(default=1, metadata=ADDED)
    renew: bool = field(default=False, metadata=ADDED)
    sure: PositiveShare = field(default=1.0, metadata=ADDED)

    def renewed(self, p: Float[Tensor, "n k"]) -> Int64[Tensor, " n"]:
        """Return the class of every row that is among the surest of its class, and -1 for the others."""
        most, labels = p.max(1)
        for number in range(p.shape[1]):
            rows = (labels == number).nonzero().squeeze(1)
            labels[rows[most[rows].argsort(stable=True)[: int((1 - self.sure) * len(rows))]]] = -1
        return labels


class DualModel(UnitClassModel):
    """Encoder, one decoder that is used twice, discriminators, class means, and the network that gives classes."""

    def __init__(
        self,
        autoencoder: Autoencoder,
        likelihood: AbstractLikelihood,
        k: int,
        information: Information,
        head: SpectralHead,
    ) -> None:
        super().__init__()
        d = autoencoder.latent
        self.network, self.likelihood = Variational(autoencoder), likelihood
        self.means = nn.Parameter(torch.zeros(k, d))
        sizes = (d, *head.hidden)
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
        self.mapping = nn.Sequential(*layers, nn.Linear(sizes[-1], k))
        # In a separate stage the classes that shape the codes have a network of their own.
        self.classifier = None if head.joint else nn.Sequential(nn.Linear(d, 256), nn.ReLU(), nn.Linear(256, k))
        self.is_tanh = head.output == "tanh"
        self.last = OrthonormalLayer(k, head.orthonormal)
        self.centers = CenterHead(k, k) if self.is_tanh else None
        self.places = information.places
        self.middle_at, channels = _middle_map(autoencoder.encoder)
        self.project = nn.Linear(autoencoder.width, information.hidden)
        self.whole = PairJudge(information.hidden, d, information.hidden)
        has_map = information.local and channels is not None
        self.part = PairJudge(channels or 0, d, information.hidden) if has_map else None
        for module in filter(None, (self.mapping, self.classifier, self.project, self.whole, self.part)):
            module.apply(initialise)

    @property
    def discriminators(self) -> list[nn.Module]:
        """What judges pairs."""
        return [module for module in (self.project, self.whole, self.part) if module is not None]

    @torch.no_grad()
    def start_at(self, codes: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], noise: float) -> None:
        """Place the class means."""
        self.means.copy_(diagonal_moments(codes, labels, len(self.means)).means)

    def encode(
        self, x: Float[Tensor, "b *shape"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"], Float[Tensor, "b w"], Tensor | None]:
        """Return mean and log-variance of q(z|x), the features before them, and a middle map."""
        trunk, middle = self.network.autoencoder.encoder, None
        if self.part is None or self.middle_at is None:
            h = trunk(x)
        else:
            middle = trunk[: self.middle_at](x)  # type: ignore[index]
            h = trunk[self.middle_at :](middle)  # type: ignore[index]
        with full_precision(h):
            h = h.float()
            mean: Tensor = self.network.autoencoder.head(h)
            return mean, self.network.log_var(h).clamp(-10.0, 10.0), h, middle

    def information(self, h: Float[Tensor, "b w"], middle: Tensor | None, z: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
        """Return the cost of both estimators."""
        cost = information_cost(*self.whole(torch.relu(self.project(h)).unsqueeze(1), z))
        if middle is not None and self.part is not None:
            seen = middle.flatten(2).transpose(1, 2)
            if self.places is not None and self.places < seen.shape[1]:
                # Drawn alike in every process of a run.
                seen = seen[:, torch.randperm(seen.shape[1], device=seen.device)[: self.places]]
            cost = cost + information_cost(*self.part(seen.float(), z))
        return cost

    def log_classes(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the log of the classes that shape the codes."""
        with full_precision(z):
            net = self.mapping if self.classifier is None else self.classifier
            return torch.log_softmax(net(z.float()), dim=1)

    def raw(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the outputs that the spectral loss makes orthonormal."""
        with full_precision(z):
            out = self.mapping(z.float())
            return torch.tanh(out) if self.is_tanh else torch.softmax(out, dim=1)

    def row(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row of a code."""
        return self.likelihood.mean(self.network.decode(z)).float()

    def complaints(self) -> list[str]:
        """Tell of a last layer that has next to nothing to make orthonormal."""
        return self.last.complaints()

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return codes without noise."""
        return self.network.embed(x)

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the classes of the code, or in the eigenspace the probability of every centre."""
        return self.code_assignment(self.embed(x))

    def code_assignment(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the same for codes."""
        if self.centers is None:
            return self.raw(z)
        return self.centers.assign(self.last(self.raw(z)).float())

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return minus the squared error of the clean reconstruction."""
        return -(self.row(self.embed(x)) - x).square().flatten(1).sum(1)

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row of every code."""
        return self.row(z)


class PairJudge(nn.Module):
    """Tells what was seen with its own code from what was seen with another's: three layers, and a logit.

    The first layer acts on what was seen and on the code apart, which is the same as on both together, and costs the
    places of a map no more for two codes than for one.
    """

    def __init__(self, seen: int, code: int, hidden: int) -> None:
        super().__init__()
        self.seen, self.code = nn.Linear(seen, hidden), nn.Linear(code, hidden, bias=False)
        layers = [m for _ in range(2) for m in (nn.ReLU(), nn.Linear(hidden, hidden))]
        self.rest = nn.Sequential(*layers, nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, seen: Float[Tensor, "b p c"], z: Float[Tensor, "b d"]) -> tuple[Tensor, Tensor]:
        """Return logits of true and of false pairs, (b, p, 1); a false one takes the code of the next row."""
        first, code = self.seen(seen), self.code(z).unsqueeze(1)
        return self.rest(first + code), self.rest(first + own(gathered(code).roll(1, dims=0)))


def _middle_map(encoder: nn.Module) -> tuple[int | None, int | None]:
    """Return after how many of the encoder's modules half of its convolutions are done, and the channels there."""
    modules = list(encoder) if isinstance(encoder, nn.Sequential) else []
    places = [place for place, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
    if not places:
        return None, None
    half = (len(places) + 1) // 2
    end = (
        places[half]
        if half < len(places)
        else next((place for place, module in enumerate(modules) if isinstance(module, nn.Flatten)), len(modules))
    )
    channels = modules[places[half - 1]].out_channels
    return end, int(channels)  # type: ignore[arg-type]
