"""Trained generators side by side: samples drawn from runs, measured, and put into a table.

    python -m benchmarks.gan_table m02_dcgan:runs/dcgan_1 m02_dcgan:runs/dcgan_2 --label DCGAN
    python -m benchmarks.gan_table m03_wgan:runs/wgan_gp_1 m03_wgan:runs/wgan_gp_2 --label WGAN-GP
    python -m benchmarks.gan_table                              the table from all files written so far
    python -m benchmarks.gan_table --figure                     and quality over minutes: figs/gan_over_minutes.png

A run is given as MODEL:FOLDER, the model's folder under models/ and the run's folder. Its `generate.py` draws 5,000
samples, `benchmarks.gan_quality` measures them, and the figures go to results/gan_run_<label>_<seed>.json. The
sample grids that the training saved give quality over minutes: the same classifier on each grid's pictures. Minutes
come from the step rates in the run's log; when it ran beside other programs, `--step_seconds` gives the seconds of a
step on a machine to itself, as `python -m benchmarks.gan_speed` measures them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import gan_classifier, gan_quality
from benchmarks.gan_pictures import SIZE, QualityError, read_pictures, read_real
from tools.machine import facts
from utils.lesson import REPO, RESULTS, save_figure, write_json

RATE = re.compile(r"^step +(\d+)/\d+ .*?([\d.]+) steps/s", re.MULTILINE)  # a line of train.log
GRID_NAME = re.compile(r"_(\d+)\.png$")  # samples_000500.png
# What stands in the table, as `gan_quality.headline` calls it, and how it is written.
ROWS = {
    "values covered": "{:.0f}",
    "… in at least 5 samples": "{:.0f}",
    "… a quarter as often as real": "{:.0f}",
    "sure of all five attributes": "{:.1%}",
    "frequencies off by": "{:.3f}",
    "Fréchet (classifier features)": "{:.2f}",
    "sliced Wasserstein mean": "{:.1f}",
    "alike pairs of a 64-grid": "{:.1f}",
    "closer than real pairs": "{:.1%}",
}


def draw_samples(model: str, run: Path, count: int, seed: int = 1) -> np.ndarray:
    """Let a run's own `generate.py` draw samples: uint8 (count, 64, 64, 3).

    Raises:
        QualityError: there is no such script or run, or it failed; its last lines are in the message.
    """
    script = REPO / "models" / model / "generate.py"
    if not script.exists():
        raise QualityError(f"models/{model}/generate.py does not exist; give runs as MODEL:FOLDER.")
    if not run.is_dir():
        raise QualityError(f"{run} is not a run's folder.")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "samples"
        command = [sys.executable, script.name, "--run", str(run.resolve()), "--count", str(count)]
        command += ["--out", str(target), "--seed", str(seed)]
        done = subprocess.run(command, cwd=script.parent, capture_output=True, text=True)
        if done.returncode != 0:
            raise QualityError(f"{model}/generate.py failed on {run}:\n{(done.stdout + done.stderr)[-1500:]}")
        return read_pictures(target, count)


def tiles(sheet: np.ndarray, gap: int = 2) -> np.ndarray:
    """The 64-pixel pictures of a grid with white gaps, row by row: (height, width, 3) -> (n, 64, 64, 3)."""
    step = SIZE + gap
    rows, columns = (sheet.shape[0] - gap) // step, (sheet.shape[1] - gap) // step
    if sheet.shape[:2] != (rows * step + gap, columns * step + gap):
        raise QualityError(
            f"a grid of {sheet.shape[1]}x{sheet.shape[0]} pixels is not made of 64-pixel pictures."
        )
    inner = sheet[gap:, gap:].reshape(rows, step, columns, step, 3)[:, :SIZE, :, :SIZE]
    return inner.transpose(0, 2, 1, 3, 4).reshape(-1, SIZE, SIZE, 3)


def minutes_at(log: str) -> dict[int, float]:
    """Step -> minutes of training up to it, from the step rates in train.log; pauses do not count.

    A stretch that a resumed run did twice counts once, at its last rate.
    """
    minutes, before, total = {0: 0.0}, 0, 0.0
    for step, rate in sorted({int(step): float(rate) for step, rate in RATE.findall(log)}.items()):
        total += (step - before) / max(rate, 1e-9) / 60.0
        minutes[step], before = total, step
    return minutes


def over_minutes(
    run: Path,
    real: np.ndarray,
    attributes: dict,
    classifier: gan_classifier.Classifier,
    step_seconds: float | None = None,
) -> list[dict]:
    """Quality of each sample grid that the training saved: step, minutes, and figures of its 64 pictures."""
    log = run / "train.log"
    minutes = minutes_at(log.read_text(encoding="utf-8")) if log.exists() else {0: 0.0}
    curve = []
    for path in sorted((run / "samples").glob("samples_*.png")):
        with Image.open(path) as picture:
            pictures = tiles(np.asarray(picture.convert("RGB")))
        parts = ("attributes", "repeats")
        found = gan_quality.compare(pictures, real, attributes, parts, classifier=classifier)
        step = int(GRID_NAME.search(path.name).group(1))
        logged = float(np.interp(step, list(minutes), list(minutes.values())))
        spent = step * step_seconds / 60 if step_seconds else logged
        sure = [part["sure"] for part in found["attributes"]["attributes"].values()]
        row = {"step": step, "minutes": round(spent, 2), "parts recognised": round(float(np.mean(sure)), 4)}
        curve.append({**row, **gan_quality.headline(found)})
    return curve


def some_lines(log: str, count: int = 8) -> list[str]:
    """Step and losses of `count` lines of a log, spread evenly from the first to the last; without rates."""
    lines = {int(line.split()[1].split("/")[0]): line for line in log.splitlines() if RATE.match(line)}
    steps = sorted(lines)
    chosen = dict.fromkeys(steps[round(i)] for i in np.linspace(0, len(steps) - 1, min(count, len(steps))))
    return [re.sub(r" +[\d.]+ steps/s.*", "", lines[step]) for step in chosen]


def measure_run(model: str, run: Path, label: str, count: int, step_seconds: float | None = None) -> Path:
    """Measure one run and write its result file; returns the file."""
    real, attributes = read_real(gan_quality.REAL)
    classifier = gan_classifier.Classifier.load()
    samples = draw_samples(model, run, count)
    config_file = run / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8")) if config_file.exists() else {}
    result = gan_quality.compare(samples, real, attributes, classifier=classifier)
    print(f"{label}, seed {config.get('seed')}\n{gan_quality.describe(result)}", flush=True)
    curve = over_minutes(run, real, attributes, classifier, step_seconds)
    slug = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    target = RESULTS / f"gan_run_{slug}_{config.get('seed', run.name)}.json"
    kept = {name: value for name, value in config.items() if not isinstance(value, str) or "/" not in value}
    content = {"label": label, "model": model, "config": kept, "headline": gan_quality.headline(result)}
    log = run / "train.log"
    content["log"] = some_lines(log.read_text(encoding="utf-8")) if log.exists() else []
    content["minutes"] = curve[-1]["minutes"] if curve else 0.0
    write_json(target, {**content, **result, "over_minutes": curve, "machine": facts()})
    return target


def read_runs() -> dict[str, list[dict]]:
    """All measured runs: label -> results, one a seed.

    Raises:
        QualityError: there are none.
    """
    runs: dict[str, list[dict]] = {}
    for path in sorted(RESULTS.glob("gan_run_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        runs.setdefault(result["label"], []).append(result)
    if not runs:
        raise QualityError("no run has been measured yet; give some as MODEL:FOLDER.")
    return runs


def figure(path_name: str = "gan_over_minutes.png") -> None:
    """Draw quality over minutes of all measured runs: a line each, a colour for each label."""
    import matplotlib.pyplot as plt

    drawn = {
        "parts recognised": "share of the parts of 64 samples",
        "values covered": "of 66, those in 64 samples",
    }
    page, axes = plt.subplots(1, len(drawn), figsize=(10, 3.6), layout="constrained")
    for ax, (name, unit) in zip(axes, drawn.items()):
        for number, (label, group) in enumerate(read_runs().items()):
            for k, run in enumerate(group):
                curve = run["over_minutes"]
                x, y = [row["minutes"] for row in curve], [row[name] for row in curve]
                ax.plot(x, y, ".-", color=f"C{number}", alpha=1.0 - 0.4 * (k > 0), label=None if k else label)
        ax.set(xlabel="minutes of training", ylabel=unit, title=name)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    axes[0].legend()
    save_figure(page, path_name)


def table() -> str:
    """All measured runs as a Markdown table: a column for each label, least and most over its seeds; real last."""
    runs = read_runs()
    floor = json.loads(gan_quality.FLOOR.read_text(encoding="utf-8")) if gan_quality.FLOOR.exists() else None
    heads = [f"{label} ({len(group)} seed{'s' * (len(group) > 1)})" for label, group in runs.items()] + [
        "real against real"
    ]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name, form in {"minutes": "{:.0f}", **ROWS}.items():
        cells = []
        for group in runs.values():
            found = [run["minutes"] if name == "minutes" else run["headline"][name] for run in group]
            ends = [form.format(end(found)) for end in (min, max)]
            cells.append(" – ".join(dict.fromkeys(ends)))  # one figure when both are written alike
        cells.append(form.format(floor["mean"][name]) if floor and name in floor["mean"] else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="MODEL:FOLDER", help="runs to measure (none: the table)")
    parser.add_argument("--label", help="the column these runs stand in (the model's name)")
    parser.add_argument("--count", type=int, default=gan_quality.COUNT, help="samples to draw (%(default)s)")
    parser.add_argument("--step_seconds", type=float, help="seconds a step, instead of the log's rates")
    parser.add_argument("--figure", action="store_true", help="draw quality over minutes")
    args = parser.parse_args(argv)
    for run in args.runs:
        if ":" not in run:
            parser.error(f"give a run as MODEL:FOLDER, for example m02_dcgan:{run}")
    return args


def main(argv: list[str] | None = None) -> int:
    """Measure the runs that are named, then print the table and draw the figure; the exit status."""
    args = parse_args(argv)
    try:
        for text in args.runs:
            model, _, folder = text.partition(":")
            label = args.label or model
            file = measure_run(model, Path(folder), label, args.count, args.step_seconds)
            print(f"wrote {file.name}", flush=True)
        print(table())
        if args.figure:
            figure()
    except QualityError as error:
        print(f"gan_table: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
