"""Read digits with a network that train.py has trained.

    python predict.py                              # the 10,000 test images of MNIST
    python predict.py digits                       # every picture in a folder
    python predict.py 3.jpg scan.png --prepared seen.png

A picture shows one digit, dark on light or light on dark, in any size, format and colours; see digits.py.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import numpy as np
import runner
from digits import find_files, read_digit
from mnist import load, to_float
from model import Network
from PIL import Image
from runner import Stop, tf


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="picture files or folders; none: the test images of MNIST")
    parser.add_argument(
        "--output_dir", default="runs/m01", help="folder of the training run (default runs/m01)"
    )
    parser.add_argument("--data_path", help="folder of the four MNIST files, where no pictures are given")
    parser.add_argument("--prepared", help="write the pictures, as the network sees them, to this PNG file")
    return parser.parse_args(argv)


def load_network(folder: Path) -> Network:
    """The network of a training run, with the weights of its latest checkpoint.

    Raises:
        Stop: there is no checkpoint, or it is of another network.
    """
    latest = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    if not latest:
        raise Stop(
            f"no checkpoint in {folder / 'checkpoints'}. Make one:  python train.py --output_dir {folder}"
        )
    config = json.loads((folder / "config.json").read_text())
    network = Network(batch_norm=config["batch_norm"])
    try:
        restored = tf.train.Checkpoint(network=network).restore(latest)
        restored.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise Stop(f"the checkpoint {latest} does not fit or cannot be read ({reason})") from None
    return network


def probabilities(network: Network, images: np.ndarray) -> np.ndarray:
    """Probabilities of the ten digits, `(n, 10)` float32, for images `(n, 28, 28)` uint8."""
    judge = tf.function(lambda batch: tf.nn.softmax(network(to_float(batch))), reduce_retracing=True)
    return np.concatenate([judge(tf.constant(images[i : i + 1000])) for i in range(0, len(images), 1000)])


def read_test_set(network: Network, data_path: str | None) -> None:
    """Print the accuracy on the test images and, digit by digit, how many were taken for what."""
    _, _, test = load(data_path)
    found = probabilities(network, test.images).argmax(axis=1)
    print(f"{np.mean(found == test.labels):.2%} of {len(found):,} test images read correctly")
    for digit in range(10):
        wrong = found[(test.labels == digit) & (found != digit)]
        taken = ", ".join(f"{np.sum(wrong == other)} × {other}" for other in np.unique(wrong))
        print(
            f"  {digit}: {len(wrong):3d} wrong of {np.sum(test.labels == digit):,}"
            + f"   ({taken})" * bool(taken)
        )


def read_files(network: Network, paths: list[Path], prepared: str | None) -> int:
    """Print what each picture shows; returns how many could not be read."""
    images, good, bad = [], [], []
    for path in paths:
        try:
            images.append(read_digit(path))
            good.append(path)
        except Stop as stop:
            bad.append(str(stop))
    if images:
        width = max(len(str(path)) for path in good)
        for path, chances in zip(good, probabilities(network, np.stack(images))):
            first, second = np.argsort(-chances)[:2]
            print(
                f"{path!s:<{width}}  {first}  {chances[first]:6.1%}   (else {second}: {chances[second]:.1%})"
            )
        if prepared:
            row = np.concatenate([np.pad(image, 2, constant_values=64) for image in images], axis=1)
            sheet = Image.fromarray(row.repeat(4, axis=0).repeat(4, axis=1))
            buffer = io.BytesIO()
            sheet.save(buffer, "PNG")
            runner.write_whole(Path(prepared), buffer.getvalue())
    for message in bad:
        print(f"skipped: {message}", file=sys.stderr)
    return len(bad)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    paths = find_files(args.files)
    network = load_network(Path(args.output_dir))
    if not paths:
        read_test_set(network, args.data_path)
    elif read_files(network, paths, args.prepared) == len(paths):
        raise Stop("no picture could be read")


if __name__ == "__main__":
    runner.guard(main)
