"""pix2pix: translate pictures into pictures, learned from pairs. Draw an outline, get a cat.

    python pix2pix.py --mode train                       # data/edges2cats/train → runs/pix2pix
    python pix2pix.py --mode train --input_dir pairs     # your own A|B pairs; process.py makes some
    python pix2pix.py --mode test                        # data/edges2cats/test → runs/pix2pix_test/index.html
    python pix2pix.py --mode export                      # SavedModel and ONNX → runs/pix2pix_export
    python demo.py                                       # a page on which you draw and see the cat

A generator G (a U-Net) draws B from A. A discriminator D (a PatchGAN) sees A together with a B and says for each patch
of it whether it comes from the data. G learns from both: from D, to look right, and from the distance to the true B
(L1), to be right.

Paper: Isola, Zhu, Zhou, Efros, "Image-to-Image Translation with Conditional Adversarial Networks", 2017 (arXiv
1611.07004). What differs from it stands in README.md. A run that was stopped goes on when the same command is given
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from runner import quiet_start

quiet_start()  # TensorFlow without its start-up messages
import evaluate
import export
import layers
import model as networks
import numpy as np
import pairs
import pictures
import runner
import tensorflow as tf

PRESETS = {
    "cpu": {  # narrower than the paper's; what else differs, README.md explains
        "ngf": 24,
        "ndf": 16,
        "norm_above": 16,
        "steps": 5_000,
        "batch_size": 4,
        "scale_size": 256,
        "flip": False,
        "lr": 1e-3,
        "decay": 0.5,
        "ema": 0.998,
        "log_every": 100,
        "sample_every": 1000,
        "save_every": 1000,
    },
    "paper": {
        "ngf": 64,
        "ndf": 64,
        "norm_above": 1,
        "steps": 200_000,
        "batch_size": 1,
        "scale_size": 286,
        "flip": True,
        "lr": 2e-4,
        "decay": 0.0,
        "ema": 0.0,
        "log_every": 50,
        "sample_every": 1000,
        "save_every": 5000,
    },
}
# A checkpoint fits networks of the same values only. Test and export take all of these from the checkpoint.
SHAPING = ("crop", "ngf", "ndf", "norm_above", "separable_conv", "lab_colorization", "which_direction")
FOLDERS = {"train": "runs/pix2pix", "test": "runs/pix2pix_test", "export": "runs/pix2pix_export"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags, with those that were not given filled from the preset."""
    parser = argparse.ArgumentParser(description="pix2pix: train, test or export.")
    runner.common_flags(parser, output_dir="by mode: " + ", ".join(FOLDERS.values()))
    parser.set_defaults(output_dir=None, script="pix2pix")
    yes_no = argparse.BooleanOptionalAction
    add = parser.add_argument
    add("--mode", choices=tuple(FOLDERS), default="train")
    add("--input_dir", help="folder of A|B pairs (default: train or test of data/edges2cats)")
    add(
        "--checkpoint",
        help="folder of a run: what test and export load, or whose weights a training starts from",
    )
    add("--which_direction", choices=("AtoB", "BtoA"), default="AtoB", help="what is drawn from what")
    add("--max_steps", dest="steps", type=int, help="the same as --steps")
    add("--max_epochs", type=int, help="train for so many passes over the pairs instead")
    add("--ngf", type=int, help="generator's channels after its first layer")
    add("--ndf", type=int, help="discriminator's channels after its first layer")
    add(
        "--norm_above",
        type=int,
        help="generator's layers of at most this side are not normalised; 1, as in the paper, leaves out one layer",
    )
    add("--scale_size", type=int, help="pictures are scaled to this before the random cut")
    add(
        "--crop",
        type=int,
        default=256,
        help="side of what the networks see: 32, 64, 128, 256 … (default 256)",
    )
    add("--flip", action="store_true", default=None, help="mirror half of the pairs")
    add("--no_flip", "--no-flip", dest="flip", action="store_false", help="mirror none")
    add("--lr", type=float, help="Adam's learning rate")
    add("--beta1", type=float, default=0.5, help="Adam's decay of the mean gradient (default 0.5)")
    add("--decay", type=float, help="share of the steps, at the end, over which the rate falls to 5 %%")
    add("--ema", type=float, help="decay of the averaged generator that test mode uses; 0 for no average")
    add("--l1_weight", type=float, default=100.0, help="weight of the L1 loss (default 100)")
    add(
        "--gan_weight",
        type=float,
        default=1.0,
        help="weight of the GAN loss (default 1); 0 trains by L1 alone",
    )
    add("--separable_conv", action=yes_no, default=False, help="a generator of separable convolutions")
    add("--aspect_ratio", type=float, default=1.0, help="width / height to stretch outputs to (default 1)")
    add(
        "--lab_colorization",
        action=yes_no,
        default=False,
        help="photos instead of pairs: brightness → colour",
    )
    add("--progress_freq", "--summary_freq", dest="log_every", type=int, help="the same as --log_every")
    add("--display_freq", dest="sample_every", type=int, help="the same as --sample_every")
    add("--save_freq", dest="save_every", type=int, help="the same as --save_every")
    add("--trace_freq", type=int, default=0, help="steps between profiles for TensorBoard; 0 for none")
    args = parser.parse_args(argv)
    args.output_dir = args.output_dir or FOLDERS[args.mode]
    if args.mode != "train":
        args.checkpoint = args.checkpoint or FOLDERS["train"]
    args = runner.settle(args, PRESETS)
    check(args)
    return args


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot work.

    Raises:
        Stop: a value that does not fit.
    """
    wrong = None
    if args.crop < 32 or args.crop & (args.crop - 1):
        wrong = f"--crop must be 32, 64, 128, 256, …, not {args.crop}"
    elif args.scale_size < args.crop:
        wrong = f"--scale_size {args.scale_size} is below --crop {args.crop}: nothing could be cut out"
    elif min(args.ngf, args.ndf) < 1:
        wrong = "--ngf and --ndf must be 1 or more"
    elif not 1 <= args.norm_above < args.crop:
        wrong = f"--norm_above must be at least 1 and less than --crop, not {args.norm_above}"
    elif min(args.gan_weight, args.l1_weight) < 0 or args.gan_weight + args.l1_weight == 0:
        wrong = "--gan_weight and --l1_weight must not be negative, and one of them above 0"
    elif args.aspect_ratio <= 0:
        wrong = f"--aspect_ratio must be above 0, not {args.aspect_ratio}"
    elif args.max_epochs is not None and args.max_epochs < 1:
        wrong = f"--max_epochs must be 1 or more, not {args.max_epochs}"
    if wrong:
        raise runner.Stop(wrong, code=2)


# ------------------------------------------------------------------------------------------------- training step
class Pix2Pix(tf.Module):
    """Both networks, their optimizers, and the averaged generator: what a checkpoint holds."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("pix2pix")
        self.args = args
        adam = lambda network: layers.Adam(
            network.trainable_variables, args.lr, args.beta1, name=f"adam_{network.name}"
        )
        self.generator = networks.Generator(args)
        self.adam_g = adam(self.generator)
        if args.gan_weight:
            self.discriminator = networks.Discriminator(args)
            self.adam_d = adam(self.discriminator)
        if args.ema:
            self.averaged = networks.Generator(args)
        self.precision = tf.bfloat16 if args.mixed_precision else tf.float32

    @property
    def drawer(self) -> networks.Generator:
        """The generator that samples come from: the averaged one, when there is one."""
        return self.averaged if self.args.ema else self.generator

    def train_step(self, step: tf.Tensor, batch: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update of both networks on uint8 pairs `(batch, side, 2 · side, 3)`; returns the losses.

        Both see the same generated pictures, and both gradients are taken before either network changes: one pass
        through G and two through D, on real and generated pictures.
        """
        args = self.args
        inputs, targets = pairs.rows_of_batch(batch, step, args)
        inputs, targets = tf.cast(inputs, self.precision), tf.cast(targets, self.precision)
        numbers = step * args.batch_size + tf.range(args.batch_size, dtype=tf.int64)
        noise = networks.dropout_noise(args.seed, numbers, self.generator.noise_size)
        noise = layers.rows_of_this_replica(noise)
        g_variables = self.generator.trainable_variables
        losses, scale = {}, learning_rate_scale(step, args)
        with tf.GradientTape(persistent=True) as tape:
            outputs = self.generator(inputs, noise)
            losses["l1"] = networks.l1_loss(outputs, tf.cast(targets, tf.float32))
            goal = args.l1_weight * losses["l1"]
            if args.gan_weight:
                real = self.discriminator(inputs, targets)
                fake = self.discriminator(inputs, tf.cast(outputs, self.precision))
                losses["d_loss"] = networks.discriminator_loss(real, fake)
                losses["g_loss"] = networks.gan_loss(fake)
                goal += args.gan_weight * losses["g_loss"]
        g_gradients = tape.gradient(goal, g_variables)
        if args.gan_weight:
            d_gradients = tape.gradient(losses["d_loss"], self.discriminator.trainable_variables)
            with tf.control_dependencies([g for g in g_gradients if g is not None]):
                self.adam_d.apply(d_gradients, scale)
        else:
            losses["d_loss"] = losses["g_loss"] = tf.constant(0.0)
        self.adam_g.apply(g_gradients, scale)
        if args.ema:
            # A short memory at first: the average should forget the initial weights as fast as the generator does.
            count = tf.cast(step, tf.float32)
            layers.follow(self.generator, self.averaged, tf.minimum(args.ema, (1.0 + count) / (10.0 + count)))
        return losses


def learning_rate_scale(step: tf.Tensor, args: argparse.Namespace) -> tf.Tensor:
    """1, and over the last `args.decay` of the steps a straight line down to 0.05."""
    left = (args.steps - tf.cast(step, tf.float32)) / max(args.decay * args.steps, 1.0)
    return tf.clip_by_value(left, 0.05, 1.0) if args.decay else tf.constant(1.0)


# --------------------------------------------------------------------------------------------------- while it runs
def reporter(model: Pix2Pix, shown: np.ndarray):
    """A function that returns the L1 of a few pairs, and a sheet of their inputs, outputs and targets below each other.

    Args:
        shown: uint8 pairs `(n, crop, 2 · crop, 3)`, not among those trained on where there are others.
    """
    args = model.args
    batch = tf.constant(shown)
    inputs, targets = pairs.rows_of_batch(batch, tf.constant(0, tf.int64), args, training=False)
    noise = networks.dropout_noise(args.seed, range(len(shown)), model.drawer.noise_size)
    draw = tf.function(lambda: model.drawer(inputs, noise), autograph=False)
    pick = lambda rgb: pictures.to_bytes(rgb.numpy() * 2.0 - 1.0)

    def report():
        outputs = draw()
        rows = [
            pairs.show_input(inputs, args),
            pairs.to_rgb(inputs, outputs, args),
            pairs.to_rgb(inputs, targets, args),
        ]
        sheet = pictures.grid(np.concatenate([pick(row) for row in rows]), columns=len(shown))
        l1 = float(tf.reduce_mean(tf.abs(rows[1] - rows[2])))
        return {"shown_l1": l1}, {"samples": sheet}

    return report


def shown_pairs(folder: Path, args: argparse.Namespace, count: int = 6) -> np.ndarray:
    """The first pairs of `val` beside the training folder, or of that itself: uint8 `(n, crop, 2 · crop, 3)`."""
    places = [folder.parent / "val"] if folder.name == "train" and (folder.parent / "val").is_dir() else []
    chosen = []
    for path in (path for place in [*places, folder] for path in pictures.list_pictures(place)):
        try:
            chosen.append(pairs.read(path, args.crop, args.lab_colorization, args.aspect_ratio))
        except ValueError:
            continue
        if len(chosen) == count:
            break
    return np.stack(chosen)


def traced(source: Iterator, every: int, first_step: int, folder: Path) -> Iterator:
    """The same batches; around each `every`-th step TensorFlow's profiler runs, for TensorBoard's Profile tab."""
    for step, batch in enumerate(source, start=first_step + 1):
        profile = step % every == 0
        if profile:
            tf.profiler.experimental.start(str(folder / "logs"))
        yield batch  # the step runs now
        if profile:
            tf.profiler.experimental.stop()


def start_from(model: Pix2Pix, folder: str) -> str:
    """Give the model the values of another run's latest checkpoint; its step and its log stay behind.

    Raises:
        Stop: there is none, or it is of other networks.
    """
    config, latest = evaluate.read_run(folder, "--mode train")
    for name in SHAPING:
        here = getattr(model.args, name)
        if config[name] != here:
            raise runner.Stop(
                f"--checkpoint {folder} was trained with {name} {config[name]}, this run has {here}"
            )
    tf.train.Checkpoint(model=model).restore(latest).expect_partial()
    return latest


# ----------------------------------------------------------------------------------------------------------- main
def train(args: argparse.Namespace) -> None:
    """Train as the flags say."""
    strategy = runner.strategy_for(args)
    folder = pairs.find_folder(args.input_dir, "train")
    said: list[str] = []  # the log opens once the number of pairs, and by it of steps, is known
    stored = pairs.load(folder, args, Path(args.output_dir).parent / "cache", said.append)
    if args.max_epochs:
        args.steps = -(-args.max_epochs * len(stored) // args.batch_size)
    run = runner.Run(args, strategy, SHAPING, losses=("l1", "d_loss", "g_loss"))
    run.say(
        f"preset {args.preset}: {args.crop}×{args.crop}, ngf {args.ngf}, ndf {args.ndf}, batch {args.batch_size}, "
        f"{args.steps:,} steps"
    )
    for line in said:
        run.say(line)
    with strategy.scope():
        model = Pix2Pix(args)
    first_step = run.restore(model=model)
    if args.checkpoint and not first_step:
        run.say(f"starting from the weights of {start_from(model, args.checkpoint)}")
    source = pictures.batches(args, strategy, [stored], first_step)
    if args.trace_freq and run.chief:
        source = traced(source, args.trace_freq, first_step, run.folder)
    run.loop(model.train_step, source, reporter(model, shown_pairs(folder, args)))


def main(argv: list[str] | None = None) -> None:
    """Train, test or export as the flags say."""
    args = parse_args(argv)
    if args.mode == "train":
        return train(args)
    return (evaluate.test if args.mode == "test" else export.export)(args)


if __name__ == "__main__":
    runner.guard(main)
