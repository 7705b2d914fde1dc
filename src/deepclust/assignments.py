"""The file that says which cluster every row is in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv, parquet

from deepclust.atomic import atomic_file
from deepclust.data.readers import Loaded
from deepclust.naming import Naming

_OWN = ("row", "cluster", "probability", "cluster_name")  # columns


def write_assignments(
    path: Path,
    loaded: Loaded,
    labels: npt.NDArray[np.int64],
    proba: npt.NDArray[Any],
    naming: Naming | None = None,
    *,
    first: int = 0,
) -> None:
    """Write one line a row: row, path or id, cluster, probability; Parquet, or CSV by the file's suffix.

    Parameters
    ----------
    path
        The file.
    loaded
        Rows with what identifies them.
    labels : (n,)
        Clusters.
    proba : (n, k)
        Probability of every cluster.
    naming
        Names of clusters, which make one more column.
    first
        Number of the first row, where these are a part of a whole.
    """
    columns: dict[str, Any] = {"row": np.arange(first, first + len(labels), dtype=np.int64)}
    if loaded.ids is not None and loaded.id_name is not None:
        columns[f"{loaded.id_name} (id)" if loaded.id_name in _OWN else loaded.id_name] = loaded.ids
    _write(path, pa.table(columns | _assigned(labels, proba, naming)))


def rewrite_assignments(
    path: Path, labels: npt.NDArray[np.int64], proba: npt.NDArray[Any], naming: Naming | None
) -> None:
    """Put other clusters into a Parquet file of assignments; what identifies rows stays."""
    table = parquet.read_table(path)
    table = table.select([name for name in table.column_names if name == "row" or name not in _OWN])
    for name, values in _assigned(labels, proba, naming).items():
        table = table.append_column(name, pa.array(values))
    _write(path, table)


def _assigned(
    labels: npt.NDArray[np.int64], proba: npt.NDArray[Any], naming: Naming | None
) -> dict[str, Sequence[Any] | npt.NDArray[Any]]:
    columns: dict[str, Sequence[Any] | npt.NDArray[Any]] = {"cluster": labels, "probability": proba.max(axis=1)}
    return columns if naming is None else {**columns, "cluster_name": [naming.names[c] for c in labels.tolist()]}


def _write(path: Path, table: pa.Table) -> None:
    with atomic_file(path) as part:
        if path.suffix == ".csv":
            csv.write_csv(table, part)
        else:
            parquet.write_table(table, part)
