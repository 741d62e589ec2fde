"""PyTorch's side of T_10: 100 shuffled batches of 128 × 784 float32 with labels, from memory."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.serve import pytorch, serve, timed
from utils.mnist import load_mnist

BATCH, BATCHES = 128, 100


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    """Images `(55000, 784)` float32, 0 to 1, and labels `(55000,)` int64."""
    train = load_mnist().train
    images = train.images[:55000].reshape(-1, 784).astype(np.float32) / 255
    return torch.from_numpy(images), torch.from_numpy(train.labels[:55000].astype(np.int64))


def drain(batches) -> None:
    for number, (x, y) in enumerate(batches, start=1):
        assert x.shape == (BATCH, 784) and len(y) == BATCH
        if number == BATCHES:
            return


def indexed(x: torch.Tensor, y: torch.Tensor):
    """No DataLoader: permute the row numbers, index."""
    order = torch.randperm(len(x))
    for start in range(0, BATCHES * BATCH, BATCH):
        rows = order[start : start + BATCH]
        yield x[rows], y[rows]


def rows() -> dict:
    """Name -> what answers."""
    x, y = tensors()
    loader = lambda workers: DataLoader(TensorDataset(x, y), BATCH, shuffle=True, num_workers=workers)
    ways = {
        "PyTorch DataLoader, 0 workers": lambda: drain(loader(0)),
        "PyTorch DataLoader, 2 workers": lambda: drain(loader(2)),
        "PyTorch randperm, index": lambda: drain(indexed(x, y)),
    }
    return {name: lambda question, way=way: {"seconds": timed(way)} for name, way in ways.items()}


if __name__ == "__main__":
    serve(rows(), pytorch())
