"""Very many rows on disk: images of MNIST, each shifted and turned anew.

python benchmarks/scale/rows.py OUT.npy 2000000
"""

import sys
from pathlib import Path

import numpy as np
import torch

from deepclust import Affine, load_dataset

BLOCK = 20_000


def write(path: Path, n: int) -> None:
    """Write an (n, 784) array of bytes; the same every time."""
    images = load_dataset("mnist").X[:60_000]
    change = Affine(shift=0.1, rotation=15, scale=0.1)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, 784))
    for start in range(0, n, BLOCK):
        torch.manual_seed(start)
        chosen = torch.randint(len(images), (min(BLOCK, n - start),)).numpy()
        x = change.apply(torch.from_numpy(images[chosen]).unsqueeze(1).float())
        out[start : start + len(chosen)] = x.round().clamp(0, 255).to(torch.uint8).flatten(1).numpy()
    out.flush()


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
