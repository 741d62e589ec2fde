"""The benchmark commands: what they measure is what they say, and results are kept seed by seed."""

import json
import statistics

import numpy as np
import pytest

from benchmarks import seeds, t10_dataset
from tools import machine


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """A lesson that reports a figure which depends on its seed."""
    monkeypatch.setattr(seeds, "SCRIPTS", tmp_path / "scripts")
    monkeypatch.setattr(seeds, "RESULTS", tmp_path / "results")
    seeds.SCRIPTS.mkdir()
    script = seeds.SCRIPTS / "T_90_example.py"
    script.write_text(
        "# %% [markdown]\n# # T_90\n\n# %%\nimport os\n\nfrom utils.lesson import report\n\n"
        "report(value=float(os.environ['TUTORIAL_SEED']) ** 2)\n"
    )
    return script


def result():
    return json.loads((seeds.RESULTS / "T_90_seeds.json").read_text())


def test_mean_and_spread_over_seeds(lesson, capsys):
    seeds.main(["T_90", "--seeds", "1", "2", "3"])
    assert result()["summary"]["value"]["mean"] == pytest.approx((1 + 4 + 9) / 3)
    assert result()["summary"]["value"]["std"] == pytest.approx(statistics.stdev([1, 4, 9]))
    assert {"cpu", "date", "tensorflow"} <= set(result()["machine"])
    assert "3 seeds" in capsys.readouterr().out


def test_finished_seeds_are_kept_and_prose_may_change(lesson, capsys):
    seeds.main(["T_90", "--seeds", "1", "2"])
    lesson.write_text(lesson.read_text().replace("# # T_90", "# # T_90, better worded"))
    capsys.readouterr()
    seeds.main(["T_90", "--seeds", "1", "2", "3"])
    assert capsys.readouterr().out.count("already done") == 2 and len(result()["runs"]) == 3


def test_changed_code_starts_over(lesson):
    seeds.main(["T_90", "--seeds", "2"])
    lesson.write_text(lesson.read_text().replace("** 2", "** 3"))
    seeds.main(["T_90", "--seeds", "3"])
    assert list(result()["runs"]) == ["3"] and result()["summary"]["value"]["mean"] == 27


def test_a_failing_lesson_is_shown_and_finished_seeds_stay(lesson):
    seeds.main(["T_90", "--seeds", "1"])
    lesson.write_text(
        lesson.read_text() + "\nif os.environ['TUTORIAL_SEED'] == '2':\n    raise ValueError('bad')\n"
    )
    seeds.main(["T_90", "--seeds", "1"])
    with pytest.raises(SystemExit, match="failed with seed 2"):
        seeds.main(["T_90", "--seeds", "2"])
    assert list(result()["runs"]) == ["1"]


def test_an_unknown_lesson_is_an_error(lesson):
    with pytest.raises(SystemExit, match="no lesson 'T_91'"):
        seeds.main(["T_91"])


@pytest.mark.parametrize("way", [t10_dataset.gather_batches, t10_dataset.permuted_batches])
def test_the_fast_ways_deliver_every_row_once_with_its_label(way):
    """The rows of T_10's table must do equal work: whole, shuffled, labelled passes."""
    rows = 128 * 4
    images = np.arange(rows, dtype=np.float32)[:, None].repeat(3, axis=1)  # (rows, 3): row i holds i
    batches = list(way(images, np.arange(rows)).take(4).as_numpy_iterator())
    x, y = (np.concatenate(part) for part in zip(*batches))
    np.testing.assert_array_equal(x[:, 0], y)
    assert sorted(y) == list(range(rows)) and list(y) != sorted(y)


def test_the_ways_of_2018_deliver_full_batches():
    """`graph_way` asserts the shape of each batch; a session that ends early raises."""
    images, labels = np.zeros((256, 784), np.float32), np.zeros(256, np.int64)
    for one_shot in (True, False):
        for in_loop in (True, False):
            t10_dataset.graph_way(images, labels, 10, one_shot, in_loop, batches=2)
    with pytest.raises(AssertionError):
        t10_dataset.graph_way(images[:100], labels[:100], 10, True, False, batches=1)


def test_machine_facts_name_what_a_result_depends_on():
    facts = machine.facts()
    assert facts["cores"] >= 1 and facts["memory_gib"] >= 1 and facts["tensorflow"].startswith("2.21")
    line = machine.sentence(facts)
    assert facts["cpu"] in line and facts["date"] in line and "TensorFlow 2.21" in line
