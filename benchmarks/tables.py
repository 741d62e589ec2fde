"""Write the tables of the READMEs from the result files, between markers.

    python -m benchmarks.tables            # write
    python -m benchmarks.tables --check    # fail when a README differs from the result files

A table stands between `<!-- table: NAME -->` and `<!-- end table -->`; NAME is a key of TABLES below. Nothing
between the markers is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    bench_tables,
    gan_table,
    m01_tables,
    m04_tables,
    m05_tables,
    m06_tables,
    model_tables,
    t11_tables,
)
from tools.machine import sentence
from tools.notebooks import SCRIPTS, minutes_text

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end table -->)", re.DOTALL)

# What the lesson table says of each lesson's result; the names are those the lesson gives to `report`.
LESSON_RESULTS = {
    "T_01": "a = {a:.3f}, b = {b:.3f} found for y = 0.2 x² + 0.3",
    "T_02": "{test_accuracy:.2%} ± {spread:.2%} test accuracy, three seeds",
    "T_03": "batch normalization: {accuracy_with_update_ops:.1%} with its updates, "
    "{accuracy_without_update_ops:.1%} with the famous mistake",
    "T_04": "{test_accuracy:.2%} ± {test_accuracy_std:.2%} test accuracy, three seeds",
    "T_05": "LSTM {lstm_accuracy:.2%}, GRU {gru_accuracy:.2%}, Bi-GRU {bi_gru_accuracy:.2%} test accuracy",
    "T_06": "a step with scalars logged takes {slower_with_scalars_each_step:.1f} times as long, with histograms "
    "{slower_with_histograms_each_step:.0f} times",
    "T_07": "the mean of several checkpoints reads {accuracy_of_averaged_weights:.2%}, "
    "each alone {accuracy_of_single_checkpoints:.2%}",
    "T_08": "one label a class: {transferred_1_labels:.0%} transferred, {scratch_1_labels:.0%} from scratch",
    "T_09": "{padding_padded:.0%} padding becomes {padding_bucketed:.0%}; {test_accuracy:.1%} of the digits read",
    "T_10": "100 batches in {shuffling_row_numbers_ms:.0f} ms",
    "T_11": "{held_out_accuracy:.2%} ± {held_out_accuracy_std:.2%} of held-out pictures recognised, three seeds; first "
    "batch after {first_batch_shuffling_paths_s:.2f} s instead of {first_batch_shuffling_pictures_s:.2f} s",
    "T_12": "{test_accuracy:.2%} ± {test_accuracy_std:.2%} test accuracy, three seeds",
}


def read_result(name: str) -> dict:
    """A result file by its stem; empty when there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def lesson_figures(short: str) -> dict[str, float]:
    """Key figures of a lesson: means over seeds where a seeds file exists, else those of the stored run."""
    figures = dict(read_result(f"lesson_{short}").get("figures", {}))
    seeds = read_result(f"{short}_seeds").get("summary", {})
    figures.update({name: value["mean"] for name, value in seeds.items()})
    figures.update({f"{name}_std": value["std"] for name, value in seeds.items()})
    return figures


def lessons_table() -> str:
    """One row per lesson: link, question, measured time, result."""
    rows = ["| lesson | the question it answers | time | result |", "|---|---|---|---|"]
    machines = []
    for script in sorted(SCRIPTS.glob("T_*.py")):
        text = script.read_text(encoding="utf-8")
        title = re.search(r"^# # (.+)$", text, re.MULTILINE).group(1)
        question = re.search(r"^# \*\*Question\*\*: (.+?)\n#\n", text, re.MULTILINE | re.DOTALL).group(1)
        question = re.sub(r"\n# ", " ", question)
        short = "_".join(script.stem.split("_")[:2])
        measured = read_result(f"lesson_{short}")
        time = minutes_text(measured["seconds"]) if measured else ""
        outcome = ""
        if measured:
            try:
                outcome = LESSON_RESULTS.get(short, "").format(**lesson_figures(short))
            except KeyError as figure:
                raise ValueError(
                    f"{short} has no figure {figure}. Run it:  make notebooks T={short}"
                ) from None
        links = f"[{title}](example-notebook/{script.stem}.ipynb) · [py](example-python/{script.name})"
        rows.append(f"| {links} | {question[0].upper()}{question[1:]} | {time} | {outcome} |")
        if measured:
            machines.append(sentence(measured["machine"]))
    return (
        "\n".join(rows)
        + "\n\nMeasured by `make notebooks` on: "
        + "; also ".join(sorted(set(machines)))
        + ".\n"
    )


TABLES: dict[str, Callable[[], str]] = {
    "lessons": lessons_table,
    "t11-methods": t11_tables.methods_table,
    "t11-threads": t11_tables.threads_table,
    **m01_tables.TABLES,
    **m05_tables.TABLES,
    **m06_tables.TABLES,
    "gan-quality": gan_table.table,
    **model_tables.TABLES,
    **m04_tables.TABLES,
    **bench_tables.TABLES,
}


def filled(text: str, where: str) -> str:
    """The text with every marked table replaced by the one that the result files give.

    Raises:
        ValueError: a marker names an unknown table, or is not closed.
    """
    opened, closed = text.count("<!-- table: "), text.count("<!-- end table -->")
    if opened != closed or opened != len(MARKED.findall(text)):
        raise ValueError(f"{where}: {opened} table markers but {closed} end markers, or one is malformed")

    def replace(match: re.Match) -> str:
        if match["name"] not in TABLES:
            raise ValueError(f"{where}: no table is called {match['name']!r}; there are {', '.join(TABLES)}")
        return f"{match[1]}{TABLES[match['name']]()}{match[4]}"

    return MARKED.sub(replace, text)


def readmes() -> list[Path]:
    """All Markdown files that may hold tables."""
    folders = [REPO, REPO / "doc", REPO / "data", REPO / "benchmarks", *sorted((REPO / "models").glob("m*"))]
    return [path for folder in folders for path in sorted(folder.glob("*.md"))]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; write nothing")
    args = parser.parse_args(argv)
    stale = []
    for path in readmes():
        text = path.read_text(encoding="utf-8")
        try:
            new = filled(text, str(path.relative_to(REPO)))
        except ValueError as error:
            sys.exit(f"tables: {error}")
        if new == text:
            continue
        stale.append(str(path.relative_to(REPO)))
        if not args.check:
            part = path.with_name(f".{path.name}.part")
            part.write_text(new, encoding="utf-8", newline="\n")
            part.replace(path)
    if args.check and stale:
        sys.exit(f"tables differ from benchmarks/results in {', '.join(stale)}. Write them:  make tables")
    print(f"tables: {'written: ' + ', '.join(stale) if stale else 'all in step with benchmarks/results'}")


if __name__ == "__main__":
    main()
