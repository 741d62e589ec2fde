"""pix2pix: networks and colours against formulas, its training step, test mode, export, pairs, and the drawing page."""

import argparse
import asyncio
import http.client
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from model_folders import MODELS, copy_alone, finish, modules, start, weights
from PIL import Image
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

FOLDER = "m04_pix2pix"
names = ("runner", "layers", "pairs", "model", "pix2pix", "evaluate", "export", "process", "demo")
runner, layers, pairs, model, pix2pix, evaluate, export, process, demo = modules(FOLDER, *names)
SIZES = {"preset": "cpu", "crop": 32, "scale_size": 36, "ngf": 2, "ndf": 2, "norm_above": 1, "batch_size": 1}
TINY = [f"--{name}={value}" for name, value in SIZES.items()]


def options(*flags):
    return pix2pix.parse_args([*TINY, *map(str, flags)])


def draw_pairs(folder, count=8, side=32, seed=0):
    """Pairs: a grey square's outline on the left, the same square filled with a colour on the right."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        pair = np.full((side, 2 * side, 3), 255, np.uint8)
        top, left, length = random.integers(2, side // 2, 3)
        pair[top : top + length, left : left + length] = 40
        pair[top + 1 : top + length - 1, left + 1 : left + length - 1] = 255
        pair[top : top + length, side + left : side + left + length] = random.integers(0, 256, 3)
        Image.fromarray(pair).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_pairs(tmp_path_factory.mktemp("data") / "pairs")


def flags(drawn, folder, *more):
    every = ["--summary_freq", 2, "--display_freq", 4, "--save_freq", 2]
    return [*TINY, *map(str, ["--input_dir", drawn, "--output_dir", folder, *every, *more])]


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    """A run of six steps without a break."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    pix2pix.main(flags(drawn, folder, "--max_steps", 6, "--batch_size", 2))
    return folder


def fails(capsys, run, code=1):
    """`run` must end with this exit code and one sentence. Returns the sentence."""
    with pytest.raises(SystemExit) as stopped:
        runner.guard(run)
    assert stopped.value.code == code
    text = capsys.readouterr().err.strip()
    assert text.startswith("error: ") and "\n" not in text and "Traceback" not in text
    return text


# ---------------------------------------------------------------------------------------------------------- networks
def test_networks_at_the_papers_size():
    args = pix2pix.parse_args(["--preset", "paper"])
    assert (args.ngf, args.ndf, args.batch_size, args.lr, args.beta1, args.crop) == (
        64,
        64,
        1,
        2e-4,
        0.5,
        256,
    )
    assert (args.l1_weight, args.gan_weight, args.scale_size, args.flip) == (100, 1, 286, True)
    assert args.norm_above == 1
    assert model.generator_widths(args) == [64, 128, 256, 512, 512, 512, 512, 512]
    discriminator = model.Discriminator(args)
    assert [conv.weight.shape[3] for conv in discriminator.convs] == [64, 128, 256, 512]
    small = pix2pix.parse_args(["--preset", "cpu", "--ngf", "1", "--ndf", "1"])
    generator = model.Generator(small)
    assert generator.mask_shapes == [(2, 2, 8), (4, 4, 8), (8, 8, 8)], "dropout in the three innermost layers"
    noise = model.dropout_noise(1, [0, 1], generator.noise_size)
    assert generator(tf.zeros([2, 256, 256, 3]), noise).shape == (2, 256, 256, 3)
    assert model.Discriminator(small)(tf.zeros([2, 256, 256, 3]), tf.zeros([2, 256, 256, 3])).shape == (
        2,
        30,
        30,
    )


def test_layers_are_normalised_above_a_side():
    normed = lambda norms: [norm is not None for norm in norms]
    generator = model.Generator(options("--crop", 32, "--norm_above", 4))
    assert normed(generator.down_norms) == [False, True, False, False, False], "8×8 alone"
    assert normed(generator.up_norms) == [False, False, True, True, False], "8×8 and 16×16"
    for convs, norms in ((generator.down, generator.down_norms), (generator.up, generator.up_norms)):
        assert [conv.bias is None for conv in convs] == normed(norms), "a norm brings its own"
    as_published = model.Generator(options("--crop", 32, "--norm_above", 1))
    assert normed(as_published.down_norms) == [False, True, True, True, False]
    assert normed(as_published.up_norms) == [True, True, True, True, False]


def test_a_logit_sees_a_patch_of_70_pixels():
    discriminator = model.Discriminator(pix2pix.parse_args(["--preset", "cpu", "--ndf", "1"]))
    discriminator.norms = [None] * 4  # they look at the whole picture; the convolutions do not
    picture = tf.random.stateless_normal([1, 256, 256, 3], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(picture)
        logit = discriminator(picture, picture)[0, 15, 15]
    rows, columns = np.nonzero(np.abs(tape.gradient(logit, picture)[0]).sum(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (70, 70)


def test_the_norm_uses_each_pictures_own_statistics():
    x = np.random.default_rng(0).normal(3, 2, (3, 5, 4, 6)).astype(np.float32)
    norm = model.PictureNorm(layers.Seeds(1, 0), 6)
    norm.gamma.assign(np.linspace(0.5, 2, 6))
    norm.beta.assign(np.linspace(-1, 1, 6))
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * norm.gamma.numpy() + norm.beta.numpy()
    np.testing.assert_allclose(norm(tf.constant(x)), expected, atol=1e-5)
    for row in range(3):
        np.testing.assert_allclose(norm(tf.constant(x[row : row + 1]))[0], expected[row], atol=1e-5)
    norm.fused = False
    np.testing.assert_allclose(norm(tf.constant(x)), expected, atol=1e-5)


def test_what_the_bottleneck_knows_reaches_the_picture():
    """Normalised, a single pixel would be zero, whatever came in: so this layer has no norm."""
    norm = model.PictureNorm(layers.Seeds(1, 0), 4)
    np.testing.assert_allclose(norm(tf.constant([[[[3.0, -2.0, 7.0, 0.1]]]])), np.zeros((1, 1, 1, 4)))
    generator = model.Generator(options())
    assert (
        generator.down_norms[-1] is None and all(generator.down_norms[1:-1]) and all(generator.up_norms[:-1])
    )
    for variable in generator.trainable_variables:
        if "weight" in variable.name:
            variable.assign(variable * 20)
    x = tf.random.stateless_normal([1, 32, 32, 3], [1, 2])
    noise = tf.ones([1, generator.noise_size])
    before = generator(x, noise).numpy()
    bias = generator.down[-1].bias
    bias.assign(bias + 5 * np.linspace(-1, 1, bias.shape[0]))
    assert np.abs(generator(x, noise).numpy() - before).max() > 1e-3


def test_dropout_is_a_function_of_seed_and_number():
    noise = model.dropout_noise(1, [3, 4, 5], 4000).numpy()
    assert set(np.unique(noise)) == {0.0, 1.0} and abs(noise.mean() - 0.5) < 0.02
    np.testing.assert_array_equal(noise[1], model.dropout_noise(1, [4], 4000)[0])
    assert not np.array_equal(noise[0], noise[1])
    assert not np.array_equal(noise[0], model.dropout_noise(2, [3], 4000)[0])
    generator = model.Generator(options())
    x = tf.random.stateless_normal([1, 32, 32, 3], [1, 2])
    one, other = (generator(x, model.dropout_noise(1, [n], generator.noise_size)) for n in (0, 1))
    assert np.abs(one - other).max() > 0, "the noise is what makes two pictures of one outline differ"


def test_losses_against_closed_form():
    real, fake = np.array([[2.0, -1.0, 0.0]]), np.array([[0.5, -3.0, 30.0]])
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    expected = -np.log(sigmoid(real)).mean() - np.log(sigmoid(-fake)).mean()
    assert np.isclose(model.discriminator_loss(tf.constant(real), tf.constant(fake)), expected)
    assert np.isclose(model.gan_loss(tf.constant(fake)), -np.log(sigmoid(fake)).mean())
    assert np.isclose(model.l1_loss(tf.constant([1.0, -1.0]), tf.constant([0.5, 1.0])), 1.25)


def test_separable_convolutions_have_fewer_weights_and_the_same_shapes():
    count = lambda network: sum(np.prod(v.shape) for v in network.trainable_variables)
    usual, slim = (
        model.Generator(options("--ngf", 8)),
        model.Generator(options("--ngf", 8, "--separable_conv")),
    )
    assert count(slim) < count(usual) / 4
    x = tf.random.stateless_normal([2, 32, 32, 3], [1, 2])
    assert slim(x, tf.ones([2, slim.noise_size])).shape == (2, 32, 32, 3)
    layer = model.SeparableConv(layers.Seeds(1, 0), 3, 5, up=False, bias=False)
    whole = tf.einsum("hwi,io->hwio", layer.filters[..., 0], layer.mixture[0, 0])  # as one usual convolution
    np.testing.assert_allclose(layer(x), tf.nn.conv2d(x, whole, 2, "SAME"), atol=1e-6)


# ----------------------------------------------------------------------------------------------------------- colours
def test_lab_against_published_values():
    colours = {  # sRGB, D65: CIE L*a*b* as colour tables give them
        (255, 255, 255): (100.0, 0.0, 0.0),
        (0, 0, 0): (0.0, 0.0, 0.0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 255, 0): (87.73, -86.18, 83.18),
        (0, 0, 255): (32.30, 79.19, -107.86),
        (128, 128, 128): (53.59, 0.0, 0.0),
        (1, 1, 1): (0.274, 0.0, 0.0),
    }
    rgb = np.array(list(colours), np.float32) / 255
    np.testing.assert_allclose(pairs.rgb_to_lab(tf.constant(rgb)), list(colours.values()), atol=0.03)
    many = np.random.default_rng(0).uniform(0, 1, (500, 3)).astype(np.float32)
    np.testing.assert_allclose(pairs.lab_to_rgb(pairs.rgb_to_lab(tf.constant(many))), many, atol=2e-4)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_colourisation_takes_a_photo_apart_and_together(direction):
    args = options("--lab_colorization", "--which_direction", direction)
    photo = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    inputs, targets = pairs.rows_of_batch(tf.constant(photo), tf.constant(0, tf.int64), args, training=False)
    depths = (inputs.shape[3], targets.shape[3])
    assert depths == ((1, 2) if direction == "AtoB" else (2, 1)) == model.channels(args)
    assert max(np.abs(inputs).max(), np.abs(targets).max()) <= 1
    whole = pairs.to_rgb(inputs, targets, args)
    np.testing.assert_allclose(whole, photo / 255, atol=1e-3)
    assert pairs.show_input(inputs, args).shape == (1, 32, 32, 3)


# -------------------------------------------------------------------------------------------------------------- data
def test_jitter_moves_both_halves_alike():
    both = np.random.default_rng(2).integers(0, 256, (1, 32, 32, 3), np.uint8)
    both = tf.constant(np.concatenate([both, both], axis=3))
    same = pairs.jitter(both, tf.constant([1, 2]), crop=32, scale_size=32, flip=False)
    np.testing.assert_allclose(same, tf.cast(both, tf.float32), atol=1e-3)
    seen = [pairs.jitter(both, tf.constant([1, n]), 32, 40, flip=True).numpy()[0] for n in range(30)]
    for picture in seen:
        np.testing.assert_array_equal(picture[..., :3], picture[..., 3:])
    assert len({picture.tobytes() for picture in seen}) > 20, "81 places and two directions"
    mirrored = [pairs.jitter(both, tf.constant([1, n]), 32, 32, flip=True).numpy()[0] for n in range(30)]
    straight = [np.allclose(picture, both[0], atol=1e-3) for picture in mirrored]
    assert 5 < sum(straight) < 25
    for picture, is_straight in zip(mirrored, straight):
        np.testing.assert_allclose(picture[:, :: 1 if is_straight else -1], both[0], atol=1e-3)


def test_jitter_is_a_cut_from_the_scaled_picture():
    ramp = np.tile(np.arange(0, 128, 4, dtype=np.uint8)[None, :, None], (32, 1, 1))[None]
    cut = pairs.jitter(tf.constant(ramp), tf.constant([3, 4]), 32, 64, flip=False).numpy()[0, :, :, 0]
    np.testing.assert_allclose(np.diff(cut, axis=1), 2.0, atol=0.05)  # half as steep as it was


def test_directions_and_halves(drawn):
    pair = pairs.read(drawn / "000.png", 32)
    a, b = pairs.rows_of_batch(tf.constant(pair[None]), tf.constant(0, tf.int64), options(), training=False)
    np.testing.assert_allclose((a[0] + 1) * 127.5, pair[:, :32], atol=1e-3)
    np.testing.assert_allclose((b[0] + 1) * 127.5, pair[:, 32:], atol=1e-3)
    backwards = options("--which_direction", "BtoA")
    for one, other in zip((b, a), pairs.rows_of_batch(tf.constant(pair[None]), 0, backwards, training=False)):
        np.testing.assert_array_equal(one, other)
    wide = Image.new("RGB", (90, 30))  # halves of 45×30
    with pytest.raises(ValueError, match="90×30 is no pair"):
        pairs.halves(wide)
    assert [half.size for half in pairs.halves(wide, aspect_ratio=1.5)] == [(45, 30), (45, 30)]


def test_folders_that_cannot_be_used_are_said_so(tmp_path, capsys, drawn):
    run = lambda folder, *more: lambda: pix2pix.main(flags(folder, tmp_path / "run", "--max_steps", 1, *more))
    assert "nowhere is not a folder" in fails(capsys, run("nowhere"))
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in fails(capsys, run(tmp_path / "empty"))
    for name, size, said in (
        ("single", (32, 32), "32×32 is no pair"),
        ("odd", (65, 32), "65×32: an odd width"),
    ):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", size).save(tmp_path / name / f"{number}.png")
        text = fails(capsys, run(tmp_path / name))
        assert "none of the 2 pictures" in text and said in text and "process.py makes pairs" in text
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.png").write_bytes((drawn / "000.png").read_bytes()[:90])
    assert (
        "none of the 1 pictures" in fails(capsys, run(tmp_path / "torn")) and not (tmp_path / "run").exists()
    )
    shutil.copy(drawn / "000.png", tmp_path / "torn" / "b.png")
    said = []
    loaded = pairs.load(tmp_path / "torn", options(), tmp_path / "cache", said.append)
    np.testing.assert_array_equal(loaded[0], pairs.read(drawn / "000.png", 32))
    assert len(loaded) == 1 and "skipped 1 of 2 files" in said[0] and "a.png" in said[0]
    (tmp_path / "torn" / "a.png").unlink()
    pairs.load(tmp_path / "torn", options(), tmp_path / "cache", said.append)
    assert len(list((tmp_path / "cache").iterdir())) == 1, "the array of the folder as it was is gone"


# ----------------------------------------------------------------------------------------------------- training step
def values(module):
    return [variable.numpy() for variable in module.trainable_variables]


def test_one_step_takes_both_gradients_at_the_old_weights(drawn):
    args = options("--batch_size", 2, "--lr", 0.01, "--ema", 0.9)
    ours = pix2pix.Pix2Pix(args)
    batch = tf.constant(np.stack([pairs.read(drawn / f"00{n}.png", 36) for n in range(2)]))
    step = tf.constant(500, tf.int64)
    g, d = values(ours.generator), values(ours.discriminator)
    inputs, targets = pairs.rows_of_batch(batch, step, args)
    noise = model.dropout_noise(args.seed, [1000, 1001], ours.generator.noise_size)
    with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
        outputs = ours.generator(inputs, noise)
        fake = ours.discriminator(inputs, outputs)
        g_loss = model.gan_loss(fake) + 100 * model.l1_loss(outputs, targets)
        d_loss = model.discriminator_loss(
            ours.discriminator(inputs, targets), ours.discriminator(inputs, tf.stop_gradient(outputs))
        )
    g_slopes = g_tape.gradient(g_loss, ours.generator.trainable_variables)
    d_slopes = d_tape.gradient(d_loss, ours.discriminator.trainable_variables)
    losses = tf.function(ours.train_step, autograph=False)(step, batch)
    assert np.isclose(losses["d_loss"], d_loss, rtol=1e-4)
    # Adam's first step: the learning rate against the slope's sign, but for its epsilon.
    for old, slopes, network in ((g, g_slopes, ours.generator), (d, d_slopes, ours.discriminator)):
        for before, slope, now in zip(old, slopes, values(network)):
            slope = slope.numpy()
            clear = np.abs(slope) > 1e-5
            assert clear.any()
            expected = -0.01 * slope / (np.abs(slope) + 1e-8 / np.sqrt(0.001))
            np.testing.assert_allclose((now - before)[clear], expected[clear], rtol=5e-3)
    for old, now, mean in zip(g, values(ours.generator), values(ours.averaged)):
        np.testing.assert_allclose(mean, 0.9 * old + 0.1 * now, rtol=1e-5, atol=1e-7)


def test_weights_of_zero_switch_a_loss_off(drawn):
    batch = tf.constant(pairs.read(drawn / "000.png", 36)[None])
    alone = pix2pix.Pix2Pix(options("--gan_weight", 0, "--ema", 0))
    assert not hasattr(alone, "discriminator") and alone.drawer is alone.generator
    step = tf.function(alone.train_step, autograph=False)
    l1 = [float(step(tf.constant(n, tf.int64), batch)["l1"]) for n in range(30)]
    assert l1[-1] < l1[0] - 0.02
    with pytest.raises(runner.Stop, match="one of them above 0"):
        options("--gan_weight", 0, "--l1_weight", 0)


def test_bfloat16_convolutions_and_float32_weights(drawn):
    short = pix2pix.Pix2Pix(options("--mixed_precision"))
    step = tf.function(short.train_step, autograph=False)
    spec = tf.TensorSpec([1, 36, 72, 3], tf.uint8)
    graph = step.get_concrete_function(tf.TensorSpec([], tf.int64), spec).graph
    kinds = {op.outputs[0].dtype for op in graph.get_operations() if op.type.startswith("Conv2D")}
    assert kinds == {tf.bfloat16} and {v.dtype for v in short.trainable_variables} == {tf.float32}
    losses = step(tf.constant(0, tf.int64), tf.constant(pairs.read(drawn / "000.png", 36)[None]))
    assert all(np.isfinite(loss) for loss in losses.values())


# -------------------------------------------------------------------------------------------------------------- runs
def test_the_options_of_the_original_and_their_errors(capsys):
    line = (
        "--mode train --input_dir i --output_dir o --checkpoint c --which_direction BtoA --max_steps 7 --max_epochs 3 "
        "--batch_size 2 --ngf 5 --ndf 6 --scale_size 300 --crop 128 --no_flip --lr 0.1 --beta1 0.4 --l1_weight 2 "
        "--gan_weight 3 --separable_conv --aspect_ratio 1.5 --lab_colorization --summary_freq 11 --progress_freq 12 "
        "--display_freq 13 --save_freq 14 --trace_freq 15 --seed 16"
    )
    args = vars(pix2pix.parse_args(line.split()))
    renamed = {"max_steps": "steps", "summary_freq": "log_every", "progress_freq": "log_every"}
    renamed |= {"display_freq": "sample_every", "save_freq": "save_every", "no_flip": "flip"}
    given = dict(re.findall(r"--(\w+) ([^-\s]\S*)", line)) | {"summary_freq": "12", "no_flip": ""}
    for name, value in given.items():
        kept = args[renamed.get(name, name)]
        assert type(kept)(value) == kept if name != "no_flip" else kept is False, name
    assert args["separable_conv"] and args["lab_colorization"] and options("--flip").flip
    assert pix2pix.parse_args(["--mode", "test"]).checkpoint == "runs/pix2pix"
    for wrong in ("--crop 100", "--scale_size 200", "--ngf 0", "--norm_above 256", "--aspect_ratio 0"):
        wrong = wrong.split()
        with pytest.raises(runner.Stop, match=wrong[0][2:]):
            pix2pix.parse_args(wrong)


def test_a_stopped_run_ends_with_the_same_bits(drawn, trained, tmp_path):
    same = lambda: flags(drawn, tmp_path / "run", "--batch_size", 2)
    pix2pix.main([*same(), "--max_steps", "4", "--decay", "0"])
    # The rate falls by the number of steps, so the whole run is made again with the same rates.
    pix2pix.main([*same(), "--max_steps", "6", "--decay", "0"])
    pix2pix.main(flags(drawn, tmp_path / "whole", "--batch_size", 2, "--max_steps", 6, "--decay", 0))
    one, other = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert one.keys() == other.keys() and any("averaged" in name for name in one)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], name)
    table = (tmp_path / "run" / "losses.csv").read_text()
    assert table == (tmp_path / "whole" / "losses.csv").read_text() and table.count("\n") == 4
    assert (trained / "samples" / "samples_000006.png").exists() and (
        trained / "samples" / "samples_000000.png"
    ).exists()


def test_two_replicas_equal_one_process(drawn, trained, tmp_path):
    more = ["--max_steps", 6, "--batch_size", 2, "--distribute", "mirrored", "--logical_devices", 2]
    script = copy_alone(FOLDER, tmp_path / "alone") / "pix2pix.py"
    code, _, err = finish(start(script, *flags(drawn, tmp_path / "two", *more), cwd=tmp_path))
    assert code == 0, err
    one, two = weights(trained), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=2e-4, err_msg=name)


def test_other_networks_and_missing_runs_get_a_sentence(drawn, trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "run")
    assert "with ngf 2, this one has 3" in fails(capsys, lambda: pix2pix.main(flags(drawn, copy, "--ngf", 3)))
    missing = ["--mode", "test", "--checkpoint", str(tmp_path / "none"), "--input_dir", str(drawn)]
    text = fails(capsys, lambda: pix2pix.main(missing))
    assert "no trained model in" in text and "python pix2pix.py --mode train" in text
    other = flags(drawn, tmp_path / "next", "--max_steps", 1, "--checkpoint", copy, "--ndf", 3)
    assert "was trained with ndf 2, this run has 3" in fails(capsys, lambda: pix2pix.main(other))
    foreign = tmp_path / "foreign"
    shutil.copytree(trained, foreign)
    (foreign / "config.json").write_text(json.dumps({"script": "dcgan"}))
    assert "another model, dcgan" in fails(
        capsys, lambda: pix2pix.main([*missing, "--checkpoint", str(foreign)])
    )


def test_a_training_can_start_from_another_runs_weights(drawn, trained, tmp_path, capsys):
    pix2pix.main(flags(drawn, tmp_path / "next", "--max_epochs", 1, "--checkpoint", trained, "--lr", 1e-9))
    config = json.loads((tmp_path / "next" / "config.json").read_text())
    assert config["steps"] == 8, "one pass over eight pairs"
    before, after = weights(trained), weights(tmp_path / "next")
    for name in before:
        if "weight" in name and "generator/" in name and "adam" not in name:
            np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    assert int(after["step/.ATTRIBUTES/VARIABLE_VALUE"]) == 8


def test_profiles_surround_single_steps(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: calls.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append("stop"))
    for batch in pix2pix.traced(iter(range(5)), 3, first_step=1, folder=tmp_path):
        calls.append(batch + 2)  # the step that this batch is for
    assert calls == [2, "start", 3, "stop", 4, 5, "start", 6, "stop"]


# ------------------------------------------------------------------------------------------------ test mode and export
@pytest.fixture(scope="module")
def translated(drawn, trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("test")
    (folder / "in" / "deep").mkdir(parents=True)
    for number in range(3):
        shutil.copy(drawn / f"00{number}.png", folder / "in" / f"{number}.png")
    shutil.copy(drawn / "003.png", folder / "in" / "deep" / "0.png")
    (folder / "in" / "torn.png").write_text("no picture")
    argv = [
        "--mode",
        "test",
        "--checkpoint",
        trained,
        "--input_dir",
        folder / "in",
        "--output_dir",
        folder / "out",
    ]
    pix2pix.main([*map(str, argv)])
    return folder


def test_test_mode_writes_pictures_scores_and_a_page(translated, drawn):
    result = json.loads((translated / "out" / "scores.json").read_text())
    assert [row["name"] for row in result["each"]] == [
        "0.png",
        "1.png",
        "2.png",
        os.path.join("deep", "0.png"),
    ]
    load = lambda row, kind: np.asarray(
        Image.open(translated / "out" / "images" / f"{row['file']}-{kind}.png")
    )
    for row, number in zip(result["each"], (0, 1, 2, 3)):
        source = np.asarray(Image.open(drawn / f"00{number}.png"))
        np.testing.assert_array_equal(load(row, "inputs"), source[:, :32])
        np.testing.assert_array_equal(load(row, "targets"), source[:, 32:])
        output, target = (load(row, kind).astype(float) / 255 for kind in ("outputs", "targets"))
        assert np.isclose(row["l1"], np.abs(output - target).mean())
        assert np.isclose(row["psnr"], -10 * np.log10(((output - target) ** 2).mean()))
    for name in ("l1", "psnr", "ssim"):
        assert np.isclose(result["mean"][name], np.mean([row[name] for row in result["each"]]))
    page = (translated / "out" / "index.html").read_text()
    shown = re.findall(r'src="([^"]+)"', page)
    assert len(shown) == 12 and all((translated / "out" / path).exists() for path in shown)
    assert "http" not in page.replace("<!doctype", ""), "nothing from elsewhere"


def test_scores_of_equal_and_opposite_pictures():
    black, white = np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)
    assert evaluate.scores(black, black) == {"l1": 0.0, "psnr": 100.0, "ssim": 1.0}
    far = evaluate.scores(black, white)
    assert far["l1"] == 1 and far["psnr"] == 0 and far["ssim"] < 0.01
    noisy = np.clip(white // 2 + np.random.default_rng(0).normal(0, 20, white.shape), 0, 255).astype(np.uint8)
    assert 0.0 < evaluate.scores(noisy, white // 2)["ssim"] < 0.5


def test_test_mode_repeats_itself_and_uses_the_averaged_generator(trained, drawn):
    pair = pairs.read(drawn / "000.png", 32)
    first, again = evaluate.Translator(str(trained)), evaluate.Translator(str(trained))
    np.testing.assert_array_equal(first.pair(pair, 5)[1], again.pair(pair, 5)[1])
    np.testing.assert_array_equal(first.picture(pair[:, :32], 5), again.pair(pair, 5)[1])
    assert np.abs(first.pair(pair, 5)[1] - first.pair(pair, 6)[1]).max() > 0, "each number has its own noise"
    saved = weights(trained)
    for variable in first.generator.trainable_variables:
        assert any(np.array_equal(variable, v) for name, v in saved.items() if "model/averaged" in name)


def test_exported_forms_equal_test_mode(trained, drawn, tmp_path, capsys):
    target = tmp_path / "export"
    argv = ["--mode", "export", "--checkpoint", trained, "--output_dir", target, "--input_dir", drawn]
    pix2pix.main([*map(str, argv)])
    worst = json.loads((target / "parity.json").read_text())["largest_difference"]
    assert set(worst) == {"saved_model", "onnx"} and max(worst.values()) < 1e-4
    import onnxruntime

    translator = evaluate.Translator(str(trained))
    picture = pairs.read(drawn / "001.png", 32)[:, :32]
    session = onnxruntime.InferenceSession(str(target / "model.onnx"), sess_options=export.quiet_options())
    (usual,) = session.run(None, {"picture": picture[None]})
    np.testing.assert_allclose(usual[0], translator.picture(picture), atol=1e-4)
    noise = translator.noise(tf.constant(9, tf.int64)).numpy()
    (with_noise,) = session.run(None, {"picture": picture[None], "noise": noise})
    np.testing.assert_allclose(with_noise[0], translator.picture(picture, 9), atol=1e-4)
    assert np.abs(usual - with_noise).max() > 0, "the noise that is given counts"
    # A form that differs is refused.
    wrong = export.compare(translator, target, [picture])
    for variable in translator.generator.trainable_variables:
        variable.assign(variable * 1.5)
    assert export.compare(translator, target, [picture])["onnx"] > 1e-3 > wrong["onnx"]


def test_an_export_of_colourisation(drawn, tmp_path):
    run = flags(drawn, tmp_path / "run", "--max_steps", 1, "--lab_colorization", "--separable_conv")
    pix2pix.main(run)
    argv = ["--mode", "export", "--checkpoint", tmp_path / "run", "--output_dir", tmp_path / "export"]
    pix2pix.main([*map(str, argv), "--input_dir", str(drawn)])
    assert (
        max(json.loads((tmp_path / "export" / "parity.json").read_text())["largest_difference"].values())
        < 1e-3
    )


# ------------------------------------------------------------------------------------------------------ making pairs
def test_pairs_are_made_of_photos_and_can_be_read(tmp_path):
    photo = np.zeros((50, 60, 3), np.uint8)
    photo[:, 30:] = [200, 30, 30]
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    Image.fromarray(photo).save(tmp_path / "photos" / "deep" / "a.jpg", quality=95)
    (tmp_path / "photos" / "torn.jpg").write_text("no picture")
    made = {}
    for operation in ("edges", "grayscale", "downscale", "blank", "resize"):
        argv = [
            "--operation",
            operation,
            "--input_dir",
            tmp_path / "photos",
            "--output_dir",
            tmp_path / operation,
        ]
        process.main([*map(str, argv), "--size", "48"])
        made[operation] = np.asarray(Image.open(tmp_path / operation / "deep" / "a.png"))
    square = made.pop("resize")
    assert square.shape == (48, 48, 3)
    for operation, pair in made.items():
        assert pair.shape == (48, 96, 3)
        np.testing.assert_array_equal(pair[:, 48:], square)
        assert pairs.read(tmp_path / operation / "deep" / "a.png", 32).shape == (32, 64, 3)
    a = {operation: pair[:, :48] for operation, pair in made.items()}
    assert np.ptp(a["grayscale"], axis=2).max() == 0 and a["grayscale"].std() > 10
    assert (a["blank"][12:36, 12:36] == 255).all() and (a["blank"][:12] == square[:12]).all()
    assert np.abs(np.diff(a["downscale"].astype(int), axis=1)).max() < 100 < np.ptp(a["downscale"])
    dark = np.flatnonzero((a["edges"] < 128).any(axis=(0, 2)))
    assert 1 <= len(dark) <= 4 and dark.min() >= 21 and dark.max() <= 27, "one line, where the colours meet"
    assert (a["edges"][:, dark] < 128).any(axis=(1, 2)).all(), "from top to bottom"


def test_a_flat_photo_has_no_edges():
    grain = np.clip(np.random.default_rng(0).normal(128, 1, (64, 64, 3)), 0, 255).astype(np.uint8)
    assert (process.edges(grain) == 255).all()


def test_pairs_are_combined_by_name(tmp_path, capsys):
    for folder, colour, ending in (("a", (255, 0, 0), "png"), ("b", (0, 0, 255), "bmp")):
        (tmp_path / folder).mkdir()
        for name in ("one", "two"):
            Image.new("RGB", (40, 20), colour).save(tmp_path / folder / f"{name}.{ending}")
    argv = ["--operation", "combine", "--input_dir", tmp_path / "a", "--b_dir", tmp_path / "b"]
    argv = [*map(str, [*argv, "--output_dir", tmp_path / "out", "--size", 16])]
    process.main(argv)
    pair = np.asarray(Image.open(tmp_path / "out" / "two.png"))
    assert (pair[:, :16] == [255, 0, 0]).all() and (pair[:, 16:] == [0, 0, 255]).all()
    padded = process.read_square(tmp_path / "a" / "one.png", 16, pad=True)
    assert (padded[:2] > 250).all() and (padded[8] == [255, 0, 0]).all()
    (tmp_path / "b" / "one.bmp").unlink()
    assert "have not exactly one partner" in fails(capsys, lambda: process.main(argv))


# -------------------------------------------------------------------------------------------------------- the page
@pytest.fixture(scope="module")
def port(trained, drawn):
    """The server of the page, in a thread of its own; its port."""
    args = demo.parse_args(["--checkpoint", str(trained), "--port", "0", "--examples", str(drawn)])
    ready, known = threading.Event(), {}

    async def serve():
        server, known["port"] = demo.listen(args)
        known["loop"], known["stop"] = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        await known["stop"].wait()
        server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(120)
    yield known["port"]
    known["loop"].call_soon_threadsafe(known["stop"].set)
    thread.join(30)
    assert not thread.is_alive()


def test_the_page_translates_drawings(port, trained, drawn):
    """Over HTTP, as a browser would ask."""

    def ask(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheader("Content-Type"), content

    status, kind, page = ask("GET", "/")
    assert status == 200 and kind.startswith("text/html")
    page = page.decode()
    assert '{"side": 32, "examples": 8, "step": 6}' in page and "{{" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', page) and "://" not in page, "works offline"
    status, kind, example = ask("GET", "/examples/2")
    outline = pairs.read(drawn / "002.png", 32)[:, :32]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(example))), outline)
    assert ask("GET", "/examples/8")[0] == 404
    status, kind, answer = ask("POST", "/translate", example)
    picture = np.asarray(Image.open(io.BytesIO(answer)))
    assert (status, kind, picture.shape) == (200, "image/png", (32, 32, 3))
    expected = evaluate.Translator(str(trained)).picture(outline)
    np.testing.assert_array_equal(picture, evaluate.to_bytes(expected))
    large = io.BytesIO()
    Image.new("RGBA", (300, 200), (255, 255, 255, 0)).save(large, "PNG")
    assert ask("POST", "/translate", large.getvalue())[0] == 200, "a canvas of any size"
    for wrong in (b"", b"no picture", example[:60]):
        assert ask("POST", "/translate", wrong)[0] == 400
    assert ask("GET", "/elsewhere")[0] == 404


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
def test_drawing_with_the_mouse_in_a_browser(port, tmp_path):
    """Draw, wait, see colours: a headless Chromium, told by its debugging protocol what the mouse does."""
    profile = tmp_path / "profile"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def draw():
        file = profile / "DevToolsActivePort"
        await until(lambda: file.exists() and file.read_text().count("\n"))
        answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{file.read_text().split()[0]}/json/list")
        (page,) = (target for target in json.loads(answer.body) if target["type"] == "page")
        socket = await websocket_connect(page["webSocketDebuggerUrl"])
        numbers = itertools.count(1)

        async def tell(method, **parameters):
            number = next(numbers)
            await socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
            while True:
                message = json.loads(await socket.read_message())
                if message.get("id") == number:
                    assert "error" not in message, message
                    return message["result"]

        async def run(script):
            result = await tell("Runtime.evaluate", expression=script, awaitPromise=True)
            assert "exceptionDetails" not in result, result
            return result["result"].get("value")

        async def mouse(*events):
            for kind, x, y in events:
                place = {"x": box["x"] + x * box["side"], "y": box["y"] + y * box["side"]}
                await tell(
                    "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, buttons=1, **place
                )

        async def answered(count):
            script = "Number((document.getElementById('result') || {dataset: {}}).dataset.count || 0)"
            await until(lambda: run(script), lambda value: value >= count)

        await tell("Page.navigate", url=f"http://127.0.0.1:{port}/")
        await answered(1)
        box = json.loads(
            await run(
                "(b => JSON.stringify({x: b.x, y: b.y, side: b.width}))(canvas.getBoundingClientRect())"
            )
        )
        ink = "page.getImageData(0, 0, canvas.width, canvas.height).data.filter((v, i) => i % 4 == 0 && v < 250).length"
        assert await run(ink) == 0
        pixels = """(() => { const copy = document.createElement('canvas').getContext('2d');
            copy.drawImage(result, 0, 0); return copy.getImageData(0, 0, 32, 32).data; })()"""
        before = await run(f"({pixels}).join()")
        await mouse(("mousePressed", 0.2, 0.5), *(("mouseMoved", x / 20, 0.5) for x in range(5, 16)))
        await mouse(("mouseReleased", 0.75, 0.5))
        await answered(2)
        drawn_ink = await run(ink)
        assert drawn_ink > 30
        after = await run(f"({pixels}).join()")
        assert after != before, "the picture follows the stroke"
        colours = f"(seen => {{ let most = 0; for (let i = 0; i < seen.length; i += 4) most = Math.max(most, \
            Math.max(...seen.slice(i, i + 3)) - Math.min(...seen.slice(i, i + 3))); return most; }})({pixels})"
        assert await run(colours) > 0, "in colours"
        await run("document.getElementById('eraser').click()")
        await mouse(("mousePressed", 0.4, 0.5), ("mouseMoved", 0.5, 0.5), ("mouseReleased", 0.5, 0.5))
        await answered(3)
        assert 0 < await run(ink) < drawn_ink
        for button, expected in (("undo", drawn_ink), ("undo", 0)):
            await run(f"document.getElementById('{button}').click()")
            assert await run(ink) == expected
        await run("document.getElementById('example').click()")
        await until(lambda: run(ink), lambda value: value > 0)
        await run("document.getElementById('clear').click()")
        assert await run(ink) == 0
        socket.close()

    async def until(look, enough=bool):
        ends = time.monotonic() + 60
        while True:
            value = look()
            value = await value if asyncio.iscoroutine(value) else value
            if enough(value):
                return
            assert time.monotonic() < ends, "waited a minute"
            await asyncio.sleep(0.05)

    try:
        asyncio.run(draw())
    finally:
        browser.kill()
        browser.wait(30)


def test_the_two_scripts_of_the_readme_run_in_a_copied_folder(drawn, tmp_path):
    copy = copy_alone(FOLDER, tmp_path / "alone")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    clean = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    train = [copy / "train.sh", *flags(drawn, "runs/pix2pix", "--max_steps", 1)]
    for command in (train, [copy / "test.sh", "--input_dir", drawn]):
        done = subprocess.run(
            [*map(str, command)], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    assert (copy / "runs" / "pix2pix_test" / "index.html").exists()


def test_namespace_of_a_run_is_all_that_loading_needs(trained):
    """Test, export and demo build the generator from config.json alone."""
    config = json.loads((trained / "config.json").read_text())
    assert set(pix2pix.SHAPING) <= set(config) and config["script"] == "pix2pix"
    assert model.Generator(argparse.Namespace(**config)).noise_size > 0
    assert (MODELS / FOLDER / "demo.html").exists()
