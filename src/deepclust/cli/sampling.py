"""Writing what a generative model drew."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.atomic import atomic_file
from deepclust.errors import InvalidParameterError
from deepclust.report.figures import contact_sheet
from deepclust.report.thumbnails import as_bytes


def write_samples(path: Path, drawn: npt.NDArray[Any], clusters: npt.NDArray[np.int64], model: Any) -> None:
    """Write samples as a contact sheet (.png), an array (.npy), or a table (.csv), by the file's suffix."""
    flat = len(model.layout_.shape) == 1
    if path.suffix == ".png":
        if flat:
            raise InvalidParameterError(
                f"These samples are rows of numbers, not images. Write {path.stem}.csv or .npy."
            )
        images = as_bytes(model.layout_.to_network(drawn), model.spec_.low, model.spec_.high)
        with atomic_file(path) as part:
            contact_sheet(images, columns=math.ceil(math.sqrt(len(images)))).save(part, format="PNG")
    elif path.suffix == ".npy":
        with atomic_file(path) as part, part.open("wb") as file:
            np.save(file, drawn)
    elif path.suffix == ".csv":
        names = getattr(model, "feature_names_in_", None)
        header = [str(n) for n in names] if names is not None else [f"x{i}" for i in range(model.n_features_in_)]
        table = np.column_stack([clusters, drawn.reshape(len(drawn), -1)])
        with atomic_file(path) as part:
            np.savetxt(part, table, delimiter=",", header=",".join(["cluster", *header]), comments="", fmt="%.8g")
    else:
        raise InvalidParameterError(f"--out must end in .png, .npy or .csv. Got {path}.")
