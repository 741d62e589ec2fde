"""The measures of generated pictures: closed forms where there are any, and the direction of each change."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import gan_classifier, gan_coverage, gan_distances, gan_pictures, gan_quality, gan_table
from benchmarks.gan_pictures import QualityError
from utils import lesson

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def cats(tmp_path_factory):
    """120 freshly drawn cats of another seed than the tutorial's: pictures, attributes and their folder."""
    out = tmp_path_factory.mktemp("fresh")
    command = [sys.executable, "data/avatars.py", "--sets", "avatars", "--count", "120", "--seed", "77"]
    subprocess.run([*command, "--out", str(out), "--workers", "1", "--quiet"], cwd=REPO, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan_pictures, "CACHE", out / "cache")
        pictures, attributes = gan_pictures.read_real(out / "avatars")
    return np.array(pictures), attributes, out / "avatars"


@pytest.fixture(scope="module")
def classifier():
    return gan_classifier.Classifier.load()


# Fréchet distance


def test_frechet_of_gaussians_with_known_means_and_covariances():
    rng = np.random.default_rng(1)
    factor = rng.standard_normal((6, 6))
    shift = np.arange(6.0)
    a = rng.standard_normal((20000, 6)) @ factor
    # The same cloud moved: only the means differ, and the distance is the squared length of the move.
    assert gan_distances.frechet(a, a + shift) == pytest.approx(np.sum(shift**2), rel=1e-9)
    # The same cloud scaled by 3 about its mean: trace(S + 9 S - 6 S) = 4 trace(S).
    mean = a.mean(axis=0)
    assert gan_distances.frechet(a, mean + 3 * (a - mean)) == pytest.approx(
        4 * np.trace(np.cov(a.T)), rel=1e-9
    )
    # Covariances that do not commute, against the general matrix square root.
    from scipy.linalg import sqrtm

    b = rng.standard_normal((20000, 6)) @ rng.standard_normal((6, 6)) + 1.0
    s, t = np.cov(a.T), np.cov(b.T)
    expected = np.sum((mean - b.mean(axis=0)) ** 2) + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert gan_distances.frechet(a, b) == pytest.approx(expected, rel=1e-7)
    assert gan_distances.frechet(b, a) == pytest.approx(expected, rel=1e-7)


def test_frechet_with_features_that_never_vary_and_fewer_samples_than_features():
    rng = np.random.default_rng(2)
    a = np.concatenate([rng.standard_normal((30, 40)), np.zeros((30, 5))], axis=1)
    assert gan_distances.frechet(a, a) == pytest.approx(0.0, abs=1e-6)
    assert gan_distances.frechet(a, a + 1.0) == pytest.approx(45.0, rel=1e-6)


# Sliced Wasserstein distance


def test_laplacian_pyramid_against_scipy_and_adds_up_to_the_picture(cats):
    from scipy.ndimage import convolve1d

    def filtered(x, weight):
        for axis in (1, 2):
            x = convolve1d(x, gan_distances.BINOMIAL * weight, axis=axis, mode="mirror")
        return x

    pictures = cats[0][:4].astype(np.float32)
    small = filtered(pictures, 1.0)[:, ::2, ::2]
    zeros_between = np.zeros_like(pictures)
    zeros_between[:, ::2, ::2] = small
    np.testing.assert_allclose(gan_distances.smaller(pictures), small, atol=1e-3)
    np.testing.assert_allclose(gan_distances.larger(small), filtered(zeros_between, 2.0), atol=1e-3)
    fine, middle, coarse = (gan_distances.laplacian_level(pictures, scale) for scale in gan_distances.SCALES)
    assert [level.shape[1] for level in (fine, middle, coarse)] == [64, 32, 16]
    rebuilt = fine + gan_distances.larger(middle + gan_distances.larger(coarse))
    np.testing.assert_allclose(rebuilt, pictures, atol=1e-3)
    grey = np.full((1, 64, 64, 3), 100, np.uint8)  # a plain picture has nothing in its finer levels
    assert all(np.abs(gan_distances.laplacian_level(grey, scale)).max() < 1e-3 for scale in (64, 32))
    np.testing.assert_allclose(gan_distances.laplacian_level(grey, 16), 100, rtol=1e-5)


def test_wasserstein_of_projections_in_one_dimension_is_the_mean_gap_of_sorted_values():
    a = np.array([[3.0], [0.0], [1.0]], np.float32)
    b = np.array([[6.0], [1.0], [2.0]], np.float32)  # sorted: 0 1 3 against 1 2 6, gaps 1 1 3
    distance = gan_distances.wasserstein_of_projections(a, b, np.random.default_rng(0), directions=5, chunk=2)
    assert distance == pytest.approx(5 / 3, rel=1e-6)


def test_wasserstein_of_a_moved_cloud_is_the_mean_projection_of_the_move():
    rng = np.random.default_rng(3)
    a = rng.standard_normal((500, 147)).astype(np.float32)
    move = rng.standard_normal(147).astype(np.float32)
    found = gan_distances.wasserstein_of_projections(a, a + move, np.random.default_rng(4), directions=4096)
    # For a random unit vector u in d dimensions, E|u·v| = |v| Γ(d/2) / (√π Γ((d+1)/2)) ≈ |v| √(2 / (π d)).
    assert found == pytest.approx(np.linalg.norm(move) * np.sqrt(2 / (np.pi * 147)), rel=0.05)


def disturbed(pictures, name, strength):
    """The pictures with more of one fault."""
    x = pictures.astype(np.float32)
    if name == "noise":
        x = x + np.random.default_rng(5).normal(0, 25 * strength, x.shape)
    elif name == "tint":
        x = x + 20 * strength * np.array([1, -1, 0])
    else:
        for _ in range(strength):
            for axis in (1, 2):
                x = 0.5 * x + 0.25 * (np.roll(x, 1, axis) + np.roll(x, -1, axis))
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def test_sliced_wasserstein_is_zero_for_equal_sets_and_grows_with_each_fault(cats):
    pictures = cats[0][:60]
    assert gan_distances.sliced_wasserstein(pictures, pictures, directions=64)["mean"] == 0.0
    scales = {"noise": "64", "blur": "64", "tint": "16"}  # where each fault shows most
    for fault, scale in scales.items():
        little, much = (
            gan_distances.sliced_wasserstein(disturbed(pictures, fault, s), pictures, directions=64)
            for s in (1, 2)
        )
        assert 5 < little[scale] < much[scale], fault
        assert little["mean"] < much["mean"], fault
    own = gan_distances.sliced_wasserstein(
        disturbed(pictures, "tint", 1), pictures, directions=64, own_statistics=True
    )
    tinted = gan_distances.sliced_wasserstein(disturbed(pictures, "tint", 1), pictures, directions=64)
    assert own["16"] < 0.5 * tinted["16"]  # why the real set's statistics are used for both


def test_sliced_wasserstein_is_repeatable_and_chunks_do_not_matter(cats, monkeypatch):
    a, b = cats[0][:40], cats[0][40:80]
    first = gan_distances.sliced_wasserstein(a, b, seed=3, directions=32)
    assert first == gan_distances.sliced_wasserstein(a, b, seed=3, directions=32)
    assert first != gan_distances.sliced_wasserstein(a, b, seed=4, directions=32)
    x = np.random.default_rng(0).standard_normal((50, 9)).astype(np.float32)
    y = np.random.default_rng(1).standard_normal((50, 9)).astype(np.float32)
    split = [
        gan_distances.wasserstein_of_projections(x, y, np.random.default_rng(2), directions=12, chunk=c)
        for c in (5, 12)
    ]
    assert split[0] == pytest.approx(split[1], rel=1e-5)


# Nearest neighbours, repeats, copies


def test_nearest_against_a_plain_loop():
    rng = np.random.default_rng(6)
    others = rng.standard_normal((57, 12)).astype(np.float32)
    queries = np.concatenate([others[:9], rng.standard_normal((5, 12)).astype(np.float32)])
    itself = np.array([*range(9), *[-1] * 5])
    distances, places = gan_distances.nearest(queries, others, leave_out=itself, chunk=10)
    for query, own, distance, place in zip(queries, itself, distances, places):
        gaps = [np.inf if i == own else np.sqrt(np.mean((query - row) ** 2)) for i, row in enumerate(others)]
        assert place == int(np.argmin(gaps)) and distance == pytest.approx(min(gaps), abs=1e-4)


def test_a_grid_with_a_repeated_picture_has_an_alike_pair(cats):
    pictures = cats[0]
    grid = pictures[:64].copy()
    real = pictures[20:]
    assert gan_coverage.repeats(grid, pictures, None, seed=1)["alike"] == 0
    grid[40] = np.clip(grid[7].astype(int) + 1, 0, 255).astype(np.uint8)
    result = gan_coverage.repeats(grid, real, None, seed=1)
    assert result["alike"] == 1 and result["closest_pair"] == [7, 40]
    assert result["closest"] < 1.01 < result["limit"] <= result["real_closest"]


def test_copies_are_found(cats):
    pictures = cats[0]
    honest = gan_coverage.copies(pictures[:40], pictures[40:], seed=1)
    assert honest["closer"] < 0.1 and 0.7 < honest["median"] / honest["real_median"] < 1.4
    copied = gan_coverage.copies(disturbed(pictures[:40], "tint", 0.05), pictures, seed=1)
    assert copied["closer"] > 0.9 and copied["median"] < 0.2 * copied["real_median"]


# Coverage


VALUES = {"hat": ["black", "none", "red"], "eyes": ["big", "small"]}


def made_up(hats, eyes, confidence):
    """Classifier output with the given answers at the given confidence."""

    def rows(answers, names):
        found = np.full((len(answers), len(names)), 1.0)
        found *= ((1 - np.asarray(confidence)) / (len(names) - 1))[:, None]
        found[np.arange(len(answers)), [names.index(answer) for answer in answers]] = confidence
        return found

    return {"hat": rows(hats, VALUES["hat"]), "eyes": rows(eyes, VALUES["eyes"])}


def test_coverage_counts_only_confident_answers():
    hats = ["black"] * 6 + ["red"] * 2 + ["none"] * 2
    eyes = ["big"] * 5 + ["small"] * 5
    confidence = [0.95] * 8 + [0.89, 0.85]  # nobody is sure of "none"
    real = {"hat": np.array(["black", "none", "red", "red"]), "eyes": np.array(["big", "small"] * 2)}
    result = gan_coverage.coverage(made_up(hats, eyes, confidence), VALUES, real)
    assert (result["covered"], result["covered_often"], result["of"]) == (4, 2, 5)
    assert result["covered_well"] == 4  # all but "none": 6 >= 10 / 16, 2 >= 20 / 16, 5 and 3 >= 20 / 16
    few = gan_coverage.coverage(made_up(hats, eyes, confidence), VALUES, {**real, "hat": np.array(["red"])})
    assert few["covered"] == 4
    assert few["covered_well"] == 3  # 2 of 10 are red where all should be: too few
    assert result["missing"] == ["hat: none"]
    assert result["sure_of_all"] == pytest.approx(0.8)
    assert result["combinations"] == 4  # black big, black small, red small, none small
    hat = result["attributes"]["hat"]
    assert hat["values"]["black"] == {"samples": 6, "frequency": 0.75, "real": 0.25}
    # 0.75 0 0.25 against 0.25 0.25 0.5: half of 0.5 + 0.25 + 0.25.
    assert hat["total_variation"] == pytest.approx(0.5)
    assert result["attributes"]["eyes"]["total_variation"] == pytest.approx(5 / 8 - 0.5)
    assert "hat: none" in gan_coverage.describe(result)


def test_coverage_when_nothing_is_recognised():
    probabilities = {kind: np.full((7, len(names)), 1 / len(names)) for kind, names in VALUES.items()}
    real = {"hat": np.array(["black", "red"]), "eyes": np.array(["big", "small"])}
    result = gan_coverage.coverage(probabilities, VALUES, real)
    assert result["covered"] == 0 and len(result["missing"]) == 5 and result["total_variation"] == 1.0


# The shipped classifier


def test_shipped_classifier_names_the_parts_of_fresh_cats(cats, classifier):
    pictures, attributes, _ = cats
    _, probabilities = classifier(pictures)
    right = gan_classifier.accuracy(probabilities, attributes, classifier.values)
    assert set(right) == set(gan_pictures.ATTRIBUTES)
    assert sum(len(names) for names in classifier.values.values()) == 66
    assert all(share >= 0.97 for share in right.values()), right


def test_classifier_is_not_sure_of_what_is_no_cat(cats, classifier):
    pictures = cats[0]
    rng = np.random.default_rng(7)
    pixels = pictures.reshape(len(pictures), -1, 3)
    jumbled = np.stack([row[rng.permutation(len(row))] for row in pixels]).reshape(pictures.shape)
    half = ((pictures.astype(int) + np.roll(pictures, 1, axis=0)) // 2).astype(np.uint8)
    for name, broken in (("jumbled pixels", jumbled), ("two cats in one", half)):
        _, probabilities = classifier(broken)
        sure = np.all([p.max(axis=1) >= gan_coverage.SURE for p in probabilities.values()], axis=0)
        assert np.mean(sure) < 0.05, name


def test_a_value_that_is_never_drawn_is_reported_missing(cats, classifier):
    pictures, attributes, _ = cats
    kept = attributes["accessory"] != "bell"
    result = gan_quality.compare(pictures[kept], pictures, attributes, ("attributes",), classifier=classifier)
    assert "accessory: bell" in result["attributes"]["missing"]
    everything = gan_quality.compare(pictures, pictures, attributes, ("attributes",), classifier=classifier)
    assert "accessory: bell" not in everything["attributes"]["missing"]
    assert everything["attributes"]["covered"] > result["attributes"]["covered"]


def test_weights_survive_saving(classifier, cats, tmp_path):
    classifier.save(tmp_path / "again.npz")
    again = gan_classifier.Classifier.load(tmp_path / "again.npz")
    np.testing.assert_array_equal(again(cats[0][:5])[0], classifier(cats[0][:5])[0])
    assert again.values == classifier.values and again.facts == classifier.facts
    with pytest.raises(QualityError, match="train_classifier"):
        gan_classifier.Classifier.load(tmp_path / "none.npz")


def test_targets_have_one_value_of_each_attribute_and_stay_distributions_when_disturbed(cats, classifier):
    import tensorflow as tf

    pictures, attributes, _ = cats
    targets = gan_classifier.targets_of(attributes, classifier.values)
    assert targets.shape == (len(pictures), 66) and (targets.sum(axis=1) == 5).all()
    x, y = gan_classifier.disturb(tf.cast(pictures, tf.float32), tf.constant(targets), classifier.values)
    assert x.shape == pictures.shape and float(tf.reduce_min(x)) >= 0 and float(tf.reduce_max(x)) <= 255
    start = 0
    for names in classifier.values.values():
        np.testing.assert_allclose(y[:, start : start + len(names)].numpy().sum(axis=1), 1.0, rtol=1e-5)
        start += len(names)
    unchanged = np.mean(np.all(y.numpy() == targets, axis=1))
    assert 0.5 < unchanged < 0.95


# What may be given


def test_floats_and_other_sizes_become_pictures(capsys):
    grey = np.zeros((2, 64, 64, 3), np.float32)
    assert gan_pictures.as_pictures(grey).dtype == np.uint8
    np.testing.assert_array_equal(np.unique(gan_pictures.as_pictures(grey)), [128])
    np.testing.assert_array_equal(np.unique(gan_pictures.as_pictures(grey + 1)), [255])
    big = gan_pictures.as_pictures(np.full((2, 128, 96, 3), 7, np.uint8))
    assert big.shape == (2, 64, 64, 3) and (big == 7).all()
    assert "96x128" in capsys.readouterr().out
    for wrong in (
        np.zeros((64, 64, 3)),
        np.zeros((2, 3, 64, 64)),
        grey * 255 + 200,
        np.zeros((2, 64, 64, 3), int),
    ):
        with pytest.raises(QualityError):
            gan_pictures.as_pictures(wrong)


def test_folders_without_pictures_broken_pictures_and_other_sizes(tmp_path, capsys):
    with pytest.raises(QualityError, match="not a folder"):
        gan_pictures.read_pictures(tmp_path / "nowhere")
    with pytest.raises(QualityError, match="no pictures"):
        gan_pictures.read_pictures(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(QualityError, match="none of the 1"):
        gan_pictures.read_pictures(tmp_path)
    Image.new("RGB", (80, 80), (10, 20, 30)).save(tmp_path / "b.png")
    Image.new("RGBA", (64, 64), (10, 20, 30, 0)).save(tmp_path / "c.png")
    pictures = gan_pictures.read_pictures(tmp_path)
    assert pictures.shape == (2, 64, 64, 3)
    assert (pictures[0] == (10, 20, 30)).all() and (pictures[1] == 255).all()  # transparent: white
    said = capsys.readouterr().out
    assert "1 of 3 pictures cannot be read" in said and "80x80" in said
    (tmp_path / "d.npy").write_bytes(b"nothing")
    with pytest.raises(QualityError, match=r"d\.npy"):
        gan_pictures.read_pictures(tmp_path / "d.npy")


def test_command_line_on_a_folder_and_on_an_array(cats, tmp_path, monkeypatch, capsys):
    pictures, _, folder = cats
    monkeypatch.setattr(gan_pictures, "CACHE", tmp_path / "cache")
    np.save(tmp_path / "samples.npy", pictures[:70])
    options = ["--real", str(folder), "--json", str(tmp_path / "out.json")]
    assert gan_quality.main([str(tmp_path / "samples.npy"), *options]) == 0
    said = capsys.readouterr().out
    assert "sliced Wasserstein" in said and "Fréchet" in said and "70 pictures" in said
    result = json.loads((tmp_path / "out.json").read_text())
    assert set(gan_quality.PARTS) <= set(result) and result["count"] == 70
    with pytest.raises(QualityError, match="too few"):
        gan_quality.compare(pictures[:1], pictures)
    assert gan_quality.main([str(tmp_path / "empty")]) == 1
    assert "not a folder" in capsys.readouterr().err


# The table of runs


def test_tiles_undo_a_grid():
    pictures = np.random.default_rng(8).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    sheet = np.full((2 * 66 + 2, 3 * 66 + 2, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = 2 + i // 3 * 66, 2 + i % 3 * 66
        sheet[top : top + 64, left : left + 64] = picture
    np.testing.assert_array_equal(gan_table.tiles(sheet), pictures)
    with pytest.raises(QualityError, match="grid"):
        gan_table.tiles(sheet[:-1])


def test_minutes_from_the_step_rates_of_a_log():
    log = (
        "step    100/1000  d_loss 1.2  2.00 steps/s  7.5 min left\n"
        "stopped at step 150, saved.\n"
        "step    200/1000  d_loss 1.1  9.00 steps/s  7.5 min left\n"
        "going on from step 150\n"
        "step    200/1000  d_loss 1.1  1.00 steps/s  7.5 min left\n"
    )
    assert gan_table.minutes_at(log) == {0: 0.0, 100: pytest.approx(50 / 60), 200: pytest.approx(150 / 60)}


def test_a_run_is_measured_by_its_own_generate_script(cats, classifier, tmp_path, monkeypatch, capsys):
    pictures = cats[0]
    model, run = tmp_path / "models" / "m99", tmp_path / "run"
    model.mkdir(parents=True)
    (run / "samples").mkdir(parents=True)
    np.save(model / "drawn.npy", pictures)
    (model / "generate.py").write_text(
        "import argparse, json, pathlib, numpy as np\n"
        "p = argparse.ArgumentParser()\n"
        "[p.add_argument('--' + n) for n in ('run', 'count', 'out', 'seed')]\n"
        "a = p.parse_args()\n"
        "config = json.loads((pathlib.Path(a.run) / 'config.json').read_text())\n"
        "from PIL import Image\n"
        "pathlib.Path(a.out).mkdir()\n"
        "for i, x in enumerate(np.load('drawn.npy')[: int(a.count)]):\n"
        "    Image.fromarray(x).save(f'{a.out}/{i:05d}.png')\n"
    )
    (run / "config.json").write_text('{"seed": 4, "steps": 10}')
    (run / "train.log").write_text("step     10/10  loss 1.0  1.00 steps/s  0.0 min left\n")
    sheet = np.full((68, 134, 3), 255, np.uint8)
    sheet[2:66, 2:66], sheet[2:66, 68:132] = pictures[:2]
    Image.fromarray(sheet).save(run / "samples" / "samples_000005.png")
    monkeypatch.setattr(lesson, "FIGS", lesson.REPO / "build" / "test_figs")
    for name, value in (
        ("REPO", tmp_path),
        ("RESULTS", tmp_path / "results"),
        ("read_real", lambda _: cats[:2]),
    ):
        monkeypatch.setattr(gan_table, name, value)
    assert gan_table.main([f"m99:{run}", "--label", "Old Cats", "--count", "80", "--figure"]) == 0
    result = json.loads((tmp_path / "results" / "gan_run_old_cats_4.json").read_text())
    assert result["count"] == 80 and result["config"] == {"seed": 4, "steps": 10}
    assert result["headline"]["values covered"] == result["attributes"]["covered"] > 50
    assert [(row["step"], row["minutes"]) for row in result["over_minutes"]] == [(5, 0.08)]
    assert result["log"] == ["step     10/10  loss 1.0"], "rates belong to the machine of that day"
    assert gan_table.main([f"m99:{run}", "--label", "Old Cats", "--count", "80", "--step_seconds", "24"]) == 0
    again = json.loads((tmp_path / "results" / "gan_run_old_cats_4.json").read_text())
    assert [(row["step"], row["minutes"]) for row in again["over_minutes"]] == [(5, 2.0)]
    assert "| values covered |" in capsys.readouterr().out
    assert (lesson.REPO / "build" / "test_figs" / "gan_over_minutes.png").stat().st_size > 10000
    (model / "generate.py").write_text("raise SystemExit('no checkpoint here')")
    assert gan_table.main([f"m99:{run}"]) == 1
    assert "no checkpoint here" in capsys.readouterr().err
