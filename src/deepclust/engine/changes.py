"""Which change images of a run can bear, where a schedule leaves that open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepclust.data.augment import BEARABLE, Affine, share_kept
from deepclust.engine.schedule import Schedule

if TYPE_CHECKING:
    from deepclust.engine.session import Session

UNCHANGED = "images stay as they are"  # the event


def change_of(session: Session, schedule: Schedule) -> Affine | None:
    """Return what changes images before every step; looked for once a run."""
    change, k = schedule.change(session.rows.spec), session.n_clusters
    if change is None or k is None or not change.careful:
        return change

    def is_bearable() -> bool:
        kept = share_kept(change, session.rows, k, seed=session.seed)
        if kept < BEARABLE:
            session.note(UNCHANGED, kept=kept)
        return kept >= BEARABLE

    return change if session.once("changes", is_bearable) else None
