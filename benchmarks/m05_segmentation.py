"""How well and how fast m05 cuts text into words: the figures of its README.

    python -m benchmarks.m05_segmentation accuracy           # three seeds and two networks with a part left out
    python -m benchmarks.m05_segmentation accuracy --only seed1
    python -m benchmarks.m05_segmentation collect            # what the finished trainings of `accuracy` hold
    python -m benchmarks.m05_segmentation speed              # two minutes

accuracy trains with `train.py` as it stands, one run after another, into `runs/m05_accuracy/`; a run that is
finished is kept, an unfinished one goes on. speed writes `benchmarks/results/m05_speed.json`, the others
`m05_accuracy.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.run_logs import excerpt
from tools.machine import facts
from utils.lesson import REPO, RESULTS, write_json

FOLDER = REPO / "models" / "m05_sequence_labeling"
RUNS = {
    "seed1": ["--seed", "1"],
    "seed2": ["--seed", "2"],
    "seed3": ["--seed", "3"],
    "no_lexicon": ["--seed", "1", "--no-lexicon"],
    "no_crf": ["--seed", "1", "--no-crf"],
}
ROUNDS, STEPS = 5, 8  # of `speed`: each form takes so many steps, then it is the next one's turn


def accuracy(target: Path, only: list[str]) -> None:
    """Train and score what is not finished yet."""
    for name in only or RUNS:
        folder = target / name
        if not (folder / "result.json").exists():
            command = [sys.executable, str(FOLDER / "train.py"), "--output_dir", str(folder), *RUNS[name]]
            subprocess.run(command, check=True)
        if not (folder / "evaluation.json").exists():
            command = [sys.executable, str(FOLDER / "evaluate.py"), "--output_dir", str(folder)]
            subprocess.run(command + ["--no-rivals"] * (name != "seed1"), check=True)
    collect(target)


def collect(target: Path) -> None:
    """Put the scores of all finished runs into the result file."""
    runs = {}
    for name in RUNS:
        path = target / name / "evaluation.json"
        if path.exists():
            result = json.loads((target / name / "result.json").read_text())
            runs[name] = json.loads(path.read_text(encoding="utf-8")) | {"steps": result["steps"]}
            config = json.loads((target / name / "config.json").read_text())
            runs[name]["batch_size"] = config["batch_size"]
            runs[name]["log"] = excerpt(target / name)
    if not runs:
        sys.exit(f"no finished run in {target}. Make them:  python -m benchmarks.m05_segmentation accuracy")
    seeds = [runs[name] for name in ("seed1", "seed2", "seed3") if name in runs]
    summary = {}
    for name in seeds[0]["scores"]["this tagger"]:
        values = [100 * run["scores"]["this tagger"][name] for run in seeds]
        summary[name] = {"mean": statistics.mean(values), "values": values}
        summary[name]["std"] = statistics.stdev(values) if len(values) > 1 else 0.0
    write_json(RESULTS / "m05_accuracy.json", {"summary": summary, "runs": runs, "machine": facts()})
    print(f"F1 {summary['f1']['mean']:.2f} ± {summary['f1']['std']:.2f} over {len(seeds)} seeds")


def speed() -> None:
    """Milliseconds a step, characters a second, and the share of padding; all forms take turns."""
    sys.path.insert(0, str(FOLDER))
    import batches
    import corpus
    import jieba
    import keras
    import layers
    import segmenter
    import text
    import train
    from runner import tf

    tf.get_logger().setLevel("ERROR")  # each form is compiled anew, on purpose
    jieba.setLogLevel("WARNING")
    jieba.initialize()
    sentences = corpus.load().train[:8000]
    texts = ["".join(sentence) for sentence in sentences[:1500]]
    vocabulary = text.Vocabulary.of(sentences, 2, 2)
    data = batches.encode(sentences, vocabulary)
    lengths = np.array([len(item.tags) for item in data])

    def training(*flags: str):
        args = train.parse_args(["--preset", "cpu", *flags])
        strategy = tf.distribute.get_strategy()
        tagger = segmenter.make_tagger(vars(args), vocabulary, training=True)
        step_function = train.make_step(args, tagger, layers.Adam(tagger.trainable_variables, 1.0))
        step = tf.function(step_function, autograph=False, reduce_retracing=True)
        source = batches.batches(args, strategy, data, 0)
        some = [next(source) for _ in range(3 * STEPS)]
        for batch in some[:3]:
            step(tf.constant(0, tf.int64), *batch)
        count = [0]

        def run() -> int:
            characters = 0
            for _ in range(STEPS):
                batch = some[count[0] % len(some)]
                loss = step(tf.constant(0, tf.int64), *batch)["loss"]
                characters += int(batch[-1].numpy().sum())
                count[0] += 1
            loss.numpy()
            return characters

        return run

    def keras_layer():
        """The gradient of a bidirectional LSTM alone, as Keras 3 has it and as lstm.py does."""
        layer = keras.layers.Bidirectional(keras.layers.LSTM(128, return_sequences=True))
        x = tf.random.stateless_normal([64, 42, 222], [1, 2])
        layer(x)
        return differentiated(lambda: layer(x, mask=tf.ones([64, 42], tf.bool)), layer.trainable_variables)

    def our_layer():
        from lstm import BiLSTM

        layer = BiLSTM(layers.Seeds(1, 1), 222, 128)
        x = tf.random.stateless_normal([42, 64, 222], [1, 2])
        return differentiated(lambda: layer(x, tf.ones([42, 64, 1])), layer.trainable_variables)

    def differentiated(forward, variables):
        @tf.function
        def step():
            with tf.GradientTape() as tape:
                y = tf.reduce_sum(tf.sin(forward()))
            return tape.gradient(y, variables)[0]

        step()

        def run() -> int:
            for _ in range(STEPS):
                gradient = step()
            gradient.numpy()
            return STEPS * 64 * 42

        return run

    tool = segmenter.Segmenter(
        segmenter.make_tagger(vars(train.parse_args(["--preset", "cpu"])), vocabulary), vocabulary
    )
    tool.segment(texts[:200])
    characters = sum(map(len, texts))
    forms = {
        "training": training(),
        "training, bfloat16": training("--mixed_precision"),
        "training, batches not bucketed": training("--no-bucketed"),
        "lstm.py": our_layer(),
        "keras.layers.LSTM": keras_layer(),
        "segmenting": lambda: tool.segment(texts) and characters,
        "jieba": lambda: [jieba.lcut(line) for line in texts] and characters,
    }
    rates: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(ROUNDS):
        for name, run in forms.items():
            started = time.perf_counter()
            count = run()
            rates[name].append(count / (time.perf_counter() - started))
    size = train.PRESETS["cpu"]["batch_size"]
    plan = lambda bucketed: batches.epoch_of_batches(lengths, size, 1, 0, bucketed)
    padding = {
        name: batches.padding_share(lengths, plan(bucketed))
        for name, bucketed in (("random", False), ("bucketed", True))
    }
    rows = {
        name: {"rate": statistics.median(values), "low": min(values), "high": max(values)}
        for name, values in rates.items()
    }
    result = {
        "rows": rows,
        "padding": padding,
        "batch": size,
        "rounds": ROUNDS,
        "mean_length": float(lengths.mean()),
    }
    steps = train.PRESETS["cpu"]["steps"]
    result["steps"] = steps
    result["minutes"] = steps * size * lengths.mean() / rows["training"]["rate"] / 60
    write_json(RESULTS / "m05_speed.json", {**result, "machine": facts()})
    for name, row in rows.items():
        print(
            f"{name:<32}{row['rate']:>12,.0f} characters a second ({row['low']:,.0f} to {row['high']:,.0f})"
        )
    print(padding, f"{result['minutes']:.1f} minutes for {steps} steps")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=("accuracy", "collect", "speed"))
    parser.add_argument(
        "--only", nargs="*", choices=list(RUNS), default=[], help="runs of `accuracy` (default: all)"
    )
    parser.add_argument(
        "--runs", type=Path, default=REPO / "runs" / "m05_accuracy", help="where the trainings go"
    )
    args = parser.parse_args(argv)
    if args.section == "accuracy":
        accuracy(args.runs, args.only)
    elif args.section == "collect":
        collect(args.runs)
    else:
        speed()


if __name__ == "__main__":
    main()
