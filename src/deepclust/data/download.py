"""A bar for downloads, in the shape that pooch asks for."""

from __future__ import annotations

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


class DownloadBar:
    """What pooch calls while it downloads one file."""

    def __init__(self, name: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), transient=True
        )
        self._task = self._bar.add_task(name, total=None)
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes to expect; pooch sets it."""
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        self._total = value
        self._bar.update(self._task, total=value)
        self._bar.start()

    def update(self, count: int) -> None:
        """Add bytes."""
        self._bar.update(self._task, advance=count)

    def reset(self) -> None:
        """Begin anew."""
        self._bar.reset(self._task)

    def close(self) -> None:
        """End."""
        self._bar.stop()
