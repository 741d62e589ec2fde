"""WGAN and WGAN-GP: losses and penalty against formulas, the classic mistakes, runs that are stopped and shared."""

import random
import signal
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from model_folders import copy_alone, draw_pictures, finish, modules, start, start_workers, weights
from PIL import Image

NAMES = ("runner", "layers", "networks", "pictures", "wgan", "wgan_gp", "plot_losses", "generate")
runner, layers, networks, pictures, wgan, wgan_gp, plot_losses, generate = modules("m03_wgan", *NAMES)
BOTH = pytest.mark.parametrize("script", [wgan, wgan_gp], ids=["wgan", "wgan_gp"])
TINY = ["--preset=cpu", "--size=16", "--width_g=4", "--width_d=4", "--batch_size=8", "--z_dim=5"]


def options(script, *flags):
    return script.parse_args([*TINY, *map(str, flags)])


def model_of(script, *flags):
    return script.WGAN(options(script, *flags))


def values(module):
    return [variable.numpy() for variable in module.trainable_variables]


def noise(*shape, seed=0, scale=1.0):
    return tf.constant(np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32))


def byte_batches(count, seed=0):
    return tf.constant(np.random.default_rng(seed).integers(0, 256, (count, 8, 16, 16, 3), np.uint8))


def update_critic(script, model, real, z, alpha_seed=0):
    alpha = [wgan_gp.shares(8, layers.noise_seed(alpha_seed, 0, 0))] if script is wgan_gp else []
    return model.update_critic(real, z, *alpha, 1.0)


STEP = tf.constant(0, tf.int64)


# ---------------------------------------------------------------------------------------------------------- networks
@BOTH
@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("arch", ["dcgan", "mlp"])
def test_shapes(script, arch, size):
    model = model_of(script, "--arch", arch, "--size", size)
    drawn = model.generate(tf.zeros([3, 5]))
    assert drawn.shape == (3, size, size, 3) and model.judge(drawn).shape == (3,)
    assert abs(drawn.numpy()).max() <= 1


def test_the_mlp_is_the_papers():
    args = options(wgan, "--arch", "mlp", "--size", 64, "--z_dim", 100)
    matrices = [v.shape for v in networks.make_generator(args).trainable_variables if len(v.shape) == 2]
    assert matrices == [(100, 512), (512, 512), (512, 512), (512, 512), (512, 64 * 64 * 3)]
    matrices = [v.shape for v in networks.make_critic(args).trainable_variables if len(v.shape) == 2]
    assert matrices == [(64 * 64 * 3, 512), (512, 512), (512, 512), (512, 512), (512, 1)]


def test_initial_weights():
    shape = ["--size", 64, "--width_g", 16, "--width_d", 16]
    for flag, expected in (("--no-he", lambda fan_in: 0.02), ("--he", lambda fan_in: np.sqrt(2 / fan_in))):
        args = options(wgan_gp, *shape, flag)
        for part in (*networks.make_generator(args).submodules, *networks.make_critic(args).submodules):
            if isinstance(part, layers.Dense | layers.Conv | layers.Deconv):
                weight = part.weight.numpy()
                inputs = weight.shape[-2] if not isinstance(part, layers.Deconv) else weight.shape[-1] / 4
                fan_in = inputs * (weight.shape[0] ** 2 if weight.ndim == 4 else 1)
                np.testing.assert_allclose(weight.std(), expected(fan_in), rtol=0.06)
    args = options(wgan, "--he", *shape)
    drawn = networks.make_generator(args)(noise(16, 5), training=True).numpy()
    again = networks.make_generator(args)(noise(16, 5), training=True).numpy()
    np.testing.assert_array_equal(drawn, again)


@BOTH
def test_the_paper_preset_is_the_papers(script):
    args = script.parse_args(["--preset", "paper"])
    assert (args.batch_size, args.critic_steps, args.width_g, args.width_d) == (64, 5, 128, 128)
    if script is wgan:
        assert (args.clip, args.lr_g, args.lr_d, args.critic_norm) == (0.01, 5e-5, 5e-5, "batch")
    else:
        assert (args.gp_weight, args.gp_share, args.lr_g, args.lr_d) == (10, 1, 1e-4, 1e-4)
        assert (args.beta_1, args.beta_2) == (0, 0.9)


def test_layer_norm_against_numpy():
    x = np.random.default_rng(0).normal(2, 3, (4, 5, 6, 7)).astype(np.float32)
    norm = networks.LayerNorm(None, 7)
    norm.gamma.assign(np.arange(7) + 1.0)
    norm.beta.assign(np.arange(7) - 3.0)
    mean, variance = x.mean((1, 2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * (np.arange(7) + 1) + np.arange(7) - 3
    np.testing.assert_allclose(norm(tf.constant(x), training=True), expected, rtol=1e-4, atol=1e-5)


def others_change(model):
    """How far changing picture 2 moves the scores of the pictures beside it; and its own."""
    pictures_in = noise(6, 16, 16, 3, scale=0.5).numpy()
    before = model.judge(tf.constant(pictures_in)).numpy()
    pictures_in[2] = -2 * pictures_in[2] + 0.3
    moved = np.abs(model.judge(tf.constant(pictures_in)).numpy() - before) / np.abs(before).max()
    return np.delete(moved, 2).max(), moved[2]


@pytest.mark.parametrize("flags", [["--critic_norm", "layer"], ["--critic_norm", "none"], ["--arch", "mlp"]])
def test_with_a_penalty_a_score_depends_on_its_own_picture_only(flags):
    model = model_of(wgan_gp, *flags)
    others, own = others_change(model)
    assert others < 1e-6 < 1e-3 < own
    assert not any(isinstance(part, layers.BatchNorm) for part in model.critic.submodules)


def test_batch_norm_in_the_critic_would_mix_the_pictures_so_wgan_gp_refuses_it(capsys):
    others, _ = others_change(model_of(wgan, "--critic_norm", "batch"))
    assert others > 1e-3, "the check above sees batch normalization"
    with pytest.raises(SystemExit) as stopped:
        options(wgan_gp, "--critic_norm", "batch")
    assert stopped.value.code == 2 and "invalid choice: 'batch'" in capsys.readouterr().err


@BOTH
def test_scores_have_no_sigmoid(script):
    critic = model_of(script, "--critic_norm", "layer").critic
    x = noise(4, 16, 16, 3)
    scores = critic(x).numpy()
    critic.judge.weight.assign(1e4 * critic.judge.weight)
    np.testing.assert_allclose(critic(x), 1e4 * scores, rtol=1e-4)
    assert scores.min() < 0 or scores.max() > 1


# ------------------------------------------------------------------------------------------------------------ losses
@BOTH
def test_losses_against_closed_form(script):
    real, fake = tf.constant([2.0, -1.0, 5.0]), tf.constant([0.5, -3.0, -2.0])
    assert np.isclose(script.wasserstein_estimate(real, fake), 2.0 + 1.5)
    assert np.isclose(script.critic_loss(real, fake), -3.5)
    assert np.isclose(script.generator_loss(fake), 1.5)


@BOTH
@pytest.mark.parametrize("arch", ["dcgan", "mlp"])
def test_each_update_moves_its_network_the_right_way_and_no_other(script, arch):
    rate = 1e-4
    if script is wgan:
        rate = 1e-2  # RMSProp starts with small updates
    rates = ["--lr_d", rate, "--lr_g", rate]
    model = model_of(script, "--arch", arch, "--critic_norm", "layer", *rates)
    model.args.gp_weight = 0.0  # the penalty pulls elsewhere
    if script is wgan:
        wgan.clip_weights(model.critic, 0.01)
    real, z = noise(8, 16, 16, 3, scale=0.3) + 0.5, noise(8, 5)
    fake = model.generate(z)
    gap = lambda: float(script.wasserstein_estimate(model.judge(real), model.judge(fake)))
    raised = lambda: float(tf.reduce_mean(model.judge(model.generate(z))))
    before, generator, critic = gap(), values(model.generator), values(model.critic)
    update_critic(script, model, real, z)
    assert gap() > before, "a critic's update raises D(real) - D(fake)"
    assert all(np.array_equal(a, b) for a, b in zip(generator, values(model.generator)))
    assert sum(not np.array_equal(a, b) for a, b in zip(critic, values(model.critic))) >= len(critic) - 1
    before, critic = raised(), values(model.critic)
    model.update_generator(z, 1.0)
    assert raised() > before, "a generator's update raises D(fake)"
    assert all(np.array_equal(a, b) for a, b in zip(critic, values(model.critic)))
    assert all(not np.array_equal(a, b) for a, b in zip(generator, values(model.generator)))


@BOTH
def test_the_estimate_is_that_of_the_scores_and_holds_no_penalty(script):
    more = ["--gp_weight", 1e6] if script is wgan_gp else []
    model = model_of(script, "--critic_norm", "layer", "--critic_steps", 1, *more)
    batches, args = byte_batches(1), model.args
    real = tf.cast(batches[0], tf.float32) / 127.5 - 1.0
    z = script.latents(8, 5, layers.noise_seed(args.seed, 0, 0))
    expected = np.mean(model.judge(real)) - np.mean(model.judge(model.generate(z)))
    losses = model.train_step(STEP, batches)
    assert losses.keys() == {"wasserstein", "g_loss"}
    np.testing.assert_allclose(losses["wasserstein"], expected, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------- clipping
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_after_every_update_all_weights_of_the_critic_are_within_the_bound(norm):
    model = model_of(wgan, "--lr_d", 0.5, "--lr_g", 0.5, "--critic_steps", 4, "--critic_norm", norm)
    for variable in model.critic.trainable_variables:
        variable.assign_add(tf.ones_like(variable))  # biases too start outside
    sizes, apply = [], model.optimizer_d.apply
    largest = lambda: [np.abs(value).max() for value in values(model.critic)]
    model.optimizer_d.apply = lambda *update: (sizes.append(largest()), apply(*update))
    model.train_step(STEP, byte_batches(4))
    sizes.append(largest())
    bound = np.float32(0.01)
    assert np.min(sizes[0]) > bound, "before the first update they are outside"
    assert len(sizes) == 5 and all(size <= bound for update in sizes[1:] for size in update)
    assert np.max(sizes[-1]) == bound, "the bound is reached"
    assert max(np.abs(value).max() for value in values(model.generator)) > bound, (
        "the generator is not clipped"
    )


# ----------------------------------------------------------------------------------------------------------- penalty
def test_the_penalty_of_a_linear_critic_is_its_closed_form():
    points = noise(6, 4, 4, 3)
    for length in (0.2, 1.0, 7.0):
        direction = np.random.default_rng(1).normal(size=(4, 4, 3)).astype(np.float32)
        direction *= length / np.linalg.norm(direction)
        critic = lambda x, w=direction: tf.reduce_sum(x * w, [1, 2, 3]) + 3.0
        np.testing.assert_allclose(wgan_gp.gradient_penalty(critic, points), (length - 1) ** 2, atol=1e-5)


def test_the_penalty_takes_the_norm_of_each_picture_alone():
    factors = tf.constant([0.5, 1.0, 4.0])  # f(x) = a x₁: the slope of picture i is a_i
    critic = lambda x: factors * x[:, 0, 0, 0]
    expected = np.mean([0.25, 0.0, 9.0])
    np.testing.assert_allclose(wgan_gp.gradient_penalty(critic, noise(3, 2, 2, 3)), expected, rtol=1e-5)


def test_a_flat_critic_gives_no_nan():
    slope = tf.Variable(0.0)
    critic = lambda x: slope * tf.reduce_sum(x, [1, 2, 3])
    with tf.GradientTape() as tape:
        penalty = wgan_gp.gradient_penalty(critic, noise(3, 4, 4, 3))
    np.testing.assert_allclose(penalty, 1.0, atol=1e-5)
    assert np.isfinite(tape.gradient(penalty, slope))


@pytest.mark.parametrize("flags", [["--critic_norm", "none"], ["--critic_norm", "layer"], ["--arch", "mlp"]])
def test_the_penaltys_gradient_in_the_weights_against_finite_differences(flags, monkeypatch):
    # Smooth activations: at a kink the slope jumps, and with it what a finite difference measures.
    monkeypatch.setattr(tf.nn, "leaky_relu", lambda x, _: tf.nn.softplus(x))
    monkeypatch.setattr(tf.nn, "relu", tf.nn.softplus)
    critic = model_of(wgan_gp, *flags).critic
    points = noise(4, 16, 16, 3)
    with tf.GradientTape() as tape:
        penalty = wgan_gp.gradient_penalty(critic, points)
    gradients = tape.gradient(penalty, critic.trainable_variables)
    checked = 0
    for variable, gradient in zip(critic.trainable_variables, gradients):
        if gradient is None or len(variable.shape) == 1:
            continue
        # along the gradient itself the derivative is its length: the largest signal against float32's rounding
        length = float(tf.norm(gradient))
        ahead = gradient / length
        start_value, width = variable.numpy(), 2e-3 * float(tf.norm(variable))
        variable.assign(start_value + width * ahead)
        upper = wgan_gp.gradient_penalty(critic, points)
        variable.assign(start_value - width * ahead)
        lower = wgan_gp.gradient_penalty(critic, points)
        variable.assign(start_value)
        np.testing.assert_allclose((upper - lower) / (2 * width), length, rtol=0.02, err_msg=variable.name)
        checked += 1
    assert checked == sum(len(v.shape) > 1 for v in critic.trainable_variables)


def test_shares_are_uniform_and_one_for_each_picture():
    drawn = wgan_gp.shares(20000, layers.noise_seed(1, 2, 3)).numpy()
    assert drawn.shape == (20000, 1, 1, 1) and drawn.min() >= 0 and drawn.max() <= 1
    counts, _ = np.histogram(drawn, bins=10, range=(0, 1))
    assert abs(counts - 2000).max() < 200, "U[0, 1]: a normal distribution would not fill the bins evenly"
    assert not np.array_equal(drawn, wgan_gp.shares(20000, layers.noise_seed(1, 3, 3)))


def test_points_lie_between_a_picture_and_its_partner_one_share_each(monkeypatch):
    model, seen, penalty = (
        model_of(wgan_gp, "--gp_share", 1, "--critic_steps", 3),
        [],
        wgan_gp.gradient_penalty,
    )
    monkeypatch.setattr(wgan_gp, "gradient_penalty", lambda f, x: (seen.append(x.numpy()), penalty(f, x))[1])
    update, made = model.update_critic, []

    def recorded(real, z, *more):
        made.append((real.numpy(), model.generate(z).numpy()))
        return update(real, z, *more)

    model.update_critic = recorded
    model.train_step(STEP, byte_batches(3))
    found = []
    for points, (real, fake) in zip(seen, made):
        share = (points - fake) / (real - fake)
        share[np.abs(real - fake) < 0.05] = np.nan  # too near to divide
        low, high = np.nanmin(share, (1, 2, 3)), np.nanmax(share, (1, 2, 3))
        assert (high - low).max() < 1e-4, "the same share in all pixels, columns and channels"
        assert low.min() >= -1e-5 and high.max() <= 1 + 1e-5
        found += list(np.nanmedian(share, (1, 2, 3)))
    assert len(found) == 24 and len(np.unique(np.round(found, 4))) == 24, "pictures and updates differ"


def test_the_penalty_of_a_share_of_the_batch_keeps_its_weight(monkeypatch):
    seen, penalty = [], wgan_gp.gradient_penalty
    monkeypatch.setattr(wgan_gp, "gradient_penalty", lambda f, x: (seen.append(x), penalty(f, x))[1])
    real, z = noise(8, 16, 16, 3), noise(8, 5)

    def gradient(weight, share):
        model, caught = model_of(wgan_gp, "--gp_share", share, "--gp_weight", weight), []
        model.optimizer_d.apply = lambda gradients, scale: caught.extend(gradients)
        update_critic(wgan_gp, model, real, z)
        return np.concatenate([tf.reshape(g, -1) for g in caught])

    plain, every, second = gradient(0, 1), gradient(10, 1), gradient(10, 2)
    np.testing.assert_array_equal(seen[2], seen[1][::2])
    critic = model_of(wgan_gp).critic
    for points, measured in ((seen[1], every), (seen[1][::2], second)):
        with tf.GradientTape() as tape:
            loss = 10.0 * penalty(critic, points)
        alone = tape.gradient(loss, critic.trainable_variables, unconnected_gradients="zero")
        alone = np.concatenate([tf.reshape(g, -1) for g in alone])
        assert np.abs(alone).max() > 1e-2
        np.testing.assert_allclose(measured - plain, alone, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------------- one training step
@BOTH
def test_five_critic_updates_see_five_batches_and_five_noises(script):
    model, seen, update = model_of(script, "--critic_steps", 5), [], None
    update, update_generator, others = model.update_critic, model.update_generator, []

    def recorded(real, z, *more):
        seen.append((real.numpy(), z.numpy(), [np.asarray(value) for value in more[:-1]]))
        return update(real, z, *more)

    model.update_critic = recorded
    model.update_generator = lambda z, scale: (others.append(z.numpy()), update_generator(z, scale))[1]
    batches = byte_batches(5)
    model.train_step(STEP + 7, batches)
    np.testing.assert_allclose([real for real, *_ in seen], batches.numpy() / 127.5 - 1, atol=1e-6)
    assert len({z.tobytes() for z in [*(z for _, z, _ in seen), *others]}) == 6
    if script is wgan_gp:
        assert len({alpha.tobytes() for *_, (alpha,) in seen}) == 5
    args, rows = options(script, "--critic_steps", 5), np.arange(100)
    grouped = next(
        pictures.batches(args, tf.distribute.get_strategy(), [rows], 0, updates=args.critic_steps)
    )[0]
    assert grouped.shape == (5, 8) and len(np.unique(grouped)) == 40


@BOTH
def test_learning_rates_fall_at_the_end(script):
    args, scales = options(script, "--steps", 100, "--decay", 0.2), []
    measured = [float(script.learning_rate_scale(STEP + step, args)) for step in (0, 80, 90, 99)]
    np.testing.assert_allclose(measured, [1, 1, 0.5, 0.05], atol=1e-6)
    model = model_of(script, "--steps", 100, "--decay", 0.2)
    for optimizer in (model.optimizer_g, model.optimizer_d):
        apply = optimizer.apply
        optimizer.apply = lambda g, scale, apply=apply: (scales.append(float(scale)), apply(g, scale))
    model.train_step(STEP + 90, byte_batches(2))
    np.testing.assert_allclose(scales, [0.5] * 3)


@BOTH
def test_the_compiled_step_is_the_eager_one(script):
    compiled, eager = model_of(script), model_of(script)
    graph = tf.function(compiled.train_step, autograph=False)
    for step in range(3):
        a, b = (f(STEP + step, byte_batches(2, step)) for f in (graph, eager.train_step))
        np.testing.assert_allclose(a["wasserstein"], b["wasserstein"], rtol=1e-3, atol=1e-6)
    for a, b in zip(values(compiled), values(eager)):
        assert np.abs(a - b).mean() < 1e-5


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_in_float32():
    model = model_of(wgan_gp, "--mixed_precision")
    graph = tf.function(model.train_step, autograph=False).get_concrete_function(STEP, byte_batches(2)).graph
    convolutions = [op for op in graph.get_operations() if op.type.startswith("Conv2D")]
    assert {op.outputs[0].dtype for op in convolutions} == {tf.bfloat16}
    losses = model.train_step(STEP, byte_batches(2))
    assert all(loss.dtype == tf.float32 and np.isfinite(loss) for loss in losses.values())
    assert {variable.dtype for variable in model.trainable_variables} == {tf.float32}


# -------------------------------------------------------------------------------------------------- runs, in process
@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp("data") / "pictures")


def flags(drawn, folder, *more):
    common = ["--data_path", drawn, "--output_dir", folder, "--steps", 6, "--log_every", 1]
    return [*TINY, *map(str, [*common, "--sample_every", 3, "--save_every", 3, *more])]


@pytest.fixture(scope="module")
def whole(drawn, tmp_path_factory):
    """A finished run of six steps of each script, in this process."""
    folders = {script: tmp_path_factory.mktemp("whole") / "run" for script in (wgan, wgan_gp)}
    for script, folder in folders.items():
        script.main(flags(drawn, folder))
    return folders


def fails(script, argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        runner.guard(lambda: script.main(argv))
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "Traceback" not in err
    return stopped.value.code, err


@pytest.mark.parametrize(
    ("script", "more", "message"),
    [
        (wgan, ["--size", 20], "--size must be 8, 16, 32, 64"),
        (wgan, ["--clip", 0], "--clip must be above 0"),
        (wgan, ["--critic_steps", 0], "--critic_steps must be 1 or more"),
        (wgan_gp, ["--gp_share", 3], "--gp_share must divide --batch_size"),
    ],
)
def test_errors_are_sentences(drawn, tmp_path, capsys, script, more, message):
    code, err = fails(script, flags(drawn, tmp_path / "run", *more), capsys)
    assert code == 2 and message in err


def test_a_run_of_the_other_script_or_architecture_is_refused(whole, drawn, capsys):
    before = weights(whole[wgan])
    code, err = fails(wgan_gp, flags(drawn, whole[wgan]), capsys)
    assert code == 1 and "script wgan, this one has wgan_gp" in err
    code, err = fails(wgan, flags(drawn, whole[wgan], "--arch", "mlp"), capsys)
    assert code == 1 and "arch dcgan, this one has mlp" in err and "--no-resume" in err
    assert weights(whole[wgan]).keys() == before.keys()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(drawn, tmp_path, capsys):
    wgan_gp.main(flags(drawn, tmp_path / "run", "--steps", 3))
    code, err = fails(wgan_gp, flags(drawn, tmp_path / "run", "--steps", 30, "--lr_d", 1e30), capsys)
    assert code == 3 and "is not a finite number" in err and "ckpt-" in err
    assert all(np.isfinite(value).all() for value in weights(tmp_path / "run").values())


@BOTH
def test_a_run_stopped_by_ctrl_c_goes_on_to_the_same_bits(script, whole, drawn, tmp_path, monkeypatch):
    sampler = script.sampler

    def interrupting(model):
        report = sampler(model)
        return lambda: (signal.raise_signal(signal.SIGINT), report())[1]

    monkeypatch.setattr(script, "sampler", interrupting)
    with pytest.raises(SystemExit) as stopped:
        runner.guard(lambda: script.main(flags(drawn, tmp_path / "run")))
    monkeypatch.undo()
    assert stopped.value.code == 130 and weights(tmp_path / "run")["step/.ATTRIBUTES/VARIABLE_VALUE"] == 1
    script.main(flags(drawn, tmp_path / "run"))
    assert_same_bits(whole[script], tmp_path / "run")


def assert_same_bits(one, other):
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys() and len(a) > 30
    assert not [name for name in a if a[name].tobytes() != b[name].tobytes()]
    assert (one / "losses.csv").read_text() == (other / "losses.csv").read_text()
    for picture in (one / "samples").iterdir():
        assert picture.read_bytes() == (other / "samples" / picture.name).read_bytes(), picture.name


# ------------------------------------------------------------------------------- the plot of losses against samples
def test_cut_is_the_reverse_of_grid(tmp_path):
    drawn = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)
    Image.fromarray(pictures.grid(drawn)).save(tmp_path / "grid.png")
    np.testing.assert_array_equal(plot_losses.cut(tmp_path / "grid.png", 8), drawn)


def test_the_patch_distance_grows_with_the_damage():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(5000, 12))
    shift = rng.normal(size=12)
    expected = np.linalg.norm(shift) * np.sqrt(2 / (np.pi * 12))  # mean |cosine| of a direction, about
    measured = plot_losses.sliced_wasserstein(a, a + shift, np.random.default_rng(1), directions=2000)
    np.testing.assert_allclose(measured, expected, rtol=0.05)
    noise_8x8 = rng.integers(0, 256, (128, 16, 16, 3), np.uint8)
    smoothed = np.array([Image.fromarray(x).resize((32, 32)) for x in noise_8x8])
    damaged = lambda by: np.clip(smoothed[:64] + rng.normal(0, by, (64, 32, 32, 3)), 0, 255).astype(np.uint8)
    noisy = [damaged(by) for by in (0, 30, 90)]
    distances = [plot_losses.patch_distance(x, smoothed[64:]) for x in noisy]
    assert distances[0] < distances[1] < distances[2]
    assert plot_losses.patch_distance(smoothed, smoothed) < distances[0]


def test_smoothing_keeps_constants_and_means():
    np.testing.assert_allclose(plot_losses.smooth(np.full(20, 3.0)), 3.0)
    np.testing.assert_allclose(plot_losses.smooth(np.arange(60.0))[5:55], np.arange(5, 55))
    jagged = np.tile([0.0, 1.0], 200)
    assert plot_losses.smooth(jagged).std() < 0.1 * jagged.std()
    assert len(plot_losses.smooth(np.array([1.0, 2.0]))) == 2


def test_the_plot_of_both_runs(whole, tmp_path, capsys):
    plot_losses.main([*map(str, whole.values()), "--out", str(tmp_path / "both.png")])
    printed = capsys.readouterr().out
    assert "WGAN, clipped weights (dcgan) over 2 grids" in printed and "WGAN-GP, gradient penalty" in printed
    with Image.open(tmp_path / "both.png") as picture:
        assert picture.width > 900 and picture.height > 900
    with pytest.raises(runner.Stop, match=r"config\.json is missing.*python wgan\.py --output_dir"):
        plot_losses.main([str(tmp_path)])


# ---------------------------------------------------------------------------------- runs of a copy, in own processes
@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The model folder, copied away from the repository."""
    return copy_alone("m03_wgan", tmp_path_factory.mktemp("elsewhere") / "wgan")


def test_killed_and_started_again_the_run_ends_with_the_same_bits(alone, drawn, tmp_path):
    folder, more = tmp_path / "killed", ["--save_every", 1, "--steps", 40]
    process = start(alone / "wgan_gp.py", *flags(drawn, folder, *more), cwd=tmp_path)
    try:
        while process.poll() is None and not list(folder.glob("checkpoints/checkpoint")):
            time.sleep(0.01)
        delay = random.uniform(0, 0.2)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    finally:
        code, _, err = finish(process)
    assert code == -signal.SIGKILL, (
        err,
        "the run was over before it was killed: the test needs a longer one",
    )
    code, out, err = finish(start(alone / "wgan_gp.py", *flags(drawn, folder, *more), cwd=tmp_path))
    assert code == 0 and "going on from step" in out and err == "", (delay, err)
    wgan_gp.main(flags(drawn, tmp_path / "whole", *more))
    assert_same_bits(tmp_path / "whole", folder)
    assert not list(folder.rglob("*_temp")) and not list(folder.rglob("*.part"))


def assert_same_training(one, several):
    """Losses within 1e-4 over six steps; weights within 1 % of a learning rate on average, most far closer.

    The sums are the same but for their order, so they differ by rounding, which RMSProp and Adam enlarge where a
    gradient is near zero: they divide by its size.
    """
    table = lambda folder: np.loadtxt(folder / "losses.csv", delimiter=",", skiprows=1)
    assert table(one).shape == (6, 3)
    np.testing.assert_allclose(table(one), table(several), rtol=1e-4, atol=1e-6)
    a, b = weights(one), weights(several)
    assert a.keys() == b.keys()
    for name in a:
        if "adam" not in name and "rmsprop" not in name and "optimizer" not in name:
            gap = np.abs(a[name].astype(np.float64) - b[name])
            scale = 2e-4 + (np.abs(a[name]) if "moving" in name else 0)
            assert (gap / scale).mean() < 1e-2 and np.median(gap / scale) < 1e-3, (name, (gap / scale).max())


def test_two_mirrored_devices_equal_one(alone, whole, drawn, tmp_path):
    argv = flags(drawn, tmp_path / "run", "--distribute", "mirrored", "--logical_devices", 2)
    code, _, err = finish(start(alone / "wgan.py", *argv, cwd=tmp_path))
    assert code == 0, err
    assert_same_training(whole[wgan], tmp_path / "run")


def test_two_workers_equal_one_process(alone, whole, drawn, tmp_path):
    workers = start_workers(alone / "wgan_gp.py", *flags(drawn, tmp_path / "run"), cwd=tmp_path)
    results = [finish(worker) for worker in workers]
    assert [code for code, _, _ in results] == [0, 0], results
    assert_same_training(whole[wgan_gp], tmp_path / "run")


@BOTH
def test_generate_draws_the_samples_of_either_script(script, whole, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, script.__name__, script)
    generate.main(["--run", str(whole[script]), "--count", "70", "--out", str(tmp_path / "drawn.npy")])
    drawn = np.load(tmp_path / "drawn.npy")
    assert drawn.shape == (70, 16, 16, 3) and drawn.dtype == np.uint8
    grid = plot_losses.cut(whole[script] / "samples" / "samples_000006.png", 16)
    np.testing.assert_array_equal(drawn[:64], grid)
