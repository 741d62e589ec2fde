"""The TFRecord writers of arrays and sequences: what they write, in which order, and what they refuse."""

import hashlib
import json
import weakref

import numpy as np
import pytest
import tensorflow as tf

from utils import u02_tfrecord as u02
from utils.u02_tfrecord import array_writer, sequence_writer


def contents(folder):
    """The bytes of every file below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def values(dataset, name):
    return [element[name].numpy() for element in dataset]


# ---------------------------------------------------------------------------------------------- arrays


def test_every_type_comes_back_as_it_was(tmp_path):
    generator = np.random.default_rng(0)
    whole = ["uint8", "uint16", "uint32", "int8", "int16", "int32", "int64"]
    names = ["bool", *whole, "float16", "float32", "float64", "complex64", "complex128"]
    arrays = {}
    for name in names:
        arrays[f"{name}_0"] = generator.normal(0, 99, 6)
        arrays[f"{name}_2"] = generator.normal(0, 99, (6, 2, 3))
    with np.errstate(invalid="ignore"):
        arrays = {name: array.astype(name.split("_")[0]) for name, array in arrays.items()}
    arrays["swapped"] = arrays["float64_2"].astype(">f8")
    arrays["turned"] = np.asfortranarray(arrays["uint8_2"])
    arrays["text"] = ["", "a", "é", "数据", "x\0", "0"]
    arrays["texts"] = np.array([["a", "bc"]] * 6)
    arrays["bytes"] = [b"\0", b"", b"\xff\0", b"a", b"b", b"c"]
    arrays["nothing"] = np.zeros((6, 0, 2), np.uint8)
    u02.write_arrays(arrays, tmp_path / "set", shards=2, seed=None)
    for records in (
        u02.read_arrays(tmp_path / "set", batch_size=4),
        u02.read_arrays(tmp_path / "set").batch(4),
    ):
        batches = list(records)
        for name, array in arrays.items():
            read = np.concatenate([batch[name].numpy() for batch in batches])
            if name in ("text", "texts", "bytes"):
                expected = [
                    x if isinstance(x, bytes) else x.encode() for x in np.array(array, object).ravel()
                ]
                assert read.ravel().tolist() == expected, name
            else:
                assert read.dtype == array.dtype.newbyteorder("="), name
                np.testing.assert_array_equal(read, array, err_msg=name)


def test_pictures_take_their_own_size(tmp_path):
    images = np.full((10, 28, 28), 255, np.uint8)
    manifest = u02.write_arrays({"image": images}, tmp_path / "set")
    assert manifest.bytes < 10 * (784 + 60)


def test_order_shards_and_manifest(tmp_path):
    manifest = u02.write_arrays({"x": np.arange(10)}, tmp_path / "set", shards=4, seed=7)
    assert [shard.records for shard in manifest.shards] == [3, 3, 2, 2]
    names = [f"data-0000{number}-of-00004.tfrecord" for number in range(4)]
    assert sorted(contents(tmp_path / "set")) == [*names, "manifest.json"]
    assert values(u02.read_arrays(tmp_path / "set"), "x") == np.random.default_rng(7).permutation(10).tolist()
    written = json.loads((tmp_path / "set" / "manifest.json").read_text(encoding="utf-8"))
    assert written["records"] == 10 and written["seed"] == 7
    for shard in written["shards"]:
        data = (tmp_path / "set" / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert u02.load_manifest(tmp_path / "set") == manifest
    assert str(tmp_path) not in (tmp_path / "set" / "manifest.json").read_text()


def test_the_bytes_depend_on_the_seed_and_not_on_the_threads(tmp_path):
    arrays = {"x": np.arange(1000), "y": np.ones((1000, 3), np.float32)}
    for name, options in {
        "a": {"workers": 1},
        "b": {"workers": 5},
        "c": {"seed": 1},
        "d": {"seed": None},
    }.items():
        u02.write_arrays(arrays, tmp_path / name, shards=3, **options)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")
    assert values(u02.read_arrays(tmp_path / "d"), "x") == list(range(1000))


def test_never_more_shards_than_records(tmp_path):
    manifest = u02.write_arrays({"x": [1.5]}, tmp_path / "set", shards=16)
    assert [shard.file for shard in manifest.shards] == ["data-00000-of-00001.tfrecord"]
    assert values(u02.read_arrays(tmp_path / "set"), "x") == [1.5]


@pytest.mark.parametrize("source", ["npz", "packed", "npy", "folder"])
def test_the_array_command(tmp_path, source, capsys):
    folder = tmp_path / "my arrays 数组"
    folder.mkdir()
    x, label = np.arange(600, dtype=np.int16).reshape(100, 6), np.arange(100)
    if source in ("npz", "packed"):
        src = folder / "data.npz"
        (np.savez if source == "npz" else np.savez_compressed)(src, x=x, label=label)
    else:
        np.save(folder / "x.npy", x)
        src = folder / "x.npy"
        if source == "folder":
            np.save(folder / "label.npy", label)
            src = folder
    dst = tmp_path / "out 出"
    assert array_writer.main([str(src), str(dst), "--shards", "3", "--seed", "2"]) == 0
    assert "100 records in 3 files" in capsys.readouterr().out
    order = np.random.default_rng(2).permutation(100)
    np.testing.assert_array_equal(values(u02.read_arrays(dst), "x"), x[order])
    if source != "npy":
        assert values(u02.read_arrays(dst), "label") == order.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name, dst.name]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no arrays"),
        ({"x": np.zeros((0, 3))}, "no rows"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, r"differ in their number of records: \{'x': 3, 'y': 4\}"),
        ({"x": np.float32(3)}, "single value"),
        ({"x": np.zeros(3, np.uint64)}, "'x'.*uint64.*int64"),
        ({"x": np.zeros(3, "datetime64[s]")}, "datetime64"),
        ({"x": [[1, 2], [3]]}, "do not form an array"),
        ({"x": [None, 1]}, "NoneType"),
        ({"": [1]}, "name"),
        ({3: [1]}, "name"),
    ],
)
def test_arrays_that_cannot_be_written(tmp_path, arrays, message):
    with pytest.raises(u02.DataSetError, match=message):
        u02.write_arrays(arrays, tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_array_files_that_cannot_be_read(tmp_path):
    np.savez(tmp_path / "good.npz", x=np.arange(1000))
    np.save(tmp_path / "good.npy", np.arange(1000))
    np.save(tmp_path / "objects.npy", np.array([{}, []], object))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:-50])
    damaged = bytearray((tmp_path / "good.npz").read_bytes())
    damaged[500] ^= 1
    (tmp_path / "damaged.npz").write_bytes(damaged)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-50])
    (tmp_path / "empty.npy").touch()
    (tmp_path / "empty folder").mkdir()
    names = [
        "objects.npy",
        "cut.npz",
        "damaged.npz",
        "cut.npy",
        "empty.npy",
        "empty folder",
        "nothing.npz",
        "text.csv",
    ]
    (tmp_path / "text.csv").write_text("1,2")
    for name in names:
        with pytest.raises(u02.DataSetError, match=name):
            u02.write_arrays(tmp_path / name, tmp_path / "set")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("set")]


# ---------------------------------------------------------------------------------------------- sequences


def pairs(count=7):
    """Sequences of 0 to count - 1 steps, with numbers, vectors and texts at each step."""
    return [
        (
            {"label": steps, "name": f"名{steps}"},
            {
                "letters": list(range(steps)),
                "marks": np.full((steps, 2), steps, np.uint8),
                "words": ["é"] * (steps // 2),
            },
        )
        for steps in range(count)
    ]


def test_sequences_come_back_with_their_lengths(tmp_path):
    manifest = u02.write_sequences(pairs(), tmp_path / "set", shards=3, seed=None)
    assert {name: str(feature) for name, feature in manifest.sequences.items()} == {
        "letters": "int64",
        "marks": "uint8 (2,)",
        "words": "string",
    }
    for steps, element in enumerate(u02.read_sequences(tmp_path / "set")):
        assert element["label"] == steps and element["name"].numpy().decode() == f"名{steps}"
        assert element["letters"].numpy().tolist() == list(range(steps))
        assert element["marks"].shape == (steps, 2) and element["marks"].dtype == tf.uint8
        assert np.all(element["marks"] == steps)
        lengths = [int(element[f"{name}_length"]) for name in ("letters", "marks", "words")]
        assert lengths == [steps, steps, steps // 2]


def test_a_generator_gives_the_same_files_and_is_not_held_in_memory(tmp_path):
    alive = []

    def stream():
        for context, sequences in pairs(50):
            marks = sequences["marks"].copy()
            alive.append(weakref.ref(marks))
            assert sum(reference() is not None for reference in alive) < 10
            yield context, sequences | {"marks": marks}

    u02.write_sequences(pairs(50), tmp_path / "list", shards=3)
    u02.write_sequences(stream(), tmp_path / "generator", shards=3)
    assert len(alive) == 50
    assert contents(tmp_path / "list") == contents(tmp_path / "generator")


def test_batches_of_sequences(tmp_path):
    u02.write_sequences(pairs(9), tmp_path / "set", seed=None)
    dataset = u02.read_sequences(tmp_path / "set")
    padded = next(iter(u02.padded_batches(dataset, 4)))
    assert padded["letters"].numpy().tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 2]]
    assert padded["marks"].shape == (4, 3, 2) and padded["letters_length"].numpy().tolist() == [0, 1, 2, 3]
    ragged = next(iter(u02.ragged_batches(dataset, 4)))
    assert ragged["letters"].to_list() == [[], [0], [0, 1], [0, 1, 2]]
    buckets = list(u02.bucketed_batches(dataset, 2, [3, 6], by="letters"))
    of_bucket = [set(np.digitize(batch["letters_length"], [3, 6])) for batch in buckets]
    assert all(len(numbers) == 1 for numbers in of_bucket)
    assert sorted(length for batch in buckets for length in batch["letters_length"].numpy()) == list(range(9))
    with pytest.raises(u02.DataSetError, match="letters, marks, words"):
        u02.bucketed_batches(dataset, 2, [3])
    u02.write_sequences([({}, {"x": [1] * steps}) for steps in range(1, 5)], tmp_path / "one")
    assert len(list(u02.bucketed_batches(u02.read_sequences(tmp_path / "one"), 2, [3]))) == 2


def test_the_sequence_command_reads_json_lines(tmp_path, capsys):
    lines = [
        {"id": "a", "score": 1, "letters": [], "marks": [[1, 2]]},
        {"id": "字", "score": 0.5, "letters": ["x", "é"], "marks": [[0.5, 1], [2, 3]]},
        {"id": "c", "score": 2, "letters": ["z"], "marks": []},
    ]
    src = tmp_path / "my data 数.jsonl"
    src.write_text("\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    assert sequence_writer.main([str(src), str(tmp_path / "set"), "--in-order", "--shards", "2"]) == 0
    assert "3 records in 2 files" in capsys.readouterr().out
    read = list(u02.read_sequences(tmp_path / "set"))
    assert [element["id"].numpy().decode() for element in read] == ["a", "字", "c"]
    assert [float(element["score"]) for element in read] == [1, 0.5, 2]
    assert [element["letters"].numpy().tolist() for element in read] == [[], [b"x", "é".encode()], [b"z"]]
    assert [element["marks"].numpy().tolist() for element in read] == [[[1, 2]], [[0.5, 1], [2, 3]], []]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "no sequences"),
        ('{"x": [1]}\n{"x": [1,}', "line 2 is not JSON"),
        ("[1, 2]", "line 1 is not an object"),
        ('{"x": [1]}\n\n{"y": [1]}', "line 3: it has y, the records before have x"),
        ('{"x": [1]}\n{"x": ["a"]}', "line 2: 'x' is string, in the records before it is int64"),
        ('{"x": [[1, 2], [3]]}', "line 1: 'x'.*do not form an array"),
        ('{"x": [[1, 2]]}\n{"x": [[1, 2, 3]]}', r"line 2: 'x' is int64 \(3,\)"),
        ('{"x": []}', "'x' is empty in every record"),
        ('{"x": 3}', "at least one sequence"),
        ('{"x": [1], "y": null}', "'y'.*NoneType"),
        ('{"x": [1], "x_length": 1}', "'x_length' is used twice"),
    ],
)
def test_json_lines_that_cannot_be_written(tmp_path, lines, message):
    (tmp_path / "data.jsonl").write_text(lines)
    with pytest.raises(u02.DataSetError, match=message):
        u02.write_sequences(tmp_path / "data.jsonl", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize(
    ("second", "message"),
    [
        (({"label": 1}, {"x": [1.5]}), "record 1: 'x' is float32 a step, the records before have int64"),
        (({"label": 1}, {"x": 3}), "record 1: 'x' is a single value"),
        (({"label": 1}, {}), "record 1: it has nothing, the records before have x"),
        (({}, {"x": [1]}), "record 1: it has nothing, the records before have label"),
        ({"x": [1]}, "record 1: a record is a pair"),
    ],
)
def test_records_that_do_not_fit_are_named(tmp_path, kind, second, message):
    with pytest.raises(u02.DataSetError, match=message):
        u02.write_sequences(kind([({"label": 0}, {"x": [1, 2]}), second]), tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_an_error_inside_a_generator_leaves_nothing(tmp_path):
    def stream():
        yield {}, {"x": [1]}
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="the source is gone"):
        u02.write_sequences(stream(), tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_arrays_is_a_set_of_sequences(tmp_path):
    for place in ("flat", "classes/dog", "classes/cat"):
        (tmp_path / place).mkdir(parents=True)
        for steps in range(1, 4):
            np.save(tmp_path / place / f"s {steps}.npy", np.full((steps, 2), steps, np.float32))
    u02.write_sequences(tmp_path / "flat", tmp_path / "a", seed=None)
    read = list(u02.read_sequences(tmp_path / "a"))
    assert [element["values"].shape.as_list() for element in read] == [[1, 2], [2, 2], [3, 2]]
    assert [element["file"].numpy() for element in read] == [b"s 1.npy", b"s 2.npy", b"s 3.npy"]
    (tmp_path / "classes/cat/s 2.npy").write_bytes(b"no array")
    manifest = u02.write_sequences(tmp_path / "classes", tmp_path / "b", seed=None)
    assert manifest.classes == ["cat", "dog"] and manifest.class_records == [2, 3]
    assert manifest.skipped[0]["file"] == "cat/s 2.npy"
    assert values(u02.read_sequences(tmp_path / "b"), "label") == [0, 0, 1, 1, 1]
