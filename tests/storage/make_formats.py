"""Writes a saved model of every deep method in the present format: ``python -m tests.storage.make_formats v2``.

Run it once when the format's version goes up; what it wrote stays, and is loaded by every later version.
"""

import json
import sys
from pathlib import Path

import numpy as np

from deepclust import MLP
from deepclust.networks import Pooled
from tests.common.small import DEEP, small

HOME = Path(__file__).parent / "formats"


def rows():
    """Sixteen rows in two groups; no random numbers, whose streams may change between versions."""
    wave = np.sin(np.arange(48, dtype=np.float64) * 1.7).reshape(16, 3)
    return (wave + np.repeat([[0.0], [4.0]], 8, axis=0)).astype(np.float32)


def images():
    """The same sixteen rows as images of nine by nine values between 0 and 1."""
    pattern = np.sin(np.arange(81, dtype=np.float32) * 0.7).reshape(9, 9)
    strength = rows().sum(axis=1)[:, None, None]
    return (0.5 + 0.5 * np.sin(strength * pattern)).astype(np.float32)


def main(version):
    flat = MLP(hidden=(4,), latent=2)
    kinds = {name: (name, flat, rows()) for name in DEEP}
    kinds["vade_normed"] = ("vade", MLP(hidden=(4,), latent=2, norm=True), rows())
    kinds["jule_images"] = ("jule", Pooled(filters=4, latent=6), images())
    for place, (method, network, X) in kinds.items():
        model = small(method, n_clusters=2, epochs=2, batch_size=8).set_params(network=network)
        model.fit(X)
        model.relabel({0: "left"})
        folder = HOME / version / place
        model.save(folder, overwrite=folder.exists())
        told = {"labels": model.predict(X).tolist(), "proba": model.predict_proba(X).astype(float).tolist()}
        (HOME / version / f"{place}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
