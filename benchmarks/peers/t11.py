"""PyTorch's side of T_11: one pass over the pictures in shuffled batches of 128, float32 from -1 to 1.

Pillow decodes, as in nearly all PyTorch programs; a picture stays uint8 until its batch is whole, which spares the way
from a worker to the program three quarters of the bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers.serve import pytorch, serve, timed

BATCH = 128
FOLDER = Path(__file__).resolve().parent.parent.parent / "data" / "robohash"


class Pictures(Dataset):
    """Pictures of class folders: `(256, 256, 3)` uint8 and the number of the class."""

    def __init__(self, folder: Path):
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        self.items = [
            (path, label)
            for label, name in enumerate(names)
            for path in sorted((folder / name).glob("*.png"))
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        path, label = self.items[number]
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB")), label


def one_pass(dataset: Dataset, workers: int) -> int:
    """Read all whole batches; returns how many."""
    count = 0
    for pictures, labels in DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, drop_last=True):
        batch = pictures.float().mul_(1 / 127.5).sub_(1.0)  # (128, 256, 256, 3)
        assert len(batch) == len(labels) == BATCH and batch.dtype == torch.float32
        count += 1
    return count


def answer(dataset: Dataset, workers: int, question: dict) -> dict:
    seconds = timed(lambda: one_pass(dataset, workers))
    return {"seconds": seconds, "batches": len(dataset) // BATCH}


if __name__ == "__main__":
    pictures = Pictures(FOLDER)
    names = {0: "PyTorch DataLoader, Pillow, 0 workers", 2: "PyTorch DataLoader, Pillow, 2 workers"}
    ways = {name: lambda q, workers=workers: answer(pictures, workers, q) for workers, name in names.items()}
    serve(ways, pytorch())
