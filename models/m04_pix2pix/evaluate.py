"""Test mode: every picture of a folder translated, a gallery to look at, and L1, PSNR and SSIM."""

from __future__ import annotations

import argparse
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import model as networks
import numpy as np
import pairs
import runner
import tensorflow as tf
from pictures import list_pictures
from PIL import Image
from tqdm import tqdm


def read_run(folder: str, maker: str) -> tuple[dict, str]:
    """The flags of a training and its latest checkpoint.

    Raises:
        Stop: there is none; the message says where it was looked for and what makes one.
    """
    path = Path(folder)
    latest = tf.train.latest_checkpoint(str(path / "checkpoints"))
    if not latest or not (path / "config.json").exists():
        raise runner.Stop(
            f"no trained model in {path.resolve()} (looked for config.json and checkpoints/). Train one with "
            f"`python pix2pix.py {maker} --output_dir {folder}`, or name its folder by --checkpoint."
        )
    try:
        config = json.loads((path / "config.json").read_text())
    except json.JSONDecodeError:
        raise runner.Stop(f"{path / 'config.json'} is damaged: train anew with --no-resume") from None
    if config.get("script") != "pix2pix":
        raise runner.Stop(f"{path} holds a run of another model, {config.get('script', 'an unnamed one')}")
    return config, latest


class Translator:
    """A trained generator, as test mode, export and the demo use it.

    Dropout and normalization act as in training: the noise of a picture is a function of (seed, its number), the
    statistics are those of the picture itself. So the same picture under the same number comes out the same.

    Args:
        checkpoint: folder of a training.
        seed: of the dropout noise.

    Raises:
        Stop: the folder holds no training.
    """

    def __init__(self, checkpoint: str, seed: int = 1):
        config, self.path = read_run(checkpoint, "--mode train")
        self.args = argparse.Namespace(**config)
        self.seed, self.step = seed, int(tf.train.load_variable(self.path, "step/.ATTRIBUTES/VARIABLE_VALUE"))
        self.generator = networks.Generator(self.args)
        kind = "averaged" if self.args.ema else "generator"
        wanted = tf.train.Checkpoint(model=tf.train.Checkpoint(**{kind: self.generator}))
        wanted.restore(self.path).assert_existing_objects_matched().expect_partial()
        side = self.args.crop
        shape = [1, side, side if self.args.lab_colorization else 2 * side, 3]
        self.noise = tf.function(self._noise, input_signature=[tf.TensorSpec([], tf.int64)])
        self.compiled = tf.function(
            self._translate,
            input_signature=[
                tf.TensorSpec(shape, tf.uint8),
                tf.TensorSpec([1, self.generator.noise_size], tf.float32),
            ],
        )

    def _noise(self, number: tf.Tensor) -> tf.Tensor:
        return networks.dropout_noise(self.seed, [number], self.generator.noise_size)

    def _translate(self, pair: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        inputs, targets = pairs.rows_of_batch(pair, tf.constant(0, tf.int64), self.args, training=False)
        outputs = self.generator(inputs, noise)
        return tuple(
            tf.clip_by_value(picture, 0.0, 1.0)
            for picture in (
                pairs.show_input(inputs, self.args),
                pairs.to_rgb(inputs, outputs, self.args),
                pairs.to_rgb(inputs, targets, self.args),
            )
        )

    def pair(self, pair: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Translate one pair.

        Args:
            pair: as `pairs.read` gives it, uint8.
            number: of the picture, which chooses its dropout noise.

        Returns:
            Input, output and target, each `(crop, crop, 3)` float32 in [0, 1].
        """
        noise = self.noise(tf.constant(number, tf.int64))
        return tuple(picture.numpy()[0] for picture in self.compiled(tf.constant(pair[None]), noise))

    def picture(self, picture: np.ndarray, number: int = 0) -> np.ndarray:
        """Translate one picture without its other half: `(crop, crop, 3)`, uint8 → float32 in [0, 1]."""
        both = picture if self.args.lab_colorization else np.concatenate([picture, picture], axis=1)
        return self.pair(both, number)[1]


# -------------------------------------------------------------------------------------------------------- measures
def scores(output: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """How far a picture is from the true one; both uint8 `(height, width, 3)`, as they are written.

    Returns:
        `l1`: mean absolute difference, 0 to 1, lower is better. `psnr`: 10 · log10(1 / mean squared difference), in
        decibels, higher is better (100 when equal). `ssim`: structural similarity (Wang et al. 2004), windows of 11
        pixels weighted by a Gaussian, up to 1, higher is better.
    """
    a, b = output.astype(np.float64) / 255, target.astype(np.float64) / 255
    squared = float(np.mean((a - b) ** 2))
    return {
        "l1": float(np.mean(np.abs(a - b))),
        "psnr": min(100.0, 10 * np.log10(1 / squared)) if squared else 100.0,
        "ssim": float(tf.image.ssim(tf.constant(output), tf.constant(target), max_val=255)),
    }


def mean_scores(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each measure over pictures."""
    return {name: float(np.mean([row[name] for row in rows])) for name in ("l1", "psnr", "ssim")}


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """A picture in [0, 1] as uint8."""
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


# --------------------------------------------------------------------------------------------------------- gallery
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; }
th { position: sticky; top: 0; background: #fff; text-align: left; padding: .4rem; border-bottom: 2px solid #222; }
td { padding: .4rem; border-bottom: 1px solid #ddd; vertical-align: middle; }
td img { display: block; width: 100%; max-width: 256px; height: auto; border: 1px solid #eee; }
td.facts { font-variant-numeric: tabular-nums; white-space: nowrap; font-size: .9rem; }
"""


def gallery(rows: Sequence[dict], means: dict[str, float], heading: str) -> str:
    """The page `index.html`: input, output and target of each picture side by side, worst and best findable by eye."""
    head = "<tr><th>picture</th><th>input</th><th>output</th><th>target</th></tr>"
    lines = []
    for row in rows:
        name = html.escape(row["name"])
        cells = [
            f'<td><img src="images/{quote(row["file"])}-{kind}.png" alt="{kind} of {name}" loading="lazy"></td>'
            for kind in ("inputs", "outputs", "targets")
        ]
        facts = f"{name}<br>L1 {row['l1']:.4f}<br>PSNR {row['psnr']:.2f} dB<br>SSIM {row['ssim']:.4f}"
        lines.append(f'<tr><td class="facts">{facts}</td>{"".join(cells)}</tr>')
    summary = (
        f"{len(rows)} pictures. Mean L1 {means['l1']:.4f} (of 1), PSNR {means['psnr']:.2f} dB, "
        f"SSIM {means['ssim']:.4f} (at most 1)."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>pix2pix: test</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>pix2pix: test</h1>\n"
        f"<p>{html.escape(heading)}</p>\n<p>{summary}</p>\n"
        f"<table>\n{head}\n" + "\n".join(lines) + "\n</table></body></html>\n"
    )


def write_png(picture: np.ndarray, path: Path, aspect_ratio: float = 1.0) -> None:
    """Write a picture `(height, width, 3)` uint8, whole or not at all, stretched to the aspect ratio."""
    image = Image.fromarray(picture)
    if aspect_ratio != 1.0:
        image = image.resize((round(image.height * aspect_ratio), image.height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    runner.write_whole(path, buffer.getvalue())


# ------------------------------------------------------------------------------------------------------- test mode
def test(args: argparse.Namespace) -> None:
    """Translate every picture of `--input_dir` by the training in `--checkpoint`.

    Writes to `--output_dir`: `images/<name>-inputs.png`, `-outputs.png`, `-targets.png`, `index.html`, and
    `scores.json` with L1, PSNR and SSIM of each picture and in the mean.

    Raises:
        Stop: nothing to load, or nothing to translate.
    """
    translator = Translator(args.checkpoint, args.seed)
    trained, target = translator.args, Path(args.output_dir)
    folder = pairs.find_folder(args.input_dir, "test")
    paths = list_pictures(folder)
    rows, bad = [], []
    for number, path in enumerate(tqdm(paths, unit="picture", disable=None)):
        try:
            pair = pairs.read(path, trained.crop, trained.lab_colorization, args.aspect_ratio)
        except ValueError as error:
            bad.append(f"{path.name} ({error})")
            continue
        # Folders may hold files of the same name in subfolders, and a.png beside a.jpg.
        file = "_".join(path.relative_to(folder).parts).replace(".", "_")
        written = [to_bytes(picture) for picture in translator.pair(pair, number)]
        for kind, picture in zip(("inputs", "outputs", "targets"), written):
            write_png(picture, target / "images" / f"{file}-{kind}.png", args.aspect_ratio)
        name = str(path.relative_to(folder))
        rows.append({"name": name, "file": file, "number": number, **scores(written[1], written[2])})
    if bad:
        print(pairs.skipped(bad, len(paths), folder, trained.lab_colorization))
    means = mean_scores(rows)
    heading = (
        f"Pictures of {'/'.join(folder.resolve().parts[-2:])}, translated {trained.which_direction[0]} to "
        f"{trained.which_direction[-1]} by the generator after {translator.step:,} steps."
    )
    facts = {"step": translator.step, "seed": args.seed, "pictures": len(rows), "mean": means, "each": rows}
    runner.write_whole(target / "scores.json", (json.dumps(facts, indent=1) + "\n").encode())
    runner.write_whole(target / "index.html", gallery(rows, means, heading).encode())
    print(
        f"{len(rows)} pictures: L1 {means['l1']:.4f}  PSNR {means['psnr']:.2f} dB  SSIM {means['ssim']:.4f}\n"
        f"open {target / 'index.html'}"
    )
