"""Writes a saved model of every deep method in the present format: ``python -m tests.storage.make_formats v2``.

Run it once when the format's version goes up; what it wrote stays, and is loaded by every later version.
"""

import json
import sys
from pathlib import Path

import numpy as np

from deepclust import MLP
from tests.common.small import DEEP, small

HOME = Path(__file__).parent / "formats"


def rows():
    """Sixteen rows in two groups; no random numbers, whose streams may change between versions."""
    wave = np.sin(np.arange(48, dtype=np.float64) * 1.7).reshape(16, 3)
    return (wave + np.repeat([[0.0], [4.0]], 8, axis=0)).astype(np.float32)


def main(version):
    for name in DEEP:
        model = small(name, n_clusters=2, epochs=2, batch_size=8).set_params(network=MLP(hidden=(4,), latent=2))
        model.fit(rows())
        model.relabel({0: "left"})
        folder = HOME / version / name
        model.save(folder, overwrite=folder.exists())
        told = {"labels": model.predict(rows()).tolist(), "proba": model.predict_proba(rows()).astype(float).tolist()}
        (HOME / version / f"{name}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
