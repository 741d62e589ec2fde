"""The tables of m04's README, from its result files."""

from __future__ import annotations

import json

from benchmarks.run_logs import block
from tools.machine import sentence
from utils.lesson import RESULTS

QUALITY = {
    "copy": "baseline: the outline itself",
    "nearest": "baseline: the cat of the most similar training outline",
    "pix2pix": "**pix2pix, CPU preset**",
}


def read(section: str) -> dict:
    """A result file of m04.

    Raises:
        ValueError: the section was not measured.
    """
    path = RESULTS / f"m04_{section}.json"
    if not path.exists():
        raise ValueError(f"{path.name} is missing. Make it:  python -m benchmarks.m04_pix2pix {section}")
    return json.loads(path.read_text(encoding="utf-8"))


def lines(head: str, rows: list[str], below: str) -> str:
    rule = "|" + "---|" * (head.count("|") - 1)
    return "\n".join([head, rule, *rows]) + f"\n\n{below}\n"


def quality_table() -> str:
    """The trained generator beside two baselines."""
    result = read("quality")
    rows = [
        f"| {name} | {row['l1']:.4f} | {row['psnr']:.2f} | {row['ssim']:.4f} | {row['sharpness']:.2f} |"
        for name, row in ((name, result["rows"][key]) for key, name in QUALITY.items())
    ]
    training = result["training"]
    steps, planned = result["step"], training["config"]["steps"]
    of = "" if steps == planned else f" of {planned:,}: a training that has not ended"
    below = (
        f"Means over {result['pictures']} held-out pictures after {steps:,} steps{of}, {training['minutes']:.1f} "
        f"minutes of training, seed {training['config']['seed']}. L1 is lower than the outline's on "
        f"{result['better_than']['copy']:.0%} of the pictures and lower than the nearest cat's on "
        f"{result['better_than']['nearest']:.0%}. {sentence(result['machine'])}."
    )
    return lines("| | L1 ↓ | PSNR, dB ↑ | SSIM ↑ | sharpness |", rows, below)


def losses_table() -> str:
    """The three losses of the paper."""
    result = read("losses")
    rows = [
        f"| {name} | {row['l1']:.4f} | {row['psnr']:.2f} | {row['ssim']:.4f} | {row['sharpness']:.2f} |"
        for name, row in result["rows"].items()
    ]
    config = result["config"]
    side, width, batch = config["crop"], config["ngf"], config["batch_size"]
    below = (
        f"{side}×{side} pixels, ngf = ndf = {width}, {config['steps']:,} steps of {batch} pairs each, in one order, "
        f"one seed each; means over {result['pictures']} held-out pictures. {sentence(result['machine'])}."
    )
    return lines("| trained with | L1 ↓ | PSNR, dB ↑ | SSIM ↑ | sharpness |", rows, below)


def speed_table() -> str:
    """Seconds a step; PyTorch's beside it where it was measured."""
    result = read("speed")
    rows = []
    path = RESULTS / "peer_models.json"
    networks = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"networks": {}}
    cell = networks["networks"].get("pix2pix")
    if cell:
        ours, other = (
            {name: row["median"] / 1e3 for name, row in cell[side].items()} for side in ("ours", "pytorch")
        )
        best = min(other["eager"], other["channels_last"])
        rows = [
            f"| PyTorch {networks['pytorch']}, eager | {other['eager']:.2f} | | |",
            f"| PyTorch, channels_last, fused Adam | {other['channels_last']:.2f} | {other['bfloat16']:.2f} | |",
            f"| **this folder**, beside them | **{ours['ours']:.2f}** | **{ours['bfloat16']:.2f}** "
            f"| {ours['ours'] / best:.2f} and {ours['bfloat16'] / other['bfloat16']:.2f} |",
        ]
    for key, name in (("paper", "by itself"), ("cpu", f"CPU preset, batch {result['cpu_batch']}")):
        wide, short = result["rows"][key]["s"], result["rows"][f"{key}, bfloat16"]["s"]
        rows.append(f"| this folder, {name} | {wide:.3f} | {short:.3f} | |")
    below = (
        f"Medians of {result['steps']} steps on pairs of 256×256, both networks updated; ngf = ndf = 64 and batch 1 "
        "unless said. The first rows took turns in one run, the last ones in another. "
        f"{sentence(result['machine'])}."
    )
    return lines("| | float32, s | bfloat16, s | time / PyTorch's best |", rows, below)


TABLES = {
    "m04-log": lambda: block(read("quality")["log"]),
    "m04-quality": quality_table,
    "m04-losses": losses_table,
    "m04-speed": speed_table,
}
