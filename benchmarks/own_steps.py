"""A helper process that holds the training steps of one model folder, for `benchmarks.peer_models`.

    python -m benchmarks.own_steps dcgan      # then a line of JSON asks, as in benchmarks/peers/serve.py

Each model has a process of its own, because the folders use the same module names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.gan_speed import QUARTER
from benchmarks.peers.serve import serve, timed
from utils.lesson import REPO

Made = tuple[Callable[[int], float], int]  # trains so many steps; numbers in its matrices


def matrices(variables) -> int:
    """Numbers in all weights of two and more dimensions."""
    return sum(v.shape.num_elements() for v in variables if v.shape.rank > 1)


def digits(form: str) -> Made:
    """m01, by the forms of its own benchmark; `form` is "ours without", "bfloat16 with", …"""
    from benchmarks import m01_forms

    flags = ["--no-batch_norm"] if form.endswith("without") else []
    network = m01_forms.train.make_network(m01_forms.settled(flags))
    return m01_forms.FORMS[form](), matrices(network.trainable_variables)


def stepper(model, networks: list, batch) -> Made:
    """A function that trains a model of a folder on one batch."""
    import tensorflow as tf

    compiled = tf.function(model.train_step)
    number = 0

    def run(steps: int) -> float:
        nonlocal number
        for _ in range(steps):
            losses = compiled(tf.constant(number, tf.int64), batch)
            number += 1
        return sum(float(loss) for loss in losses.values())

    return run, sum(matrices(network.trainable_variables) for network in networks)


def random_bytes(*shape: int):
    import tensorflow as tf

    return tf.cast(tf.random.stateless_uniform(shape, [1, 2], 0, 256, tf.int32), tf.uint8)


def dcgan(low: bool) -> Made:
    """DCGAN by the paper's recipe, at a quarter of its width."""
    sys.path.insert(0, str(REPO / "models" / "m02_dcgan"))
    import dcgan

    args = dcgan.parse_args([*QUARTER, *["--mixed_precision"] * low])
    model = dcgan.DCGAN(args)
    return stepper(model, [model.generator, model.discriminator], random_bytes(64, 64, 64, 3))


def pix2pix(low: bool) -> Made:
    """pix2pix at the paper's size, batch 1; the pair is 256 high, so that nothing is left to cut out."""
    sys.path.insert(0, str(REPO / "models" / "m04_pix2pix"))
    import pix2pix

    flags = ["--preset", "paper", "--scale_size", "256", "--no_flip"]
    args = pix2pix.parse_args([*flags, *["--mixed_precision"] * low])
    model = pix2pix.Pix2Pix(args)
    return stepper(model, [model.generator, model.discriminator], random_bytes(1, 256, 512, 3))


MODELS: dict[str, dict[str, Callable[[], Made]]] = {
    "m01": {
        f"{form} {which}": lambda name=f"{form} {which}": digits(name)
        for which in ("without", "with")
        for form in ("loop", "ours", "bfloat16")
    },
    "dcgan": {"ours": lambda: dcgan(False), "bfloat16": lambda: dcgan(True)},
    "pix2pix": {"ours": lambda: pix2pix(False), "bfloat16": lambda: pix2pix(True)},
}


class Row:
    """A step that is made when it is first asked for; it answers with seconds a step."""

    def __init__(self, make: Callable[[], Made]):
        self.make, self.made = make, None

    def __call__(self, question: dict) -> dict:
        self.made = self.made or self.make()
        run, weights = self.made
        seconds = timed(lambda: run(question["steps"])) / question["steps"]
        return {"seconds": seconds, "matrix_weights": weights}


if __name__ == "__main__":
    from utils.lesson import quiet_start

    quiet_start()
    serve({name: Row(make) for name, make in MODELS[sys.argv[1]].items()}, {})
