"""The tables of m05's README, from the result files of `benchmarks.m05_segmentation`."""

from __future__ import annotations

import json

from benchmarks.run_logs import block
from tools.machine import sentence
from utils.lesson import RESULTS

FIGURES = ("precision", "recall", "f1", "unseen_recall", "seen_recall")
ABLATIONS = {"no_lexicon": "without the lexicon, seed 1", "no_crf": "without the field, seed 1"}
SPEEDS = {
    "training": "training",
    "training, bfloat16": "training, `--mixed_precision`",
    "training, batches not bucketed": "training, `--no-bucketed`",
    "lstm.py": "LSTM alone, forwards and backwards: `lstm.py`",
    "keras.layers.LSTM": "LSTM alone, forwards and backwards: `keras.layers.LSTM`",
    "segmenting": "segmenting, text to words",
    "jieba": "jieba, text to words",
}


def read(section: str) -> dict:
    """A result file of m05.

    Raises:
        ValueError: the section was not measured.
    """
    path = RESULTS / f"m05_{section}.json"
    if not path.exists():
        raise ValueError(f"{path.name} is missing. Make it:  python -m benchmarks.m05_segmentation {section}")
    return json.loads(path.read_text(encoding="utf-8"))


def accuracy_table() -> str:
    """Scores of the tagger, with parts left out, and of the rivals, on the test part."""
    result = read("accuracy")
    runs, summary = result["runs"], result["summary"]
    seeds = [name for name in runs if name.startswith("seed")]
    several = len(seeds) > 1
    spread = lambda name: f" ± {summary[name]['std']:.2f}" if several else ""
    cells = [f"{summary[name]['mean']:.2f}{spread(name)}" for name in FIGURES]
    title = f"mean and spread of {len(seeds)} seeds" if several else "one seed"
    rows = [f"| **this tagger**, {title} | " + " | ".join(cells) + " |"]
    one = lambda figures: " | ".join(f"{100 * figures[name]:.2f}" for name in FIGURES)
    for name, title in ABLATIONS.items():
        if name in runs:
            rows.append(f"| {title} | {one(runs[name]['scores']['this tagger'])} |")
    first = runs[seeds[0]]
    for name, figures in first["scores"].items():
        if name != "this tagger":
            rows.append(f"| {name} | {one(figures)} |")
    f1 = ", ".join(f"{value:.2f}" for value in summary["f1"]["values"])
    unseen = first["scores"]["this tagger"]["unseen_share"]
    return (
        "| | P | R | F1 | R of unseen words | R of seen words |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nPercent. {first['sentences']:,} test sentences of {first['words']:,} words; "
        f"{unseen:.2%} of them do not occur in the training part. F1 of the seeds: {f1}. {first['steps']:,} steps of "
        f"{first['batch_size']} sentences. {sentence(result['machine'])}.\n"
    )


def counting_table() -> str:
    """One segmentation, counted in four ways."""
    run = read("accuracy")["runs"]["seed1"]
    counted, figures = run["counted"], run["scores"]["this tagger"]
    rows = [
        ("tags of clauses, filling counted, as in 2018", counted["tags_of_clauses_with_padding"]),
        ("tags of the same clauses, characters only", counted["tags_of_clauses"]),
        ("tags of all characters, punctuation too", counted["tags"]),
        ("**F1 of words**", figures["f1"]),
    ]
    return (
        "| what is counted | % |\n|---|---|\n"
        + "\n".join(f"| {name} | {value:.2%} |" for name, value in rows)
        + f"\n\nThe tagger of seed 1 on the test part. {counted['padding_share']:.1%} of the places in the clauses are "
        "filling. Take that out of 94.42 %, all filling being right: "
        f"{counted['tags_2018_without_padding']:.2%} of the characters had the right tag, and fewer of the words "
        "were right.\n"
    )


def mistakes_table() -> str:
    """The stretches that are most often cut otherwise than in the corpus."""
    run = read("accuracy")["runs"]["seed1"]
    rows = [f"| {expected} | {found} | {times} |" for expected, found, times in run["confusions"][:16]]
    return (
        "| the corpus | the tagger | times |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n\nThe most frequent of seed 1 on the test part.\n"
    )


def speed_table() -> str:
    """Characters a second, and the share of padding."""
    result = read("speed")
    rows = []
    for name, title in SPEEDS.items():
        row = result["rows"][name]
        rows.append(f"| {title} | {row['rate']:,.0f} | {row['low']:,.0f} to {row['high']:,.0f} |")
    padding = result["padding"]
    return (
        "| | characters a second | range |\n|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nMedian of {result['rounds']} rounds in turns. Batches of {result['batch']} sentences of "
        f"{result['mean_length']:.0f} characters in the mean: {padding['random']:.1%} of the places are "
        f"padding when they are drawn at random, {padding['bucketed']:.1%} when they are of nearly one length. At this "
        f"rate the {result['steps']:,} steps of the CPU preset take {result['minutes']:.1f} minutes. "
        f"{sentence(result['machine'])}.\n"
    )


TABLES = {
    "m05-log": lambda: block(read("accuracy")["runs"]["seed1"]["log"]),
    "m05-accuracy": accuracy_table,
    "m05-counting": counting_table,
    "m05-mistakes": mistakes_table,
    "m05-speed": speed_table,
}
