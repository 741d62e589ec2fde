"""WGAN-GP: a critic that measures how far the generated pictures are from the data, held smooth by a penalty.

wgan.py says what the critic's estimate is and why its slope must be bounded. Clipping its weights bounds the slope,
but pushes most of them to the bound and leaves the critic few functions to choose from. Here the slope itself is asked
to be 1: at points between data and generated pictures, the norm of the critic's gradient with respect to the picture
is penalised where it differs from 1. The optimal critic has a slope of 1 there. The penalty is one of each picture
alone, so the critic has no batch normalization, which would let one picture's score depend on the others. Read the
whole change with `diff wgan.py wgan_gp.py`.

Paper: Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved Training of Wasserstein GANs", 2017
(arXiv 1704.00028).

    python wgan_gp.py                       # pictures of data/anime or data/avatars, 64×64
    python wgan_gp.py --data_path ~/photos  # your own
    python wgan_gp.py --arch mlp            # fully connected networks
    python wgan_gp.py --preset paper        # the paper's sizes; the default where there is a GPU
    python plot_losses.py runs/wgan_gp      # the critic's estimate, and the pictures of that moment
    python generate.py --run runs/wgan_gp   # pictures from the trained generator

A run that was stopped goes on when the same command is given again.

Deviations from the paper: samples come from an averaged generator (`--ema 0` for none); `--arch mlp` makes both
networks fully connected. On a CPU: narrower networks, He's initial weights, fewer critic updates, higher learning
rates that fall at the end, no normalization in the critic, every second picture penalised (`--gp_share`).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from runner import quiet_start

quiet_start()  # TensorFlow without its start-up messages
import layers
import pictures
import runner
import tensorflow as tf
from networks import channels, make_critic, make_generator

# ------------------------------------------------------------------------------------------------------------ flags
PRESETS = {
    "cpu": {  # a quarter of the paper's widths
        "width_g": 32,
        "width_d": 32,
        "he": True,
        "critic_norm": "none",
        "steps": 3000,
        "batch_size": 32,
        "critic_steps": 2,
        "gp_share": 2,
        "lr_g": 1e-3,
        "lr_d": 1e-3,
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
        "he": False,
        "critic_norm": "layer",
        "steps": 30000,
        "batch_size": 64,
        "critic_steps": 5,
        "gp_share": 1,
        "lr_g": 1e-4,
        "lr_d": 1e-4,
        "beta_2": 0.9,
        "decay": 0.0,
        "ema": 0.999,
        "log_every": 50,
        "sample_every": 500,
        "save_every": 500,
    },
}
# A checkpoint fits networks of the same values only.
SHAPING = ("script", "arch", "critic_norm", "size", "width_g", "width_d", "z_dim")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags, with those that were not given filled from the preset."""
    parser = argparse.ArgumentParser(description="Train a WGAN-GP on a folder of pictures.")
    parser.set_defaults(script="wgan_gp")
    add, yes_no = parser.add_argument, argparse.BooleanOptionalAction
    add("--data_path", help="folder of pictures (default: data/anime, else data/avatars of the repository)")
    add("--size", type=int, default=64, help="side of the pictures: 8, 16, 32, 64, 128 … (default 64)")
    add("--arch", choices=("dcgan", "mlp"), default="dcgan", help="convolutions, or four dense layers of 512")
    add("--critic_norm", choices=("layer", "none"), help="in the critic of dcgan")
    add("--he", action=yes_no, help="He's initial weights instead of DCGAN's N(0, 0.02²)")
    add("--z_dim", type=int, default=100, help="random numbers a picture is made from (default 100)")
    add("--width_g", type=int, help="channels of the generator's last hidden layer, doubled in each before")
    add("--width_d", type=int, help="channels of the critic's first layer, doubled in each after it")
    add("--critic_steps", type=int, help="critic updates, a batch for each, for one of the generator")
    add("--lr_g", type=float, help="Adam's learning rate for the generator")
    add("--lr_d", type=float, help="Adam's learning rate for the critic")
    add("--beta_1", type=float, default=0.0, help="Adam's decay of the mean gradient (default 0)")
    add("--beta_2", type=float, help="Adam's decay of the mean squared gradient")
    add("--gp_weight", type=float, default=10.0, help="weight of the gradient penalty (default 10)")
    add("--gp_share", type=int, help="penalise every picture (1), every second (2), … of a batch")
    add("--decay", type=float, help="share of the steps, at the end, over which learning rates fall to 5 %%")
    add("--ema", type=float, help="decay of the averaged generator, from which samples are drawn; 0 for none")
    runner.common_flags(parser, output_dir="runs/wgan_gp")
    args = runner.settle(parser.parse_args(argv), PRESETS)
    if args.size < 8 or args.size & (args.size - 1):
        raise runner.Stop(f"--size must be 8, 16, 32, 64, …, not {args.size}", code=2)
    if args.critic_steps < 1:
        raise runner.Stop(f"--critic_steps must be 1 or more, not {args.critic_steps}", code=2)
    if args.gp_share < 1 or args.batch_size % args.gp_share:
        raise runner.Stop(f"--gp_share must divide --batch_size, {args.gp_share} does not", code=2)
    return args


# ----------------------------------------------------------------------------------------------------------- losses
def wasserstein_estimate(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """E f(x) - E f(G(z)) from scores `(batch,)`: the distance, up to the critic's Lipschitz constant (equation 2)."""
    return tf.reduce_mean(real) - tf.reduce_mean(fake)


def critic_loss(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """The critic maximises the estimate."""
    return -wasserstein_estimate(real, fake)


def generator_loss(fake: tf.Tensor) -> tf.Tensor:
    """-E f(G(z)): the generator raises its scores."""
    return -tf.reduce_mean(fake)


def between(real: tf.Tensor, fake: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """One point on the line from each picture of the data to a generated one; `alpha` is `(batch, 1, 1, 1)`."""
    return alpha * real + (1.0 - alpha) * fake


def shares(count: int, seed: tf.Tensor) -> tf.Tensor:
    """One number from U[0, 1] for each picture, the same for all its pixels and channels: `(count, 1, 1, 1)`."""
    return tf.random.stateless_uniform([count, 1, 1, 1], seed)


def gradient_penalty(critic: Callable[[tf.Tensor], tf.Tensor], points: tf.Tensor) -> tf.Tensor:
    """Mean of (‖∇f(x̂)‖ - 1)² over points `(batch, h, w, channels)` (equation 3); differentiable in f's weights."""
    with tf.GradientTape() as tape:
        tape.watch(points)
        scores = critic(points)
    slopes = tape.gradient(scores, points)  # (batch, h, w, channels): a score depends on its own point only
    # The root has no gradient at zero: without the small number a flat critic would give NaN.
    norms = tf.sqrt(tf.reduce_sum(tf.square(slopes), [1, 2, 3]) + 1e-12)  # (batch,)
    return tf.reduce_mean(tf.square(norms - 1.0))


# ------------------------------------------------------------------------------------------------ one training step
class WGAN(tf.Module):
    """Both networks, their optimizers, and the averaged generator: what a checkpoint holds."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("wgan")
        self.args = args
        self.generator, self.critic = make_generator(args), make_critic(args)
        self.averaged = make_generator(args)  # starts with the same values
        # With little or no momentum Adam is stable here.
        betas = args.beta_1, args.beta_2
        self.optimizer_g = layers.Adam(self.generator.trainable_variables, args.lr_g, *betas, name="adam_g")
        self.optimizer_d = layers.Adam(self.critic.trainable_variables, args.lr_d, *betas, name="adam_d")
        self.precision = tf.bfloat16 if args.mixed_precision else tf.float32

    def generate(self, z: tf.Tensor) -> tf.Tensor:
        """Training-mode pictures from `z`, with the statistics of this batch."""
        return self.generator(tf.cast(z, self.precision), training=True)

    def judge(self, x: tf.Tensor) -> tf.Tensor:
        """The critic's scores for pictures."""
        return self.critic(tf.cast(x, self.precision))

    def update_critic(self, real: tf.Tensor, z: tf.Tensor, alpha: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """One Adam step of the critic; returns the estimate before it, without the penalty."""
        fake = self.generate(z)
        points = between(real, fake, alpha)[:: self.args.gp_share]
        with tf.GradientTape() as tape:
            real_scores, fake_scores = self.judge(real), self.judge(fake)
            loss = critic_loss(real_scores, fake_scores)
            loss += self.args.gp_weight * gradient_penalty(self.judge, points)
        self.optimizer_d.apply(tape.gradient(loss, self.critic.trainable_variables), scale)
        return wasserstein_estimate(real_scores, fake_scores)

    def update_generator(self, z: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """One step of the generator; returns its loss."""
        with tf.GradientTape() as tape:
            loss = generator_loss(self.judge(self.generate(z)))
        self.optimizer_g.apply(tape.gradient(loss, self.generator.trainable_variables), scale)
        return loss

    def train_step(self, step: tf.Tensor, batches: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step on uint8 pictures `(critic_steps, batch, size, size, 3)`, a batch for each update of the critic.

        Returns the estimate of the last of them, the best informed, and the generator's loss.
        """
        args = self.args
        noise = lambda purpose: layers.rows_of_this_replica(
            latents(args.batch_size, args.z_dim, layers.noise_seed(args.seed, step, purpose))
        )
        scale = learning_rate_scale(step, args)
        for update in range(args.critic_steps):
            real = tf.cast(batches[update], tf.float32) / 127.5 - 1.0
            alpha = shares(args.batch_size, layers.noise_seed(args.seed, step, 2000 + update))
            alpha = layers.rows_of_this_replica(alpha)
            estimate = self.update_critic(real, noise(update), alpha, scale)
        g_loss = self.update_generator(noise(args.critic_steps), scale)
        # A short memory at first: the average should forget the initial weights as fast as the generator leaves them.
        count = tf.cast(step, tf.float32)
        layers.follow(self.generator, self.averaged, tf.minimum(args.ema, (1.0 + count) / (10.0 + count)))
        return {"wasserstein": estimate, "g_loss": g_loss}


def learning_rate_scale(step: tf.Tensor, args: argparse.Namespace) -> tf.Tensor:
    """1, and over the last `args.decay` of the steps a straight line down to 0.05."""
    left = (args.steps - tf.cast(step, tf.float32)) / max(args.decay * args.steps, 1.0)
    return tf.clip_by_value(left, 0.05, 1.0) if args.decay else tf.constant(1.0)


def latents(count: int, z_dim: int, seed: tf.Tensor) -> tf.Tensor:
    """`count` latent vectors from N(0, 1): `(count, z_dim)`."""
    return tf.random.stateless_normal([count, z_dim], seed)


# ---------------------------------------------------------------------------------------------------------- samples
def sample_latents(seed: int, first: int, count: int, z_dim: int) -> tf.Tensor:
    """Latent vectors number `first`, `first` + 1, … of a seed: `(count, z_dim)`, however many are drawn at once."""
    blocks = range(first // 64, -(-(first + count) // 64))
    drawn = [latents(64, z_dim, layers.noise_seed(seed, block, 1000)) for block in blocks]
    return tf.concat(drawn, axis=0)[first % 64 : first % 64 + count]


def statistics_latents(seed: int, z_dim: int) -> tf.Tensor:
    """The latent vectors whose batch statistics the averaged generator uses: `(256, z_dim)`."""
    return latents(256, z_dim, layers.noise_seed(seed, 0, 999))


def sampler(model: WGAN):
    """A function that returns a grid of the averaged generator's pictures, uint8 `(height, width, 3)`."""
    args = model.args
    z = sample_latents(args.seed, 0, 64, args.z_dim)  # the same 64 every time
    draw = tf.function(lambda: model.averaged(z, training=False), autograph=False)

    def report():
        layers.measure_statistics(model.averaged, statistics_latents(args.seed, args.z_dim))
        return {}, {"samples": pictures.grid(pictures.to_bytes(draw().numpy()))}

    return report


# ------------------------------------------------------------------------------------------------------------- main
def main(argv: list[str] | None = None) -> None:
    """Train as the flags say."""
    args = parse_args(argv)
    strategy = runner.strategy_for(args)
    run = runner.Run(args, strategy, SHAPING, losses=("wasserstein", "g_loss"))
    hidden = [512] * 4 if args.arch == "mlp" else channels(args.size, args.width_g)[::-1]
    run.say(f"preset {args.preset}: generator {hidden}, batch {args.batch_size} × {args.critic_steps}")
    folder = pictures.find_folder(args.data_path)
    data = pictures.load(folder, args.size, Path(args.output_dir).parent / "cache", run.say)
    with strategy.scope():
        model = WGAN(args)
    first_step = run.restore(model=model)
    source = pictures.batches(args, strategy, [data], first_step, updates=args.critic_steps)
    run.loop(model.train_step, source, sampler(model))


if __name__ == "__main__":
    runner.guard(main)
