# %% [markdown]
# # DCGAN: a generator of pictures
#
# Two networks play against each other. The *generator* makes pictures from random numbers; the *discriminator* says
# how likely a picture is to come from the data. Each learns from the other's mistakes, and after some minutes the
# generator draws what was never drawn before.
#
# Paper: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
# Networks", 2015 (arXiv 1511.06434).
#
#     python dcgan.py                              # pictures of data/anime or data/avatars, 64×64
#     python dcgan.py --data_path ~/photos         # your own
#     python dcgan.py --preset paper               # the paper's widths; the default where there is a GPU
#     python generate.py                           # pictures, walks and arithmetic from the trained generator
#
# A run that was stopped goes on when the same command is given again. The notebook `dcgan.ipynb` is made from this
# script and holds the same.
#
# **Time**: not measured yet.

# %%
import argparse
import io
import os
import sys
from pathlib import Path

from runner import quiet_start

quiet_start()  # TensorFlow without its start-up messages
import layers
import numpy as np
import pictures
import runner
import tensorflow as tf
from PIL import Image

# %% [markdown]
# ## Flags
# Every knob has a preset for a CPU and one for a GPU; a flag that is given wins.

# %%
PRESETS = {
    "cpu": {  # a quarter of the paper's widths, and the changes that the README measures
        "width_g": 32,
        "width_d": 32,
        "d_norm": "none",
        "he": True,
        "batch_spread": True,
        "r1": 1.0,
        "steps": 5600,
        "batch_size": 32,
        "lr_g": 1e-3,
        "lr_d": 4e-4,
        "beta_2": 0.99,
        "decay": 0.3,
        "ema": 0.998,
        "log_every": 50,
        "sample_every": 250,
        "save_every": 250,
    },
    "paper": {
        "width_g": 128,
        "width_d": 128,
        "d_norm": "batch",
        "he": False,
        "batch_spread": False,
        "r1": 0.0,
        "steps": 30000,
        "batch_size": 64,
        "lr_g": 2e-4,
        "lr_d": 2e-4,
        "beta_2": 0.999,
        "decay": 0.0,
        "ema": 0.999,
        "log_every": 50,
        "sample_every": 500,
        "save_every": 500,
    },
}
# A checkpoint fits networks of the same values only.
SHAPING = ("size", "width_g", "width_d", "d_norm", "batch_spread", "z_dim")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags, with those that were not given filled from the preset."""
    parser = argparse.ArgumentParser(description="Train a DCGAN on a folder of pictures.")
    add = parser.add_argument
    add("--data_path", help="folder of pictures (default: data/anime, else data/avatars of the repository)")
    add("--size", type=int, default=64, help="side of the pictures: 8, 16, 32, 64, 128 … (default 64)")
    add("--z_dim", type=int, default=100, help="random numbers a picture is made from (default 100)")
    add(
        "--width_g",
        type=int,
        help="channels of the generator's last hidden layer; doubled in each layer before it",
    )
    add(
        "--width_d",
        type=int,
        help="channels of the discriminator's first layer; doubled in each layer after it",
    )
    add("--lr_g", type=float, help="Adam's learning rate for the generator")
    add("--lr_d", type=float, help="Adam's learning rate for the discriminator")
    add(
        "--beta_1",
        type=float,
        default=0.5,
        help="Adam's decay of the mean gradient (default 0.5, as the paper)",
    )
    add("--beta_2", type=float, help="Adam's decay of the mean squared gradient")
    add(
        "--decay",
        type=float,
        help="share of the steps, at the end, over which the learning rates fall to 5 %%",
    )
    add("--d_norm", choices=("batch", "none"), help="batch normalization in the discriminator, or none")
    yes_no = argparse.BooleanOptionalAction
    add("--he", action=yes_no, default=None, help="He's initial weights instead of the paper's N(0, 0.02²)")
    add("--batch_spread", action=yes_no, default=None, help="show the discriminator how much a batch varies")
    add("--r1", type=float, help="weight of the gradient penalty on real pictures; 0 for none")
    add(
        "--g_updates",
        type=int,
        default=1,
        help="generator updates a step (default 1; the code of 2018 made 2)",
    )
    add(
        "--ema",
        type=float,
        help="decay of the averaged generator, from which samples are drawn; 0 for no average",
    )
    runner.common_flags(parser, output_dir="runs/dcgan")
    args = runner.settle(parser.parse_args(argv), PRESETS)
    if args.size < 8 or args.size & (args.size - 1):
        raise runner.Stop(f"--size must be 8, 16, 32, 64, …, not {args.size}", code=2)
    return args


# %% [markdown]
# ## Networks
# The generator starts with a 4×4 picture of many channels and doubles the side in each layer, with transposed
# convolutions of stride 2; the discriminator is its mirror image. No pooling, no dense hidden layers. Batch
# normalization everywhere except where the paper leaves it out: at the generator's output and the discriminator's
# input.


# %%
def channels(size: int, width: int) -> list[int]:
    """Channels from the finest hidden layer to the 4×4 one: size 64, width 128 gives [128, 256, 512, 1024]."""
    return [width * 2**level for level in range(size.bit_length() - 3)]


class Generator(tf.Module):
    """`z` of shape `(batch, z_dim)` → pictures `(batch, size, size, 3)` in [-1, 1]."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("generator")
        seeds = layers.Seeds(args.seed, network=0, he=args.he)
        depths = channels(args.size, args.width_g)[::-1]  # 1024, 512, 256, 128 in the paper
        self.start = depths[0]
        self.project = layers.Dense(seeds, args.z_dim, 4 * 4 * depths[0], bias=False, name="project")
        self.norms = [layers.BatchNorm(seeds, depth, name=f"norm_{i}") for i, depth in enumerate(depths)]
        self.deconvs = [
            layers.Deconv(seeds, inputs, outputs, bias=outputs == 3, name=f"deconv_{i}")
            for i, (inputs, outputs) in enumerate(zip(depths, depths[1:] + [3]))
        ]

    def __call__(self, z: tf.Tensor, training: bool) -> tf.Tensor:
        h = tf.reshape(self.project(z), [-1, 4, 4, self.start])  # (batch, 4, 4, 1024)
        for norm, deconv in zip(self.norms, self.deconvs):
            h = deconv(tf.nn.relu(norm(h, training)))  # side doubles, channels halve
        return tf.tanh(tf.cast(h, tf.float32))  # (batch, 64, 64, 3)


class Discriminator(tf.Module):
    """Pictures `(batch, size, size, 3)` in [-1, 1] → logits `(batch,)`; positive means "from the data"."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("discriminator")
        seeds = layers.Seeds(args.seed, network=1, he=args.he)
        depths = channels(args.size, args.width_d)
        normed = [False] + [args.d_norm == "batch"] * (len(depths) - 1)  # never at the input
        self.spread = args.batch_spread
        self.convs = [
            layers.Conv(seeds, inputs, outputs, bias=not norm, name=f"conv_{i}")
            for i, (inputs, outputs, norm) in enumerate(zip([3] + depths, depths, normed))
        ]
        self.norms = [
            layers.BatchNorm(seeds, depth, name=f"norm_{i}") if norm else None
            for i, (depth, norm) in enumerate(zip(depths, normed))
        ]
        self.judge = layers.Dense(seeds, 4 * 4 * (depths[-1] + self.spread), 1, name="judge")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        h = x
        for conv, norm in zip(self.convs, self.norms):
            h = conv(h)  # side halves, channels double
            h = tf.nn.leaky_relu(norm(h, training=True) if norm else h, 0.2)
        if self.spread:
            h = layers.batch_spread(h)  # (batch, 4, 4, 1024 + 1)
        h = tf.reshape(h, [-1, self.judge.weight.shape[0]])
        return tf.cast(self.judge(h), tf.float32)[:, 0]  # (batch,)


# %% [markdown]
# ## Losses
# The discriminator wants to say 1 to pictures of the data and 0 to generated ones. The generator wants it to say 1 to
# generated ones: the form that keeps its gradient alive while it is still bad (Goodfellow et al. 2014).


# %%
def discriminator_loss(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """-log D(x) - log(1 - D(G(z))), mean over the batch, from logits `(batch,)`."""
    # -log sigmoid(a) = softplus(-a), and 1 - sigmoid(a) = sigmoid(-a)
    return tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))


def generator_loss(fake: tf.Tensor) -> tf.Tensor:
    """-log D(G(z)), mean over the batch, from logits `(batch,)`."""
    return tf.reduce_mean(tf.nn.softplus(-fake))


def gradient_penalty(judge, real: tf.Tensor) -> tf.Tensor:
    """R1 (Mescheder et al. 2018): ½ · |∂D(x)/∂x|², summed over a picture, mean over the pictures.

    It keeps the discriminator from becoming so steep that the generator cannot follow: without it, a discriminator
    that learns faster than its opponent ends the game.
    """
    with tf.GradientTape() as tape:
        tape.watch(real)
        total = tf.reduce_sum(judge(real))
    slope = tape.gradient(total, real)  # (batch, size, size, 3)
    return 0.5 * tf.reduce_mean(tf.reduce_sum(tf.square(slope), axis=[1, 2, 3]))


# %% [markdown]
# ## One training step
# One update of the discriminator on a real and a generated batch, then one or more of the generator, then the averaged
# generator takes a small step after it. The runner compiles the whole step into one graph.


# %%
class DCGAN(tf.Module):
    """Both networks, their optimizers, and the averaged generator: what a checkpoint holds."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("dcgan")
        self.args = args
        self.generator, self.discriminator, self.averaged = (
            Generator(args),
            Discriminator(args),
            Generator(args),
        )
        adam = lambda network, rate: layers.Adam(
            network.trainable_variables, rate, args.beta_1, args.beta_2, name=f"adam_{network.name}"
        )
        self.adam_g, self.adam_d = adam(self.generator, args.lr_g), adam(self.discriminator, args.lr_d)
        self.precision = tf.bfloat16 if args.mixed_precision else tf.float32

    def generate(self, z: tf.Tensor) -> tf.Tensor:
        """Training-mode pictures from `z`, with the statistics of this batch."""
        return self.generator(tf.cast(z, self.precision), training=True)

    def judge(self, x: tf.Tensor) -> tf.Tensor:
        """The discriminator's logits for pictures."""
        return self.discriminator(tf.cast(x, self.precision))

    def update_discriminator(self, real: tf.Tensor, fake: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """One Adam step of the discriminator; returns its loss without the penalty."""
        with tf.GradientTape() as tape:
            loss = goal = discriminator_loss(self.judge(real), self.judge(fake))
            if self.args.r1:  # every fourth picture will do: the same in the mean, for a quarter of the time
                goal += self.args.r1 * gradient_penalty(self.judge, real[::4])
        self.adam_d.apply(tape.gradient(goal, self.discriminator.trainable_variables), scale)
        return loss

    def update_generator(self, fake: tf.Tensor, tape: tf.GradientTape, scale: tf.Tensor) -> tf.Tensor:
        """One Adam step of the generator, whose `tape` saw it make `fake`; returns its loss."""
        with tape:
            loss = generator_loss(self.judge(fake))
        self.adam_g.apply(tape.gradient(loss, self.generator.trainable_variables), scale)
        return loss

    def train_step(self, step: tf.Tensor, batch: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step on a batch of uint8 pictures `(batch, size, size, 3)`; returns the losses."""
        args = self.args
        real = tf.cast(batch, tf.float32) / 127.5 - 1.0
        scale = learning_rate_scale(step, args)
        for update in range(args.g_updates):
            z = latents(args.batch_size, args.z_dim, layers.noise_seed(args.seed, step, update))
            with tf.GradientTape() as tape:
                fake = self.generate(layers.rows_of_this_replica(z))
            if update == 0:  # the discriminator and the first update of the generator share their fakes
                d_loss = self.update_discriminator(real, tf.stop_gradient(fake), scale)
            g_loss = self.update_generator(fake, tape, scale)
        # A short memory at first: the average should forget the initial weights as fast as the generator leaves them.
        count = tf.cast(step, tf.float32)
        layers.follow(self.generator, self.averaged, tf.minimum(args.ema, (1.0 + count) / (10.0 + count)))
        return {"d_loss": d_loss, "g_loss": g_loss}


def learning_rate_scale(step: tf.Tensor, args: argparse.Namespace) -> tf.Tensor:
    """1, and over the last `args.decay` of the steps a straight line down to 0.05."""
    left = (args.steps - tf.cast(step, tf.float32)) / max(args.decay * args.steps, 1.0)
    return tf.clip_by_value(left, 0.05, 1.0) if args.decay else tf.constant(1.0)


def latents(count: int, z_dim: int, seed: tf.Tensor) -> tf.Tensor:
    """`count` latent vectors from N(0, 1): `(count, z_dim)`."""
    return tf.random.stateless_normal([count, z_dim], seed)


# %% [markdown]
# ## Samples
# Always from the same 64 latent vectors, so that one sees the pictures grow from one grid to the next.


# %%
def sample_latents(seed: int, first: int, count: int, z_dim: int) -> tf.Tensor:
    """Latent vectors number `first`, `first` + 1, … of a seed: `(count, z_dim)`, however many are drawn at once."""
    blocks = range(first // 64, -(-(first + count) // 64))
    drawn = [latents(64, z_dim, layers.noise_seed(seed, block, 1000)) for block in blocks]
    return tf.concat(drawn, axis=0)[first % 64 : first % 64 + count]


def statistics_latents(seed: int, z_dim: int) -> tf.Tensor:
    """The latent vectors whose batch statistics the averaged generator uses: `(256, z_dim)`."""
    return latents(256, z_dim, layers.noise_seed(seed, 0, 999))


def sampler(model: DCGAN):
    """A function that returns a grid of the averaged generator's pictures, uint8 `(height, width, 3)`."""
    args = model.args
    z = sample_latents(args.seed, 0, 64, args.z_dim)
    draw = tf.function(lambda: model.averaged(z, training=False), autograph=False)

    def report():
        layers.measure_statistics(model.averaged, statistics_latents(args.seed, args.z_dim))
        return {}, {"samples": pictures.grid(pictures.to_bytes(draw().numpy()))}

    return report


# %%
def growth(folder: Path, rows: int = 8) -> np.ndarray:
    """The first row of several sample grids of a run, from the beginning to the end, below each other, uint8."""
    files = sorted((folder / "samples").glob("samples_*.png"))
    chosen = [files[round(i)] for i in np.linspace(0, len(files) - 1, min(rows, len(files)))]
    sheets = [np.asarray(Image.open(file)) for file in chosen]
    height = (sheets[0].shape[0] - 2) // 8
    return np.concatenate([sheet[:height] for sheet in sheets] + [sheets[-1][:2]])


def plot_losses(folder: Path) -> None:
    """Write `losses.png`: both losses over the steps of a run."""
    from matplotlib.figure import Figure

    steps, d_loss, g_loss = np.loadtxt(folder / "losses.csv", delimiter=",", skiprows=1, ndmin=2).T
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, d_loss, label="discriminator")
    axes.plot(steps, g_loss, label="generator")
    axes.axhline(2 * np.log(2), color="grey", linestyle=":", label="a discriminator that cannot tell: 2 ln 2")
    axes.set(xlabel="step", ylabel="loss", title="DCGAN: losses of the two players")
    axes.legend()
    figure.savefig(folder / "losses.png", dpi=100)


# %% [markdown]
# ## Main
# Data, networks, the latest checkpoint if there is one, and the loop.


# %%
def main(argv: list[str] | None = None) -> None:
    """Train as the flags say."""
    args = parse_args(argv)
    strategy = runner.strategy_for(args)
    run = runner.Run(args, strategy, SHAPING, losses=("d_loss", "g_loss"))
    widths = " → ".join(map(str, channels(args.size, args.width_g)[::-1]))
    run.say(f"preset {args.preset}: {args.size}×{args.size}, generator {widths}, batch {args.batch_size}")
    folder = pictures.find_folder(args.data_path)
    data = pictures.load(folder, args.size, Path(args.output_dir).parent / "cache", run.say)
    with strategy.scope():
        model = DCGAN(args)
    first_step = run.restore(model=model)
    source = pictures.batches(args, strategy, [data], first_step)
    run.loop(model.train_step, source, sampler(model))
    if run.chief:
        plot_losses(run.folder)
        pictures.save_png(growth(run.folder), run.folder / "growth.png")


# %% [markdown]
# As a script it takes its flags from the command line; the notebook trains with the CPU preset
# (`TUTORIAL_QUICK=1` makes that a few steps of small networks, for tests).

# %%
IN_NOTEBOOK = __name__ == "__main__" and "ipykernel" in sys.modules
NOTEBOOK_FLAGS = ["--preset", "cpu"]
if os.environ.get("TUTORIAL_QUICK") == "1":
    NOTEBOOK_FLAGS += ["--steps", "4", "--sample_every", "2", "--log_every", "2"]
    NOTEBOOK_FLAGS += ["--width_g", "2", "--width_d", "2", "--batch_size", "4"]

if __name__ == "__main__":
    runner.guard(lambda: main(NOTEBOOK_FLAGS if IN_NOTEBOOK else None))

# %% [markdown]
# ## What came out
# First the log of the training, a line in ten. Then, in each row, the same eight latent vectors at a later step; 64
# samples at the end; and the losses. `losses.png`, `growth.png` and `samples/` in the folder of the run hold the same
# pictures.

# %%
if IN_NOTEBOOK:
    from IPython.display import Image as Shown
    from IPython.display import display

    run_folder = Path("runs/dcgan")
    lines = [line for line in (run_folder / "train.log").read_text().splitlines() if "steps/s" in line]
    print(*(line.split(" steps/s")[0].rsplit(maxsplit=1)[0] for line in lines[9::10]), sep="\n")
    last_sheet = max((run_folder / "samples").iterdir())
    for picture in (run_folder / "growth.png", last_sheet, run_folder / "losses.png"):
        small = io.BytesIO()  # as JPEG, so that the notebook stays light
        Image.open(picture).convert("RGB").save(small, "JPEG", quality=88)
        display(Shown(data=small.getvalue()))
