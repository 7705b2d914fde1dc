"""Random walks that lead training over a graph of nearest neighbours."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from deepclust.engine import Session
from deepclust.engine.phase import Sampler
from deepclust.engine.samplers import Walks, Within
from deepclust.graph import weighted_edges
from deepclust.objectives.affinity import Affinity
from deepclust.partition import sample_of, some_of


def graph_walks(session: Session, points: Float[Tensor, "n d"], rule: Affinity, name: str = "graph") -> Sampler:
    """Return a sampler of the ends of walks on the graph of all points, or of a sample where they are very many.

    Parameters
    ----------
    session
        The run, which makes the graph once and notes that it is of a sample.
    points
        Of all rows.
    rule
        The graph, and how long walks are.
    name
        Unique within a recipe.
    """
    chosen = sample_of(len(points), session.seed)

    def build() -> dict[str, Tensor]:
        if chosen is not None:
            session.note("graph of a sample", rows=len(chosen))
        return weighted_edges(some_of(points, session.seed), rule)

    walks = Walks(**session.once(name, build), length=rule.walk)
    return walks if chosen is None else Within(chosen, walks)
