"""Auto-encoders before clustering: the phase that most methods begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deepclust.data.batch import Batch
from deepclust.engine import Phase, Schedule, Session
from deepclust.networks.likelihood import AbstractLikelihood


def pretrain(
    session: Session,
    model: nn.Module,
    autoencoder: nn.Module,
    likelihood: AbstractLikelihood,
    schedule: Schedule,
    *,
    noise: float = 0.0,
    until: float = 1.0,
) -> None:
    """Train an auto-encoder end to end; its outcome may be shared between methods.

    Parameters
    ----------
    session
        The run.
    model
        That the networks belong to.
    autoencoder, likelihood
        What is trained; the first has ``embed`` and ``decode``.
    schedule
        How long and how fast.
    noise
        Share of the input values that are set to zero: a denoising auto-encoder.
    until
        Share of the time limit at which this phase ends.
    """

    def reconstruct(_: Any, batch: Batch) -> Mapping[str, Tensor]:
        noisy = batch.x * (torch.rand_like(batch.x) >= noise) if noise else batch.x
        x_hat = autoencoder.decode(autoencoder.embed(noisy))  # type: ignore[operator]
        return {"reconstruction": likelihood.nll(x_hat, batch.x).mean()}

    session.train(
        Phase(
            name="pretrain",
            model=model,
            objective=reconstruct,
            schedule=schedule,
            trains=[autoencoder, likelihood],
            shared=f"reconstruction, noise {noise!r}",
            until=until,
        )
    )
