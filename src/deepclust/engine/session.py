"""The run: the only file that calls ``backward``.

A recipe calls `Session.train` for its phases, `Session.map` for whole-data inference, `Session.once` for closed-form
work between phases. All three resume exactly: finished phases are skipped, stored results are replayed, and the order
of rows and all noise derive from (seed, phase, epoch, step).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from deepclust import together
from deepclust.data.batch import Batch, Progress, send
from deepclust.data.rows import Rows
from deepclust.engine.changes import change_of
from deepclust.engine.checkpoint import digest_tensors, plain
from deepclust.engine.fabric import make_fabric
from deepclust.engine.healing import Guard
from deepclust.engine.inference import map_rows_together
from deepclust.engine.journal import Journal
from deepclust.engine.phase import Phase, permutation
from deepclust.engine.reading import Read, read_steps
from deepclust.engine.reuse import Shelf
from deepclust.engine.seeds import derive_seed
from deepclust.engine.step import ObjectiveStep, add_terms, frozen_but, load_optimizer
from deepclust.errors import InterruptedRun, NotSupportedError
from deepclust.networks.scaler import Scaler
from deepclust.provenance import versions

if TYPE_CHECKING:
    from deepclust.engine.trainer import Trainer


class Stateful(Protocol):
    """What outlives a step and is not a parameter: targets, old labels, counters."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as a tree of tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take a state back."""


_S = TypeVar("_S", bound=Stateful)


class Session:
    """One run of a recipe over some rows. Made by `Trainer.start`.

    Attributes
    ----------
    journal : Journal
        What the run has reached.
    seed : int
        Of the current attempt; ``first_seed`` is the run's.
    start_labels : Tensor or None
        The partition that the clustering phase starts from, set by the recipe.
    n_clusters : int or None
        How many groups are looked for, where that is known.
    pretrain_rows : Rows or None
        What phases that pretrain see in place of the rows.
    """

    def __init__(self, trainer: Trainer, rows: Rows, scaler: Scaler, seed: int, fingerprint: dict[str, Any]) -> None:
        self.trainer = trainer
        self.rows = rows
        self.scaler = scaler
        self.seed = self.first_seed = seed
        self.start_labels: Tensor | None = None
        self.n_clusters: int | None = None
        self.pretrain_rows: Rows | None = None
        self.device = trainer.resolve_device()
        together.same_everywhere(fingerprint["data"] + fingerprint.get("pretrain_data", ""), "rows")
        self.journal = together.from_first(lambda: Journal(trainer.checkpoint_dir, fingerprint))
        if not together.is_first():
            self.journal.follow()
        self._scope = ""
        self._kept: dict[str, Stateful] = {}
        self._stop_asked = False
        self._agreed = False, 0.0  # with several processes: to stop, and the time that has passed
        self._fabric = make_fabric(self.device, trainer.resolve_precision())

    @property
    def history(self) -> list[dict[str, Any]]:
        """One line an epoch: phase, epoch, the mean of every term, their sum ``loss``, rate and seconds."""
        return self.journal.history

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened besides: a time limit reached, an attempt chosen, training gone back."""
        return self.journal.events

    def train(self, phase: Phase) -> None:
        """Run a phase, or skip it where a checkpoint says that it is finished.

        Raises
        ------
        DivergenceError
            When a value is not finite, and going back did not help or is not allowed.
        InterruptedRun
            When the run was asked to stop; the checkpoint has been written.
        NotSupportedError
            When there are rows to pretrain on, and training begins with something else.
        """
        name = self._scope + phase.name
        finished = self.journal.finished
        if self.pretrain_rows is not None and not phase.pretrains and not finished:
            raise NotSupportedError("This method has no pretraining with these parameters. Leave out 'pretrain_on'.")
        if name not in finished:
            with self.on(self.pretrain_rows if phase.pretrains and self.pretrain_rows is not None else self.rows):
                self._run_or_take_over(phase, name)
            self.journal.finish(name, self._snapshot(phase.model))
        elif name == finished[-1]:
            self._restore(self.journal.boundary, phase.model)
        self._reseed(name)

    def map(self, fn: Callable[[Tensor], Any], model: nn.Module) -> Any:
        """Apply a function of scaled rows to all rows, in order, in evaluation mode and fp32.

        Parameters
        ----------
        fn
            Maps ``(b, *shape)`` to a tensor of b rows or a tuple of such.
        model
            Whose networks ``fn`` uses.

        Returns
        -------
        Tensor or tuple of tensors
            On the CPU.
        """
        self._check_stop()
        model.to(self.device)
        return map_rows_together(
            fn, self.rows, self.scaler, model, device=self.device, watch=lambda s: self._watch("all rows", s)
        )

    def once(self, name: str, fn: Callable[[], Any]) -> Any:
        """Do closed-form work once in the life of a run; a resumed run gets the stored result.

        Parameters
        ----------
        name
            Unique within a recipe.
        fn
            Returns a tree of tensors and plain values. It must not change the model: a replay would miss that.
        """
        key = self._scope + name
        if key not in self.journal.once:
            self._check_stop()
            self._reseed(key, "before")
            self._watch(name, 0.0)
            found = plain(fn())
            self.journal.remember(key, together.from_first(lambda: found))
            self._watch(name, 1.0)
        self._reseed(key)
        return self.journal.once[key]

    def keep(self, name: str, item: _S) -> _S:
        """Register what outlives a step, so that checkpoints carry it. Call it before the phase that uses it."""
        self._kept[self._scope + name] = item
        return item

    def note(self, kind: str, **details: Any) -> None:
        """Add an event."""
        self.events.append({"kind": kind, **details})

    @contextmanager
    def attempt(self, number: int) -> Iterator[Session]:
        """Run what follows as one of several attempts, with names and random streams of its own."""
        outer, seed, self.start_labels = self._scope, self.seed, None
        self._scope, self.seed = f"{outer}attempt-{number}/", derive_seed(seed, "attempt", number) % 2**31
        try:
            yield self
        finally:
            self._scope, self.seed = outer, seed

    @contextmanager
    def on(self, rows: Rows) -> Iterator[None]:
        """Do what follows on these rows, as if there were no others."""
        outer, self.rows = self.rows, rows
        try:
            yield
        finally:
            self.rows = outer

    def ask_to_stop(self) -> None:
        """Ask the run to write a checkpoint and end at the next step; safe to call from a signal handler."""
        self._stop_asked = True

    def _run_or_take_over(self, phase: Phase, name: str) -> None:
        """Run a phase, or take its outcome from the cache where another run has left it."""
        folder, limit = self.trainer.cache_dir, self.trainer.max_seconds
        is_private = folder is None or limit is not None or together.world_size() > 1
        shelf = None if is_private else Shelf(Path(folder))  # type: ignore[arg-type]
        key = None if shelf is None else shelf.key(phase, self._determinants(phase, name))
        history = None if shelf is None or key is None else shelf.take(key, phase)
        if history is not None:
            self.history.extend(history)
            self.note("taken over", phase=name, network=key, seconds=sum(line["seconds"] for line in history))
            return
        self._run(phase, name)
        if shelf is not None and key is not None:
            shelf.put(key, phase, [line for line in self.history if line["phase"] == name])

    def _determinants(self, phase: Phase, name: str) -> dict[str, Any]:
        changes = {} if phase.schedule.augment is None else {"changes": change_of(self, phase.schedule) is not None}
        return {
            **changes,
            "data": self.journal.fingerprint.get("pretrain_data" if self.rows is self.pretrain_rows else "data"),
            "scaling": digest_tensors(self.scaler.state_dict()),
            "seed": self.seed,
            "name": name,
            "batch_size": phase.schedule.batch_size or self.trainer.batch_size,
            "device": self.device,
            "precision": self.trainer.resolve_precision(),
            "versions": versions(),
        }

    def _run(self, phase: Phase, name: str) -> None:
        schedule = phase.schedule
        self._change = change_of(self, schedule)
        batch_size = schedule.batch_size or self.trainer.batch_size
        per_epoch = schedule.steps_per_epoch(len(self.rows), batch_size)
        epochs = schedule.total_epochs(per_epoch)
        groups = phase.groups()
        optimizer = schedule.make_optimizer(groups)
        guard = Guard(
            self,
            phase,
            name,
            epochs,
            lambda: plain({**self._snapshot(phase.model), "optimizer": optimizer.state_dict()}),
            lambda state: self._restore_all(state, phase, optimizer),
        )
        together.align(phase.model)
        with frozen_but(phase.model, groups):
            module, wrapped = self._fabric.setup(ObjectiveStep(phase), optimizer)
            epoch, done, totals, is_begun = self._resume(phase, name, optimizer, guard)
            self._notify("on_phase_start", phase, Progress(epoch, epochs, epoch * per_epoch + done, epochs * per_epoch))
            while epoch < epochs:
                # Checkpoints and the guard's marks are made after an epoch's refresh.
                if not is_begun and phase.before_epoch is not None and phase.before_epoch():
                    break
                if not is_begun:
                    guard.mark(epoch)
                began, trouble, is_begun = time.monotonic(), None, False
                for read in read_steps(self.rows, self._batches(phase, name, batch_size, epoch, per_epoch), done):
                    at = Progress(epoch, epochs, epoch * per_epoch + read.step, epochs * per_epoch)
                    self._pause(phase, name, at, read.step, optimizer, totals, guard)
                    if self._out_of_time(phase):
                        break
                    self._reseed(name, at.step)
                    with together.step_of(read.share):
                        terms = self._step(module, wrapped, phase, read, at, guard.rate)
                    totals = add_terms(totals, terms, read.share.total)
                    self._notify("on_step", phase, at)
                    is_read = self.device == "cpu" or at.step % 50 == 0  # reading a value makes an accelerator wait
                    trouble = guard.not_finite(terms, epoch) if is_read else None
                    if trouble is not None:
                        break
                if totals is not None and trouble is None:
                    loss = self._record(phase, name, epoch, totals, optimizer, time.monotonic() - began)
                    trouble = guard.examine(epoch, loss)
                done, totals = 0, None
                if trouble is not None:
                    epoch, is_begun = guard.go_back(trouble), True
                    continue
                if self._out_of_time(phase):
                    guard.end_early(epoch)
                    self.note("time limit", phase=name, epoch=epoch, epochs=epochs)
                    break
                epoch += 1
        self._notify("on_phase_end", phase)

    def _step(
        self, module: Any, optimizer: Any, phase: Phase, read: Read, at: Progress, slower: float
    ) -> dict[str, Tensor]:
        index, share = read.numbers, read.share
        x = send(self.scaler(read.x), self.device)
        x = x if self._change is None else self._change.apply(x)
        for group in optimizer.optimizer.param_groups:
            group["lr"] = phase.schedule.rate(at.epoch, at.step, at.steps) * group["rate"] * slower
        module.module.progress, module.module.numbers = at, index
        terms: dict[str, Tensor] = module(x, send(index, self.device))
        optimizer.zero_grad()
        loss = torch.stack(list(terms.values())).sum()
        self._fabric.backward(loss if share.weight == 1 else loss * share.weight)
        together.average_gradients(p for group in optimizer.optimizer.param_groups for p in group["params"])
        if phase.schedule.clip_norm is not None:
            parameters = [p for group in optimizer.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, phase.schedule.clip_norm)
        optimizer.step()
        if phase.after_step is not None:
            phase.after_step(Batch(x, index, at, index))
        if together.world_size() > 1:
            asked, elapsed = float(self._stop_asked), self.journal.elapsed
            terms, (stop, seconds) = together.mean_of_terms(terms, share, stop=asked, elapsed=elapsed)
            self._agreed = bool(stop), float(seconds)
        return terms

    def _batches(self, phase: Phase, name: str, batch_size: int, epoch: int, steps: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, name, "order", epoch))
        return (phase.sampler or permutation)(len(self.rows), batch_size, steps, generator)

    def _record(
        self, phase: Phase, name: str, epoch: int, totals: dict[str, Tensor], optimizer: Any, seconds: float
    ) -> float:
        rows = float(totals["$rows"])
        terms = {key: float(value) / rows for key, value in totals.items() if key != "$rows"}
        rate = optimizer.param_groups[0]["lr"]
        record = {
            "phase": name,
            "epoch": epoch,
            **terms,
            "loss": sum(terms.values()),
            "lr": rate,
            "seconds": seconds,
        }
        self.history.append(record)
        self._notify("on_epoch_end", phase, record)
        return float(record["loss"])

    def _out_of_time(self, phase: Phase) -> bool:
        limit = self.trainer.max_seconds
        elapsed = self.journal.elapsed if together.world_size() == 1 else self._agreed[1]
        return limit is not None and elapsed > limit * phase.until

    def _check_stop(self) -> None:
        if self._is_stopping:
            raise InterruptedRun("The run was stopped as asked; what it had reached is in its last checkpoint.")

    @property
    def _is_stopping(self) -> bool:
        return self._stop_asked if together.world_size() == 1 else self._agreed[0]

    def _reseed(self, *place: object) -> None:
        """Seed the generators in use; ``torch.manual_seed`` would spend a millisecond on those that are not."""
        seed = derive_seed(self.seed, *place)
        torch.default_generator.manual_seed(seed)
        if self.device != "cpu":
            getattr(torch, self.device).manual_seed(seed)

    def _notify(self, event: str, *details: Any) -> None:
        for callback in self.trainer.callbacks:
            getattr(callback, event)(self, *details)

    def _watch(self, name: str, share: float) -> None:
        self._notify("on_work", name, share)

    def _snapshot(self, model: nn.Module) -> dict[str, Any]:
        return {
            "model": {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
            "kept": {name: item.state_dict() for name, item in self._kept.items()},
        }

    def _restore(self, state: Any, model: nn.Module) -> None:
        model.load_state_dict(state["model"])
        for name, item in self._kept.items():
            if name in state["kept"]:
                item.load_state_dict(state["kept"][name])

    def _restore_all(self, state: Any, phase: Phase, optimizer: torch.optim.Optimizer) -> None:
        self._restore(plain(state), phase.model)
        load_optimizer(optimizer, plain(state["optimizer"]))

    def _pause(
        self, phase: Phase, name: str, at: Progress, step: int, optimizer: Any, totals: Any, guard: Guard
    ) -> None:
        """Between two steps: write a checkpoint if one is due, and end if asked to."""
        due = self.journal.seconds_since_write >= self.trainer.checkpoint_seconds
        if self.journal.is_kept and (due or self._is_stopping):
            state = {**self._snapshot(phase.model), "optimizer": optimizer.state_dict()}
            place = {"phase": name, "epoch": at.epoch, "step": step, "guard": guard.state_dict()}
            place["totals"] = plain(totals)
            self.journal.write_progress(place, state)
        self._check_stop()

    def _resume(self, phase: Phase, name: str, optimizer: Any, guard: Guard) -> tuple[int, int, Any, bool]:
        """Return the epoch, the step in it and the running sums to go on from, and whether a checkpoint gave them."""
        moment = self.journal.take_progress(name)
        if moment is None:
            return 0, 0, None, False
        self._restore_all(moment["state"], phase, optimizer)
        guard.load_state_dict(moment.get("guard", {}))
        return moment["epoch"], moment["step"], moment["totals"], True
