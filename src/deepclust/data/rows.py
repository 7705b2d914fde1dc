"""`as_rows` is the single door through which user data come in.

Behind it there is one type, `Rows`: checked, finite, of a known `Layout`, and handing out batches as tensors in the
dtype that the user gave, so that a memory map stays on disk and bytes stay bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from jaxtyping import Int64, Shaped
from sklearn.utils import check_array
from torch import Tensor

from deepclust.data.paging import ask_for, map_of
from deepclust.data.stored import as_stored
from deepclust.errors import InvalidDataError

Channels = Literal["first", "last"]
Array = npt.NDArray[Any]

_LARGEST = 1e100  # squares of differences, and sums of those over all rows, stay finite
_CHUNK_VALUES = 1 << 22  # values looked at in one go when all rows are scanned: 32 MB in double precision


@dataclass(frozen=True)
class Spec:
    """All that a network may know about the data: one row's shape (channels first), and the range of the values.

    ``outputs`` is how many numbers a decoder gives for each value of a row: two where a likelihood has a mean and a
    variance for each.
    """

    shape: tuple[int, ...]
    n: int
    low: float = 0.0
    high: float = 1.0
    integer: bool = False
    outputs: int = 1

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of a decoder's answer: what belongs together comes one after the other on the first axis."""
        return (self.outputs * self.shape[0], *self.shape[1:])

    @property
    def is_image(self) -> bool:
        """Whether a row has height and width."""
        return len(self.shape) == 3

    @property
    def size(self) -> int:
        """Number of values in a row."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Layout:
    """How the user's rows are laid out, and back: ``(d,)``, ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)``."""

    shape: tuple[int, ...]
    channels: Channels | None = None

    @property
    def network_shape(self) -> tuple[int, ...]:
        """Shape of one row as networks see it: flat, or channels first."""
        if len(self.shape) == 2:
            return (1, *self.shape)
        if len(self.shape) == 3 and self.channels == "last":
            return (self.shape[2], *self.shape[:2])
        return self.shape

    def to_network(self, array: Array) -> Array:
        """View ``(n, *user shape)`` as ``(n, *network shape)``, without a copy where NumPy can."""
        if self.channels == "last":
            return array.transpose(0, 3, 1, 2)
        return array.reshape(len(array), *self.network_shape)

    def to_user(self, x: Tensor) -> Array:
        """Turn ``(n, *network shape)`` into an array of ``(n, *user shape)``."""
        array: Array = x.detach().cpu().numpy()
        if self.channels == "last":
            return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
        return array.reshape(len(array), *self.shape)


@dataclass(frozen=True)
class Moments:
    """Statistics of every feature over all rows, in double precision; arrays have the network shape of a row."""

    low: Array
    high: Array
    mean: Array
    std: Array


@dataclass(frozen=True)
class Rows:
    """Checked rows. ``gather`` and ``slice`` hand out tensors of ``(b, *spec.shape)`` in the user's own dtype."""

    source: Any  # (n, *user shape) array, memory map, or scipy CSR matrix
    layout: Layout
    spec: Spec
    measured: Moments | None = field(repr=False)

    @property
    def moments(self) -> Moments:
        """Statistics of every feature; rows that are only predicted have none."""
        if self.measured is None:
            raise ValueError("These rows were read without measuring them (measure=False).")
        return self.measured

    def __len__(self) -> int:
        return self.spec.n

    @property
    def is_stored(self) -> bool:
        """Whether the rows lie on disk, and are read when they are asked for."""
        return map_of(self.source) is not None

    def gather(self, index: Int64[Tensor, " b"]) -> Shaped[Tensor, "b *shape"]:
        """Return the rows of these numbers, as a fresh tensor."""
        return self._tensor(self._picked(index))

    def slice(self, start: int, stop: int) -> Shaped[Tensor, "b *shape"]:
        """Return rows ``start`` to ``stop``."""
        return self._tensor(self.source[start:stop])

    def take(self, index: Int64[Tensor, " b"]) -> Rows:
        """Return the rows of these numbers as rows of their own, with the moments of all."""
        return replace(self, source=self._picked(index), spec=replace(self.spec, n=len(index)))

    def _picked(self, index: Tensor) -> Any:
        numbers = index.numpy()
        ask_for(self.source, numbers)
        return self.source[numbers]

    def _tensor(self, block: Any) -> Tensor:
        return torch.from_numpy(_dense(block, self.layout))


def _dense(block: Any, layout: Layout) -> Array:
    """Make a block of rows a contiguous, writable array in network layout that torch can take."""
    array = block.toarray() if scipy.sparse.issparse(block) else np.asarray(block)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype.kind == "u" and array.dtype != np.uint8:
        array = array.astype(np.float64)  # torch computes on no other unsigned type
    elif array.dtype == np.longdouble or not array.dtype.isnative:
        array = array.astype(np.float64)
    array = np.ascontiguousarray(layout.to_network(array))
    return array if array.flags.writeable else array.copy()


def as_rows(X: Any, *, channels: Channels | None = None, owner: str = "deepclust", measure: bool = True) -> Rows:
    """Check data and wrap them as `Rows`.

    Parameters
    ----------
    X
        NumPy array or memory map of any float, integer or bool dtype, torch tensor, pandas or polars table, SciPy
        sparse matrix, or what `deepclust.data.stored.as_stored` makes an array of. Flat rows are ``(n, d)``; images are
        ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``.
    channels
        Where the channel axis of four-dimensional images is; needed only where both ends could be one.
    owner
        Who asks, for the error messages.
    measure
        Take the moments of every feature; without them, which prediction does without, values are checked alone.

    Returns
    -------
    Rows
        The same data; nothing is copied that need not be.

    Raises
    ------
    InvalidDataError
        For anything that cannot be clustered: text, missing or infinite values, no rows, a bad shape.
    """
    array = _as_array(as_stored(X), owner)
    layout = _layout(tuple(array.shape[1:]), channels, owner)
    if not measure:
        _check_values(array, layout, owner)
        return Rows(array, layout, Spec(shape=layout.network_shape, n=int(array.shape[0])), None)
    moments = _scan(array, layout, owner)
    integer = np.dtype(array.dtype).kind in "iub"
    spec = Spec(
        shape=layout.network_shape,
        n=int(array.shape[0]),
        low=float(moments.low.min()),
        high=float(moments.high.max()),
        integer=integer,
    )
    return Rows(array, layout, spec, moments)


def as_rows_like(X: Any, like: Rows, *, owner: str) -> Rows:
    """Check rows that a network is to pretrain on before it sees others.

    Parameters
    ----------
    X
        As for `as_rows`.
    like
        The others.
    owner
        Who asks, for the error messages.

    Raises
    ------
    InvalidDataError
        For what `as_rows` refuses, rows of another shape, and images in other units.
    """
    channels = like.layout.channels if len(like.layout.shape) == 3 else None
    rows = as_rows(X, channels=channels, owner=f"The pretraining of {owner}")
    if rows.layout.shape != like.layout.shape:
        raise InvalidDataError(
            f"{owner} cannot pretrain on rows of shape {rows.layout.shape} to cluster rows of shape "
            f"{like.layout.shape}. Give rows of the same shape."
        )
    if rows.spec.is_image and rows.spec.integer != like.spec.integer:
        theirs, ours = ("integers" if spec.integer else "fractions" for spec in (rows.spec, like.spec))
        raise InvalidDataError(
            f"{owner} cannot pretrain on images of {theirs} from {rows.spec.low:g} to {rows.spec.high:g} to cluster "
            f"images of {ours} from {like.spec.low:g} to {like.spec.high:g}. Give both in the same units."
        )
    return rows


def _as_array(X: Any, owner: str) -> Any:
    """Turn any accepted container into an array or CSR matrix of numbers, without copying where possible."""
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        _reject_text_columns(X, owner)
    try:
        checked = check_array(
            X,
            accept_sparse="csr",
            dtype="numeric",
            ensure_all_finite=False,
            allow_nd=True,
            ensure_min_samples=0,
            ensure_min_features=0,
            input_name="X",
            estimator=owner,
        )
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else None
        raise _data_error(str(error), kind) from error
    if not np.issubdtype(checked.dtype, np.number) and checked.dtype != np.bool_:
        raise InvalidDataError(f"{owner} needs numbers; X has dtype {checked.dtype}. Encode it as numbers first.")
    if checked.shape[0] == 0:
        raise InvalidDataError(
            f"{owner} got no rows: found array with 0 sample(s) (shape={checked.shape}) "
            "while a minimum of 1 is required."
        )
    if 0 in checked.shape[1:]:
        raise InvalidDataError(
            f"{owner} got rows without values: 0 feature(s) (shape={checked.shape}) while a minimum of 1 is required."
        )
    return checked


class _InvalidTypeError(InvalidDataError, TypeError):
    """Data of a type that can never hold rows of numbers."""


def _data_error(message: str, kind: type[Exception] | None) -> InvalidDataError:
    first = message.strip().replace("\n", " ")
    return _InvalidTypeError(first) if kind is TypeError else InvalidDataError(first)


def _reject_text_columns(X: Any, owner: str) -> None:
    """Name the columns of a table that are not numbers; they are never coerced silently."""
    dtypes = dict(zip(X.columns, X.dtypes, strict=True))
    bad = [str(name) for name, dtype in dtypes.items() if not _is_numeric(dtype) or _holds_text(X[name], dtype)]
    if bad:
        shown = ", ".join(bad[:5]) + (", ..." if len(bad) > 5 else "")
        raise InvalidDataError(
            f"{owner} needs numbers, and {len(bad)} column(s) of X hold none: {shown}. Drop or encode them, for "
            "example with deepclust.data.tables.TableEncoder(categorical='onehot')."
        )


def _holds_text(column: Any, dtype: Any) -> bool:
    """Tell whether a column of Python objects holds text; check_array decides about other objects."""
    return getattr(dtype, "kind", None) == "O" and any(isinstance(value, str) for value in column)


def _is_numeric(dtype: Any) -> bool:
    """Tell for a pandas or polars column type whether its values are numbers or could be (objects)."""
    if hasattr(dtype, "is_numeric"):  # polars
        return bool(dtype.is_numeric()) or str(dtype) == "Boolean"
    kind = getattr(dtype, "kind", None)
    return kind in tuple("biufcO") and str(dtype) not in ("category", "string", "str")


def _layout(shape: tuple[int, ...], channels: Channels | None, owner: str) -> Layout:
    """Find out which axis is which, or ask."""
    if len(shape) == 1:
        return Layout(shape)
    if len(shape) == 2:
        return Layout(shape)
    if len(shape) != 3:
        raise InvalidDataError(
            f"{owner} needs rows of shape (d,), (h, w), (h, w, c) or (c, h, w); "
            f"got {len(shape) + 1} dimensions in all, row shape {shape}. Reshape X to 2, 3 or 4 dimensions."
        )
    if channels is not None:
        return Layout(shape, channels)
    first, last = shape[0] in (1, 3), shape[2] in (1, 3)
    if first == last:
        why = "both ends could be the channels" if first else "no end has 1 or 3 channels"
        raise InvalidDataError(
            f"{owner} cannot tell the channel axis of images of shape {shape}: {why}. "
            "Say channels='first' or channels='last'."
        )
    return Layout(shape, "first" if first else "last")


def value_range(spec: Spec) -> tuple[float, float]:
    """Return the range that ``unit`` scaling maps to [0, 1]: 0 to 255 for bytes of images, else what was seen."""
    if spec.is_image and spec.integer and spec.low >= 0 and 127 < spec.high <= 255:
        return 0.0, 255.0
    return spec.low, spec.high if spec.high > spec.low else spec.low + 1.0


def _chunks(array: Any) -> Any:
    step = max(1, _CHUNK_VALUES // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, array.shape[0], step):
        yield start, array[start : start + step]


def _scan(array: Any, layout: Layout, owner: str) -> Moments:
    """One pass in double precision: reject what is not finite, and take the moments of every feature."""
    n, shape = array.shape[0], layout.network_shape
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    mean, sum_of_squares, seen = np.zeros(shape), np.zeros(shape), 0
    for start, block in _chunks(array):
        x = _dense(block, layout).astype(np.float64, copy=False)
        _check_finite(x, start, owner)
        _check_size(x, owner)
        low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
        # Chan's update: exact for any chunking, and safe for features far from zero.
        block_mean, b = x.mean(axis=0), len(x)
        delta = block_mean - mean
        sum_of_squares += ((x - block_mean) ** 2).sum(axis=0) + delta**2 * (seen * b / (seen + b))
        mean, seen = mean + delta * (b / (seen + b)), seen + b
    return Moments(low, high, mean, np.sqrt(sum_of_squares / n))


def _check_values(array: Any, layout: Layout, owner: str) -> None:
    """Reject what is not finite, in one pass where there can be any such."""
    if np.dtype(array.dtype).kind != "f":
        return
    for start, block in _chunks(array):
        x = _dense(block, layout)
        _check_finite(x, start, owner)
        if x.dtype == np.float64:
            _check_size(x, owner)


def _check_size(x: Array, owner: str) -> None:
    if max(x.max(), -x.min()) > _LARGEST:
        raise InvalidDataError(
            f"{owner} needs values up to {_LARGEST:g}; X holds {x.flat[np.abs(x).argmax()]:g}. Rescale it."
        )


def _check_finite(x: Array, start: int, owner: str) -> None:
    if np.isfinite(x.sum()):  # one pass in the good case; a sum that overflows is looked at closely below
        return
    bad = np.argwhere(~np.isfinite(x))
    if len(bad) == 0:
        return
    row, *rest = (int(i) for i in bad[0])
    value = x[tuple(bad[0])]
    name = "NaN" if np.isnan(value) else "infinity"
    where = f"feature {rest[0]}" if len(rest) == 1 else f"pixel {tuple(rest)}"
    raise InvalidDataError(
        f"{owner} needs finite values: Input X contains {name} (first at row {start + row}, {where}). "
        "Drop those rows or fill them in, for example with sklearn.impute.SimpleImputer or "
        "deepclust.data.tables.TableEncoder(missing='median')."
    )
