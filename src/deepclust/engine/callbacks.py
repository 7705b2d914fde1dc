"""What may watch a run: progress bars, logs, trackers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepclust.data.batch import Progress
    from deepclust.engine.phase import Phase
    from deepclust.engine.session import Session


class Callback:
    """Watches a run; every method does nothing unless overridden. A callback must not change what is computed."""

    def on_phase_start(self, session: Session, phase: Phase, progress: Progress) -> None:
        """Before the first step that this process makes in a phase; ``progress`` tells where it starts."""

    def on_step(self, session: Session, phase: Phase, progress: Progress) -> None:
        """After a step."""

    def on_epoch_end(self, session: Session, phase: Phase, record: dict[str, Any]) -> None:
        """After an epoch, with its line of the history."""

    def on_phase_end(self, session: Session, phase: Phase) -> None:
        """After a phase."""

    def on_work(self, session: Session, name: str, share: float) -> None:
        """While closed-form work or inference goes on; ``share`` of it is done."""
