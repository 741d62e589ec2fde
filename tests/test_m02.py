"""DCGAN: layers and optimizers against formulas, its training step, and runs that are stopped, shared and used."""

import json
import random
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_folders import copy_alone, draw_pictures, finish, modules, start, start_workers, weights
from PIL import Image

runner, layers, pictures, dcgan, generate = modules(
    "m02_dcgan", "runner", "layers", "pictures", "dcgan", "generate"
)
TINY = [
    "--preset",
    "cpu",
    "--size",
    "16",
    "--width_g",
    "4",
    "--width_d",
    "4",
    "--batch_size",
    "8",
    "--z_dim",
    "10",
]
# As the paper; the CPU preset differs.
PLAIN = ["--d_norm", "batch", "--no-he", "--no-batch_spread", "--r1", "0", "--decay", "0"]


def options(*flags):
    return dcgan.parse_args([*TINY, *map(str, flags)])


def values(module):
    return [variable.numpy() for variable in module.trainable_variables]


def changed(before, module):
    return [not np.array_equal(old, new.numpy()) for old, new in zip(before, module.trainable_variables)]


# ----------------------------------------------------------------------------------------------- networks and losses
@pytest.mark.parametrize("size", [8, 16, 64])
def test_shapes(size):
    args = dcgan.parse_args([*TINY, "--size", str(size)])
    drawn = dcgan.Generator(args)(tf.zeros([3, 10]), training=True)
    assert drawn.shape == (3, size, size, 3) and dcgan.Discriminator(args)(drawn).shape == (3,)


def test_the_paper_preset_has_the_papers_widths():
    args = dcgan.parse_args(["--preset", "paper"])
    generator, discriminator = dcgan.Generator(args), dcgan.Discriminator(args)
    assert [d.weight.shape[3] for d in generator.deconvs] == [1024, 512, 256, 128]
    assert [c.weight.shape[3] for c in discriminator.convs] == [128, 256, 512, 1024]
    assert all(layer.weight.shape[:2] == (5, 5) for layer in generator.deconvs + discriminator.convs)
    quarter = dcgan.Generator(dcgan.parse_args(["--preset", "cpu"]))
    assert [d.weight.shape[3] for d in quarter.deconvs] == [256, 128, 64, 32]


def test_initial_weights_are_the_papers_and_follow_the_seed():
    args = dcgan.parse_args(["--preset", "cpu", "--seed", "5", *PLAIN])
    first, again, other = dcgan.Generator(args), dcgan.Generator(args), dcgan.Discriminator(args)
    for network in (first, other):
        for variable in network.trainable_variables:
            value = variable.numpy()
            if "gamma" in variable.name:
                assert abs(value.mean() - 1) < 0.02 and abs(value.std() - 0.02) < 0.01
            elif "weight" in variable.name:
                assert abs(value.mean()) < 0.002 and abs(value.std() - 0.02) < 0.002, variable.name
            else:
                assert not value.any(), f"{variable.name} starts at zero"
    assert all(np.array_equal(a, b) for a, b in zip(values(first), values(again)))
    weight = first.project.weight.numpy()
    assert not np.allclose(
        weight, dcgan.Generator(dcgan.parse_args(["--seed", "6"])).project.weight.numpy()[:, :4096]
    )
    drawn = np.concatenate([v.ravel()[:50] for v in values(first) + values(other) if v.ndim > 1])
    assert len(np.unique(drawn)) == len(drawn), "two layers drew the same numbers"


def test_losses_against_closed_form():
    real, fake = np.array([2.0, -1.0, 0.0]), np.array([0.5, -3.0, 30.0])
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    expected = -np.log(sigmoid(real)).mean() - np.log(sigmoid(-fake)).mean()
    assert np.isclose(dcgan.discriminator_loss(tf.constant(real), tf.constant(fake)), expected)
    assert np.isclose(dcgan.generator_loss(tf.constant(fake)), -np.log(sigmoid(fake)).mean())
    zero = tf.zeros([4])
    assert np.isclose(dcgan.discriminator_loss(zero, zero), 2 * np.log(2)), "what it is when D cannot tell"


# ------------------------------------------------------------------------------------------- layers and optimizers
def test_batch_norm_against_numpy_in_training_and_inference():
    x = np.random.default_rng(0).normal(3, 2, (6, 5, 4, 3)).astype(np.float32)
    norm = layers.BatchNorm(layers.Seeds(1, 0), 3, momentum=0.9, epsilon=1e-5)
    norm.gamma.assign([1.0, 2.0, 0.5])
    norm.beta.assign([0.0, 1.0, -1.0])
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    formula = lambda m, v: (x - m) / np.sqrt(v + 1e-5) * norm.gamma.numpy() + norm.beta.numpy()
    np.testing.assert_allclose(norm(tf.constant(x), training=True), formula(mean, variance), atol=1e-5)
    count = x.size // 3
    np.testing.assert_allclose(norm.moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * variance * count / (count - 1), rtol=1e-5)
    stored = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    np.testing.assert_allclose(norm(tf.constant(x), training=False), formula(*stored), atol=1e-5)
    np.testing.assert_array_equal(
        stored, (norm.moving_mean, norm.moving_variance), "inference updates nothing"
    )


def test_measured_statistics_make_inference_equal_training_on_that_batch():
    generator = dcgan.Generator(options())
    z = dcgan.latents(200, 10, [1, 2])
    trained = generator(z, training=True)
    stored = generator.norms[0].moving_mean.numpy()
    layers.measure_statistics(generator, z)
    assert not np.allclose(stored, generator.norms[0].moving_mean) and generator.norms[0].momentum == 0.9
    np.testing.assert_allclose(
        generator(z, training=False), trained, atol=1e-3
    )  # n against n - 1 in the variance


def test_gradient_of_batch_norm_against_the_formula():
    numbers = np.random.default_rng(1)
    x, upstream = numbers.normal(1, 2, (2, 8, 3, 3, 2)).astype(np.float32)
    norm = layers.BatchNorm(layers.Seeds(1, 0), 2)
    with tf.GradientTape() as tape:
        inputs = tf.constant(x)
        tape.watch(inputs)
        loss = tf.reduce_sum(norm(inputs, training=True) * upstream)
    by_x, by_gamma, by_beta = tape.gradient(loss, [inputs, norm.gamma, norm.beta])
    axes, deviation = (0, 1, 2), np.sqrt(x.var((0, 1, 2)) + 1e-5)
    scaled = (x - x.mean(axes)) / deviation
    d = upstream * norm.gamma.numpy()
    np.testing.assert_allclose(by_gamma, (upstream * scaled).sum(axes), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_beta, upstream.sum(axes), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        by_x, (d - d.mean(axes) - scaled * (d * scaled).mean(axes)) / deviation, rtol=1e-4, atol=1e-5
    )


def test_adam_against_keras_and_the_formula():
    numbers = np.random.default_rng(2)
    start_value, gradients = numbers.normal(size=(3, 4)), numbers.normal(size=(6, 3, 4)).astype(np.float32)
    ours, theirs = (tf.Variable(start_value.astype(np.float32), name="w") for _ in range(2))
    adam = layers.Adam([ours], 0.01, beta_1=0.5, beta_2=0.99)
    reference = keras.optimizers.Adam(0.01, beta_1=0.5, beta_2=0.99, epsilon=1e-8)
    w, m, v = start_value.copy(), 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        adam.apply([tf.constant(gradient)])
        reference.apply_gradients([(tf.constant(gradient), theirs)])
        m, v = 0.5 * m + 0.5 * gradient, 0.99 * v + 0.01 * gradient**2
        w -= 0.01 * np.sqrt(1 - 0.99**t) / (1 - 0.5**t) * m / (np.sqrt(v) + 1e-8)
    np.testing.assert_allclose(ours, w, rtol=1e-5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_rmsprop_against_the_formula():
    numbers = np.random.default_rng(3)
    w, square = numbers.normal(size=5), 1.0
    variable = tf.Variable(w.astype(np.float32), name="w")
    optimizer = layers.RMSProp([variable], 0.01, decay=0.8)
    for gradient in numbers.normal(size=(5, 5)).astype(np.float32):
        optimizer.apply([tf.constant(gradient)])
        square = 0.8 * square + 0.2 * gradient**2
        w -= 0.01 * gradient / np.sqrt(square + 1e-10)
    np.testing.assert_allclose(variable, w, rtol=1e-5)


# --------------------------------------------------------------------------------------------------- training step
def real_batch(seed=0):
    return tf.constant(np.random.default_rng(seed).uniform(-1, 1, (8, 16, 16, 3)), tf.float32)


def update_generator(model, z):
    with tf.GradientTape() as tape:
        fake = model.generate(z)
    return model.update_generator(fake, tape, 1.0)


@pytest.mark.parametrize("flags", [PLAIN, []], ids=["paper", "cpu"])
def test_an_update_changes_one_network_and_no_other(flags):
    model = dcgan.DCGAN(options(*flags))
    z = dcgan.latents(8, 10, [1, 2])
    g, d = values(model.generator), values(model.discriminator)
    model.update_discriminator(real_batch(), model.generate(z), 1.0)
    assert all(changed(d, model.discriminator)) and not any(changed(g, model.generator))
    d = values(model.discriminator)
    update_generator(model, z)
    assert all(changed(g, model.generator)) and not any(changed(d, model.discriminator))


@pytest.mark.parametrize("flags", [PLAIN, []], ids=["paper", "cpu"])
def test_each_network_gets_better_at_its_own_aim(flags):
    """Ten updates of one network against the other, which stands still."""
    z = dcgan.latents(8, 10, [1, 2])
    model = dcgan.DCGAN(options("--lr_d", 0.001, "--lr_g", 0.001, *flags))
    fake = model.generate(z)
    d_losses = [float(model.update_discriminator(real_batch(), fake, 1.0)) for _ in range(10)]
    g_losses = [float(update_generator(model, z)) for _ in range(10)]
    assert d_losses[-1] < d_losses[0] - 0.1 and g_losses[-1] < g_losses[0] - 0.05


def test_the_gradient_penalty_of_a_linear_judge_is_half_its_squared_slope():
    numbers = np.random.default_rng(4)
    slope = numbers.normal(size=(5, 4, 3))
    judge = lambda x: tf.reduce_sum(x * slope, axis=[1, 2, 3]) + 7.0
    x = tf.constant(numbers.normal(size=(6, 5, 4, 3)))
    assert np.isclose(dcgan.gradient_penalty(judge, x), 0.5 * (slope**2).sum())
    squares = lambda x: tf.reduce_sum(
        tf.square(x), axis=[1, 2, 3]
    )  # slope 2 x: differs from picture to picture
    assert np.isclose(dcgan.gradient_penalty(squares, x), 2 * (x.numpy() ** 2).sum((1, 2, 3)).mean())


def test_the_penalty_makes_the_discriminator_flatter():
    flatness = []
    for weight in (0, 100):
        model = dcgan.DCGAN(options("--r1", weight, "--lr_d", 0.003))
        fake = model.generate(dcgan.latents(8, 10, [1, 2]))
        for _ in range(15):
            model.update_discriminator(real_batch(), fake, 1.0)
        flatness.append(float(dcgan.gradient_penalty(model.judge, real_batch())))
    assert flatness[1] < flatness[0] / 2


def test_batch_spread_against_numpy():
    h = np.random.default_rng(5).normal(size=(6, 4, 4, 3)).astype(np.float32)
    seen = layers.batch_spread(tf.constant(h)).numpy()
    np.testing.assert_array_equal(seen[..., :3], h)
    np.testing.assert_allclose(seen[..., 3], h.std(0).mean(), rtol=1e-5)
    alike = layers.batch_spread(tf.constant(np.repeat(h[:1], 6, axis=0))).numpy()
    assert (alike[..., 3] < 1e-3).all()


def test_he_weights_keep_the_size_of_activations():
    args = dcgan.parse_args(["--preset", "cpu", "--he"])
    discriminator = dcgan.Discriminator(args)
    for conv in discriminator.convs:
        fan_in = np.prod(conv.weight.shape[:3])
        assert np.isclose(conv.weight.numpy().std(), np.sqrt(2 / fan_in), rtol=0.1)
    h = tf.random.stateless_normal([8, 64, 64, 3], [1, 2])
    sizes = [float(tf.math.reduce_std(h := tf.nn.leaky_relu(conv(h), 0.2))) for conv in discriminator.convs]
    assert all(0.3 < size < 3 for size in sizes), sizes


def test_learning_rates_fall_in_a_line_at_the_end():
    args = options("--steps", 1000, "--decay", 0.2)
    scale = [float(dcgan.learning_rate_scale(tf.constant(step), args)) for step in (0, 800, 900, 999)]
    np.testing.assert_allclose(scale, [1, 1, 0.5, 0.05], rtol=1e-5)
    assert float(dcgan.learning_rate_scale(tf.constant(999), options("--steps", 1000, "--decay", 0))) == 1
    variable = tf.Variable([0.0], name="w")
    layers.Adam([variable], 0.5).apply([tf.constant([3.0])], 0.1)
    np.testing.assert_allclose(variable, [-0.05], rtol=1e-5)  # the first step of Adam is the learning rate


def test_the_average_follows_the_generator_and_updates_are_counted():
    model = dcgan.DCGAN(options("--ema", 0.9, "--g_updates", 3, "--lr_g", 2e-4, *PLAIN))
    before = [variable.numpy() for variable in model.averaged.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.generator.variables))
    step = tf.function(model.train_step, autograph=False)
    losses = step(tf.constant(1000, tf.int64), tf.zeros([8, 16, 16, 3], tf.uint8))
    assert set(losses) == {"d_loss", "g_loss"} and all(np.isfinite(loss) for loss in losses.values())
    for old, now, mean in zip(before, model.generator.variables, model.averaged.variables):
        np.testing.assert_allclose(mean, 0.9 * old + 0.1 * now.numpy(), rtol=1e-5, atol=1e-7)
    assert (int(model.adam_d.count), int(model.adam_g.count)) == (1, 3)
    step(tf.constant(0, tf.int64), tf.zeros([8, 16, 16, 3], tf.uint8))
    gaps = [
        np.abs(a - b.numpy()).max()
        for a, b in zip(values(model.generator), model.averaged.trainable_variables)
    ]
    assert 0 < max(gaps) < 2e-4, "at step 0 the memory is short: a tenth stays"


def test_bfloat16_computes_in_bfloat16_and_stays_close():
    exact, short = (dcgan.DCGAN(options(*flag)) for flag in ([], ["--mixed_precision"]))
    z = dcgan.latents(8, 10, [1, 2])
    a, b = (model.generate(z).numpy() for model in (exact, short))
    assert a.dtype == b.dtype == np.float32 and 0 < np.abs(a - b).max() < 0.05
    step = tf.function(short.train_step, autograph=False)
    ops = step.get_concrete_function(
        tf.TensorSpec([], tf.int64), tf.TensorSpec([8, 16, 16, 3], tf.uint8)
    ).graph.get_operations()
    convolutions = [op for op in ops if op.type.startswith("Conv2D")]
    assert len(convolutions) >= 12 and {op.outputs[0].dtype for op in convolutions} == {tf.bfloat16}
    assert {variable.dtype for variable in short.trainable_variables} == {tf.float32}


# ------------------------------------------------------------------------------------------------------------- data
def test_every_epoch_covers_each_picture_once_whatever_the_batch():
    total, epochs = 23, 4
    rows = np.concatenate([pictures.order(7, first, 5, total) for first in range(0, total * epochs + 5, 5)])
    reading = rows[: total * epochs].reshape(epochs, total)
    assert all(sorted(epoch) == list(range(total)) for epoch in reading)
    assert len({tuple(epoch) for epoch in reading}) == epochs, "each epoch has its own order"
    assert not np.array_equal(reading[0], pictures.order(8, 0, total, total)), "each seed has its own order"


def test_batches_go_on_where_they_stopped():
    data = np.arange(100 * 3, dtype=np.uint8).reshape(100, 1, 1, 3)
    labels = np.arange(100)
    args = options("--seed", 3)
    read = lambda first, count: [
        [part.numpy() for part in batch]
        for _, batch in zip(
            range(count), pictures.batches(args, tf.distribute.get_strategy(), [data, labels], first)
        )
    ]
    whole, rest = read(0, 6), read(4, 2)
    for (a, label_a), (b, label_b) in zip(whole[4:], rest):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(label_a, label_b)
        np.testing.assert_array_equal(data[label_a], a, "pictures and labels stay together")
    grouped = pictures.batches(args, tf.distribute.get_strategy(), [labels], 0, updates=3)
    np.testing.assert_array_equal(next(grouped)[0], [label for _, label in whole[:3]])


def test_pictures_are_cut_square_and_transparency_is_white():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = [255, 0, 0]
    assert (pictures.square(Image.fromarray(wide), 10) == [255, 0, 0]).all()
    assert pictures.square(Image.fromarray(wide), 4).shape == (4, 4, 3)
    assert (pictures.square(Image.new("RGBA", (8, 8), (9, 9, 9, 0)), 8) == 255).all()
    assert (pictures.square(Image.new("L", (8, 8), 7), 8) == 7).all()


def test_the_cache_is_used_refreshed_and_never_half_written(tmp_path, monkeypatch):
    folder, cache = draw_pictures(tmp_path / "set" / "deep", 12), tmp_path / "cache"
    first = pictures.load(tmp_path / "set", 8, cache)
    assert first.shape == (12, 8, 8, 3) and first.dtype == np.uint8
    expected = pictures.square(Image.open(folder / "003.png"), 8)
    np.testing.assert_array_equal(first[3], expected)

    real = pictures.square
    monkeypatch.setattr(pictures, "square", lambda *_: pytest.fail("decoded again"))
    pictures.load(tmp_path / "set", 8, cache)

    def interrupted(*_):
        raise KeyboardInterrupt

    draw_pictures(tmp_path / "set", 3, seed=1)
    monkeypatch.setattr(pictures, "square", interrupted)
    before = sorted(cache.iterdir())
    with pytest.raises(KeyboardInterrupt):
        pictures.load(tmp_path / "set", 8, cache)
    assert sorted(cache.iterdir()) == before

    monkeypatch.setattr(pictures, "square", real)
    assert len(pictures.load(tmp_path / "set", 8, cache)) == 15
    assert len(list(cache.iterdir())) == 1, "the stale array is gone"


def test_unreadable_pictures_are_skipped_counted_and_named(tmp_path, capsys):
    draw_pictures(tmp_path / "set", 5)
    (tmp_path / "set" / "torn.png").write_bytes((tmp_path / "set" / "000.png").read_bytes()[:60])
    (tmp_path / "set" / "empty.jpg").touch()
    loaded = pictures.load(tmp_path / "set", 16, tmp_path / "cache")
    assert len(loaded) == 5
    text = capsys.readouterr().out
    assert "skipped 2 of 7 files" in text and "torn.png" in text and "empty.jpg" in text
    kept = [pictures.square(Image.open(tmp_path / "set" / f"{i:03d}.png"), 16) for i in range(5)]
    np.testing.assert_array_equal(loaded, kept)


def test_no_pictures_are_errors_that_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(runner.Stop, match="nowhere is not a folder"):
        pictures.find_folder("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(runner.Stop, match="holds no pictures"):
        pictures.load(tmp_path / "empty", 8, tmp_path / "cache")
    (tmp_path / "empty" / "bad.png").write_text("no picture")
    with pytest.raises(runner.Stop, match=r"none of the 1 pictures .* bad\.png"):
        pictures.load(tmp_path / "empty", 8, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    monkeypatch.setattr(pictures, "HERE", tmp_path / "far" / "away" / "folder")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(runner.Stop, match=r"(?s)Searched: .*anime.*avatars.*make data.*--data_path"):
        pictures.find_folder(None)
    (tmp_path / "data" / "avatars").mkdir(parents=True)
    assert pictures.find_folder(None) == tmp_path / "data" / "avatars"
    (tmp_path / "data" / "anime").mkdir()
    assert pictures.find_folder(None) == tmp_path / "data" / "anime", "one's own pictures come first"


def test_grids_and_animations(tmp_path):
    drawn = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), np.uint8)
    sheet = pictures.grid(drawn, columns=4, gap=2)
    assert sheet.shape == (3 * 8 + 2, 4 * 7 + 2, 3)
    np.testing.assert_array_equal(sheet[2 + 8 : 8 + 8, 2 + 7 : 7 + 7], drawn[5])
    assert (sheet[-8:, -7:] == 255).all(), "the last places stay white"
    np.testing.assert_array_equal(
        pictures.to_bytes(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])), [0, 0, 128, 255, 255]
    )
    pictures.save_gif(drawn, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 18 and gif.size == (5, 6), "there and back, the ends once"


# ------------------------------------------------------------------------------------------------- runs, in process
@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder of 40 small pictures."""
    return draw_pictures(tmp_path_factory.mktemp("data") / "pictures")


def flags(drawn, folder, *more):
    common = ["--data_path", drawn, "--output_dir", folder, "--log_every", "5", "--sample_every", "10"]
    return [*TINY, *map(str, [*common, "--save_every", "5", *more])]


def fails(capsys, argv, code):
    """Run the training; it must end with this exit code and one sentence. Returns the sentence."""
    with pytest.raises(SystemExit) as stopped:
        runner.guard(lambda: dcgan.main(argv))
    assert stopped.value.code == code
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--data_path", "/nowhere"], 1, "/nowhere is not a folder"),
        (["--size", "20"], 2, "--size must be 8, 16, 32, 64"),
        (["--steps", "0"], 2, "--steps must be 1 or more"),
        (["--distribute", "multiworker"], 2, "TF_CONFIG"),
    ],
)
def test_errors_are_sentences(drawn, tmp_path, capsys, more, code, message):
    assert message in fails(capsys, flags(drawn, tmp_path / "run", *more), code)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(drawn, tmp_path, capsys):
    folder = tmp_path / "run"
    dcgan.main(flags(drawn, folder, "--steps", "5"))
    err = fails(capsys, flags(drawn, folder, "--steps", "40", "--lr_g", "1e38", "--lr_d", "1e38"), 3)
    assert "is not a finite number" in err and "The last good checkpoint is" in err
    assert all(np.isfinite(value).all() for value in weights(folder).values())


def test_a_weight_that_is_no_number_is_not_saved(drawn, tmp_path, capsys, monkeypatch):
    real = dcgan.DCGAN.train_step

    def poisoned(self, step, batch):
        losses = real(self, step, batch)
        self.generator.project.weight.assign(self.generator.project.weight * tf.where(step == 4, np.nan, 1.0))
        return losses

    monkeypatch.setattr(dcgan.DCGAN, "train_step", poisoned)
    err = fails(capsys, flags(drawn, tmp_path / "run", "--steps", "5"), 3)
    assert "project/weight" in err and "There was no checkpoint yet" in err


def test_a_full_disk_is_said_and_leaves_no_temporary_file(drawn, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner.Path, "replace", full)
    assert "the disk is full" in fails(capsys, flags(drawn, tmp_path / "run", "--steps", "5"), 1)
    assert not list(tmp_path.rglob("*.part"))


def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_end(drawn, tmp_path, monkeypatch, capsys):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    dcgan.main(flags(drawn, whole, "--steps", "20"))
    calls = iter(
        [signal.SIGWINCH, signal.SIGINT]
    )  # at step 0 nothing happens, at step 7 somebody presses Ctrl-C
    monkeypatch.setattr(dcgan, "sampler", lambda _: lambda: (signal.raise_signal(next(calls)), ({}, {}))[1])
    with pytest.raises(SystemExit) as end:
        runner.guard(lambda: dcgan.main(flags(drawn, stopped, "--steps", "20", "--sample_every", "7")))
    assert end.value.code == 130 and "stopped at step 7, saved" in capsys.readouterr().err
    monkeypatch.undo()
    dcgan.main(flags(drawn, stopped, "--steps", "20"))
    a, b = weights(whole), weights(stopped)
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
    assert (whole / "losses.csv").read_text() == (stopped / "losses.csv").read_text()


def test_a_checkpoint_of_other_networks_is_refused_in_a_sentence(trained, capsys, drawn):
    before = weights(trained)
    err = fails(capsys, flags(drawn, trained, "--width_g", "8", "--steps", "200"), 1)
    assert "width_g 4, this one has 8" in err and "--no-resume" in err
    (trained / "config.json").write_text(
        (trained / "config.json").read_text().replace('"width_g": 4', '"width_g": 8')
    )
    try:  # the description lies: the checkpoint itself does not fit
        err = fails(capsys, flags(drawn, trained, "--width_g", "8", "--steps", "200"), 1)
        assert "does not fit or cannot be read" in err
    finally:
        config = (trained / "config.json").read_text().replace('"width_g": 8', '"width_g": 4')
        (trained / "config.json").write_text(config)
    assert weights(trained).keys() == before.keys()


# --------------------------------------------------------------------------------- runs of a copy, in own processes
@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The model folder, copied away from the repository."""
    return copy_alone("m02_dcgan", tmp_path_factory.mktemp("elsewhere") / "dcgan")


LONG = ["--steps", "240", "--save_every", "7", "--log_every", "9", "--sample_every", "60"]


@pytest.fixture(scope="module")
def trained(alone, drawn, tmp_path_factory):
    """A finished run of the copied folder."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    code, out, err = finish(start(alone / "dcgan.py", *flags(drawn, folder), *LONG, cwd=folder.parent))
    assert code == 0, err
    assert "step    240/240" in out and err == "", "no message of TensorFlow gets through"
    return folder


def test_what_a_run_leaves(trained):
    assert {path.name for path in trained.iterdir()} == {
        *(
            "checkpoints",
            "samples",
            "logs",
            "losses.csv",
            "losses.png",
            "growth.png",
            "train.log",
            "config.json",
        )
    }
    names = [f"samples_{step:06d}.png" for step in (0, 60, 120, 180, 240)]
    assert sorted(path.name for path in (trained / "samples").iterdir()) == names
    with Image.open(trained / "samples" / names[-1]) as sheet:
        assert sheet.size == (8 * 18 + 2, 8 * 18 + 2)
    rows = (trained / "losses.csv").read_text().splitlines()
    assert rows[0] == "step,d_loss,g_loss" and [int(row.split(",")[0]) for row in rows[1:]] == [
        *range(9, 240, 9),
        240,
    ]
    assert len(list((trained / "checkpoints").glob("ckpt-*.index"))) == 3
    assert json.loads((trained / "config.json").read_text())["width_g"] == 4
    assert "done: 240 steps" in (trained / "train.log").read_text()
    tags = set()
    for file in (trained / "logs").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            tags |= {value.tag for value in event.summary.value}
    assert {"d_loss", "g_loss", "steps_per_second", "samples"} <= tags


def test_killed_at_any_moment_the_run_ends_with_the_same_bits(alone, drawn, trained, tmp_path):
    folder, argv = tmp_path / "killed", [*flags(drawn, tmp_path / "killed"), *LONG]
    process = start(alone / "dcgan.py", *argv, cwd=tmp_path)
    try:
        while process.poll() is None and not list(folder.glob("checkpoints/checkpoint")):
            time.sleep(0.01)
        delay = random.uniform(0, 0.8)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    finally:
        killed = finish(process)
    at = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    code, out, err = finish(start(alone / "dcgan.py", *argv, cwd=tmp_path))
    assert code == 0, (delay, at, err)
    assert killed[0] == -signal.SIGKILL, "the run was over before it was killed: the test needs a longer one"
    assert "going on from step" in out
    a, b = weights(trained), weights(folder)
    assert a.keys() == b.keys() and len(a) > 50
    different = [name for name in a if a[name].tobytes() != b[name].tobytes()]
    assert not different, (delay, at, different)
    assert (folder / "losses.csv").read_text() == (trained / "losses.csv").read_text()
    for picture in (trained / "samples").iterdir():
        assert picture.read_bytes() == (folder / "samples" / picture.name).read_bytes(), picture.name
    assert not list(folder.rglob("*_temp")) and not list(folder.rglob("*.part"))


@pytest.fixture(scope="module")
def one_process(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    dcgan.main(flags(drawn, folder, "--steps", "4", "--log_every", "1"))
    return folder


def assert_same_training(one, several):
    """Every array of the checkpoint within 1e-5 after four steps, in which weights move by some 1e-3; losses likewise.

    The sums are the same but for their order, so they differ by rounding: 1e-7 where it was measured.
    """
    table = lambda folder: np.loadtxt(folder / "losses.csv", delimiter=",", skiprows=1)
    assert table(one).shape == (4, 3)
    np.testing.assert_allclose(table(one), table(several), rtol=1e-5)
    a, b = weights(one), weights(several)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_two_mirrored_devices_equal_one(alone, drawn, one_process, tmp_path):
    more = ["--steps", 4, "--log_every", 1, "--distribute", "mirrored", "--logical_devices", 2]
    code, _, err = finish(start(alone / "dcgan.py", *flags(drawn, tmp_path / "run", *more), cwd=tmp_path))
    assert code == 0, err
    assert_same_training(one_process, tmp_path / "run")


def test_two_workers_equal_one_process(alone, drawn, one_process, tmp_path):
    argv = flags(drawn, tmp_path / "run", "--steps", 4, "--log_every", 1)
    workers = start_workers(alone / "dcgan.py", *argv, cwd=tmp_path)
    results = [finish(worker) for worker in workers]
    assert [code for code, _, _ in results] == [0, 0], results
    assert "done" in results[0][1] and results[1][1] == "", "only the chief speaks"
    assert_same_training(one_process, tmp_path / "run")


def test_a_batch_that_cannot_be_shared_is_refused(alone, drawn, tmp_path):
    more = ["--batch_size", 9, "--distribute", "mirrored", "--logical_devices", 2]
    code, _, err = finish(start(alone / "dcgan.py", *flags(drawn, tmp_path / "run", *more), cwd=tmp_path))
    assert code == 2 and err == "error: --batch_size 9 cannot be shared by 2 replicas: take a multiple\n"


# --------------------------------------------------------------------------------------------------------- generate
def opened(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_samples_number_means_the_same_picture_everywhere(trained, tmp_path):
    out = str(tmp_path)
    generate.main(["--run", str(trained), "--out", out])
    generate.main(["--run", str(trained), "--out", out, "--count", "70"])
    sheet = opened(tmp_path / "grid.png")
    np.testing.assert_array_equal(sheet, opened(trained / "samples" / "samples_000240.png"))
    assert not np.array_equal(sheet, opened(tmp_path / "grid_numbered.png"))
    singles = [opened(tmp_path / f"{number:05d}.png") for number in range(70)]
    np.testing.assert_array_equal(pictures.grid(np.stack(singles[:64])), sheet)
    assert len({single.tobytes() for single in singles}) == 70
    z = dcgan.sample_latents(1, 0, 140, 10).numpy()
    np.testing.assert_array_equal(dcgan.sample_latents(1, 70, 60, 10), z[70:130])


def test_walks(trained, tmp_path):
    generate.main(["--run", str(trained), "--out", str(tmp_path), "--walk", "3", "17", "5", "--frames", "6"])
    with Image.open(tmp_path / "walk.gif") as gif:
        assert gif.n_frames == 2 * 13 - 2
    ends = generate.Artist(generate.load(trained))(generate.chosen(1, [3, 17, 17, 5], 10))
    sheet = opened(tmp_path / "walk.png")
    for (row, column), expected in zip([(0, 0), (0, 9), (1, 0), (1, 9)], ends):
        top, left = 2 + row * 18, 2 + column * 18
        np.testing.assert_array_equal(sheet[top : top + 16, left : left + 16], expected)


def test_spherical_interpolation():
    start_point, end = np.array([2.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0])
    path = generate.slerp(start_point, end, np.linspace(0, 1, 5))
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 2, rtol=1e-6)
    np.testing.assert_allclose(path[[0, -1]], [start_point, end], atol=1e-6)
    np.testing.assert_allclose(path[2], [np.sqrt(2), np.sqrt(2), 0], rtol=1e-6)
    np.testing.assert_allclose(generate.slerp(end, end, np.array([0.3])), [end])


def test_arithmetic(trained, tmp_path):
    a, b, c = np.random.default_rng(0).normal(size=(3, 4, 10))
    nine = generate.arithmetic(a, b, c, seed=1)
    centre = a.mean(0) - b.mean(0) + c.mean(0)
    np.testing.assert_allclose(nine[4] / np.linalg.norm(nine[4]), centre / np.linalg.norm(centre), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(nine, axis=1), np.sqrt(10), rtol=1e-5)
    assert len(np.unique(nine.round(6), axis=0)) == 9
    argv = ["--run", str(trained), "--a", "1", "2", "--b", "3", "--c", "4", "5", "6", "7"]
    for name in ("one", "two"):
        generate.main([*argv, "--out", str(tmp_path / name)])
    sheet = opened(tmp_path / "one" / "arithmetic.png")
    assert sheet.shape == (5 * 18 + 2, 7 * 18 + 2, 3)
    assert (tmp_path / "one" / "arithmetic.png").read_bytes() == (
        tmp_path / "two" / "arithmetic.png"
    ).read_bytes()
    first = generate.Artist(generate.load(trained))(generate.chosen(1, [1], 10))[0]
    np.testing.assert_array_equal(sheet[2:18, 2:18], first)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--run", "nowhere"], "holds no trained network"),
        (["--a", "1"], "arithmetic needs all of --a, --b and --c"),
        (["--walk", "1"], "a walk needs two samples"),
        (["--walk", "1", "-3"], "numbered from 0"),
        (["--count", "0"], "must be 1 or more"),
    ],
)
def test_generate_says_what_is_wrong(argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(runner.Stop, match=message):
        generate.main(argv)


def test_the_averaged_weights_are_used_unless_told_not_to(trained, tmp_path):
    for name, flag in (("mean", "--averaged"), ("last", "--no-averaged")):
        generate.main(["--run", str(trained), "--out", str(tmp_path / name), flag])
    assert not np.array_equal(opened(tmp_path / "mean" / "grid.png"), opened(tmp_path / "last" / "grid.png"))
