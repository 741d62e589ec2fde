"""The tables of m01's README, from its result files."""

from __future__ import annotations

import json

from tools.machine import sentence
from utils.lesson import RESULTS

PUBLISHED_2018 = (45, 90)  # seconds for 10,000 steps, the README of 2018, on a GPU that it does not name
ROWS = {
    "graph": "TF 1.x graph, session and `feed_dict`",
    "loop": "Keras layers and Adam in a `tf.function`",
    "ours": "**this folder**",
    "bfloat16": "this folder, `--mixed_precision`",
}
FORMS = {
    "ours with": "the fused operation (this folder)",
    "by_hand with": "`batch_norm_by_hand`",
    "formulas with": "`normalise(x, *batch_statistics(x), …)`, automatic differentiation",
}
RATES, SCALES, SEEDS = (0.001, 0.01, 0.1), (0.01, 10.0), (1, 2)


def read(section: str) -> dict:
    """A result file of m01.

    Raises:
        ValueError: the section was not measured.
    """
    path = RESULTS / f"m01_{section}.json"
    if not path.exists():
        raise ValueError(
            f"{path.name} is missing. Make it:  python -m benchmarks.m01_batch_normalization {section}"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def lines(head: str, rows: list[str], below: str) -> str:
    rule = "|" + "---|" * (head.count("|") - 1)
    return "\n".join([head, rule, *rows]) + f"\n\n{below}\n"


def speed_table() -> str:
    """10,000 steps as in 2018, from medians of a few."""
    result = read("speed")
    runs = result["runs"]
    rows = ["| 2018, on their GPU | | | | {} | {} |".format(*PUBLISHED_2018)]
    for key, name in ROWS.items():
        without, with_ = runs[f"{key} without"], runs[f"{key} with"]
        rows.append(
            f"| {name} | {without['ms']:.1f} | {with_['ms']:.1f} | {with_['ratio']:.2f} | {without['ms'] * 10:.0f} "
            f"| {with_['ms'] * 10:.0f} |"
        )
    below = (
        f"Median of {result['rounds']} rounds of {result['steps']} steps, in which all rows take turns; with / without "
        f"is the median of the ratios within a round; the seconds are scaled. {sentence(result['machine'])}."
    )
    return lines(
        "| | ms without | ms with | with / without | 10,000 steps without, s | with, s |", rows, below
    )


def forms_table() -> str:
    """The three forms of the layer in the same training step."""
    runs = read("speed")["runs"]
    rows = [f"| {name} | {runs[key]['ms']:.1f} | {runs[key]['ratio']:.2f} |" for key, name in FORMS.items()]
    return lines(
        "| form of the layer | ms a step | times the step without |", rows, "From the same run as above."
    )


def convergence_table() -> str:
    """Accuracy after a short training, mean of the seeds."""
    result = read("convergence")
    middle = result["every"]
    rows = []
    for rate, scale in [(rate, 1.0) for rate in RATES] + [(RATES[0], scale) for scale in SCALES]:
        cells = []
        for reading in (1, -1):
            for name in ("without", "with"):
                keys = [f"rate {rate:g}, init {scale:g}, {name}, seed {seed}" for seed in SEEDS]
                found = [result["runs"][key]["accuracy"][reading] for key in keys]
                cells.append(" and ".join(f"{value:.1%}" for value in found))
        rows.append(f"| {rate:g} | × {scale:g} | " + " | ".join(cells) + " |")
    below = (
        f"Accuracy on {result['images']:,} validation images, seeds {' and '.join(map(str, SEEDS))}, constant "
        "learning rate, undistorted images, momentum 0.9."
    )
    head = (
        f"| learning rate | initial weights | without, after {middle} steps | with, after {middle} "
        f"| without, after {result['steps']} | with, after {result['steps']} |"
    )
    return lines(head, rows, below)


def accuracy_table() -> str:
    """Test accuracy of `train.py`, three seeds."""
    result = read("accuracy")
    rows = []
    for name in ("with", "without"):
        runs = [run for key, run in result["runs"].items() if key.startswith(f"{name},")]
        each = ", ".join(f"{run['test_accuracy']:.2%}" for run in runs)
        mean = f"{result[name]['mean']:.2%} ± {result[name]['std']:.2%}"
        rows.append(f"| {name} batch normalization | {mean} | {each} |")
    below = f"{runs[0]['steps']:,} steps, seeds 1 to {len(runs)}. {sentence(result['machine'])}."
    return lines("| | test accuracy | the seeds |", rows, below)


TABLES = {
    "m01-speed": speed_table,
    "m01-forms": forms_table,
    "m01-convergence": convergence_table,
    "m01-accuracy": accuracy_table,
}
