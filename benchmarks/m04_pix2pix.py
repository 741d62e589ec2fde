"""What pix2pix costs and what it reaches: the tables and pictures of m04.

    python -m benchmarks.m04_pix2pix speed      # seconds a step, about a minute
    python -m benchmarks.m04_pix2pix quality    # the run in models/m04_pix2pix/runs/pix2pix against two baselines
    python -m benchmarks.m04_pix2pix losses     # L1 alone, GAN alone, both, and all layers normalised: short trainings

Each section writes `benchmarks/results/m04_<section>.json`; `quality` and `losses` also draw `figs/m04_*.png`.
`quality` trains nothing: `python pix2pix.py --mode train` in the model's folder makes the run, and a run elsewhere is
named by `--run`. `losses` goes on with trainings that were interrupted; each `--minutes` it stops by itself.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.run_logs import excerpt
from tools.machine import facts
from utils.lesson import DATA, FIGS, REPO, RESULTS, RUNS, quiet_start, write_json

FOLDER = REPO / "models" / "m04_pix2pix"
SPEED = {  # name: flags
    "paper": ["--preset", "paper"],
    "paper, bfloat16": ["--preset", "paper", "--mixed_precision"],
    "cpu": ["--preset", "cpu"],
    "cpu, bfloat16": ["--preset", "cpu", "--mixed_precision"],
}
SPEED_ROUNDS, SPEED_STEPS = 5, 4

BOTH = "L1 + GAN"
LOSSES = {  # name: folder, flags
    "L1": ("l1", ["--gan_weight", "0"]),
    "GAN": ("gan", ["--l1_weight", "0"]),
    BOTH: ("l1_gan", []),
    f"{BOTH}, `--norm_above 1`": ("normed", ["--norm_above", "1"]),
}
# Small, so that the trainings take minutes: what the losses do is seen as well.
LOSSES_FLAGS = (
    "--preset cpu --crop 128 --scale_size 128 --ngf 16 --ndf 16 --steps 3000 --ema 0.99 --log_every 100 "
    "--sample_every 1000 --save_every 500"
)
SHOWN = (1, 3, 5, 7, 12, 14)  # numbers of the test pictures in the figures, chosen before any was generated

WORKER = """
import json, sys, time
import pix2pix, tensorflow as tf
rounds, steps = int(sys.argv[1]), int(sys.argv[2])
runs = {}
for name, flags in json.loads(sys.argv[3]).items():
    args = pix2pix.parse_args(flags)
    batch = tf.cast(tf.random.stateless_uniform([args.batch_size, 256, 512, 3], [1, 2], 0, 256, tf.int32), tf.uint8)
    step = tf.function(pix2pix.Pix2Pix(args).train_step, autograph=False)
    def run(number, step=step, batch=batch):
        [loss.numpy() for loss in step(tf.constant(number, tf.int64), batch).values()]
    run(0), run(1)
    runs[name] = run
seconds = {name: [] for name in runs}
for turn in range(rounds):
    for name, run in runs.items():
        for number in range(steps):
            started = time.perf_counter()
            run(2 + number)
            seconds[name].append(time.perf_counter() - started)
print("RESULT " + json.dumps({"seconds": seconds, "cpu_batch": args.batch_size}))
"""


def run_in_folder(*command: str, timeout: float | None = None) -> str:
    """Run Python in the model's folder; returns its output, or stops with its error."""
    done = subprocess.run(
        [sys.executable, *command], cwd=FOLDER, capture_output=True, text=True, timeout=timeout
    )
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


# ------------------------------------------------------------------------------------------------------------ speed
def speed(args: argparse.Namespace) -> None:
    """All configurations take turns, so that what else the machine does falls on all alike."""
    out = run_in_folder("-c", WORKER, str(SPEED_ROUNDS), str(SPEED_STEPS), json.dumps(SPEED))
    result = json.loads(out.split("RESULT ")[1])
    rows = {}
    for name, values in result["seconds"].items():
        low, middle, high = statistics.quantiles(values, n=4)
        rows[name] = {
            "s": round(middle, 4),
            "quartiles": [round(low, 4), round(high, 4)],
            "fastest": round(min(values), 4),
        }
        print(f"{name:<18} {middle:.3f} s a step")
    steps = SPEED_STEPS * SPEED_ROUNDS
    result = {"rows": rows, "cpu_batch": result["cpu_batch"], "steps": steps}
    write_json(RESULTS / "m04_speed.json", {**result, "machine": facts()})


# ---------------------------------------------------------------------------------------------------------- quality
def test_mode(run: Path, target: Path) -> dict:
    """Test mode of a training on the held-out cats; returns `scores.json`."""
    run_in_folder("pix2pix.py", "--mode", "test", "--checkpoint", str(run), "--output_dir", str(target))
    return json.loads((target / "scores.json").read_text())


def halves(part: str) -> tuple[np.ndarray, np.ndarray]:
    """All outlines and cats of a part of edges2cats: two arrays `(n, 256, 256, 3)` uint8."""
    whole = np.stack(
        [np.asarray(Image.open(path)) for path in sorted((DATA / "edges2cats" / part).glob("*.png"))]
    )
    return whole[:, :, :256], whole[:, :, 256:]


def thumbnails(outlines: np.ndarray) -> np.ndarray:
    """Outlines shrunk to 32×32 and blurred, as vectors: lines that nearly meet then count as near."""
    ink = 255 - outlines[..., 0]
    small = ink.reshape(len(ink), 32, 8, 32, 8).mean(axis=(2, 4))
    return ndimage.gaussian_filter(small, (0, 0.75, 0.75)).reshape(len(ink), -1)


def nearest(outlines: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each outline the number of the known outline that differs least."""
    a, b = thumbnails(outlines), thumbnails(known)
    return ((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)).argmin(axis=1)


def sharpness(pictures: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels, in grey levels of 255."""
    wide = pictures.astype(np.int16)
    return float((np.abs(np.diff(wide, axis=1)).mean() + np.abs(np.diff(wide, axis=2)).mean()) / 2)


def written(target: Path, kind: str) -> np.ndarray:
    """The "inputs", "outputs" or "targets" that test mode wrote, in order: `(n, side, side, 3)` uint8."""
    rows = json.loads((target / "scores.json").read_text())["each"]
    return np.stack([np.asarray(Image.open(target / "images" / f"{row['file']}-{kind}.png")) for row in rows])


def score_all(outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Mean L1, PSNR and SSIM by the model's own functions."""
    quiet_start()
    sys.path.insert(0, str(FOLDER))
    import evaluate

    return evaluate.mean_scores([evaluate.scores(output, target) for output, target in zip(outputs, targets)])


def training_facts(run: Path, last: int | None = None) -> dict:
    """Minutes of a training up to step `last` and its main flags, from its log and `config.json`."""
    log = (run / "train.log").read_text()
    rows = [
        (int(step), float(rate)) for step, rate in re.findall(r"^step +(\d+)/.* ([\d.]+) steps/s", log, re.M)
    ]
    seconds, before = 0.0, 0
    for step, rate in rows:
        if last is not None and step > last:
            break
        seconds += max(0, step - before) / rate
        before = step
    config = json.loads((run / "config.json").read_text())
    kept = (
        "preset",
        "crop",
        "ngf",
        "ndf",
        "norm_above",
        "steps",
        "batch_size",
        "scale_size",
        "flip",
        "lr",
        "decay",
        "ema",
        "seed",
    )
    return {"minutes": round(seconds / 60, 2), "config": {name: config[name] for name in kept}}


def strip(rows: dict[str, np.ndarray], path: Path, title: str) -> None:
    """A picture with one row of pictures for each name."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    count = len(next(iter(rows.values())))
    figure, axes = plt.subplots(
        len(rows), count, figsize=(1.6 * count + 0.6, 1.62 * len(rows) + 0.4), layout="constrained"
    )
    for line, (name, pictures) in zip(axes, rows.items()):
        for axis, picture in zip(line, pictures):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color("#ccc")
        line[0].set_ylabel(name, fontsize=10)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def quality(args: argparse.Namespace) -> None:
    """The trained run and two baselines on the held-out cats."""
    run = Path(args.run).resolve()
    target = run.parent / f"{run.name}_test"
    scored = test_mode(run, target)
    outlines, cats = halves("test")
    known_outlines, known_cats = halves("train")
    chosen = nearest(outlines, known_outlines)
    found = known_cats[chosen]
    rows = {
        "copy": score_all(outlines, cats),
        "nearest": score_all(found, cats),
        "pix2pix": scored["mean"],
    }
    drawn = written(target, "outputs")
    for name, pictures in (("copy", outlines), ("nearest", found), ("pix2pix", drawn)):
        rows[name]["sharpness"] = sharpness(pictures) / sharpness(cats)
    better = {
        name: float(np.mean([row["l1"] < other for row, other in zip(scored["each"], others)]))
        for name, others in (
            ("copy", np.abs(outlines / 255.0 - cats / 255.0).mean((1, 2, 3))),
            ("nearest", np.abs(found / 255.0 - cats / 255.0).mean((1, 2, 3))),
        )
    }
    result = {
        "rows": rows,
        "pictures": len(cats),
        "step": scored["step"],
        "better_than": better,
        "training": training_facts(run, scored["step"]),
        "log": excerpt(run),
    }
    write_json(RESULTS / "m04_quality.json", {**result, "machine": facts()})
    pick = list(SHOWN)
    strip(
        {
            "outline": outlines[pick],
            "pix2pix": drawn[pick],
            "true cat": cats[pick],
            "nearest\nin training": found[pick],
        },
        FIGS / "m04_examples.png",
        f"Outlines that were held out, after {scored['step']:,} steps",
    )
    print(json.dumps({**result, "log": "", "training": result["training"]["minutes"]}, indent=1))


# ----------------------------------------------------------------------------------------------------------- losses
def train_until(flags: list[str], run: Path, ends: float) -> bool:
    """Train or go on training; stopped by Ctrl-C's signal when the time is over. True when it is complete."""
    command = [
        sys.executable,
        "pix2pix.py",
        "--mode",
        "train",
        "--output_dir",
        str(run),
        *LOSSES_FLAGS.split(),
        *flags,
    ]
    process = subprocess.Popen(command, cwd=FOLDER)
    try:
        code = process.wait(max(1.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    if code not in (0, 130):
        sys.exit(f"training {run.name} failed with code {code}")
    return code == 0


def losses(args: argparse.Namespace) -> None:
    """L1 alone, GAN alone, both, all layers normalised: the same widths, steps, and order of the pairs."""
    ends = time.monotonic() + 60 * args.minutes
    folder = RUNS / "m04_losses"
    runs = {name: folder / short for name, (short, _) in LOSSES.items()}
    for name, (_, flags) in LOSSES.items():
        if not train_until(flags, runs[name], ends):
            sys.exit(f"the time is over in the training with {name}; the same command goes on")
    rows, shown = {}, {}
    for name, run in runs.items():
        target = run.with_name(run.name + "_test")
        rows[name] = test_mode(run, target)["mean"]
        outlines, drawn, cats = (written(target, kind) for kind in ("inputs", "outputs", "targets"))
        rows[name]["sharpness"] = sharpness(drawn) / sharpness(cats)
        rows[name]["minutes"] = training_facts(run)["minutes"]
        shown = {"outline": outlines, **shown, name: drawn, "true cat": cats}
    label = lambda name: name.replace(", `", ",\n").strip("`")
    shown = {label(name): shown[name][list(SHOWN)] for name in ("outline", *LOSSES, "true cat")}
    result = {"rows": rows, "pictures": len(cats), **training_facts(runs[BOTH])}
    write_json(RESULTS / "m04_losses.json", {**result, "machine": facts()})
    strip(
        shown,
        FIGS / "m04_losses.png",
        f"Small networks after {result['config']['steps']:,} steps with each loss",
    )
    print(json.dumps(rows, indent=1))


SECTIONS = {"speed": speed, "quality": quality, "losses": losses}


def main(argv: list[str] | None = None) -> None:
    """Measure the sections that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="+", choices=tuple(SECTIONS))
    parser.add_argument("--run", default=FOLDER / "runs" / "pix2pix", help="`quality`: folder of a training")
    parser.add_argument("--minutes", type=float, default=60, help="`losses`: stop after so many (default 60)")
    args = parser.parse_args(argv)
    if not (DATA / "edges2cats" / "test").is_dir():
        sys.exit("data/edges2cats is missing. Make it:  make data")
    for name in args.sections:
        SECTIONS[name](args)


if __name__ == "__main__":
    main()
