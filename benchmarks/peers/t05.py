"""PyTorch's side of T_05: the same recurrent networks from nn.LSTM and nn.GRU, trained with its fused Adam."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.peers.serve import matrix_weights, pytorch, serve, timed
from utils.mnist import load_mnist

UNITS, BATCH = 256, 100
NETWORKS = [f"{kind}-{layers}" for kind in ("LSTM", "GRU", "Bi-GRU") for layers in (1, 2)] + ["CNN"]


class Recurrent(nn.Module):
    """28 rows of 28, the last output or for Bi-GRU the mean of all, then ten scores; time-major inside."""

    def __init__(self, kind: str, layers: int):
        super().__init__()
        self.both = kind == "Bi-GRU"
        make = nn.LSTM if kind == "LSTM" else nn.GRU
        self.layers = make(28, UNITS, num_layers=layers, bidirectional=self.both)
        self.scores = nn.Linear(UNITS * (1 + self.both), 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = self.layers(images.transpose(0, 1))[0]  # (steps, batch, units)
        return self.scores(outputs.mean(0) if self.both else outputs[-1])


def convolutional() -> nn.Module:
    """The network of T_04."""
    pool = lambda: nn.MaxPool2d(2)
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)),
        *(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), pool()),
        *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), pool()),
        *(nn.Flatten(), nn.Linear(7 * 7 * 64, 1024), nn.ReLU(), nn.Linear(1024, 10)),
    ).to(memory_format=torch.channels_last)


class Row:
    """One network, made when it is first asked for."""

    def __init__(self, name: str):
        self.name, self.model = name, None

    def make(self, train: int, test: int) -> None:
        torch.manual_seed(1)
        kind, _, layers = self.name.rpartition("-")
        self.model = convolutional() if self.name == "CNN" else Recurrent(kind, int(layers))
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-3, eps=1e-7, fused=True)
        data, random = load_mnist().train, np.random.default_rng(1)
        self.batches = []
        for _ in range(train + test):
            rows = random.integers(0, len(data.images), BATCH)
            x, y = data.images[rows].astype(np.float32) / 255, data.labels[rows].astype(np.int64)
            self.batches.append((torch.from_numpy(x), torch.from_numpy(y)))

    def run(self, train: int) -> float:
        for number, (x, y) in enumerate(self.batches):
            if number < train:
                self.adam.zero_grad(set_to_none=True)
                last = nn.functional.cross_entropy(self.model(x), y)
                last.backward()
                self.adam.step()
            else:
                with torch.no_grad():
                    last = (self.model(x).argmax(1) == y).float().mean()
        return float(last)

    def __call__(self, question: dict) -> dict:
        if question.get("forget"):
            self.model = self.batches = self.adam = None
            return {"seconds": 0.0}
        if self.model is None:
            self.make(question["train"], question["test"])
        self.model.train()
        seconds = timed(lambda: self.run(question["train"]))
        return {"seconds": seconds, "matrix_weights": matrix_weights([self.model])}


if __name__ == "__main__":
    serve({name: Row(name) for name in NETWORKS}, pytorch())
