"""Several processes that train one model: each takes a share of the rows of every step.

In one process everything here is the identity, so a method says what couples the rows of a step, and no more: it calls
`gathered` where a loss needs all rows of a step at once, and `own` to come back to those of its process. Means over
rows need nothing: the engine weights each process by its share. Noise is drawn for all rows of a step by every process
alike, which keeps its own, and batch normalisation is over all rows, so that how many processes there are does not
change what is computed, beyond the order of sums.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from deepclust.errors import DeepclustError, InvalidParameterError, LostProcessError

_T = TypeVar("_T")
_PATIENCE = timedelta(hours=12)  # one process may write a page, or find a start, while the others wait


@dataclass(frozen=True)
class Share:
    """The rows of a step that this process has: ``start`` to ``stop`` of ``total``."""

    rank: int
    sizes: tuple[int, ...]

    @property
    def start(self) -> int:
        """The first of them."""
        return sum(self.sizes[: self.rank])

    @property
    def stop(self) -> int:
        """After the last of them."""
        return self.start + self.sizes[self.rank]

    @property
    def total(self) -> int:
        """Rows of all processes."""
        return sum(self.sizes)

    @property
    def weight(self) -> float:
        """What a mean over these rows counts in the mean over processes, so that every row counts alike."""
        return self.sizes[self.rank] * len(self.sizes) / self.total


_shares: list[Share] = []  # of the steps under way, of which the last counts
_groups: dict[str, Any] = {}  # one for tensors of each kind of device


def asked_for() -> int:
    """Return how many processes ``torchrun`` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def begin(device: str = "cpu") -> None:
    """Meet the other processes that ``torchrun`` has started, if any."""
    if asked_for() > 1 and distributed.is_available() and not distributed.is_initialized():
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)


def end() -> None:
    """Part from them."""
    if distributed.is_available() and distributed.is_initialized():
        _groups.clear()
        distributed.destroy_process_group()


def world_size() -> int:
    """Return how many processes have met."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return which of them this is, from 0."""
    return distributed.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Tell whether this process writes."""
    return rank() == 0


def share_of(total: int) -> Share:
    """Return this process's part of so many rows, in the order of processes."""
    processes = world_size()
    return Share(rank(), tuple(total // processes + (i < total % processes) for i in range(processes)))


@contextmanager
def step_of(share: Share) -> Iterator[None]:
    """Compute a step on this process's rows."""
    if len(share.sizes) == 1:
        yield
        return
    if min(share.sizes) == 0:
        raise InvalidParameterError(
            f"A step has {share.total} rows, fewer than the run has processes ({len(share.sizes)}). Start fewer of "
            "them, or set a larger batch size."
        )
    _shares.append(share)
    try:
        with _RowsOfAll(share):
            yield
    finally:
        _shares.pop()


def gathered(x: Tensor) -> Tensor:
    """Return the rows of all processes in this step, in order; gradients flow back to where rows came from.

    Parameters
    ----------
    x
        ``(b, ...)``, something for every row of this process's batch.
    """
    if not _shares:
        return x
    out: Tensor = _Gather.apply(x, _shares[-1])  # type: ignore[no-untyped-call]
    return out


def own(x: Tensor) -> Tensor:
    """Return the rows of this process among those that `gathered` gave."""
    return x[_shares[-1].start : _shares[-1].stop] if _shares else x


def drawn(draw: Callable[[int], Tensor], rows: int, dim: int = 0) -> Tensor:
    """Draw noise for all rows of the step and return that of this process's.

    Parameters
    ----------
    draw
        Returns noise for so many rows, along ``dim``.
    rows
        Of this process's batch.
    dim
        Of the rows.
    """
    if not _shares or rows != _shares[-1].stop - _shares[-1].start:
        return draw(rows)
    share = _shares[-1]
    return draw(share.total).narrow(dim, share.start, rows)


def mean_of_terms(terms: Mapping[str, Tensor], share: Share, **flags: float) -> tuple[dict[str, Tensor], Tensor]:
    """Return terms as means over the rows of all processes, and the largest of every flag.

    One message a step carries all that processes must agree on.
    """
    weight = (share.stop - share.start) / share.total
    sums = torch.stack([value.detach().double().cpu() * weight for value in terms.values()])
    tops = torch.tensor(list(flags.values()), dtype=torch.float64)
    found = torch.stack(_all_of(torch.cat([sums, tops]), "cpu"))
    means = found[:, : len(sums)].sum(0)
    return dict(zip(terms, means, strict=True)), found[:, len(sums) :].amax(0)


def align(module: nn.Module) -> None:
    """Give every process the first one's parameters and buffers."""
    if world_size() > 1:
        for value in module.state_dict().values():
            sent = value.detach().clone(memory_format=torch.contiguous_format)
            distributed.broadcast(sent, 0, group=_group(sent.device.type))
            with torch.no_grad():
                value.copy_(sent)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Make every gradient its mean over processes, in one message a type of number."""
    if world_size() == 1:
        return
    found = [p.grad for p in parameters if p.grad is not None]
    for dtype in sorted({grad.dtype for grad in found}, key=str):
        grads = [grad for grad in found if grad.dtype == dtype]
        flat = torch.cat([grad.flatten() for grad in grads])
        distributed.all_reduce(flat, group=_group(flat.device.type))
        parts = torch.split(flat / world_size(), [grad.numel() for grad in grads])
        torch._foreach_copy_(grads, [part.view_as(grad) for part, grad in zip(parts, grads, strict=True)])


def in_order(rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Put together what each process has of a whole; ``sizes`` are the rows of each."""
    return torch.cat(_rows_of_all(rows, Share(rank(), sizes)))


def from_first(make: Callable[[], _T]) -> _T:
    """Let the first process make something, and give it to all; its error becomes one of every process."""
    if world_size() == 1:
        return make()
    box: list[Any] = [None, None]
    error: Exception | None = None
    if is_first():
        try:
            box[1] = make()
        except Exception as raised:
            error, box[0] = raised, f"{type(raised).__name__}: {raised}"
    distributed.broadcast_object_list(box, group=_group("cpu"))
    if error is not None:
        raise error
    if box[0] is not None:
        raise DeepclustError(f"The first process of the run ended: {box[0]}")
    made: _T = box[1]
    return made


def same_everywhere(value: str, what: str) -> None:
    """Refuse to go on where processes differ.

    Raises
    ------
    DeepclustError
        Naming what differs, and in which process.
    """
    if world_size() > 1 and (first := from_first(lambda: value)) != value:
        raise DeepclustError(f"Process {rank()} of the run has other {what} than the first ({value}, not {first}).")


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Say in one sentence that another process has ended, where the messages between them say it in their own words.

    Raises
    ------
    LostProcessError
    """
    try:
        yield
    except RuntimeError as error:
        words = ("gloo", "nccl", "peer", "socket", "connection")
        if world_size() > 1 and any(word in str(error).lower() for word in words):
            raise LostProcessError(
                "Another process of the run has ended, so this one stops; what the run had reached is in its last "
                "checkpoint."
            ) from error
        raise


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Share) -> Tensor:
        ctx.share = share
        return torch.cat(_rows_of_all(x, share))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = _sendable(grad).contiguous().clone()
        distributed.all_reduce(total, group=_group(grad.device.type))
        return total[ctx.share.start : ctx.share.stop].to(grad.dtype), None


class _RowsOfAll(TorchFunctionMode):
    """Draws noise, and normalises, as if all rows of the step were in one process."""

    def __init__(self, share: Share) -> None:
        super().__init__()
        self.share, self.rows = share, share.stop - share.start

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        x = args[0] if args and isinstance(args[0], Tensor) else kwargs.get("input")
        if func not in _ROWWISE or not isinstance(x, Tensor) or x.ndim == 0 or len(x) != self.rows:
            return func(*args, **kwargs)
        if func is F.batch_norm:
            return _normalised(func, *args, **kwargs)
        whole = torch.ones((self.share.total, *x.shape[1:]), dtype=x.dtype, device=x.device)
        kept = slice(self.share.start, self.share.stop)
        rest = args[1:] if args and args[0] is x else args
        if func in (F.dropout, torch.dropout):
            kwargs = {name: value for name, value in kwargs.items() if name not in ("input", "inplace")}
            return x * func(whole, *rest[:2], **kwargs)[kept]
        if func in _IN_PLACE:
            return x.copy_(func(whole, *rest, **kwargs)[kept])
        return func(whole, *rest, **kwargs)[kept]


_IN_PLACE = (Tensor.normal_, Tensor.uniform_, Tensor.exponential_)
_ROWWISE = {torch.randn_like, torch.rand_like, F.dropout, torch.dropout, F.batch_norm, *_IN_PLACE}


def _normalised(
    func: Any,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation over the rows of all processes."""
    if not training:
        out: Tensor = func(input, running_mean, running_var, weight, bias, training, momentum, eps)
        return out
    from torch.distributed.nn.functional import all_reduce  # the one with gradients

    x = input if input.dtype == torch.float64 else input.float()
    over = [d for d in range(x.ndim) if d != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    group = _group(x.device.type)
    count = torch.tensor(float(x.numel() / x.shape[1]), device=x.device)
    distributed.all_reduce(count, group=group)
    mean = all_reduce(x.sum(over), group=group) / count  # type: ignore[no-untyped-call]
    centred = x - mean.view(shape)
    var = all_reduce(centred.square().sum(over), group=group) / count  # type: ignore[no-untyped-call]
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
    y = centred * (var + eps).rsqrt().view(shape)
    y = y if weight is None else y * weight.view(shape)
    y = y if bias is None else y + bias.view(shape)
    return y.to(input.dtype)


def _group(device: str) -> Any:
    """Return the group that carries tensors of a device; what is on the CPU goes by gloo."""
    backend = "nccl" if device == "cuda" else "gloo"
    if backend not in _groups:
        _groups[backend] = distributed.new_group(backend=backend, timeout=_PATIENCE)
    return _groups[backend]


def _sendable(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _all_of(x: Tensor, device: str) -> list[Tensor]:
    parts = [torch.empty_like(x) for _ in range(world_size())]
    distributed.all_gather(parts, x, group=_group(device))
    return parts


def _rows_of_all(x: Tensor, share: Share) -> list[Tensor]:
    """Return every process's rows; sent padded to equal length."""
    most = max(share.sizes)
    sent = _sendable(x.detach()).contiguous()
    if len(sent) < most:
        sent = torch.cat([sent, sent.new_zeros((most - len(sent), *sent.shape[1:]))])
    parts = _all_of(sent, x.device.type)
    return [part[:size].to(x.dtype) for part, size in zip(parts, share.sizes, strict=True)]
