"""What a training step of pix2pix, of the word cutter and of the input method costs: the other half of the model table.

    python -m benchmarks.model_steps                # about four minutes; writes benchmarks/results/model_steps.json
    python -m benchmarks.model_steps --rounds 1     # once each, for a quick look

Like `benchmarks.gan_speed`, which measures the models of avatars: each configuration runs in a process of its own in
its model's folder, the configurations take turns, the peak is a large convolution in the same run. The arithmetic
counts convolutions, and of the sequence models the products with weights that every position of a batch goes through,
padding included: attention, the CRF, and the scores of a syllable's characters count as overhead.
"""

from __future__ import annotations

import argparse
import json

from benchmarks.gan_speed import measure, run_worker
from tools.machine import facts
from utils.lesson import RESULTS, write_json

PIX2PIX = """
import pix2pix, tensorflow as tf
args = pix2pix.parse_args(flags)
model = pix2pix.Pix2Pix(args)
shape = [args.batch_size, args.scale_size, 2 * args.scale_size, 3]
batch = tf.random.stateless_uniform(shape, [1, 2], 0, 256, tf.int32)
batches = [(tf.cast(batch, tf.uint8),)]
step = tf.function(model.train_step, autograph=False)
arithmetic = 0
picture = tf.TensorSpec([1, args.crop, args.crop, 3])
noise = tf.TensorSpec([1, model.generator.noise_size])
# G once forwards and once backwards (twice the work); D on data and on a fake, forwards and backwards, and once more
# backwards for the generator, for the inputs only.
for network, inputs, passes in ((model.generator, (picture, noise), 3), (model.discriminator, (picture, picture), 7)):
    for op in tf.function(network.__call__).get_concrete_function(*inputs).graph.get_operations():
        place = {"Conv2D": op.outputs, "Conv2DBackpropInput": list(op.inputs)[2:]}.get(op.type)
        if place:
            height, width = place[0].shape[1:3]
            arithmetic += 2 * passes * op.inputs[1].shape.num_elements() * height * width * args.batch_size
"""
SEGMENTATION = """
import batches as pipeline, corpus, layers, numpy as np, segmenter, text, train
from runner import tf
args = train.parse_args(flags)
sentences = corpus.load().train[:8000]
vocabulary = text.Vocabulary.of(sentences, 2, 2)
tagger = segmenter.make_tagger(vars(args), vocabulary, training=True)
source = pipeline.batches(args, tf.distribute.get_strategy(), pipeline.encode(sentences, vocabulary), 0)
batches = [next(source) for _ in range(12)]
step = tf.function(
    train.make_step(args, tagger, layers.Adam(tagger.trainable_variables, 1.0)), autograph=False, reduce_retracing=True)
tables = ("characters", "pairs", "transitions")
weights = sum(v.shape.num_elements() for v in tagger.trainable_variables
              if v.shape.rank == 2 and not any(name in v.name for name in tables))
arithmetic = 6 * weights * np.mean([batch[0].shape[0] * batch[0].shape[1] for batch in batches])
"""
PINYIN = """
import network, numpy as np, train
from layers import Adam
from runner import tf
import data
args = train.parse_args(flags)
sentences = data.load(None)["train"][:20000]
vocabulary = data.Vocabulary.of(sentences)
buckets = data.in_buckets(vocabulary, sentences)
plan = data.Batches(buckets, args.batch_size, args.seed)
batches = []
for number in range(8):
    bucket, rows = plan.rows_of(number)
    batches.append((tf.constant(buckets[bucket].symbols[rows]), tf.constant(buckets[bucket].characters[rows])))
model = network.make_network(args, vocabulary)
step = tf.function(train.make_step(args, model, Adam(model.trainable_variables, 1.0, beta_2=0.98),
                   vocabulary.first_syllable), autograph=False, reduce_retracing=True)
tables = ("embedding", "candidates", "attention_place")
weights = sum(v.shape.num_elements() for v in model.trainable_variables
              if v.shape.rank == 2 and not any(name in v.name for name in tables))
arithmetic = 6 * weights * np.mean([batch[0].shape.num_elements() for batch in batches])
"""
# name: (model folder, how its step is made, flags, steps to time)
CONFIGURATIONS = {
    "pix2pix, the paper's size": ("m04_pix2pix", PIX2PIX, ["--preset", "paper"], 8),
    "pix2pix, CPU preset": ("m04_pix2pix", PIX2PIX, ["--preset", "cpu"], 30),
    "segmentation, CPU preset": ("m05_sequence_labeling", SEGMENTATION, ["--preset", "cpu"], 36),
    "pinyin, CPU preset": ("m06_seq2seq", PINYIN, ["--preset", "cpu"], 24),
}

# Each batch is used once before we time, so that every shape is compiled; the figure is the mean over the batches.
WORKER = """
import json, resource, sys, time
steps, flags = int(sys.argv[1]), sys.argv[2:]
from runner import quiet_start
quiet_start()
{make}
def run(number):
    started = time.perf_counter()
    losses = step(tf.constant(number, tf.int64), *batches[number % len(batches)])
    [loss.numpy() for loss in losses.values()]
    return time.perf_counter() - started
for number in range(max(2, len(batches))):
    run(number)
seconds = sum(run(number) for number in range(steps)) / steps
print("RESULT " + json.dumps({{"seconds": seconds, "operations": float(arithmetic),
    "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}}))
"""


def run_configuration(name: str, more: list[str]) -> dict:
    """One of CONFIGURATIONS in a process of its own."""
    folder, make, flags, steps = CONFIGURATIONS[name]
    program = WORKER.format(make=make)
    return json.loads(run_worker(f"models/{folder}", program, str(steps), *flags, *more))


def main(argv: list[str] | None = None) -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args(argv)
    result = measure(args.rounds, CONFIGURATIONS, run_configuration, lambda found: found["operations"])
    write_json(RESULTS / "model_steps.json", {**result, "machine": facts()})


if __name__ == "__main__":
    main()
