"""TFRecord: the format in plain Python against TensorFlow, damage found and skipped, TensorFlow 1.x both ways."""

import contextlib
import random
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from utils import u02_tfrecord as u02
from utils.u02_tfrecord import checks, example, format, inspector

FIXTURES = Path(__file__).parent / "fixtures"
sys.path.insert(0, str(FIXTURES))
import tf1_tfrecord

DATA = [b"first", b"", b"the third record", bytes(range(40))]


@pytest.fixture
def file(tmp_path):
    """A TFRecord file of `DATA`, written by TensorFlow, in a folder whose name is not easy."""
    path = tmp_path / "some data 数据" / "a b.tfrecord"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for data in DATA:
            writer.write(data)
    return path


@pytest.fixture
def dataset(tmp_path):
    """A data set of 20 arrays in 3 shards of 7, 7 and 6 records, in the order given."""
    arrays = {"x": np.arange(40, dtype=np.float32).reshape(20, 2), "label": np.arange(20)}
    return u02.write_arrays(arrays, tmp_path / "set 集", shards=3, seed=None).folder


def tensorflow_reads(path):
    """The records of a file as TensorFlow reads them, or None when it refuses."""
    try:
        return [data.numpy() for data in tf.data.TFRecordDataset(str(path))]
    except tf.errors.DataLossError:
        return None


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def labels(records):
    return [int(element["label"]) for element in records]


# ---------------------------------------------------------------------------------------------- format


def test_crc32c_gives_the_published_values():
    # RFC 3720, appendix B.4, and the usual check value of "123456789".
    assert format.crc32c(b"123456789") == 0xE3069283
    assert format.crc32c(bytes(32)) == 0x8A9136AA
    assert format.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert format.crc32c(bytes(range(32))) == 0x46DD794E


def test_plain_python_and_tensorflow_write_the_same_bytes(file):
    assert b"".join(map(u02.frame_record, DATA)) == file.read_bytes()
    assert list(u02.read_plain(file)) == DATA
    assert [frame.length for frame in u02.walk_frames(file)] == [len(data) for data in DATA]


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "empty").touch()
    assert list(u02.read_plain(tmp_path / "empty")) == []
    assert u02.find_damage(tmp_path / "empty") == []
    assert list(u02.read_records(tmp_path / "empty")) == []


def test_every_flipped_byte_is_noticed_and_its_record_named(file):
    """All bytes of the file, one after the other: plain Python, TensorFlow and the check agree, the rest is kept."""
    whole = file.read_bytes()
    frames = list(u02.walk_frames(file))
    for place in range(len(whole)):
        record = next(frame.number for frame in frames if place < frame.end)
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(u02.CorruptRecord) as error:
            list(u02.read_plain(file))
        assert (error.value.record, error.value.offset) == (record, frames[record].offset)
        assert str(file) in str(error.value) and f"record {record} " in str(error.value)
        report = checks.examine_plainly(file)
        assert [damage.record for damage in report.damage] == [record]
        assert report.records == len(DATA) - 1
        if place % 7 == 0:  # every byte would take TensorFlow several seconds
            assert tensorflow_reads(file) is None
            kept = u02.read_records(file, on_corrupt="skip")
            assert [data.numpy() for data in kept] == DATA[:record] + DATA[record + 1 :]


def test_every_truncation_is_noticed(file):
    whole = file.read_bytes()
    ends = [0, *(frame.end for frame in u02.walk_frames(file))]
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        report = checks.examine_plainly(file)
        complete = sum(end <= size for end in ends) - 1
        assert report.records == complete
        if size in ends:  # as good as a shorter file; only the manifest knows better
            assert not report.damage
        else:
            assert [damage.record for damage in report.damage] == [complete]
            if size % 6 == 0:  # every size would take TensorFlow long
                assert u02.find_damage(file)[0].record == complete
                # TensorFlow itself does not see that a header is cut off: to it the file ends before.
                in_header = size - ends[complete] < 12
                assert tensorflow_reads(file) == (DATA[:complete] if in_header else None)


def test_the_next_record_is_found_wherever_it_begins(tmp_path, monkeypatch):
    """The search goes through the file in windows; here they are so small that every place in one is tried."""
    monkeypatch.setattr(format, "WINDOW", 32)
    path = tmp_path / "file"
    for place in range(100):
        path.write_bytes(random.Random(1).randbytes(place) + u02.frame_record(b"next"))
        assert format.find_next_frame(path, 0) == place
        assert format.find_next_frame(path, place + 1) is None


def test_records_behind_a_damaged_length_are_found(tmp_path):
    path = tmp_path / "file"
    records = [b"a", random.Random(1).randbytes(1 << 20), b"b", b"c"]
    ends = np.cumsum([16 + len(record) for record in records]).tolist()
    content = bytearray(b"".join(map(u02.frame_record, records)))
    content[ends[0]] ^= 1  # the length of record 1
    content[ends[3] - 1] ^= 1  # the checksum of the data of record 3
    path.write_bytes(content)
    report = checks.examine_plainly(path)
    assert [run[1:] for run in report.sound] == [(0, 1), (ends[1], 1)]
    assert [(damage.record, damage.offset) for damage in report.damage] == [(1, ends[0]), (3, ends[2])]


def test_a_gzip_file_is_called_by_its_name(tmp_path):
    path = tmp_path / "packed.tfrecord"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions("GZIP")) as writer:
        writer.write(b"data")
    with pytest.raises(u02.CorruptRecord, match="gunzip"):
        u02.read_records(path)


# ---------------------------------------------------------------------------------------------- Example


def test_examples_written_by_hand_equal_those_of_the_library():
    features = {
        "numbers": [0, 1, 127, 128, -1, 2**63 - 1, -(2**63)],
        "weights": [0.5, -1.25, 3e38],
        "字": ["text", "文字", b"\x00\xff", ""],
        "a long name " * 20: [7],
        "none": [],
    }
    theirs = tf.train.Example()
    theirs.features.feature["numbers"].int64_list.value.extend(features["numbers"])
    theirs.features.feature["weights"].float_list.value.extend(features["weights"])
    theirs.features.feature["字"].bytes_list.value.extend([b"text", "文字".encode(), b"\x00\xff", b""])
    theirs.features.feature["a long name " * 20].int64_list.value.append(7)
    theirs.features.feature["none"].SetInParent()
    assert u02.encode_example(features) == theirs.SerializeToString(deterministic=True)
    read = u02.parse_example(theirs.SerializeToString())
    assert read["numbers"] == features["numbers"] and read["none"] == []
    assert read["字"] == [b"text", "文字".encode(), b"\x00\xff", b""]
    np.testing.assert_array_equal(np.float32(read["weights"]), np.float32(features["weights"]))


def test_values_of_a_feature_are_of_one_kind():
    with pytest.raises(TypeError, match=r"float.*int"):
        u02.encode_example({"mixed": [1, 2.5]})


def test_numbers_that_are_not_packed_are_read_as_well():
    floats = b"".join(bytes([1 << 3 | 5]) + struct.pack("<f", value) for value in (1.5, -2.0))
    integers = b"".join(bytes([1 << 3 | 0]) + example.varint(value) for value in (5, -6))
    entries = example.field(1, example.field(1, b"f") + example.field(2, example.field(2, floats)))
    entries += example.field(1, example.field(1, b"i") + example.field(2, example.field(3, integers)))
    data = example.field(1, entries)
    assert tf.train.Example.FromString(data).features.feature["i"].int64_list.value == [5, -6]
    assert u02.parse_example(data) == {"f": [1.5, -2.0], "i": [5, -6]}


def test_sequence_examples_are_read():
    theirs = tf.train.SequenceExample()
    theirs.context.feature["label"].int64_list.value.append(3)
    for letters in ([1, 2], [], [3]):
        theirs.feature_lists.feature_list["letters"].feature.add().int64_list.value.extend(letters)
    theirs.feature_lists.feature_list["empty"].SetInParent()
    context, lists = u02.parse_sequence_example(theirs.SerializeToString())
    assert context == {"label": [3]} and lists == {"letters": [[1, 2], [], [3]], "empty": []}


def test_what_is_no_example_is_refused():
    generator = random.Random(0)
    sound = u02.encode_example({"a": [1, 2], "b": ["text"]})
    for cut in range(1, len(sound)):
        with pytest.raises(ValueError):
            u02.parse_example(sound[:cut])
    for _ in range(2000):  # random bytes may be read or refused, but nothing else may happen
        with contextlib.suppress(ValueError):
            u02.parse_sequence_example(generator.randbytes(generator.randrange(1, 40)))


# ---------------------------------------------------------------------------------------------- TensorFlow 1.x


def test_files_from_tensorflow_1_are_read():
    file = FIXTURES / "tf1_examples.tfrecord"
    read = [u02.parse_example(data.numpy()) for data in u02.read_records(file)]
    assert [record["label"] for record in read] == [[number - 2] for number in range(5)]
    assert [record["name"] for record in read] == [[f"数字{number}".encode()] for number in range(5)]
    assert [record["weights"] for record in read] == [[number / 4, -1.5] for number in range(5)]
    assert [list(record["pixels"][0]) for record in read] == [[k * n for k in range(6)] for n in range(5)]
    file = FIXTURES / "tf1_sequences.tfrecord"
    read = [u02.parse_sequence_example(data.numpy()) for data in u02.read_records(file)]
    assert [context for context, _ in read] == [{"label": [steps]} for steps in range(4)]
    assert [lists["letters"] for _, lists in read] == [[[k * k] for k in range(steps)] for steps in range(4)]
    assert [lists["marks"] for _, lists in read] == [[[k, 0.5] for k in range(steps)] for steps in range(4)]


def test_tensorflow_1_reads_arrays(tmp_path):
    arrays = {
        "pixels": np.arange(30, dtype=np.uint8).reshape(5, 2, 3),
        "label": np.arange(5) - 2,
        "weights": np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2),
        "name": ["a", "é", "数", "", "e f"],
    }
    manifest = u02.write_arrays(arrays, tmp_path / "set", shards=2, seed=None)
    read = tf1_tfrecord.read("arrays", [str(path) for path in manifest.files])
    for name in ("pixels", "label", "weights"):
        np.testing.assert_array_equal([record[name] for record in read], arrays[name])
    assert [record["name"].decode() for record in read] == arrays["name"]
    plain = [data for path in manifest.files for data in tf.compat.v1.python_io.tf_record_iterator(str(path))]
    assert [u02.parse_example(data)["label"] for data in plain] == [[label] for label in arrays["label"]]


def test_tensorflow_1_reads_sequences(tmp_path):
    marks = [np.arange(2 * steps, dtype=np.float32).reshape(steps, 2) for steps in range(4)]
    pairs = [({"label": steps}, {"letters": np.arange(steps), "marks": marks[steps]}) for steps in range(4)]
    manifest = u02.write_sequences(pairs, tmp_path / "set", seed=None)
    read = tf1_tfrecord.read("sequences", [str(path) for path in manifest.files])
    assert [record["label"] for record in read] == [0, 1, 2, 3]
    for steps, record in enumerate(read):
        np.testing.assert_array_equal(record["letters"], np.arange(steps))
        np.testing.assert_array_equal(record["marks"], marks[steps])


# ---------------------------------------------------------------------------------------------- reading and damage


def test_records_come_back_in_order_and_batches(dataset):
    single = list(u02.read_arrays(dataset))
    assert labels(single) == list(range(20))
    np.testing.assert_array_equal([element["x"] for element in single], np.arange(40).reshape(20, 2))
    batches = list(u02.read_arrays(dataset, batch_size=8))
    assert [batch["x"].shape.as_list() for batch in batches] == [[8, 2], [8, 2], [4, 2]]
    np.testing.assert_array_equal(np.concatenate([batch["label"] for batch in batches]), np.arange(20))
    assert u02.read_arrays(dataset).cardinality() == 20
    assert u02.read_records(u02.load_manifest(dataset).files).cardinality() == 20


def test_shuffling_shows_every_record_once_and_repeats_by_seed(tmp_path):
    folder = u02.write_arrays({"label": np.arange(24)}, tmp_path / "set", shards=8, seed=None).folder
    for options in (
        {"shuffle_files": True},
        {"shuffle_buffer": 5},
        {"shuffle_files": True, "shuffle_buffer": 5},
    ):
        records = u02.read_arrays(folder, seed=3, **options)
        first, second = labels(records), labels(records)
        assert sorted(first) == sorted(second) == list(range(24))
        assert first != second, "each epoch has its own order"
        assert labels(u02.read_arrays(folder, seed=3, **options)) == first
        assert labels(u02.read_arrays(folder, seed=4, **options)) != first
    only_files = labels(u02.read_arrays(folder, shuffle_files=True, seed=3))
    assert [label for label in only_files if label < 3] == [0, 1, 2], "within a file the order stays"
    assert only_files[:3] != [3 * (only_files[0] // 3) + step for step in range(3)], "files take turns"


def test_a_place_in_the_data_can_be_saved(dataset, tmp_path):
    def fresh():
        return iter(u02.read_arrays(dataset, shuffle_files=True, shuffle_buffer=5, seed=3))

    iterator = fresh()
    for _ in range(9):
        next(iterator)
    saved = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "place"))
    rest = labels(iterator)
    resumed = fresh()
    tf.train.Checkpoint(iterator=resumed).restore(saved)
    assert labels(resumed) == rest and len(rest) == 11


def test_a_flipped_byte_is_named_and_can_be_skipped(dataset, caplog):
    path = dataset / "data-00001-of-00003.tfrecord"
    frame = list(u02.walk_frames(path))[2]
    content = bytearray(path.read_bytes())
    content[frame.offset + 14] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        u02.CorruptRecord, match=r"data-00001-of-00003.tfrecord: record 2 .*the data is damaged"
    ):
        u02.read_arrays(dataset)
    assert [(damage.path, damage.record) for damage in u02.find_damage(dataset)] == [(path, 2)]
    kept = u02.read_arrays(dataset, on_corrupt="skip")
    assert caplog.text.count("skipped") == 1 and "data-00001-of-00003.tfrecord: record 2 " in caplog.text
    assert labels(kept) == [label for label in range(20) if label != 9]
    assert kept.cardinality() == 19
    with pytest.raises(tf.errors.DataLossError):
        labels(u02.read_arrays(dataset, verify=False))


def test_a_truncated_file_is_named_and_can_be_skipped(dataset):
    path = dataset / "data-00002-of-00003.tfrecord"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(u02.CorruptRecord, match=r"00002-of-00003.tfrecord: record 5 .*cut off"):
        u02.read_arrays(dataset)
    assert labels(u02.read_arrays(dataset, on_corrupt="skip")) == list(range(19))


def test_a_file_cut_between_records_is_noticed_by_the_manifest(dataset):
    path = dataset / "data-00000-of-00003.tfrecord"
    path.write_bytes(path.read_bytes()[: list(u02.walk_frames(path))[3].end])
    with pytest.raises(u02.CorruptRecord, match=r"it has 4 records, the manifest says 7"):
        u02.read_arrays(dataset)
    assert labels(u02.read_arrays(dataset, on_corrupt="skip")) == [0, 1, 2, 3, *range(7, 20)]


def test_a_sound_file_that_is_another_one_is_noticed(dataset):
    first, second = (dataset / f"data-0000{number}-of-00003.tfrecord" for number in (0, 1))
    shutil.copy(first, second)
    with pytest.raises(
        u02.CorruptRecord, match=r"data-00001-of-00003.tfrecord: .*not the file that was written"
    ):
        u02.read_arrays(dataset)


def test_a_missing_file_is_named_and_can_be_skipped(dataset):
    (dataset / "data-00001-of-00003.tfrecord").unlink()
    with pytest.raises(u02.CorruptRecord, match=r"data-00001-of-00003.tfrecord: the file is missing"):
        u02.read_arrays(dataset)
    assert labels(u02.read_arrays(dataset, on_corrupt="skip")) == [*range(7), *range(14, 20)]


def test_when_nothing_is_sound_skipping_is_an_error(file):
    file.write_bytes(b"no TFRecord at all, but some text")
    with pytest.raises(u02.CorruptRecord, match="record 0"):
        u02.read_records(file, on_corrupt="skip")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": "another"}'), "not a description"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not a description"),
        (
            lambda folder: edit(folder / "manifest.json", '"records": 20,', '"records": 21,'),
            "21 records.* have 20",
        ),
        (lambda folder: folder.rename(folder.with_name(folder.name + ".part")), "run its writer again"),
    ],
)
def test_what_is_no_data_set_is_refused(dataset, break_it, message):
    break_it(dataset)
    with pytest.raises(u02.DataSetError, match=message):
        u02.read_arrays(dataset)


def test_wrong_arguments_are_refused(dataset, tmp_path):
    with pytest.raises(u02.DataSetError, match="read it with read_arrays"):
        u02.read_images(dataset)
    with pytest.raises(u02.DataSetError, match="on_corrupt"):
        u02.read_arrays(dataset, on_corrupt="ignore")
    with pytest.raises(u02.DataSetError, match="verify"):
        u02.read_arrays(dataset, on_corrupt="skip", verify=False)
    with pytest.raises(u02.DataSetError, match="no files"):
        u02.read_records([])
    with pytest.raises(u02.DataSetError, match=r"nowhere.tfrecord is not there"):
        u02.read_records([tmp_path / "nowhere.tfrecord"])
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = u02.nothing_like_this


def test_every_public_name_is_there():
    assert all(getattr(u02, name).__name__ == name for name in u02.__all__)


# ---------------------------------------------------------------------------------------------- inspector


def test_the_inspector_shows_features_counts_and_state(dataset, capsys):
    assert inspector.main([str(dataset), "--show", "1"]) == 0
    shown = capsys.readouterr().out
    assert "20 records in 3 files" in shown and "in the order of the source" in shown
    assert "float32 (2,)" in shown and "float_list" in shown
    assert "x: [0.0, 1.0]" in shown and "label: [0]" in shown
    assert shown.count("sound\n") == 3 and "equal the SHA-256" in shown


def test_the_inspector_names_damage(dataset, capsys):
    path = dataset / "data-00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert inspector.main([str(dataset)]) == 1
    shown = capsys.readouterr().out
    assert f"damaged: {path}: record 6 " in shown and "1 damaged; the 19 sound records" in shown
    assert inspector.main([str(dataset), "--no-verify"]) == 0


def test_the_inspector_tells_the_features_of_files_from_elsewhere(capsys):
    files = [str(FIXTURES / f"tf1_{kind}.tfrecord") for kind in ("examples", "sequences")]
    assert inspector.main(files[:1]) == 0
    assert "first 5 records (Example)" in capsys.readouterr().out
    assert inspector.main([files[1], "--show", "4"]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["label", "int64_list", "1"] in shown
    assert ["marks", "float_list", "2", "at", "each", "step"] in shown
    assert ["letters:", "3", "steps", "[0,", "1,", "4]"] in shown
    assert ["tf1_sequences.tfrecord", "4", "366", "bytes", "sound"] in shown


def test_the_inspector_takes_records_that_are_no_examples(file, capsys):
    assert inspector.main([str(file), "--show", "1"]) == 0
    shown = capsys.readouterr().out
    assert "no Example" in shown and "b'first'" in shown
