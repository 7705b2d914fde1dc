"""Progress bars with time left."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from deepclust.engine.callbacks import Callback

if TYPE_CHECKING:
    from deepclust.data.batch import Progress as Place
    from deepclust.engine.phase import Phase
    from deepclust.engine.session import Session


class ProgressBars(Callback):
    """One bar a phase, and one for closed-form work while it goes on."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._phases: dict[str, TaskID] = {}
        self._works: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        return self  # nothing is shown before there is something to show: a refusal is one sentence

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars.live.is_started:
            self._bars.stop()

    def on_phase_start(self, session: Session, phase: Phase, progress: Place) -> None:
        """Open a bar."""
        self._bars.start()
        self._phases[phase.name] = self._bars.add_task(
            phase.name, total=progress.steps, completed=progress.step, note=""
        )

    def on_step(self, session: Session, phase: Phase, progress: Place) -> None:
        """Advance."""
        self._bars.update(self._phases[phase.name], completed=progress.step + 1)

    def on_epoch_end(self, session: Session, phase: Phase, record: dict[str, Any]) -> None:
        """Show the loss."""
        self._bars.update(self._phases[phase.name], note=f"epoch {record['epoch'] + 1}, loss {record['loss']:.4g}")

    def on_phase_end(self, session: Session, phase: Phase) -> None:
        """Stop the clock of a bar."""
        self._bars.stop_task(self._phases[phase.name])

    def on_work(self, session: Session, name: str, share: float) -> None:
        """Show closed-form work."""
        self.show(name, share)

    def show(self, name: str, share: float) -> None:
        """Show any work by the share that is done; its bar goes when it is."""
        if name not in self._works:
            self._bars.start()
            self._works[name] = self._bars.add_task(name, total=1.0, note="")
        self._bars.update(self._works[name], completed=share)
        if share >= 1:
            self._bars.remove_task(self._works.pop(name))
