"""The TFRecord writer of pictures, what a killed writer leaves, and the commands as a newcomer runs them."""

import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from utils import u02_tfrecord as u02
from utils.u02_tfrecord import command, image_writer, writer

REPO = Path(__file__).resolve().parent.parent
COMMANDS = ("array_writer", "sequence_writer", "image_writer", "inspector")


def contents(folder):
    """The bytes of every file below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def values(dataset, name):
    return [element[name].numpy() for element in dataset]


def run(module, *args, **options):
    """Run one of the commands in a process of its own."""
    line = [sys.executable, "-m", f"utils.u02_tfrecord.{module}", *map(str, args)]
    return subprocess.run(line, cwd=REPO, capture_output=True, text=True, **options)


# ---------------------------------------------------------------------------------------------- pictures


def picture(kind, mode="RGB", size=(9, 7), seed=0):
    """The bytes of a picture file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


@pytest.fixture
def pictures(tmp_path):
    """Two classes, every format, endings in capitals, a folder in a folder, and files that are no pictures."""
    src = tmp_path / "my pictures 图"
    for folder in ("cat", "dog é/puppies", ".hidden"):
        (src / folder).mkdir(parents=True)
    for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP"):
        (src / f"cat/1.{kind}").write_bytes(picture(kind))
    (src / "cat/2.jpg").write_bytes(picture("JPEG", "L"))
    (src / "cat/3.png").write_bytes(picture("PNG", "RGBA"))
    (src / "cat/4.png").write_bytes(picture("PNG", "P"))
    (src / "dog é/狗.png").write_bytes(picture("PNG", size=(3, 4)))
    (src / "dog é/puppies/a b.Jpg").write_bytes(picture("PNG", seed=1))  # the content counts, not the ending
    for name in ("cat/notes.txt", "cat/.hidden.png", ".hidden/x.png", "readme.md"):
        (src / name).write_bytes(b"not for us")
    return src


def test_pictures_are_stored_as_they_are(pictures, tmp_path):
    manifest = u02.write_images(pictures, tmp_path / "set", shards=3)
    assert manifest.records == 10 and not manifest.skipped
    assert manifest.classes == ["cat", "dog é"] and manifest.class_records == [8, 2]
    read = {
        element["file"].numpy().decode(): element
        for element in u02.read_images(tmp_path / "set", decode=False)
    }
    decoded = {
        element["file"].numpy().decode(): element["image"] for element in u02.read_images(tmp_path / "set")
    }
    assert len(read) == 10
    for name, element in read.items():
        assert element["image"].numpy() == (pictures / name).read_bytes()
        assert manifest.classes[int(element["label"])] == name.split("/")[0]
        expected = np.asarray(Image.open(pictures / name).convert("RGB"))
        assert decoded[name].dtype == tf.uint8 and decoded[name].shape == expected.shape
        if not name.lower().endswith(
            ("jpg", "jpeg", "webp", "3.png")
        ):  # where decoders may round, or there is alpha
            np.testing.assert_array_equal(decoded[name], expected, err_msg=name)
    files = [
        picture.file for picture in image_writer.find_files(pictures, image_writer.ENDINGS, "pictures")[1]
    ]
    order = np.random.default_rng(0).permutation(10)
    assert [name.decode() for name in values(u02.read_images(tmp_path / "set"), "file")] == [
        files[k] for k in order
    ]


def test_unreadable_pictures_are_left_out_and_named(pictures, tmp_path, capsys):
    bad = {
        "cat/scan.TIF": picture("TIFF"),
        "cat/cut.png": picture("PNG")[:-30],
        "cat/cut.jpg": picture("JPEG", size=(200, 200))[:-300],
        "cat/empty.gif": b"",
        "dog é/text.bmp": b"this is no picture",
        "dog é/palette.bmp": picture("BMP", "P"),
    }
    for name, content in bad.items():
        (pictures / name).write_bytes(content)
    (pictures / "cat" / "gone.png").symlink_to("nowhere")
    (pictures / "loose.jpg").write_bytes(picture("JPEG"))
    expected = {*bad, "cat/gone.png", "loose.jpg", "cat/scan.TIF"}
    args = [str(pictures), str(tmp_path / "set"), "--shards", "4", "--workers", "3"]
    assert image_writer.main(args) == 0
    shown = capsys.readouterr().out
    manifest = u02.load_manifest(tmp_path / "set")
    assert manifest.records == 10 and manifest.class_records == [8, 2]
    assert {entry["file"] for entry in manifest.skipped} == expected
    assert all(entry["reason"] and "{{" not in entry["reason"] for entry in manifest.skipped)
    assert "left out: 8\n" in shown
    assert all(f"  {name}: " in shown for name in expected)
    assert len(list(u02.read_images(tmp_path / "set"))) == 10


def test_one_picture_is_enough_and_only_bad_ones_are_not(tmp_path):
    (tmp_path / "src/only").mkdir(parents=True)
    (tmp_path / "src/empty class").mkdir()
    (tmp_path / "src/only/one.png").write_bytes(picture("PNG"))
    manifest = u02.write_images(tmp_path / "src", tmp_path / "one", shards=16)
    assert (manifest.records, len(manifest.shards), manifest.classes) == (1, 1, ["only"])
    (tmp_path / "src/only/one.png").write_bytes(b"bad")
    with pytest.raises(u02.DataSetError, match=r"none of the 1 pictures could be read; only/one.png: "):
        u02.write_images(tmp_path / "src", tmp_path / "none")
    (tmp_path / "src/only/one.png").unlink()
    wrong = {"src": "has no pictures", "nowhere": "is not there", "one/manifest.json": "not a folder"}
    for src, message in wrong.items():
        with pytest.raises(u02.DataSetError, match=message):
            u02.write_images(tmp_path / src, tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "src"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses such names itself")
def test_names_that_are_no_text_are_no_obstacle(tmp_path, capsys):
    """On Linux a file name is any bytes; a Latin-1 é is no UTF-8."""
    folder = os.fsencode(tmp_path) + b"/src/caf\xe9"
    os.makedirs(folder)
    for name, content in ((b"\xe9.png", picture("PNG")), (b"\xe8.png", b"bad")):
        with open(folder + b"/" + name, "wb") as file:
            file.write(content)
    assert image_writer.main([str(tmp_path / "src"), str(tmp_path / "set")]) == 0
    capsys.readouterr().out.encode()  # it can be printed
    manifest = u02.load_manifest(tmp_path / "set")
    assert [entry["file"] for entry in manifest.skipped] == [r"caf\udce9/\udce8.png"]
    assert values(u02.read_images(tmp_path / "set"), "file") == [b"caf\xe9/\xe9.png"]


def test_labels_can_be_given_their_order(pictures, tmp_path):
    manifest = u02.write_images(pictures, tmp_path / "set", classes=["dog é", "cat"])
    read = u02.read_images(manifest.folder)
    labels = {element["file"].numpy().decode()[:3]: int(element["label"]) for element in read}
    assert labels == {"dog": 0, "cat": 1} and manifest.class_records == [2, 8]
    with pytest.raises(u02.DataSetError, match="no class folder bird; it has cat, dog é"):
        u02.write_images(pictures, tmp_path / "other", classes=["cat", "bird"])
    with pytest.raises(u02.DataSetError, match="twice"):
        u02.write_images(pictures, tmp_path / "other", classes=["cat", "cat"])


# ---------------------------------------------------------------------------------------------- whole or not at all


def test_an_existing_folder_is_only_replaced_when_asked(pictures, tmp_path):
    dst = tmp_path / "set"
    u02.write_arrays({"x": [1, 2]}, dst)
    before = contents(dst)
    for write in (lambda: u02.write_arrays({"x": [3]}, dst), lambda: u02.write_images(pictures, dst)):
        with pytest.raises(u02.DataSetError, match="--overwrite"):
            write()
    with pytest.raises(u02.DataSetError):  # a source that fails does not cost the old data set
        u02.write_images(tmp_path / "nowhere", dst, overwrite=True)
    assert contents(dst) == before
    u02.write_arrays({"x": [3]}, dst, overwrite=True)
    assert values(u02.read_arrays(dst), "x") == [3]
    (dst / "my notes.txt").write_text("keep me")
    with pytest.raises(u02.DataSetError, match=r"my notes.txt"):
        u02.write_arrays({"x": [4]}, dst, overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(u02.DataSetError, match="are no data set"):
        u02.write_arrays({"x": [4]}, tmp_path / "other", overwrite=True)
    with pytest.raises(u02.DataSetError, match="is a file"):
        u02.write_arrays({"x": [4]}, tmp_path / "other" / "file", overwrite=True)
    with pytest.raises(u02.DataSetError, match="lies inside"):
        u02.write_images(pictures, pictures / "cat" / "set")
    (tmp_path / "empty").mkdir()
    u02.write_arrays({"x": [4]}, tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["set", "other", "empty", pictures.name]
    )


def test_two_writers_of_one_data_set_do_not_meet(tmp_path):
    with writer.Staging(tmp_path / "set", overwrite=False) as first:
        (first.folder / "work").touch()
        with pytest.raises(u02.DataSetError, match="another process is writing"):
            u02.write_arrays({"x": [1]}, tmp_path / "set")
        assert (first.folder / "work").exists()
    u02.write_arrays({"x": [1]}, tmp_path / "set")


def test_what_appears_meanwhile_is_not_touched(tmp_path):
    manifest = u02.write_arrays({"x": [1]}, tmp_path / "mine")
    with pytest.raises(u02.DataSetError, match="exists"), writer.Staging(tmp_path / "set", False) as staging:
        shutil.copytree(manifest.folder, tmp_path / "set")
        manifest.folder = staging.folder
        staging.publish(manifest)
    assert values(u02.read_arrays(tmp_path / "set"), "x") == [1]
    shutil.rmtree(tmp_path / "set")
    with writer.Staging(tmp_path / "set", False) as staging:
        manifest.folder = staging.folder
        staging.publish(manifest)
        (tmp_path / "set.part").mkdir()  # the next writer has begun
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "set", "set.part"]


def test_wrong_numbers_are_refused(tmp_path):
    for options in ({"shards": 0}, {"shards": 2.5}, {"workers": 0}, {"workers": -1}, {"seed": -1}):
        with pytest.raises(u02.DataSetError, match=next(iter(options))):
            u02.write_arrays({"x": [1, 2, 3]}, tmp_path / "set", **options)
    assert not list(tmp_path.iterdir())


def test_threads_work_at_the_same_time():
    together = threading.Barrier(3, timeout=20)  # whoever comes waits for the other two
    assert len(set(writer.in_order(lambda number: together.wait(), range(3), workers=3))) == 3


def test_pieces_shrink_when_records_are_large():
    assert writer.Written().records_of(1_000_000) == 1
    assert writer.Written(10, 10_000).records_of(1_000_000) == 256
    assert writer.Written(10, 1_000_000).records_of(1_000_000) == 10
    assert writer.Written(10, 10**9).records_of(1_000_000) == 1


def test_few_results_wait_in_memory():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    for done, result in enumerate(writer.in_order(lambda number: number * 10, tasks(), workers=2)):
        assert result == done * 10
        assert len(taken) <= done + 1 + 5


def test_a_killed_writer_leaves_nothing_that_looks_whole(tmp_path):
    """A real SIGKILL in the middle of the work, then the command again.

    80 pictures in 8 shards, in order. Number 26 is a pipe that nobody writes to, on which the writer waits: two
    shards are finished then, the third has begun.
    """
    src, dst = tmp_path / "pictures", tmp_path / "killed set"
    (src / "class").mkdir(parents=True)
    for number in range(80):
        (src / "class" / f"{number:02d}.png").write_bytes(picture("PNG", size=(300, 300), seed=number))
    (src / "class" / "26.png").unlink()
    os.mkfifo(src / "class" / "26.png")
    args = [str(src), str(dst), "--shards", "8", "--in-order"]
    line = [sys.executable, "-m", "utils.u02_tfrecord.image_writer", *args]
    part = tmp_path / "killed set.part"
    third = part / "data-00002-of-00008.tfrecord.part"
    with subprocess.Popen(line, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not third.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        with pytest.raises(u02.DataSetError, match="another process is writing"):
            image_writer.main(args)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not dst.exists()
    names = ["data-00000-of-00008.tfrecord", "data-00001-of-00008.tfrecord", third.name]
    assert sorted(path.name for path in part.iterdir()) == names
    assert not u02.find_damage([part / name for name in names[:2]]), "what has its name is whole"
    with pytest.raises(u02.DataSetError, match="run its writer again"):
        u02.read_images(dst)
    (src / "class" / "26.png").unlink()
    (src / "class" / "26.png").write_bytes(picture("PNG", size=(300, 300), seed=26))
    args[3] = "5"  # other files than those of the killed writer, which must not stay among them
    assert image_writer.main(args) == 0
    assert not part.exists()
    u02.write_images(src, tmp_path / "never killed", shards=5, seed=None)
    assert contents(dst) == contents(tmp_path / "never killed")


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(u02.DataSetError, match=r"cannot write .*File too large"):
            u02.write_arrays({"x": np.zeros((1000, 1000), np.uint8)}, tmp_path / "set")
        with pytest.raises(OSError, match="File too large"):
            u02.write_sequences(iter([({}, {"x": np.zeros((1, 1_000_000))})]), tmp_path / "set")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------- commands


def test_help_and_errors_come_without_tensorflow(tmp_path):
    """TensorFlow takes seconds to load; here it cannot be loaded at all."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for module in COMMANDS:
        done = run(module, "--help", env=environment)
        assert done.returncode == 0 and done.stdout.startswith(
            f"usage: python -m utils.u02_tfrecord.{module} "
        )
        assert not done.stderr
    for module in COMMANDS[:3]:
        done = run(module, tmp_path / "no where", tmp_path / "set", env=environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"error: {tmp_path / 'no where'} is not there\n"
    done = run("inspector", tmp_path / "no where", env=environment)
    assert done.returncode == 1 and done.stderr == f"error: {tmp_path / 'no where'} is not there.\n"


def test_the_image_command_as_a_newcomer_runs_it(pictures, tmp_path):
    done = run("image_writer", pictures, tmp_path / "deep/er/set", "--shards", "4")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path / 'deep/er/set'}: images, 10 records in 4 files, ")
    assert first.endswith(" kB, shuffled by seed 0")
    assert rest == ["  label 0: cat, 8 records", "  label 1: dog é, 2 records"]
    assert "writing: 100%" in done.stderr and "10/10" in done.stderr
    assert "oneDNN" not in done.stderr and "Warning" not in done.stderr


def test_sizes_are_readable():
    assert [command.size(n) for n in (0, 950, 12_345, 1_500_000, 2 * 10**15)] == [
        "0 bytes",
        "950 bytes",
        "12.3 kB",
        "1.5 MB",
        "2000.0 TB",
    ]
