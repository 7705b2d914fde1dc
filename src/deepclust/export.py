"""A trained model as one graph that other programs run: ONNX, or PyTorch's own exported program.

The graph takes rows in the user's shape and units, ``x`` of (n, ...) float32 with any n, and gives ``embedding``
(n, d), ``probabilities`` (n, k) and ``label`` (n,). Scaling is inside, and so are clusters that were joined.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepclust.atomic import atomic_file
from deepclust.errors import DeepclustError, MissingExtraError

TOLERANCE = 1e-4  # of probabilities
_ROWS = 64  # that an export is checked on, where the caller gives none
OUTPUTS = ("embedding", "probabilities", "label")


class Shipped(nn.Module):
    """Scaler, model and joined clusters as one module from rows as the user has them to all that `predict` tells.

    Parameters
    ----------
    estimator
        Fitted.
    """

    home: Tensor

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        self.scaler, self.model = estimator.scaler_, estimator.model_
        self.layout = estimator.layout_
        self.joins = estimator.naming_ is not None and estimator.naming_.joins
        k = estimator.result_.proba.shape[1]
        self.register_buffer("home", torch.tensor(estimator.naming_.into if self.joins else range(k)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return embedding, probabilities and labels of rows (n, ...)."""
        if self.layout.channels == "last":
            x = x.permute(0, 3, 1, 2)
        elif len(self.layout.shape) == 2:
            x = x.unsqueeze(1)
        x = self.scaler(x)
        proba = self.model.assign(x)
        if self.joins:
            proba = proba @ nn.functional.one_hot(self.home, proba.shape[1]).to(proba.dtype)
        return self.model.embed(x), proba, proba.argmax(dim=1)


def export_onnx(estimator: Any, path: str | Path, X: Any = None) -> float:
    """Write an ONNX file and check it against PyTorch in onnxruntime.

    Parameters
    ----------
    estimator
        Fitted, deep.
    path
        The file; it is written only if it passes.
    X
        Rows to check on; None draws some within the range of the data.

    Returns
    -------
    float
        The largest difference between probabilities of the two.

    Raises
    ------
    MissingExtraError
        Where onnx, onnxscript or onnxruntime is not installed.
    DeepclustError
        Where the file's answers differ from PyTorch's by more than 1e-4.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  -- torch's exporter needs it
    except ImportError as error:
        raise MissingExtraError(
            f"This needs the package {error.name}, which is not installed: pip install 'deepclust[onnx]'."
        ) from error
    module, x = _prepared(estimator, X)
    with atomic_file(Path(path)) as part, _silent(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (x[:2],),
            input_names=["x"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )
        if program is None:  # what an older torch returns when it writes by itself
            raise DeepclustError("This version of torch cannot export to ONNX in memory. Upgrade torch.")
        program.save(str(part), external_data=False)
        session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
        return _difference(module, x, lambda rows: session.run(list(OUTPUTS), {"x": rows}))


def export_program(estimator: Any, path: str | Path, X: Any = None) -> float:
    """Write PyTorch's own format (``.pt2``), which ``torch.export.load(path).module()`` runs; see `export_onnx`.

    Loading such a file trusts whoever wrote it, as everything by PyTorch does but `deepclust.load`.
    """
    module, x = _prepared(estimator, X)
    with atomic_file(Path(path)) as part, _silent(), torch.no_grad():
        program = torch.export.export(module, (x[:2],), dynamic_shapes=({0: torch.export.Dim("n")},))
        buffer = io.BytesIO()  # the format goes by the file's suffix, which a file in the making has not
        torch.export.save(program, buffer)
        part.write_bytes(buffer.getvalue())
        run = torch.export.load(io.BytesIO(buffer.getvalue())).module()
        return _difference(module, x, lambda rows: [y.numpy() for y in run(torch.from_numpy(rows))])


def _prepared(estimator: Any, X: Any) -> tuple[Shipped, Tensor]:
    module = Shipped(estimator).eval()
    if X is not None:
        return module, torch.from_numpy(np.ascontiguousarray(X, dtype=np.float32))
    shape = estimator.layout_.network_shape
    inside = estimator.scaler_.inverse(torch.rand(_ROWS, *shape, generator=torch.Generator().manual_seed(0)))
    return module, torch.from_numpy(np.ascontiguousarray(estimator.layout_.to_user(inside), dtype=np.float32))


def _difference(module: Shipped, x: Tensor, run: Any) -> float:
    """Compare with PyTorch in one batch and row by row; labels must agree wherever the first two differ."""
    expected = [y.numpy() for y in module(x)]
    largest = 0.0
    for rows in (slice(0, len(x)), *(slice(i, i + 1) for i in range(min(5, len(x))))):
        _, proba, label = run(x[rows].numpy())
        largest = max(largest, float(np.abs(proba - expected[1][rows]).max()))
        clear = _is_clear(expected[1][rows])
        if largest > TOLERANCE or (np.asarray(label)[clear] != expected[2][rows][clear]).any():
            raise DeepclustError(
                f"The exported graph does not give what PyTorch does: probabilities differ by {largest:.2g}, and at "
                f"most {TOLERANCE:g} is allowed. Nothing was written; please report this with the method's name."
            )
    return largest


def _is_clear(proba: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Tell in which rows the two largest probabilities differ by more than the tolerance."""
    if proba.shape[1] == 1:
        return np.ones(len(proba), dtype=bool)
    two = np.sort(proba, axis=1)[:, -2:]
    clear: npt.NDArray[np.bool_] = two[:, 1] - two[:, 0] > TOLERANCE
    return clear


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what the exporters say about themselves from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
