"""The page's views as matplotlib axes, for notebooks and papers. Needs the extra ``plot``.

Every function takes a fitted estimator, draws on ``ax`` (by default on a new one) and returns the axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.data.rows import as_rows
from deepclust.errors import InvalidDataError, MissingExtraError
from deepclust.metrics import contingency, match_clusters
from deepclust.report.figures import palette, shapes
from deepclust.report.layout import lay_out
from deepclust.report.summarize import cluster_names, rows_as_bytes
from deepclust.report.thumbnails import as_bytes

__all__ = ["confidence", "confusion", "embedding", "history", "members", "samples", "sizes"]

_FEW = 12  # clusters up to which a legend names all
# Clusters after the tenth have a shape besides a colour, the page's; the first round is of dots here.
_MARKERS = {"square": "o", "circle": "s", "triangle": "^", "diamond": "D", "cross": "X", "plus": "P", "wedge": "v"}


def embedding(estimator: Any, *, ax: Any = None, seed: int = 0, size: float = 4.0) -> Any:
    """Draw all rows on a map of their codes: UMAP where umap-learn is installed, else principal components.

    Parameters
    ----------
    estimator
        Fitted.
    ax
        Axes to draw on.
    seed
        Of the layout.
    size
        Of the points, in square points.
    """
    ax = _axes(ax)
    result, names = estimator.named_result(), cluster_names(estimator)
    layout = lay_out(result.embedding, seed=seed)
    colours, marks = palette(len(names)), shapes(len(names))
    for cluster in np.unique(result.labels).tolist():
        x, y = layout.points[result.labels == cluster].T
        mark = _MARKERS[marks[cluster]]
        ax.scatter(x, y, s=size, c=colours[cluster], marker=mark, label=names[cluster], linewidths=0)
        ax.annotate(names[cluster], (float(np.median(x)), float(np.median(y))), ha="center", weight="bold")
    ax.set(xticks=[], yticks=[], title="UMAP of the codes" if layout.kind == "umap" else "Principal components")
    if len(names) <= _FEW:
        ax.legend(title="cluster", markerscale=3, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax


def sizes(estimator: Any, *, ax: Any = None) -> Any:
    """Draw how many rows each cluster has."""
    ax = _axes(ax)
    names, counts = cluster_names(estimator), estimator.named_result().sizes
    ax.bar(range(len(names)), counts, color=palette(len(names)))
    ax.set_xticks(range(len(names)), names, rotation=90 if len(names) > _FEW else 0)
    ax.set(xlabel="cluster", ylabel="rows")
    return ax


def confidence(estimator: Any, *, ax: Any = None, bins: int = 20) -> Any:
    """Draw how many rows belong to their cluster with which probability."""
    ax = _axes(ax)
    ax.hist(estimator.named_result().proba.max(axis=1), bins=bins, range=(0.0, 1.0), color=palette(1)[0])
    ax.set(xlabel="probability of a row's own cluster", ylabel="rows", xlim=(0, 1))
    return ax


def history(estimator: Any, *, phase: str | None = None, ax: Any = None) -> Any:
    """Draw the terms of a phase's objective over its epochs; by default of the last phase."""
    ax = _axes(ax)
    lines = estimator.result_.history
    phases = list(dict.fromkeys(line["phase"] for line in lines))
    if not phases or (phase is not None and phase not in phases):
        raise InvalidDataError(f"There is no phase {phase!r} in the history; it has: {', '.join(phases) or 'none'}.")
    chosen = [line for line in lines if line["phase"] == (phase or phases[-1])]
    terms = [term for term in chosen[0] if term not in ("phase", "epoch", "lr", "seconds")]
    for term, colour in zip(terms, palette(len(terms)), strict=True):
        ax.plot([line["epoch"] for line in chosen], [line[term] for line in chosen], label=term, color=colour)
    ax.set(xlabel="epoch", ylabel="mean a row", title=phase or phases[-1])
    ax.legend(frameon=False)
    return ax


def confusion(estimator: Any, y: Any, *, ax: Any = None) -> Any:
    """Draw how labels and clusters of the training rows go together, matched pairs on the diagonal.

    Parameters
    ----------
    estimator
        Fitted.
    y : (n,)
        Labels, for looking only.
    ax
        Axes to draw on.
    """
    ax = _axes(ax)
    clusters, names = estimator.labels_, cluster_names(estimator)
    table, used, labels = contingency(y, clusters), np.unique(clusters), np.unique(np.asarray(y))
    pairs = sorted(match_clusters(table), key=lambda pair: pair[1])
    order = [a for a, _ in pairs] + [a for a in range(len(used)) if a not in {a for a, _ in pairs}]
    shares = table[order].T / np.maximum(table.sum(axis=0)[:, None], 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), count in np.ndenumerate(table[order].T):
        if count:
            ax.text(
                j, i, str(count), ha="center", va="center", size=8, color="white" if shares[i, j] > 0.5 else "black"
            )
    ax.set_xticks(range(len(order)), [names[int(used[a])] for a in order])
    ax.set_yticks(range(len(labels)), [str(label) for label in labels.tolist()])
    ax.set(xlabel="cluster", ylabel="label")
    return ax


def members(estimator: Any, X: Any, *, columns: int = 12, seed: int = 0, ax: Any = None) -> Any:
    """Draw some members of every cluster, a line each; rows must be images.

    Parameters
    ----------
    estimator
        Fitted on X.
    X
        Images.
    columns
        Members a cluster, drawn at random.
    seed
        Of that draw.
    ax
        Axes to draw on.
    """
    rows = as_rows(X, channels=estimator.layout_.channels)
    _require_images(rows.spec.is_image)
    labels, rng = estimator.labels_, np.random.default_rng(seed)
    lines = []
    for cluster in np.unique(labels).tolist():
        chosen = rng.permutation(np.flatnonzero(labels == cluster))[:columns]
        lines.append((cluster_names(estimator)[cluster], rows_as_bytes(rows, chosen)))
    return _sheet(_axes(ax), lines, columns)


def samples(estimator: Any, *, columns: int = 12, threshold: float | None = None, seed: int = 0, ax: Any = None) -> Any:
    """Draw new members of every cluster from a generative model of images, a line each; see ``sample``."""
    _require_images(len(estimator.layout_.shape) > 1)
    lines = []
    for cluster in np.unique(estimator.labels_).tolist():
        drawn = estimator.sample(columns, cluster, threshold=threshold, random_state=seed)
        x = estimator.layout_.to_network(drawn.X)
        lines.append((cluster_names(estimator)[cluster], as_bytes(x, estimator.spec_.low, estimator.spec_.high)))
    return _sheet(_axes(ax), lines, columns)


def _sheet(ax: Any, lines: list[tuple[str, npt.NDArray[np.uint8]]], columns: int) -> Any:
    height, width = lines[0][1].shape[1:3]
    page = np.full((len(lines) * height, columns * width, *lines[0][1].shape[3:]), 255, dtype=np.uint8)
    for i, (_, images) in enumerate(lines):
        for j, image in enumerate(images):
            page[i * height : (i + 1) * height, j * width : (j + 1) * width] = image
    ax.imshow(page, cmap="gray", vmin=0, vmax=255)
    ax.set_yticks([(i + 0.5) * height for i in range(len(lines))], [name for name, _ in lines])
    ax.set(xticks=[], ylabel="cluster")
    return ax


def _require_images(is_image: bool) -> None:
    if not is_image:
        raise InvalidDataError("This view draws images, and the rows are flat. Fit on X of shape (n, h, w).")


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingExtraError(
            "This needs the package matplotlib, which is not installed: pip install 'deepclust[plot]'."
        ) from error
    return pyplot.subplots(layout="constrained")[1]
