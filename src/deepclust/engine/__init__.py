"""The one training loop, and what it is told: phases, schedules, a trainer."""

from deepclust.engine.callbacks import Callback
from deepclust.engine.healing import Healing
from deepclust.engine.phase import Group, Phase
from deepclust.engine.schedule import Budget, Cosine, Decay, Inverse, Schedule
from deepclust.engine.session import Session
from deepclust.engine.trainer import Trainer

__all__ = [
    "Budget",
    "Callback",
    "Cosine",
    "Decay",
    "Group",
    "Healing",
    "Inverse",
    "Phase",
    "Schedule",
    "Session",
    "Trainer",
]
