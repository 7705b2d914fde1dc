"""What the two families of Gaussian-mixture VAEs have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deepclust.data.batch import Batch
from deepclust.data.rows import Spec
from deepclust.model import AbstractVariationalModel
from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.params import AbstractParameters


class AbstractGMVAEModel(AbstractVariationalModel):
    """A model that can be pretrained as a plain auto-encoder, and placed by a partition of its codes."""

    likelihood: AbstractLikelihood

    @abstractmethod
    def encode_plain(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return codes as the auto-encoder of the pretraining makes them."""

    @property
    @abstractmethod
    def plain_parts(self) -> list[nn.Module]:
        """The modules of that auto-encoder."""

    @abstractmethod
    def output(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the decoder's output, before the likelihood makes a row of it."""

    @abstractmethod
    def start_at(self, codes: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], noise: float) -> None:
        """Place the components by a partition, with posteriors of this relative spread."""

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row of every code."""
        return self.likelihood.mean(self.output(z))


class AbstractForm(AbstractParameters):
    """One of the published objectives, with the model that it is for."""

    @abstractmethod
    def build(self, network: object, spec: Spec, likelihood: AbstractLikelihood, k: int) -> AbstractGMVAEModel:
        """Make the untrained model."""

    @abstractmethod
    def loss(
        self, model: AbstractGMVAEModel, batch: Batch, weight: float
    ) -> tuple[Mapping[str, Tensor], Float[Tensor, "b k"]]:
        """Return the terms, divergences times ``weight``, and the log-probabilities that a guide may lead."""


class PlainCode(nn.Module):
    """A model's encoder and decoder as the auto-encoder that the pretraining trains."""

    def __init__(self, model: AbstractGMVAEModel) -> None:
        super().__init__()
        self.parts = nn.ModuleList(model.plain_parts)
        self.embed = model.encode_plain
        self.decode = model.output


def spread_log_var(codes: Float[Tensor, "n d"], noise: float) -> float:
    """Return the log-variance of posteriors whose deviation is ``noise`` times that of the codes."""
    spread = codes.double().std(dim=0, correction=0).square().mean().sqrt()
    return 2 * float((noise * spread).clamp(min=1e-6).log())


def constant(layer: nn.Linear, value: Tensor | float) -> None:
    """Make a layer answer the same, whatever it is given."""
    with torch.no_grad():
        nn.init.zeros_(layer.weight)
        layer.bias.copy_(torch.as_tensor(value, dtype=layer.bias.dtype).expand_as(layer.bias))
