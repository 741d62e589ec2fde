"""The tables of m06's README, from its result files."""

from __future__ import annotations

import json

from benchmarks.run_logs import block
from tools.machine import sentence
from utils.lesson import RESULTS

MODELS = {
    ("attention", True): "**encoder, attention, decoder**",
    ("attention", False): "`--no-constrain`",
    ("transformer", True): "`--model transformer`",
    ("transformer", False): "`--model transformer --no-constrain`",
}


def read(section: str) -> dict:
    """A result file of m06.

    Raises:
        ValueError: the section was not measured.
    """
    path = RESULTS / f"m06_{section}.json"
    if not path.exists():
        raise ValueError(f"{path.name} is missing. Make it:  python -m benchmarks.m06_seq2seq {section}")
    return json.loads(path.read_text(encoding="utf-8"))


def quality_table() -> str:
    """Character error rate on the test part."""
    result = read("quality")
    lines = [
        "| | seed | core minutes | search | CER | 95 % | pieces without an error |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        figures = f"{row['cer']:.4f} | {row['low']:.4f} to {row['high']:.4f} | {row['sentences_right']:.1%} |"
        if "model" not in row:
            lines.append(f"| {name} | | | | {figures}")
            continue
        trained = result["trained"][name.split(",")[0]]
        minutes = "" if trained["first_step"] else f"{trained['cpu_seconds'] / 60:.1f}"
        search = "greedy" if row["beam"] == 1 else f"beam {row['beam']}"
        search += f", bigram model beside it, weight {row['bigram']:g}" if row["bigram"] else ""
        title = MODELS[row["model"], row["constrain"]]
        lines.append(f"| {title} | {row['seed']} | {minutes} | {search} | {figures}")
    resumed = any(trained["first_step"] for trained in result["trained"].values())
    return "\n".join(lines) + (
        f"\n\nCER: edit distance over hanzi alone, {result['pieces']:,} pieces of the test part; 95 %: bootstrap over "
        "the pieces. Core minutes: processor time of the whole training, reading of the text and validation "
        f"included{'; empty where it was interrupted' * resumed}. {sentence(result['machine'])}.\n"
    )


def speed_table() -> str:
    """Symbols a second in training."""
    result = read("speed")
    first = result["rows"]["this folder"]["symbols_per_second"]
    lines = ["| | symbols a second | against the first | padding |", "|---|---|---|---|"]
    for name, row in result["rows"].items():
        shown = f"`{name}`" if name.startswith("--") else name
        rate = row["symbols_per_second"]
        lines.append(f"| {shown} | {rate:,.0f} | {rate / first:.2f} | {row['padding']:.1%} |")
    return "\n".join(lines) + (
        f"\n\nReal symbols, padding not counted; median of {result['rounds']} rounds of {result['batches']} "
        f"batches in which the rows take turns. {sentence(result['machine'])}.\n"
    )


def log() -> str:
    """Of the first measured run with attention."""
    return block(next(iter(read("quality")["trained"].values()))["log"])


TABLES = {"m06-log": log, "m06-quality": quality_table, "m06-speed": speed_table}
