"""The one training loop, and what it is told: phases, schedules, a trainer."""

from deepclust.engine.callbacks import Callback
from deepclust.engine.healing import Healing
from deepclust.engine.phase import Group, Objective, Phase
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
    "Objective",
    "Phase",
    "Schedule",
    "Session",
    "Trainer",
]
