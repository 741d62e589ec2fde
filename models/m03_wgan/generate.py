"""Draw from a trained generator: grids, single pictures, walks between pictures, arithmetic with pictures.

    python generate.py                                     # a numbered grid of 64 samples of the newest run
    python generate.py --count 1000 --out samples          # single PNGs, 00000.png and on
    python generate.py --walk 3 17 40                      # from sample 3 to 17 to 40: a GIF and a grid
    python generate.py --a 3 8 20 --b 5 6 11 --c 7 9 30    # mean(a) - mean(b) + mean(c), as in the paper's figure 7

Samples are numbered: number 17 of a seed is the same picture in every mode, and in the grids of the training when the
seed is the training's. Give `--seed` to see others. The same file stands in several model folders: the script that made
the run, named in its `config.json`, says what the generator is.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import json
from pathlib import Path

from runner import quiet_start

quiet_start()  # TensorFlow without its start-up messages
import layers
import numpy as np
import pictures
import runner
import tensorflow as tf


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--run", help="output folder of the training (default: the newest in runs)")
    add("--seed", type=int, help="of the latent vectors (default: the training's)")
    add("--out", help="folder for the files (default: generated/ in the run's), or with --count a .npy file")
    add("--count", type=int, help="write so many single pictures")
    add("--walk", type=int, nargs="+", metavar="NUMBER", help="walk through these samples, two or more")
    add("--frames", type=int, default=24, help="pictures from one sample of a walk to the next (default 24)")
    for name in "abc":
        add(f"--{name}", type=int, nargs="+", metavar="NUMBER", help="samples of mean(a) - mean(b) + mean(c)")
    add("--averaged", action=argparse.BooleanOptionalAction, default=True, help="use the averaged weights")
    add("--zoom", type=int, default=1, help="enlarge pixels so many times in grids and GIFs")
    args = parser.parse_args(argv)
    given = [name for name in "abc" if getattr(args, name)]
    if given and len(given) < 3:
        raise runner.Stop("arithmetic needs all of --a, --b and --c", code=2)
    if args.walk and len(args.walk) < 2:
        raise runner.Stop("a walk needs two samples or more", code=2)
    if (args.count is not None and args.count < 1) or args.frames < 1 or args.zoom < 1:
        raise runner.Stop("--count, --frames and --zoom must be 1 or more", code=2)
    numbers = [n for group in (args.walk, args.a, args.b, args.c) for n in group or []]
    if any(n < 0 for n in numbers):
        raise runner.Stop("samples are numbered from 0", code=2)
    return args


def newest_run() -> Path:
    """The run in `runs` that was trained last.

    Raises:
        Stop: there is none.
    """
    runs = [path.parents[1] for path in Path("runs").glob("*/checkpoints/checkpoint")]
    if not runs:
        raise runner.Stop(
            "the folder runs holds no trained network. Train one first, or name a folder by --run."
        )
    return max(runs, key=lambda run: (run / "checkpoints/checkpoint").stat().st_mtime)


def load(folder: Path, averaged: bool = True) -> Artist:
    """The generator of a training run, from its latest checkpoint.

    Raises:
        Stop: the folder holds no run, or its checkpoint cannot be read.
    """
    config = folder / "config.json"
    checkpoint = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    if not config.exists() or not checkpoint:
        raise runner.Stop(
            f"{folder} holds no trained network (no {'checkpoint' if config.exists() else 'config.json'} there). "
            f"A training script's --output_dir {folder} makes one."
        )
    try:
        args = argparse.Namespace(**json.loads(config.read_text()))
        script = importlib.import_module(args.script)  # dcgan, wgan or wgan_gp
        generator = script.make_generator(args)
        part = tf.train.Checkpoint(**{"averaged" if averaged else "generator": generator})
        status = tf.train.Checkpoint(model=part).restore(checkpoint)
        status.assert_existing_objects_matched().expect_partial()
    except (AttributeError, ImportError, AssertionError, ValueError, tf.errors.OpError) as error:
        raise runner.Stop(f"{checkpoint} cannot be read: {str(error).splitlines()[0][:200]}") from None
    layers.measure_statistics(generator, script.statistics_latents(args.seed, args.z_dim))
    return Artist(generator, script.sample_latents, args)


class Artist:
    """Turns latent vectors `(n, z_dim)` into uint8 pictures `(n, size, size, 3)`, in batches."""

    def __init__(self, generator: tf.Module, sample_latents, args: argparse.Namespace, batch: int = 64):
        self.batch, self.z_dim, self.seed, self.sample_latents = batch, args.z_dim, args.seed, sample_latents
        self.draw = tf.function(lambda z: generator(z, training=False), autograph=False)

    def latents(self, first: int, count: int) -> np.ndarray:
        """Latent vectors of the samples number `first` and on: `(count, z_dim)`."""
        return self.sample_latents(self.seed, first, count, self.z_dim).numpy()

    def chosen(self, numbers: list[int]) -> np.ndarray:
        """Latent vectors of the samples with these numbers: `(len(numbers), z_dim)`."""
        return self.latents(0, max(numbers) + 1)[numbers]

    def __call__(self, z: np.ndarray) -> np.ndarray:
        # Always whole batches, the last one filled up: one compiled shape, and a picture does not depend on its batch.
        filled = np.concatenate([z, np.zeros((-len(z) % self.batch, self.z_dim), np.float32)])
        parts = [
            self.draw(tf.constant(filled[i : i + self.batch])).numpy()
            for i in range(0, len(filled), self.batch)
        ]
        return pictures.to_bytes(np.concatenate(parts)[: len(z)])


def slerp(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Spherical interpolation between two vectors (Shoemake 1985; for latents: White 2016).

    Vectors of N(0, 1) in many dimensions have nearly one length; a straight line leaves that sphere and passes through
    lengths the generator never saw, the arc does not.

    Args:
        start, end: `(z_dim,)`.
        share: `(n,)` in [0, 1].

    Returns:
        `(n, z_dim)`; the first row is `start` for share 0, the last `end` for share 1.
    """
    cosine = start @ end / (np.linalg.norm(start) * np.linalg.norm(end))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    share = np.asarray(share, np.float64)[:, None]
    if np.sin(angle) < 1e-6:  # one direction: arc and line are the same
        return ((1 - share) * start + share * end).astype(np.float32)
    arc = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    return arc.astype(np.float32)


def walk(points: np.ndarray, frames: int) -> np.ndarray:
    """Latents along the arcs through `points` `(k, z_dim)`: `((k - 1) · frames + 1, z_dim)`."""
    shares = np.arange(frames) / frames
    arcs = [slerp(start, end, shares) for start, end in itertools.pairwise(points)]
    return np.concatenate([*arcs, points[-1:]])


def on_sphere(z: np.ndarray) -> np.ndarray:
    """Bring latents `(n, z_dim)` to the length √z_dim, about which those of N(0, 1) lie."""
    return (z * np.sqrt(z.shape[1]) / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def arithmetic(a: np.ndarray, b: np.ndarray, c: np.ndarray, seed: int) -> np.ndarray:
    """Nine latents around mean(a) - mean(b) + mean(c), the exact one in the middle (Radford et al. 2015, figure 7).

    The other eight have uniform noise of ±0.25 added, as in the paper. The result is brought to the length that the
    latents of N(0, 1) have, so that the generator knows it. Each argument is `(k, z_dim)`; returns `(9, z_dim)`.
    """
    centre = a.mean(0) - b.mean(0) + c.mean(0)
    noise = tf.random.stateless_uniform(
        [9, len(centre)], layers.noise_seed(seed, 0, 2000), -0.25, 0.25
    ).numpy()
    noise[4] = 0.0
    around = centre + noise
    return on_sphere(around)


def arithmetic_sheet(artist: Artist, groups: list[np.ndarray], seed: int) -> np.ndarray:
    """Columns a, b and c, each with its mean in the last row, then the three columns of nine results."""
    nine = artist(arithmetic(*groups, seed))
    blank = np.full_like(nine[:1], 255)
    rows = max(3, *(len(group) for group in groups)) + 1
    columns = []
    for group in groups:
        drawn = artist(np.concatenate([group, on_sphere(group.mean(0, keepdims=True))]))
        columns.append(np.concatenate([drawn[:-1], *[blank] * (rows - len(drawn)), drawn[-1:]]))
    columns.append(np.concatenate([blank] * rows))
    columns += [np.concatenate([nine[i::3], *[blank] * (rows - 3)]) for i in range(3)]
    return pictures.grid(np.stack(columns, axis=1).reshape(-1, *nine.shape[1:]), columns=len(columns))


def main(argv: list[str] | None = None) -> None:
    """Write what the flags ask for, the numbered grid when they ask for nothing."""
    args = parse_args(argv)
    folder = Path(args.run) if args.run else newest_run()
    artist = load(folder, args.averaged)
    if args.seed is not None:
        artist.seed = args.seed
    out = Path(args.out) if args.out else folder / "generated"
    enlarge = lambda picture: picture.repeat(args.zoom, axis=-3).repeat(args.zoom, axis=-2)

    def write(picture: np.ndarray, name: str) -> None:
        pictures.save_png(enlarge(picture), out / name)
        print(out / name)

    if args.count and out.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, artist(artist.latents(0, args.count)))
        runner.write_whole(out, buffer.getvalue())
        print(f"{args.count} pictures in {out}")
    elif args.count:
        for first in range(0, args.count, 1024):  # in portions: many pictures need no large memory
            drawn = artist(artist.latents(first, min(1024, args.count - first)))
            for number, picture in enumerate(drawn, first):
                pictures.save_png(picture, out / f"{number:05d}.png")
        print(f"{args.count} pictures in {out}")
    if args.walk:
        frames = artist(walk(artist.chosen(args.walk), args.frames))
        pictures.save_gif(enlarge(frames), out / "walk.gif")
        print(out / "walk.gif")
        points = artist.chosen(args.walk)
        rows = [slerp(start, end, np.linspace(0, 1, 10)) for start, end in itertools.pairwise(points)]
        write(pictures.grid(artist(np.concatenate(rows)), columns=10), "walk.png")
    if args.a:
        groups = [artist.chosen(numbers) for numbers in (args.a, args.b, args.c)]
        write(arithmetic_sheet(artist, groups, artist.seed), "arithmetic.png")
    if not (args.count or args.walk or args.a):
        drawn = artist(artist.latents(0, 64))
        write(pictures.grid(drawn), "grid.png")
        write(pictures.grid(drawn, numbered=True), "grid_numbered.png")


if __name__ == "__main__":
    runner.guard(main)
