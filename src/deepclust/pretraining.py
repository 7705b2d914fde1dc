"""Auto-encoders before clustering: the phase that most methods begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.data.batch import Batch
from deepclust.engine import Budget, Cosine, Phase, Schedule, Session
from deepclust.errors import InvalidParameterError
from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.params import AbstractParameters, ShareBelowOne

_LAYERS = Schedule(epochs=Budget(passes=30, most_steps=10_000))
_FINE = Schedule(decay=Cosine())


@dataclass(frozen=True, repr=False)
class Stacked(AbstractParameters):
    """Layer by layer as denoising auto-encoders, outermost first, and then end to end.

    Parameters
    ----------
    layers
        Schedule of every layer.
    fine_tune
        Schedule of the whole network.
    noise
        Share of a layer's input, and of its output, that is dropped while it trains.

    References
    ----------
    Vincent et al. (2010), "Stacked denoising autoencoders"; Xie et al. (2016), section 3.3.
    """

    layers: Schedule = _LAYERS
    fine_tune: Schedule = _FINE
    noise: ShareBelowOne = 0.2


def pretrain(
    session: Session,
    model: nn.Module,
    autoencoder: Any,
    likelihood: AbstractLikelihood,
    schedule: Schedule | Stacked,
    *,
    noise: float = 0.0,
    until: float = 1.0,
) -> None:
    """Train an auto-encoder; the outcome of its last phase may be shared between methods.

    Parameters
    ----------
    session
        The run.
    model
        That the networks belong to.
    autoencoder, likelihood
        What is trained; the first is a module with ``embed`` and ``decode``, and for `Stacked` with ``stages``.
    schedule
        How long and how fast.
    noise
        Share of the input values that are set to zero: a denoising auto-encoder.
    until
        Share of the time limit at which this phase ends.
    """
    if isinstance(schedule, Stacked):
        _stack(session, model, autoencoder, likelihood, schedule, until)
        schedule = schedule.fine_tune

    def reconstruct(_: Any, batch: Batch) -> Mapping[str, Tensor]:
        noisy = batch.x * (torch.rand_like(batch.x) >= noise) if noise else batch.x
        x_hat = autoencoder.decode(autoencoder.embed(noisy))
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
            reconstruct=lambda x: likelihood.mean(autoencoder.decode(autoencoder.embed(x))),
            pretrains=True,
        )
    )


def _stack(
    session: Session, model: nn.Module, autoencoder: Any, likelihood: AbstractLikelihood, plan: Stacked, until: float
) -> None:
    """Train each stage on the codes of those before it."""
    stages = getattr(autoencoder, "stages", ())
    if not stages:
        raise InvalidParameterError(
            "Stacked pretraining needs a network made of stages, such as MLP or Conv; this one has none. "
            "Give a Schedule in its place."
        )

    def objective(number: int) -> Any:
        encode, decode = stages[number]

        def denoise(_: Any, batch: Batch) -> Mapping[str, Tensor]:
            with torch.no_grad():
                h = batch.x
                for former, _unused in stages[:number]:
                    h = former(h)
                h = h.float()
            code = encode(F.dropout(h, plan.noise))
            h_hat = decode(F.dropout(code, plan.noise))
            if number == 0:
                return {"reconstruction": likelihood.nll(h_hat, batch.x).mean()}
            return {"reconstruction": 0.5 * (h_hat.float() - h).square().flatten(1).sum(1).mean()}

        return denoise

    for number, stage in enumerate(stages):
        session.train(
            Phase(
                name=f"layer-{number}",
                model=model,
                objective=objective(number),
                schedule=plan.layers,
                trains=[*stage, *([likelihood] if number == 0 else [])],
                until=until / 2,
                pretrains=True,
            )
        )
