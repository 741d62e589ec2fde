"""PyTorch's side of the models: a training step of m01's network, of DCGAN and of pix2pix, as PyTorch users write it.

Each in a few forms, from the plain to the fastest: eager float32; with the memory format that oneDNN prefers
(channels last) and the fused Adam; and that in bfloat16 by autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.serve import matrix_weights, pytorch, serve, timed
from utils.mnist import load_mnist

FORMS = {"eager": (False, False), "channels_last": (True, False), "bfloat16": (True, True)}
Made = tuple[Callable[[], torch.Tensor], list[nn.Module]]


def adam(module: nn.Module, rate: float, beta_1: float, fast: bool) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=rate, betas=(beta_1, 0.999), eps=1e-7, fused=fast)


def placed(module: nn.Module, fast: bool) -> nn.Module:
    return module.to(memory_format=torch.channels_last) if fast else module


def half(on: bool):
    return torch.autocast("cpu", dtype=torch.bfloat16) if on else nullcontext()


# ------------------------------------------------------------------------------------------------------------ m01
def digits(batch_norm: bool, fast: bool, low: bool) -> Made:
    """m01: two convolutions of 5×5, a dense layer, dropout, ten scores; 100 digits drawn from memory a step."""
    norm = lambda layer: [layer] if batch_norm else []
    network = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2, bias=not batch_norm), *norm(nn.BatchNorm2d(32)), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2, bias=not batch_norm), *norm(nn.BatchNorm2d(64)), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 1024, bias=not batch_norm), *norm(nn.BatchNorm1d(1024)), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(1024, 10),
    )  # fmt: skip
    network = placed(network, fast)
    optimizer = adam(network, 0.002, 0.9, fast)
    data = load_mnist().train
    images, labels = torch.from_numpy(data.images.copy()), torch.from_numpy(data.labels.astype(np.int64))

    def step() -> torch.Tensor:
        rows = torch.randint(len(images), (100,))
        x = images[rows].unsqueeze(1).float() / 255
        optimizer.zero_grad(set_to_none=True)
        with half(low):
            loss = F.cross_entropy(network(x).float(), labels[rows])
        loss.backward()
        optimizer.step()
        return loss

    return step, [network]


# ---------------------------------------------------------------------------------------------------------- DCGAN
def dcgan(fast: bool, low: bool, width: int = 32, size: int = 64, batch: int = 64) -> Made:
    """The paper's recipe at a quarter of its width: one update of each network, which share their fakes."""
    depths = [8 * width, 4 * width, 2 * width, width]
    generator = [nn.Linear(100, 16 * depths[0], bias=False), nn.Unflatten(1, (depths[0], 4, 4))]
    for inputs, outputs in zip(depths, [*depths[1:], 3]):
        deconvolution = nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, output_padding=1, bias=outputs == 3)
        generator += [nn.BatchNorm2d(inputs), nn.ReLU(), deconvolution]
    judge, inputs = [], 3
    for outputs in depths[::-1]:
        judge.append(nn.Conv2d(inputs, outputs, 5, 2, 2, bias=inputs == 3))
        judge += [nn.BatchNorm2d(outputs)] * (inputs != 3) + [nn.LeakyReLU(0.2)]
        inputs = outputs
    g = placed(nn.Sequential(*generator, nn.Tanh()), fast)
    d = placed(nn.Sequential(*judge, nn.Flatten(), nn.Linear(16 * depths[0], 1)), fast)
    adam_g, adam_d = adam(g, 2e-4, 0.5, fast), adam(d, 2e-4, 0.5, fast)
    averaged = [p.detach().clone() for p in g.parameters()]
    data = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)

    def step() -> torch.Tensor:
        real = data.float() / 127.5 - 1.0
        with half(low):
            fake = g(torch.randn(batch, 100))
            d_loss = F.softplus(-d(real).float()).mean() + F.softplus(d(fake.detach()).float()).mean()
        adam_d.zero_grad(set_to_none=True)
        d_loss.backward()
        adam_d.step()
        with half(low):
            g_loss = F.softplus(-d(fake).float()).mean()
        adam_g.zero_grad(set_to_none=True)
        d.requires_grad_(False)  # the generator's update needs no gradients of the judge's weights
        g_loss.backward()
        d.requires_grad_(True)
        adam_g.step()
        torch._foreach_lerp_(averaged, [p.detach() for p in g.parameters()], 0.001)
        return g_loss

    return step, [g, d]


# -------------------------------------------------------------------------------------------------------- pix2pix
class UNet(nn.Module):
    """256×256 to 256×256: eight halvings, eight doublings, each level handed over; dropout in three of them."""

    def __init__(self, width: int):
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(8)]
        normed = [0 < level < 7 for level in range(8)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs, norm in zip([3, *widths], widths, normed):
            layers = [nn.LeakyReLU(0.2)] if inputs != 3 else []
            layers.append(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not norm))
            self.down.append(nn.Sequential(*layers, *([nn.BatchNorm2d(outputs)] if norm else [])))
        for level in range(7, -1, -1):
            outputs = widths[level - 1] if level else 3
            inputs = widths[level] * (1 if level == 7 else 2)
            layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=level == 0)]
            layers += [nn.BatchNorm2d(outputs)] if level else []
            self.up.append(nn.Sequential(*layers, *([nn.Dropout(0.5)] if level > 4 else [])))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        skips.pop()
        for number, layer in enumerate(self.up):
            x = layer(torch.cat([x, skips.pop()], 1) if number else x)
        return torch.tanh(x.float())


def patch_judge(width: int) -> nn.Module:
    """The 70×70 PatchGAN on a picture and its input, six channels."""
    layers, inputs = [], 6
    for outputs, stride in zip([width, 2 * width, 4 * width, 8 * width], [2, 2, 2, 1]):
        layers.append(nn.Conv2d(inputs, outputs, 4, stride, 1, bias=inputs == 6))
        layers += [nn.BatchNorm2d(outputs)] * (inputs != 6) + [nn.LeakyReLU(0.2)]
        inputs = outputs
    return nn.Sequential(*layers, nn.Conv2d(inputs, 1, 4, 1, 1))


def pix2pix(fast: bool, low: bool, width: int = 64) -> Made:
    """Full size, batch 1: generator once, judge on the true and the drawn picture, both gradients, both updates."""
    g, d = placed(UNet(width), fast), placed(patch_judge(width), fast)
    adam_g, adam_d = adam(g, 2e-4, 0.5, fast), adam(d, 2e-4, 0.5, fast)
    pair = torch.randint(0, 256, (1, 256, 512, 3), dtype=torch.uint8).permute(0, 3, 1, 2)

    def step() -> torch.Tensor:
        inputs, targets = (pair.float() / 127.5 - 1.0).split(256, dim=3)
        with half(low):
            outputs = g(inputs)
            real, fake = d(torch.cat([inputs, targets], 1)), d(torch.cat([inputs, outputs], 1))
        d_loss = F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()
        goal = F.softplus(-fake.float()).mean() + 100.0 * (targets - outputs).abs().mean()
        for network, loss, keep in ((d, d_loss, True), (g, goal, False)):
            weights = list(network.parameters())
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, retain_graph=keep)):
                weight.grad = gradient
        adam_d.step()
        adam_g.step()
        return goal

    return step, [g, d]


MODELS: dict[str, Callable[[bool, bool], Made]] = {
    "m01 without": lambda fast, low: digits(False, fast, low),
    "m01 with": lambda fast, low: digits(True, fast, low),
    "dcgan": dcgan,
    "pix2pix": pix2pix,
}


class Row:
    """A model in one form, made when it is first asked for; it answers with seconds a step."""

    def __init__(self, make: Callable[[bool, bool], Made], form: tuple[bool, bool]):
        self.make, self.form, self.made = make, form, None

    def __call__(self, question: dict) -> dict:
        torch.manual_seed(1)
        if self.made is None:
            self.made = self.make(*self.form)
        step, modules = self.made

        def run() -> None:
            for _ in range(question["steps"]):
                loss = step()
            loss = float(loss.detach())
            if not np.isfinite(loss):
                raise ValueError(f"the loss is {loss}")

        seconds = timed(run) / question["steps"]
        return {"seconds": seconds, "matrix_weights": matrix_weights(modules)}


if __name__ == "__main__":
    table = {
        f"{name}, {form}": Row(make, how) for name, make in MODELS.items() for form, how in FORMS.items()
    }
    serve(table, pytorch())
