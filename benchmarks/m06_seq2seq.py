"""Figures of m06: error rates of trained runs on the test part, and symbols a second in training.

    python -m benchmarks.m06_seq2seq quality models/m06_seq2seq/runs/m06 [more runs]
    python -m benchmarks.m06_seq2seq speed

`quality` lets the folder's own `evaluate.py` measure runs beside the baselines, and adds what the training said of
itself; runs measured before stay in the file. `speed` times training steps on the same batches, in rounds in which all
rows take turns. Results: results/m06_quality.json and m06_speed.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.run_logs import excerpt
from tools.machine import facts
from utils.lesson import REPO, RESULTS, write_json

FOLDER = REPO / "models" / "m06_seq2seq"
# What is timed: the flags, and whether all batches are padded to one length.
FORMS = {
    "this folder": ([], False),
    "all padded to one length": ([], True),
    "--no-constrain": (["--no-constrain"], False),
    "--model transformer": (["--model", "transformer"], False),
}
BATCHES, ROUNDS = 6, 3


def quality(runs: list[str]) -> None:
    """Measure runs with evaluate.py, greedy and beam 8."""
    path = RESULTS / "m06_quality.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": {}, "trained": {}}
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "figures.json"
        command = [sys.executable, str(FOLDER / "evaluate.py"), "--json", str(written), "--run", *runs]
        subprocess.run(command, check=True)
        figures = json.loads(written.read_text(encoding="utf-8"))
    trained = {Path(run).name: json.loads((Path(run) / "result.json").read_text()) for run in runs}
    for run in runs:
        trained[Path(run).name]["log"] = excerpt(Path(run), rates=False)
    figures["rows"] = {**before["rows"], **figures["rows"]}
    figures["trained"] = {**before["trained"], **trained}
    write_json(path, {**figures, "machine": facts()})


def make_forms() -> dict[str, tuple]:
    """For each row a compiled training step and its batches: (symbols, characters), and how many symbols are real."""
    sys.path.insert(0, str(FOLDER))
    import network
    import train
    from layers import Adam
    from runner import tf

    import data

    parts = data.load(None)["train"]
    vocabulary = data.Vocabulary.of(parts)
    forms = {}
    for name, (flags, one_length) in FORMS.items():
        args = train.parse_args(["--preset", "cpu", *flags])
        bounds = data.BOUNDS[-1:] if one_length else data.BOUNDS
        buckets = [
            data.encode(vocabulary, [parts[i] for i in rows], bound)
            for bound, rows in data.by_length(parts, bounds)
        ]
        plan = data.Batches(buckets, args.batch_size, args.seed)
        chosen = [plan.rows_of(step) for step in range(BATCHES)]
        batches = [tuple(tf.constant(array[rows]) for array in buckets[i]) for i, rows in chosen]
        real = sum(int(np.count_nonzero(symbols)) for symbols, _ in batches)
        made = network.make_network(args, vocabulary)
        optimizer = Adam(made.trainable_variables, 1.0, beta_2=0.98)
        step = tf.function(
            train.make_step(args, made, optimizer, vocabulary.first_syllable),
            autograph=False,
            reduce_retracing=True,
        )
        forms[name] = step, batches, real, tf
    return forms


def speed() -> None:
    """Time training steps of all rows in turns."""
    forms = make_forms()
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(ROUNDS + 1):  # the first one traces and warms up
        for name, (step, batches, _, tf) in forms.items():
            started = time.perf_counter()
            for number, batch in enumerate(batches):
                losses = step(tf.constant(number, tf.int64), *batch)
            float(losses["loss"])
            if turn:
                seconds[name].append(time.perf_counter() - started)
    rows = {}
    for name, (_, batches, real, _) in forms.items():
        padded = sum(int(np.prod(symbols.shape)) for symbols, _ in batches)
        rows[name] = {
            "symbols_per_second": real / float(np.median(seconds[name])),
            "spread": (max(seconds[name]) - min(seconds[name])) / float(np.median(seconds[name])),
            "padding": 1 - real / padded,
        }
    write_json(
        RESULTS / "m06_speed.json", {"rows": rows, "rounds": ROUNDS, "batches": BATCHES, "machine": facts()}
    )
    for name, row in rows.items():
        print(f"{name:<28}{row['symbols_per_second']:>10,.0f} symbols/s  {row['padding']:.1%} padding")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=("quality", "speed"))
    parser.add_argument("runs", nargs="*", help="folders of trained networks, for quality")
    args = parser.parse_args(argv)
    if args.section == "quality":
        if not args.runs:
            parser.error("name the runs to measure")
        quality([str(Path(run).resolve()) for run in args.runs])
    else:
        speed()


if __name__ == "__main__":
    main()
