"""Plot the critic's estimate over a run, with the quality of its samples, and the samples of each moment beneath.

    python plot_losses.py runs/wgan                             # writes runs/wgan/losses.png
    python plot_losses.py runs/wgan runs/wgan_gp --out both.png

This is the claim of the WGAN paper (Arjovsky et al. 2017, figure 3): the loss tells how good the pictures are. As a
measure of that which does not come from the critic, the script takes the sliced Wasserstein distance between patches of
the samples and patches of the data, at three resolutions.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
from pathlib import Path

from runner import quiet_start

quiet_start()  # TensorFlow without its start-up messages
import matplotlib
import numpy as np
import pictures
import runner

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TILES = 4  # samples a moment: a square of 2×2
REAL = 512  # pictures of the data the samples are compared with
NAMES = {"dcgan": "DCGAN", "wgan": "WGAN, clipped weights", "wgan_gp": "WGAN-GP, gradient penalty"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="output folders of finished runs")
    parser.add_argument(
        "--out", type=Path, help="the picture (default: losses.png in the first run's folder)"
    )
    parser.add_argument("--moments", type=int, default=8, help="sample grids to show from (default 8)")
    args = parser.parse_args(argv)
    if args.moments < 2:
        raise runner.Stop("--moments must be 2 or more", code=2)
    return args


# --------------------------------------------------------------------------------------------------- what a run left
def read_run(folder: Path) -> tuple[dict, np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """The settings, the steps and estimates of `losses.csv`, and the samples by step: uint8 `(64, size, size, 3)`.

    Raises:
        Stop: the folder holds no such run.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        with open(folder / "losses.csv", newline="") as table:
            rows = [(int(row["step"]), float(row["wasserstein"])) for row in csv.DictReader(table)]
    except FileNotFoundError as error:
        raise runner.Stop(
            f"{error.filename} is missing: `python wgan.py --output_dir {folder}` makes it"
        ) from None
    except (KeyError, ValueError):
        raise runner.Stop(f"{folder}/losses.csv is no table of a WGAN's losses") from None
    grids = sorted((folder / "samples").glob("samples_*.png"))
    samples = {int(re.search(r"\d+", path.stem)[0]): cut(path, config["size"]) for path in grids}
    if len(rows) < 2 or len(samples) < 2:
        raise runner.Stop(
            f"{folder} holds {len(rows)} lines of losses and {len(samples)} sample grids: train longer"
        )
    steps, estimates = np.array(rows).T
    return config, steps, estimates, samples


def cut(path: Path, size: int, gap: int = 2) -> np.ndarray:
    """The pictures of a grid that `pictures.grid` made: `(n, size, size, 3)` uint8."""
    with pictures.Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    tops, lefts = (range(gap, side - size, size + gap) for side in sheet.shape[:2])
    return np.stack([sheet[top : top + size, left : left + size] for top in tops for left in lefts])


# ------------------------------------------------------------------------------------------------------------ quality
def patches(images: np.ndarray, count: int, side: int, random: np.random.Generator) -> np.ndarray:
    """`count` square patches at random places of random pictures `(n, h, w, 3)`: `(count, side · side · 3)`."""
    number = random.integers(len(images), size=count)
    top, left = (random.integers(length - side + 1, size=count) for length in images.shape[1:3])
    across = np.arange(side)
    rows, columns = top[:, None, None] + across[:, None], left[:, None, None] + across
    return images[number[:, None, None], rows, columns].reshape(count, -1).astype(np.float32)


def sliced_wasserstein(
    a: np.ndarray, b: np.ndarray, random: np.random.Generator, directions: int = 128
) -> float:
    """Mean over random directions of the Wasserstein-1 distance between the projections of two sets `(n, d)`.

    Along a line the distance is that of the sorted values (Rabin et al. 2011).
    """
    axes = random.normal(size=(a.shape[1], directions))
    axes /= np.linalg.norm(axes, axis=0)
    return float(np.abs(np.sort(a @ axes, axis=0) - np.sort(b @ axes, axis=0)).mean())


def patch_distance(samples: np.ndarray, real: np.ndarray, count: int = 8192) -> float:
    """Sliced Wasserstein distance of 7×7 patches of uint8 pictures `(n, h, w, 3)` to those of real ones.

    The mean over up to three resolutions, each half the one before (after Karras et al. 2018). In grey levels.
    """
    random, distances = np.random.default_rng(0), []
    a, b = samples.astype(np.float32), real.astype(np.float32)
    while len(distances) < 3 and a.shape[1] >= 8:
        distances.append(sliced_wasserstein(*(patches(x, count, 7, random) for x in (a, b)), random))
        a, b = ((x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4 for x in (a, b))
    return float(np.mean(distances))


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the values, fewer at the ends."""
    kernel = np.ones(2 * (len(values) // 40) + 1)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


# ------------------------------------------------------------------------------------------------------------ picture
def draw(block, folder: Path, moments: int) -> None:
    """Draw one run into a subfigure: curves above, samples beneath."""
    config, steps, estimates, samples = read_run(folder)
    source = pictures.find_folder(config["data_path"])
    data = pictures.load(source, config["size"], folder.parent / "cache", say=lambda _: None)
    real = data[np.sort(np.random.default_rng(0).permutation(len(data))[:REAL])]
    quality = {step: patch_distance(drawn, real) for step, drawn in samples.items()}
    later = [step for step in quality if step >= steps[0]]  # the first grid is older than the first line
    at_samples = np.interp(later, steps, smooth(estimates))
    title = f"{NAMES.get(config.get('script'), folder.name)} ({config['arch']})"
    if len(later) > 2:
        related = np.corrcoef(at_samples, [quality[step] for step in later])[0, 1]
        title += f": correlation of the two {related:.2f}"
    print(f"{folder}: {title} over {len(later)} grids")

    every = sorted(samples)
    shown = [every[round(i)] for i in np.linspace(0, len(every) - 1, min(moments, len(every)))]
    areas = block.subplots(2, len(shown), gridspec_kw={"height_ratios": [2.4, 1]}, squeeze=False)
    grid = areas[0, 0].get_gridspec()
    for area in areas[0]:
        area.remove()
    left = block.add_subplot(grid[0, :])
    left.plot(steps, estimates, color="tab:blue", alpha=0.25, linewidth=0.8)
    left.plot(steps, smooth(estimates), color="tab:blue", label="critic's estimate")
    left.set(xlabel="generator updates", ylabel="mean f(data) - mean f(samples)", xlim=(0, max(steps)))
    left.set_ylim(bottom=min(0, smooth(estimates).min()))
    right = left.twinx()
    right.plot(*zip(*sorted(quality.items())), "o-", color="tab:red", markersize=3, label="patch distance")
    right.set(ylabel="patch distance to the data", ylim=(0, None))
    lines = [*left.get_lines()[1:], *right.get_lines()]
    left.legend(lines, [line.get_label() for line in lines], loc="best")
    left.set_title(title)
    for step, area in zip(shown, areas[1]):
        left.axvline(step, color="grey", linewidth=0.5, linestyle=":")
        area.imshow(pictures.grid(samples[step][:TILES], columns=2))
        area.set_title(f"{step:,}", fontsize=9)
        area.axis("off")


def main(argv: list[str] | None = None) -> None:
    """Write the picture."""
    args = parse_args(argv)
    figure = plt.figure(figsize=(9.5, 4.6 * len(args.runs)), layout="constrained")
    blocks = figure.subfigures(len(args.runs), 1, squeeze=False)[:, 0]
    for block, folder in zip(blocks, args.runs):
        draw(block, folder, args.moments)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    plt.close(figure)
    out = args.out or args.runs[0] / "losses.png"
    runner.write_whole(out, buffer.getvalue())
    print(out)


if __name__ == "__main__":
    runner.guard(main)
