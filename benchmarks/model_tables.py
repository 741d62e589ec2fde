"""Tables of the model folders' READMEs, as Markdown, from the result files."""

from __future__ import annotations

import json
from pathlib import Path

from tools.machine import sentence

RESULTS = Path(__file__).resolve().parent / "results"


def read(name: str) -> dict:
    """A result file by its stem.

    Raises:
        ValueError: it is missing; the message names it.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise ValueError(f"benchmarks/results/{path.name} is missing: run the benchmark that the table names")
    return json.loads(path.read_text(encoding="utf-8"))


def seconds(row: dict) -> str:
    """A median with its range where that says something: `0.382 (0.375 to 0.390)`."""
    digits = 3 if row["s"] < 1 else 2
    low, middle, high = (f"{row[name]:.{digits}f}" for name in ("low", "s", "high"))
    return middle if low == high else f"{middle} ({low} to {high})"


def gan_speed() -> str:
    """Seconds a step of the picture models, share of the convolution peak, memory, peers."""
    result = read("gan_speed")
    lines = [
        "| a step of | float32, s | of the peak | bfloat16, s | of the peak | memory | others, of their peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        wide, half = row["float32"], row["bfloat16"]
        share = row["operations"] / result["peers_peak_operations_per_s"]
        peers = ", ".join(f"{peer} {share / value:.0%}" for peer, value in row["peers_s"].items())
        lines.append(
            f"| {name} | {seconds(wide)} | {wide['share_of_peak']:.0%} | {seconds(half)} | {half['share_of_peak']:.0%} "
            f"| {wide['memory_bytes'] / 1e9:.1f} GB | {peers} |"
        )
    peaks = {kind: value / 1e9 for kind, value in result["peak_operations_per_s"].items()}
    busy = result["busy_before_percent"]
    note = f" Other programs took up to {busy:.0f} % of the processor meanwhile." if busy > 20 else ""
    return (
        "\n".join(lines)
        + f"\n\nMedian of {result['rounds']} rounds in turns. The peak: {peaks['float32']:.0f} GFLOP/s in float32, "
        f"{peaks['bfloat16']:.0f} in bfloat16.{note} The others computed the same step in float32 on another machine, "
        f"whose peak is {result['peers_peak_operations_per_s'] / 1e9:.0f} GFLOP/s: compare shares, not seconds.\n"
        f"Measured on: {sentence(result['machine'])}.\n"
    )


def gan_changes() -> str:
    """What each change of DCGAN's CPU preset brings."""
    result = read("gan_changes")
    lines = [
        f"| after {result['steps']:,} steps | values found, of 66 | in at least 5 samples | Fréchet distance |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['name']} | {row['values covered']:.0f} | {row['… in at least 5 samples']:.0f} "
            f"| {row['Fréchet (classifier features)']:.1f} |"
        )
    return "\n".join(lines) + f"\n\nOne seed each, in bfloat16, on: {sentence(result['machine'])}.\n"


def gan_log(label: str, seed: int = 1) -> str:
    """Some lines of the log of a measured run."""
    result = read(f"gan_run_{label}_{seed}")
    return "```\n" + "\n".join(result["log"]) + "\n```\n"


TABLES = {
    "gan-speed": gan_speed,
    "gan-changes": gan_changes,
    "m02-log": lambda: gan_log("dcgan"),
    "m03-log": lambda: gan_log("wgan_gp"),
}
