"""WGAN: a critic that measures how far the generated pictures are from the data.

DCGAN's discriminator says "data" or "generated"; once it is sure, the generator learns nothing more, and its loss says
nothing about the pictures. Here a *critic* gives each picture a score, without a bound. If no score may change faster
than its picture does (the critic is 1-Lipschitz), the largest possible difference between the mean score of the data
and that of the generated pictures is the Wasserstein-1 distance between the two: it is finite, has a useful gradient
everywhere, and falls as the pictures get better. This script holds the critic smooth by clipping its weights;
wgan_gp.py, the same script otherwise, by a penalty on its gradient: `diff wgan.py wgan_gp.py` shows it.

Paper: Arjovsky, Chintala, Bottou, "Wasserstein GAN", 2017 (arXiv 1701.07875).

    python wgan.py                          # pictures of data/anime or data/avatars, 64×64
    python wgan.py --data_path ~/photos     # your own
    python wgan.py --arch mlp               # fully connected networks
    python wgan.py --preset paper           # the paper's sizes; the default where there is a GPU
    python plot_losses.py runs/wgan         # the critic's estimate, and the pictures of that moment
    python generate.py --run runs/wgan      # pictures from the trained generator

A run that was stopped goes on when the same command is given again.

Deviations from the paper: samples come from an averaged generator (`--ema 0` for none); `--arch mlp` makes both
networks fully connected. On a CPU: narrower networks, He's initial weights, fewer critic updates, higher learning
rates that fall at the end.
"""

import argparse
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
        "critic_norm": "batch",
        "steps": 4000,
        "batch_size": 32,
        "critic_steps": 2,
        "lr_g": 1e-3,
        "lr_d": 2e-4,
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
        "critic_norm": "batch",
        "steps": 30000,
        "batch_size": 64,
        "critic_steps": 5,
        "lr_g": 5e-5,
        "lr_d": 5e-5,
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
    parser = argparse.ArgumentParser(description="Train a WGAN on a folder of pictures.")
    parser.set_defaults(script="wgan")
    add, yes_no = parser.add_argument, argparse.BooleanOptionalAction
    add("--data_path", help="folder of pictures (default: data/anime, else data/avatars of the repository)")
    add("--size", type=int, default=64, help="side of the pictures: 8, 16, 32, 64, 128 … (default 64)")
    add("--arch", choices=("dcgan", "mlp"), default="dcgan", help="convolutions, or four dense layers of 512")
    add("--critic_norm", choices=("batch", "layer", "none"), help="in the critic of dcgan")
    add("--he", action=yes_no, help="He's initial weights instead of DCGAN's N(0, 0.02²)")
    add("--z_dim", type=int, default=100, help="random numbers a picture is made from (default 100)")
    add("--width_g", type=int, help="channels of the generator's last hidden layer, doubled in each before")
    add("--width_d", type=int, help="channels of the critic's first layer, doubled in each after it")
    add("--critic_steps", type=int, help="critic updates, a batch for each, for one of the generator")
    add("--lr_g", type=float, help="RMSProp's learning rate for the generator")
    add("--lr_d", type=float, help="RMSProp's learning rate for the critic")
    add("--clip", type=float, default=0.01, help="bound of the critic's weights (default 0.01)")
    add("--decay", type=float, help="share of the steps, at the end, over which learning rates fall to 5 %%")
    add("--ema", type=float, help="decay of the averaged generator, from which samples are drawn; 0 for none")
    runner.common_flags(parser, output_dir="runs/wgan")
    args = runner.settle(parser.parse_args(argv), PRESETS)
    if args.size < 8 or args.size & (args.size - 1):
        raise runner.Stop(f"--size must be 8, 16, 32, 64, …, not {args.size}", code=2)
    if args.critic_steps < 1:
        raise runner.Stop(f"--critic_steps must be 1 or more, not {args.critic_steps}", code=2)
    if args.clip <= 0:
        raise runner.Stop(f"--clip must be above 0, not {args.clip}", code=2)
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


def clip_weights(critic: tf.Module, bound: float) -> None:
    """w ← clip(w, -c, c) for every weight, gain and bias: the critic's slope is then bounded by a constant."""
    for variable in critic.trainable_variables:
        value = tf.clip_by_value(variable.read_value(), -bound, bound)
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


# ------------------------------------------------------------------------------------------------ one training step
class WGAN(tf.Module):
    """Both networks, their optimizers, and the averaged generator: what a checkpoint holds."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("wgan")
        self.args = args
        self.generator, self.critic = make_generator(args), make_critic(args)
        self.averaged = make_generator(args)  # starts with the same values
        # Not Adam: with momentum the paper saw training turn unstable.
        self.optimizer_g = layers.RMSProp(self.generator.trainable_variables, args.lr_g, name="rmsprop_g")
        self.optimizer_d = layers.RMSProp(self.critic.trainable_variables, args.lr_d, name="rmsprop_d")
        self.precision = tf.bfloat16 if args.mixed_precision else tf.float32

    def generate(self, z: tf.Tensor) -> tf.Tensor:
        """Training-mode pictures from `z`, with the statistics of this batch."""
        return self.generator(tf.cast(z, self.precision), training=True)

    def judge(self, x: tf.Tensor) -> tf.Tensor:
        """The critic's scores for pictures."""
        return self.critic(tf.cast(x, self.precision))

    def update_critic(self, real: tf.Tensor, z: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """One RMSProp step of the critic, then the clipping; returns the estimate before it."""
        fake = self.generate(z)
        with tf.GradientTape() as tape:
            real_scores, fake_scores = self.judge(real), self.judge(fake)
            loss = critic_loss(real_scores, fake_scores)
        self.optimizer_d.apply(tape.gradient(loss, self.critic.trainable_variables), scale)
        clip_weights(self.critic, self.args.clip)
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
            estimate = self.update_critic(real, noise(update), scale)
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
