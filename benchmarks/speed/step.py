"""One training step of 784-500-500-2000-10 through the engine against the bare PyTorch loop on the same tensors.

Paired runs within one process: each round times both, in turn, and gives one ratio; the median of the ratios counts.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch
from torch.nn import functional as F

from deepclust import MLP, Schedule, Trainer
from deepclust.data.rows import as_rows
from deepclust.engine import Phase
from deepclust.networks import Scaler

WARMUP, ROUNDS = 2, 15


def engine_seconds(X, network, trainer, epochs, number):
    rows = as_rows(X)
    session = trainer.start(rows, Scaler.fit(rows, "unit"), number, {})

    def objective(model, batch):
        x_hat = model.decode(model.embed(batch.x))
        return {"loss": F.mse_loss(x_hat.float(), batch.x)}

    phase = Phase("bench", network, objective, Schedule(epochs=epochs), [network])
    began = time.perf_counter()
    session.train(phase)
    return time.perf_counter() - began


def bare_seconds(X, network, bf16, epochs, batch_size):
    x = torch.from_numpy(X)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    network.train()
    began = time.perf_counter()
    for _ in range(epochs):
        for index in torch.randperm(len(x)).tensor_split(-(-len(x) // batch_size)):
            batch = x[index]
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = F.mse_loss(network.decode(network.embed(batch)).float(), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # a loop that a person would write looks at its loss
    return time.perf_counter() - began


def measure(batch_size, precision, rows):
    X = np.random.default_rng(0).random((rows, 784), dtype=np.float32)
    network = MLP().build(as_rows(X).spec)
    trainer = Trainer(batch_size=batch_size, precision=precision, device="cpu")
    bf16 = precision == "bf16"
    ratios, steps = [], -(-rows // batch_size)
    for number in range(WARMUP + ROUNDS):
        ours = engine_seconds(X, network, trainer, 1, number)
        bare = bare_seconds(X, network, bf16, 1, batch_size)
        if number >= WARMUP:
            ratios.append((ours / bare, 1000 * ours / steps, 1000 * bare / steps))
    ratio, ours, bare = (statistics.median(column) for column in zip(*ratios, strict=True))
    return {
        "batch_size": batch_size,
        "precision": precision,
        "engine_ms": round(ours, 3),
        "bare_ms": round(bare, 3),
        "ratio": round(ratio, 4),
        "rounds": ROUNDS,
        "threads": torch.get_num_threads(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5120)
    arguments = parser.parse_args()
    for precision in ("fp32", "bf16"):
        for batch_size in (100, 256):
            print(json.dumps(measure(batch_size, precision, arguments.rows)), flush=True)


if __name__ == "__main__":
    main()
