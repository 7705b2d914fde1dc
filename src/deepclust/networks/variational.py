"""A Gaussian posterior on top of any auto-encoder."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from deepclust.networks.autoencoder import Autoencoder, initialise
from deepclust.networks.precision import full_precision

_LOG_VAR_RANGE = (-10.0, 10.0)  # exp stays finite in fp32


class Variational(nn.Module):
    """An auto-encoder whose code is the mean of a Gaussian, with a second head for the log-variance.

    Parameters
    ----------
    autoencoder
        Its trunk feeds both heads; its head gives the mean.
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.log_var = nn.Linear(autoencoder.width, autoencoder.latent)
        self.log_var.apply(initialise)

    @property
    def latent(self) -> int:
        """Dimension of the code."""
        return self.autoencoder.latent

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Mean code."""
        return self.autoencoder.embed(x)

    def posterior(self, x: Float[Tensor, "b *shape"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """Mean and log-variance of q(z|x)."""
        h = self.autoencoder.encoder(x)
        with full_precision(h):
            h = h.float()
            return self.autoencoder.head(h), self.log_var(h).clamp(*_LOG_VAR_RANGE)

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Decode codes."""
        return self.autoencoder.decode(z)

    def reset_log_var(self, value: float) -> None:
        """Make the posterior's log-variance the same small constant everywhere.

        Pretraining as a plain auto-encoder leaves this head untrained: at its random start it would add noise of unit
        size to codes that the decoder has only seen without noise.
        """
        nn.init.zeros_(self.log_var.weight)
        nn.init.constant_(self.log_var.bias, value)
