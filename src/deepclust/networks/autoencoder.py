"""The product of every builder: an encoder with a linear head, and a decoder."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepclust.data.rows import Spec
from deepclust.errors import InvalidParameterError
from deepclust.networks.precision import full_precision
from deepclust.params import AbstractParameters

Stages = tuple[tuple[nn.Module, nn.Module], ...]


class Autoencoder(nn.Module):
    """An encoder ``x -> h``, a linear head ``h -> z``, and a decoder ``z -> x_hat``.

    The decoder's output is linear: logits for a Bernoulli likelihood, means for a Gaussian one. Trunk and head are
    apart so that a variational model can put a second head on the same trunk.

    Parameters
    ----------
    encoder
        Maps ``(b, *shape)`` to features ``(b, width)``.
    head
        Maps features to codes ``(b, latent)``.
    decoder
        Maps codes to ``(b, *shape)``.
    width, latent
        Sizes of features and codes.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, decoder: nn.Module, *, width: int, latent: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.decoder = decoder
        self.width = width
        self.latent = latent
        # Pairs of an encoder's part and the decoder's that mirrors it, outermost first; they share the modules above.
        self.stages: Stages = ()

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Encode rows; the code itself is computed in fp32."""
        h = self.encoder(x)
        with full_precision(h):
            codes: Tensor = self.head(h.float())
        return codes

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Decode codes."""
        x_hat: Tensor = self.decoder(z)
        return x_hat


class AbstractNetwork(AbstractParameters):
    """A builder: parameters that, given what the data look like, make an `Autoencoder`."""

    @abstractmethod
    def build(self, spec: Spec) -> Autoencoder:
        """Build the network for rows of this kind, freshly initialised from torch's global generator."""


class Custom:
    """A network made of the user's own modules; it is not a parameter object, since modules cannot be frozen."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        self.encoder = encoder
        self.decoder = decoder

    def build(self, spec: Spec) -> Autoencoder:
        """Copy the modules (the user's stay as they are) and check that they fit the data and each other."""
        device = torch.empty(0).device  # the meta device while a saved model's shapes are checked
        encoder, decoder = copy.deepcopy(self.encoder).to(device), copy.deepcopy(self.decoder).to(device)
        with torch.no_grad():
            z = _try("encoder", encoder, torch.zeros(2, *spec.shape))
            if z.ndim != 2 or len(z) != 2:
                raise InvalidParameterError(
                    f"The encoder in 'network' must map (b, {_join(spec.shape)}) to (b, d). "
                    f"Got {tuple(z.shape)} for two rows."
                )
            x_hat = _try("decoder", decoder, z)
        if tuple(x_hat.shape[1:]) != spec.output_shape:
            raise InvalidParameterError(
                f"The decoder in 'network' must map codes back to rows of shape {spec.output_shape}. "
                f"Got {tuple(x_hat.shape[1:])} instead."
            )
        d = int(z.shape[1])
        return Autoencoder(encoder, nn.Identity(), decoder, width=d, latent=d)


def _join(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _try(role: str, module: nn.Module, x: Tensor) -> Tensor:
    training = module.training
    module.eval()  # batch statistics of a trial batch must not leave a trace
    try:
        output: Tensor = module(x)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InvalidParameterError(
            f"The {role} in 'network' cannot take rows of shape {tuple(x.shape[1:])}: {reason}."
        ) from error
    finally:
        module.train(training)
    return output


def build_network(network: Any, default: AbstractNetwork, spec: Spec) -> Autoencoder:
    """Build what a method's ``network`` parameter says: ``"auto"``, a builder, or ``(encoder, decoder)``."""
    if isinstance(network, str):
        return default.build(spec)
    if isinstance(network, (tuple, list)):
        return Custom(*network).build(spec)
    built: Autoencoder = network.build(spec)
    return built


def paired(down: list[list[nn.Module]], up: list[list[nn.Module]]) -> Stages:
    """Pair the parts of an encoder, outermost first, with those of its decoder, innermost first."""
    return tuple((nn.Sequential(*a), nn.Sequential(*b)) for a, b in zip(down, reversed(up), strict=True))


def without_bias(layer: nn.Module) -> nn.Module:
    """Take the bias from a layer whose outputs are normalised over the batch, which takes away what a bias adds.

    Its gradient is rounding and nothing else, of which Adam makes steps as long as any other. Weights are drawn as they
    are beside a bias.
    """
    layer.register_parameter("bias", None)
    return layer


def channels_last(network: Autoencoder) -> Autoencoder:
    """Keep images with their channels innermost, which makes convolutions with many channels faster."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def initialise(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases, the papers' common choice."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
