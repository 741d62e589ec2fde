"""What batch normalization costs and what it brings: the tables and pictures of m01.

    python -m benchmarks.m01_batch_normalization                   # all sections, about 30 minutes on two cores
    python -m benchmarks.m01_batch_normalization speed averages    # some of them

Sections, each with its own file `benchmarks/results/m01_<section>.json`:

speed        milliseconds a step, with and without, in several forms; seconds for 10,000 steps as in 2018
convergence  loss and accuracy at three learning rates and two bad initialisations, with and without, two seeds
averages     the same weights read with moving averages, without their updates, and with the batch's own statistics
accuracy     the test accuracy of `train.py`, three seeds with and three without

A section that was interrupted goes on where it was, as long as the code of the model is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import time

import numpy as np

from benchmarks import m01_forms as forms
from benchmarks import m01_plots as plots
from tools.machine import facts
from utils.lesson import REPO, RESULTS, write_json

BATCH = 100
SPEED_STEPS, SPEED_ROUNDS = 3, 15  # a form runs 3 steps, then it is the next one's turn; 15 times round
SEEDS = (1, 2)
CURVE_STEPS, CURVE_EVERY, CURVE_IMAGES = 200, 50, 1000
RATES = (0.001, 0.01, 0.1)
SCALES = (0.01, 10.0)
ACCURACY_SEEDS = (1, 2, 3)


def code_digest(section: str) -> str:
    """A hash of the files that a section's figures come from: figures of other code are not continued."""
    names = ["batch_norm.py", "model.py"]  # short trainings are on undistorted images and set their own flags
    if section == "accuracy":
        names += ["mnist.py", "train.py"]
    return hashlib.sha256(b"".join((forms.FOLDER / name).read_bytes() for name in names)).hexdigest()[:16]


def stored(section: str) -> dict:
    """What a section has measured so far with this code; `{"runs": {}}` when nothing."""
    path = RESULTS / f"m01_{section}.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    code = code_digest(section)
    return result if result.get("code") == code else {"code": code, "runs": {}}


def store(section: str, result: dict) -> None:
    write_json(RESULTS / f"m01_{section}.json", {**result, "machine": facts()})


def speed() -> None:
    """All forms take turns of a few steps, so that what else the machine does falls on all alike."""
    runs = {name: make() for name, make in forms.FORMS.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        started = time.perf_counter()
        run(2)
        print(f"{name}: ready after {time.perf_counter() - started:.1f} s", flush=True)
    for number in range(SPEED_ROUNDS):
        for name, run in runs.items():
            started = time.perf_counter()
            run(SPEED_STEPS)
            times[name].append((time.perf_counter() - started) / SPEED_STEPS * 1000)
        if (number + 1) % 5 == 0:
            print(f"round {number + 1} of {SPEED_ROUNDS}", flush=True)
    result = {
        "code": code_digest("speed"),
        "steps": SPEED_STEPS,
        "rounds": SPEED_ROUNDS,
        "batch": BATCH,
        "runs": {},
    }
    for name, values in times.items():
        against = times.get(forms.PARTNER.get(name, ""))
        # Rounds are paired: both members of a ratio were measured within the same second or two.
        ratios = [a / b for a, b in zip(values, against)] if against else []
        low, middle, high = statistics.quantiles(values, n=4)
        result["runs"][name] = {
            "ms": round(middle, 2),
            "quartiles": [round(low, 2), round(high, 2)],
            "fastest": round(min(values), 2),
            "ratio": round(statistics.median(ratios), 3) if ratios else None,
        }
        print(
            f"{name:<40} {middle:6.1f} ms" + (f"   ratio {statistics.median(ratios):.3f}" if ratios else "")
        )
    store("speed", result)


def convergence() -> None:
    """Short trainings; each run is stored when it ends."""
    result = stored("convergence")
    result.update(steps=CURVE_STEPS, every=CURVE_EVERY, images=CURVE_IMAGES)
    settings = [(rate, 1.0) for rate in RATES] + [(RATES[0], scale) for scale in SCALES]
    for rate, scale in settings:
        for batch_norm in (False, True):
            for seed in SEEDS:
                key = f"rate {rate:g}, init {scale:g}, {'with' if batch_norm else 'without'}, seed {seed}"
                if key in result["runs"]:
                    continue
                flags = f"--learning_rate {rate} --init_scale {scale} --seed {seed} --no-decay --distort 0".split()
                flags += [
                    "--momentum",
                    "0.9",
                ]  # short runs: averages over ten batches keep up with the weights
                flags += ["--batch_norm" if batch_norm else "--no-batch_norm"]
                result["runs"][key] = forms.curve(flags, CURVE_STEPS, CURVE_EVERY, CURVE_IMAGES)
                print(f"{key}: accuracy {result['runs'][key]['accuracy'][-1]:.3f}", flush=True)
                store("convergence", result)
    plots.draw_convergence(result, RATES, SCALES, SEEDS)


def averages() -> None:
    """One training a seed; its weights are read in four ways as it goes."""
    result = stored("averages")
    result.update(steps=CURVE_STEPS, images=CURVE_IMAGES)
    for seed in SEEDS:
        if str(seed) not in result["runs"]:
            result["runs"][str(seed)] = forms.four_readings(seed, CURVE_STEPS, 25, CURVE_IMAGES)
            print(
                f"seed {seed}: " + str({k: v[-1] for k, v in result["runs"][str(seed)].items()}), flush=True
            )
            store("averages", result)
    plots.draw_averages(result, SEEDS)


def accuracy() -> None:
    """`train.py` as the README gives it, one process a seed; a run that was killed goes on from its checkpoint."""
    result = stored("accuracy")
    for batch_norm in (True, False):
        for seed in ACCURACY_SEEDS:
            name = "with" if batch_norm else "without"
            key = f"{name}, seed {seed}"
            if key in result["runs"]:
                continue
            folder = REPO / "build" / "m01_accuracy" / result["code"] / f"{name}_{seed}"
            command = [sys.executable, "train.py", "--preset", "cpu", "--seed", str(seed)]
            command += ["--output_dir", str(folder), "--batch_norm" if batch_norm else "--no-batch_norm"]
            if subprocess.run(command, cwd=forms.FOLDER).returncode:
                sys.exit(f"the training {key} failed; its log is {folder}/train.log")
            result["runs"][key] = json.loads((folder / "result.json").read_text())
            store("accuracy", result)
    for name in ("with", "without"):
        found = [run["test_accuracy"] for key, run in result["runs"].items() if key.startswith(f"{name},")]
        result[name] = {"mean": float(np.mean(found)), "std": float(np.std(found, ddof=1))}
        print(f"{name} batch normalization: {result[name]['mean']:.4f} ± {result[name]['std']:.4f}")
    store("accuracy", result)


SECTIONS = {"speed": speed, "convergence": convergence, "averages": averages, "accuracy": accuracy}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "sections", nargs="*", metavar="section", help=f"some of {', '.join(SECTIONS)}; none: all"
    )
    args = parser.parse_args(argv)
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    for name in args.sections or SECTIONS:
        SECTIONS[name]()


if __name__ == "__main__":
    main()
