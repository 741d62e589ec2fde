"""The two tables of T_11 for a README, from benchmarks/results/T_11.json."""

from __future__ import annotations

import json

from tools.machine import sentence
from utils.lesson import RESULTS


def read() -> dict:
    """The result file.

    Raises:
        ValueError: it was not measured.
    """
    path = RESULTS / "T_11.json"
    if not path.exists():
        raise ValueError(f"{path.name} is missing. Make it:  python -m benchmarks.t11_images")
    return json.loads(path.read_text(encoding="utf-8"))


def methods_table() -> str:
    """100 batches of 128 pictures: the ways of 2018, of today, and the decode limit."""
    result = read()
    rows = []
    for name, row in (result["rows"] | result.get("peers", {})).items():
        before = f"{row['seconds_2018']:g}" if row.get("seconds_2018") else ""
        share = "" if "JPEG" in name or "cached" in name else f"{row['share_of_limit']:.0%}"
        first = f"{row['first_batch_s']:.2f}" if row["first_batch_s"] else ""
        spread = f"{row['low']:.1f} to {row['high']:.1f}"
        rows.append(f"| {name} | {before} | {row['s']:.1f} | {spread} | {first} | {share} |")
    head = "| way | 2018, s | s | range | first batch, s | of the decode limit |\n|---|---|---|---|---|---|"
    disturbed = [name for name, row in result["rows"].items() if row["disturbed"]]
    beside = f", PyTorch {result['pytorch']}" if "pytorch" in result else ""
    note = f" **The machine was busy** in {', '.join(disturbed)}." if disturbed else ""
    below = (
        f"Seconds for 100 batches of 128 PNGs of 256×256, one pass of {result['batches_measured']} batches times "
        f"{result['scaled_by']}; 2018 on another machine, with a mechanical disk. {sentence(result['machine'])}"
        f"{beside}.{note}"
    )
    return "\n".join([head, *rows]) + f"\n\n{below}\n"


def threads_table() -> str:
    """TFRecord files with 1 to 8 threads, with and without a resize from 256 to 224."""
    result = read()
    cells, published = result["threads"], result["threads_2018_seconds_for_500_batches"]
    counts = sorted({int(name.split()[2]) for name in cells})
    rows = []
    for side, place, what in ((256, 0, "no resize"), (224, 1, "resize to 224")):
        old = [
            f"{published[str(count)][place] / 5:.1f}" if str(count) in published else "" for count in counts
        ]
        rows.append(f"| 2018, {what} | {' | '.join(old)} |")
        for key, name in (("queue", "queue runners as in 2018"), ("today", "`tf.data`")):
            seconds = [f"{cells[f'{key} {side} {count}']['s']:.1f}" for count in counts]
            rows.append(f"| {name}, {what} | {' | '.join(seconds)} |")
    head = f"| threads | {' | '.join(map(str, counts))} |\n|---|{'---|' * len(counts)}"
    below = f"Seconds for 100 batches of 128 from TFRecord files of PNGs. {sentence(result['machine'])}."
    return "\n".join([head, *rows]) + f"\n\n{below}\n"
