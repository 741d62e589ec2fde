"""T_11: every row of its speed tables does the work it names, and the lesson says what to do without its pictures."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from itertools import repeat

import numpy as np
import pytest
import tensorflow as tf
from conftest import REPO
from PIL import Image

from benchmarks import t11_images
from utils import u02_tfrecord as tfrecord

SIDE, BATCH, COUNT = 16, 4, 12  # pictures small enough to be quick; COUNT of them in two classes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two class folders; picture i is filled with the value 10 i, its red with 200 + i."""
    monkeypatch.setattr(t11_images, "SIDE", SIDE)
    monkeypatch.setattr(t11_images, "BATCH", BATCH)
    for number in range(COUNT):
        pixels = np.full((SIDE, SIDE, 3), 10 * number, np.uint8)
        pixels[..., 0] = 200 + number
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "pictures"


def check(batches, smallest=-1.0, step=1 / 127.5, tolerance=1e-5):
    """All pictures are there once, whole, in range, with their own labels."""
    pictures, labels = (np.concatenate(part) for part in zip(*batches))
    numbers = np.rint((pictures[:, 0, 0, 0] - smallest) / step).astype(int) - 200
    assert sorted(numbers) == list(range(COUNT))
    np.testing.assert_array_equal(labels, numbers % 2)
    expected = np.stack([200 + numbers, 10 * numbers, 10 * numbers], axis=1)[:, None, None] * step + smallest
    np.testing.assert_allclose(pictures, np.broadcast_to(expected, pictures.shape), atol=tolerance)
    return numbers


def test_todays_ways_deliver_every_picture_once_with_its_label(folder, tmp_path):
    paths, labels = t11_images.listing(folder)
    png, jpeg = t11_images.write_records(folder, tmp_path)
    for dataset in (
        t11_images.decode_first(paths, labels, 5),
        t11_images.shuffle_first(paths, labels),
        t11_images.float_last(paths, labels),
        t11_images.from_records(png),
        t11_images.cached(paths, labels),
        t11_images.short_way(folder),
    ):
        first, second = (check(list(dataset.as_numpy_iterator())) for _ in range(2))
        assert list(first) != list(second), "a new order in each pass"
        assert dataset.element_spec[0].dtype == tf.float32
    raw = t11_images.shuffle_first(paths, labels, to_float=False)
    assert raw.element_spec[0].dtype == tf.uint8
    check(list(raw.as_numpy_iterator()), smallest=0, step=1)
    assert all(file.endswith(".tfrecord") for file in jpeg) and jpeg != png
    check(list(t11_images.from_records(jpeg, jpeg=True).map(near_png).as_numpy_iterator()), tolerance=0.05)
    for pictures, _ in t11_images.from_records(png, side=8):
        assert pictures.shape == (BATCH, 8, 8, 3)


def near_png(pictures, labels):
    """JPEG changes the red by a few levels: put back the level that the even green tells."""
    number = tf.round((pictures[..., 1:2] + 1) * 127.5 / 10)
    return tf.concat([(200 + number) / 127.5 - 1, pictures[..., 1:]], axis=-1), labels


@pytest.mark.parametrize("way", ["one_shot", "picture_queue", "record_queue"])
def test_the_ways_of_2018_deliver_full_batches_of_the_right_pictures(way, folder, tmp_path):
    paths, labels = t11_images.listing(folder)
    if way == "record_queue":
        files = [str(path) for path in tfrecord.write_images(folder, tmp_path / "png", shards=2).files]
        build = partial(t11_images.record_queue, files, capacity=200, threads=2)
    else:
        build = partial(getattr(t11_images, way), paths, labels, 200)
    tf.get_logger().setLevel("ERROR")
    with t11_images.graph_session(build) as start:
        next_batch = start()
        batches = [next_batch() for _ in range(COUNT // BATCH)]
    if way == "record_queue":  # it draws from several passes at a time
        for pictures, own in batches:
            numbers = np.rint((pictures[:, 0, 0, 0] + 1) * 127.5).astype(int) - 200
            np.testing.assert_array_equal(own, numbers % 2)
            np.testing.assert_allclose(pictures[:, 5, 5, 2], numbers / 12.75 - 1, atol=1e-5)
    else:
        check(batches)


def test_the_limit_really_decodes():
    with pytest.raises(tf.errors.InvalidArgumentError):
        t11_images.decode_limit([tf.constant(b"no picture")])


def test_disturbed_measurements_are_repeated_and_turns_counted(monkeypatch, tmp_path):
    """`slow` is disturbed twice, then measured; `never` only at the end, and marked."""
    monkeypatch.setattr(t11_images.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(t11_images, "COLLECTED", tmp_path / "runs.json")
    others = {"slow": iter([0.5, 0.2, 0.0, 0.01]), "never": repeat(0.9), t11_images.LIMIT: repeat(0.0)}

    def row(name):
        return lambda to_the_end=False: {"s": 2.0, "first": 0.5, "foreign": next(others[name])}

    runs = {name: [] for name in others}
    wanted = {"slow": 2, "never": 1, t11_images.LIMIT: 1}
    t11_images.take_turns({name: row(name) for name in others}, wanted, runs, minutes=0.001)
    assert [run["turn"] for run in runs["slow"]] == [1, 2]
    assert (
        not t11_images.summary(runs["slow"])["disturbed"] and t11_images.summary(runs["never"])["disturbed"]
    )
    seconds = [{"s": value, "first": 0.5, "foreign": 0.0, "turn": 1} for value in (1, 3, 2)]
    assert {"s": 8, "low": 4, "high": 12, "rounds": 3}.items() <= t11_images.summary(seconds).items()


def test_a_busy_machine_stops_a_measurement(monkeypatch):
    started = []

    @contextmanager
    def way():
        yield lambda: lambda: started.append(1) or time.sleep(0.5) or ([0] * 128, [0] * 128)

    monkeypatch.setattr(t11_images.Meter, "foreign", lambda self: 0.5)
    assert "s" not in t11_images.measure(way) and len(started) == 1


def test_the_share_of_the_limit_compares_what_ran_in_the_same_turn():
    run = lambda turn, seconds: {"turn": turn, "s": seconds}
    limits = [run(1, 4), run(2, 8)]
    assert t11_images.share_of_limit([run(1, 5), run(2, 10), run(3, 50)], limits) == 0.8
    assert t11_images.share_of_limit([run(3, 12)], limits) == 0.5  # no turn in common


@pytest.fixture
def beginning(tmp_path):
    """The lesson up to its first figure in a repository without pictures: run it quick or not."""
    for name in ("utils", "data"):
        shutil.copytree(
            REPO / name,
            tmp_path / name,
            ignore=lambda folder, names: [n for n in names if "." not in n and n != "u02_tfrecord"],
        )
    text = (REPO / "example-python" / "T_11_dataset_images.py").read_text(encoding="utf-8")
    (tmp_path / "lesson.py").write_text(re.split(r"\n# %%\nfigure, ", text)[0], encoding="utf-8")

    def run(quick):
        environment = {name: value for name, value in os.environ.items() if name != "TUTORIAL_QUICK"}
        environment["PYTHONPATH"] = str(tmp_path)
        if quick:
            environment["TUTORIAL_QUICK"] = "1"
        return subprocess.run(
            [sys.executable, "lesson.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


def test_without_its_pictures_the_lesson_names_the_command(beginning):
    done = beginning(quick=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().endswith("make data") and "data/robohash" in done.stderr


def test_quick_mode_draws_its_own_pictures(beginning, tmp_path):
    done = beginning(quick=True)
    assert done.returncode == 0, done.stderr
    assert "100 pictures; 0 cats, 1 heads, 2 humans, 3 monsters, 4 robots" in done.stdout
    assert len(list((tmp_path / "build/quick/runs/T_11/robohash").glob("*/*.png"))) == 100
