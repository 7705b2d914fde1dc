"""Where and how training runs; a specification without state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from deepclust.data.rows import Rows
from deepclust.engine.callbacks import Callback
from deepclust.engine.session import Session
from deepclust.errors import InvalidParameterError
from deepclust.networks.scaler import Scaler
from deepclust.params import AbstractParameters, Count, NonNegativeFloat, PositiveFloat

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, repr=False)
class Trainer(AbstractParameters):
    """Where and how training runs.

    Parameters
    ----------
    batch_size
        Rows a step, unless a schedule says otherwise.
    device
        ``"auto"`` takes CUDA, else Apple's MPS, else the CPU.
    precision
        Of the networks while they train: ``"fp32"``, ``"bf16"`` (matrix products in bfloat16, weights in fp32), or
        ``"auto"``, which is bf16 on GPUs and processors that have units for it; on others it takes longer. Inference
        is always fp32.
    max_seconds
        Time limit of a fit. Phases end when it is used up, and the result is what has been reached; pretraining leaves
        half of it to clustering. A limited run is not reproducible, since machines differ in speed.
    checkpoint_dir
        Folder of the checkpoint; None writes none. A fit that finds its own checkpoint there goes on from it.
    checkpoint_seconds
        Least time between two checkpoints inside a phase; phase ends always write one.
    cache_dir
        Folder of pretrained networks: methods that begin with the same auto-encoder on the same data with the same seed
        train it once, and `result_.events` says where one was taken over. None shares nothing.
    callbacks
        What watches the run.
    """

    batch_size: Count = 256
    device: Device = "auto"
    precision: Precision = "auto"
    max_seconds: PositiveFloat | None = None
    checkpoint_dir: str | Path | None = None
    checkpoint_seconds: NonNegativeFloat = 60.0
    cache_dir: str | Path | None = None
    callbacks: tuple[Callback, ...] = ()

    def start(self, rows: Rows, scaler: Scaler, seed: int, fingerprint: dict[str, Any]) -> Session:
        """Begin a run, or take it up again from its checkpoint.

        Parameters
        ----------
        rows, scaler
            The data and their first layer.
        seed
            Of every random stream of the run.
        fingerprint
            What a checkpoint must agree on to be this run's.
        """
        return Session(self, rows, scaler, seed, fingerprint)

    def resolve_device(self) -> str:
        """Return the device that ``"auto"`` stands for here."""
        available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if self.device == "auto":
            return next(device for device in ("cuda", "mps", "cpu") if available[device])
        if not available[self.device]:
            raise InvalidParameterError(
                f"The 'device' parameter of Trainer is {self.device!r}, which this machine or this build of torch "
                "does not have. Use device='auto'."
            )
        return self.device

    def resolve_precision(self) -> str:
        """Return Fabric's name of the precision that training runs in here."""
        if self.precision == "fp32":
            return "32-true"
        if self.precision == "bf16" or _gains_by_bf16(self.resolve_device()):
            return "bf16-mixed"
        return "32-true"


def _gains_by_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "mps":
        return False
    return bool(torch.cpu._is_amx_tile_supported())
