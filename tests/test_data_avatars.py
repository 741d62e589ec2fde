"""The picture sets made from the package robohash: what is in them, and that nothing gets lost on the way."""

import csv
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "data"))

import avatar_pairs
import avatar_parts
import avatar_pictures
import avatar_store
import avatar_strokes
import avatar_workers
import avatars

NAMES = ("avatars", "robohash", "edges2cats")
COUNT = 15  # pictures of each set


def run(out: Path, *names: str, extra: tuple[str, ...] = ()) -> int:
    """Make small sets in this process; the exit status."""
    arguments = ["--sets", *names, "--out", str(out), "--count", str(COUNT), "--workers", "1", "--quiet"]
    return avatars.main([*arguments, *extra])


def content(folder: Path) -> dict[str, str]:
    """Path below the folder -> checksum, of every file in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def times(folder: Path) -> dict[str, int]:
    """When each file of a folder was last written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def table(folder: Path) -> list[dict[str, str]]:
    """The rows of attributes.csv."""
    with open(folder / "attributes.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """All three sets, small, made once. Not to be changed: see `sets`."""
    out = tmp_path_factory.mktemp("made")
    assert run(out, *NAMES) == 0
    return out


@pytest.fixture
def sets(made, tmp_path) -> Path:
    """A copy of the three sets, free to damage."""
    shutil.copytree(made, tmp_path / "sets")
    return tmp_path / "sets"


# ---- what is in the sets -----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_whoever_paints(made, tmp_path):
    command = [sys.executable, str(REPO / "data/avatars.py"), "--out", str(tmp_path), "--count", str(COUNT)]
    other = {**os.environ, "PYTHONHASHSEED": "7"}  # sets and dictionaries of strings come in another order
    subprocess.run([*command, "--workers", "2", "--quiet"], check=True, env=other, stdout=subprocess.DEVNULL)
    assert content(tmp_path) == content(made)


def test_another_seed_gives_other_pictures(made, tmp_path):
    assert run(tmp_path, "avatars", extra=("--seed", "2")) == 0
    first, second = content(made / "avatars"), content(tmp_path / "avatars")
    assert first.keys() == second.keys()
    pictures = [path for path in first if path.endswith(".png")]
    assert len(pictures) == COUNT
    assert all(first[path] != second[path] for path in pictures)


def test_a_larger_set_begins_with_the_smaller_one():
    few, many = avatars.plan_avatars(1, 100), avatars.plan_avatars(1, 3000)
    assert many.pictures[:100] == few.pictures
    assert many.pictures[2345].path == "02/02345.png"


def test_no_two_cats_look_the_same():
    rows = list(csv.reader(avatars.plan_avatars(1, 20000).texts["attributes.csv"].splitlines()))[1:]
    assert len({tuple(row[1:]) for row in rows}) == len({row[0] for row in rows}) == 20000
    # Attributes are what tells cats apart, so every pair of values must differ in the picture too.
    some = [
        numbers for numbers, _ in (picture.arguments for picture in avatars.plan_avatars(3, 400).pictures)
    ]
    assert len({avatar_parts.cat(numbers, 64).tobytes() for numbers in some}) == 400


def test_scarves_hide_the_mouth_and_nothing_else_does():
    for accessory in range(16):
        faces = [np.asarray(avatar_parts.cat([0, 2, 2, mouth, accessory], 64), int) for mouth in range(10)]
        differences = [np.abs(a - b).max() for i, a in enumerate(faces) for b in faces[:i]]
        if accessory in avatar_parts.SCARVES:
            assert max(differences) <= 3, accessory
        else:
            assert min(differences) > 40, accessory


def test_every_value_is_drawn_about_as_often_as_it_should():
    rows = list(csv.DictReader(avatars.plan_avatars(1, 20000).texts["attributes.csv"].splitlines()))
    values = {kind: Counter(row[kind] for row in rows) for kind in avatar_parts.CATS}
    assert {kind: len(counts) for kind, counts in values.items()} == {
        "body": 15, "fur": 9, "eyes": 15, "mouth": 11, "accessory": 16,
    }  # fmt: skip
    assert (
        values["mouth"].pop("hidden") == values["accessory"]["red scarf"] + values["accessory"]["blue scarf"]
    )
    for kind, counts in values.items():
        expected = sum(counts.values()) / len(counts)
        assert max(abs(count - expected) for count in counts.values()) < 5 * expected**0.5, kind


def test_the_table_says_which_parts_a_picture_is_of(made):
    """Put each picture together anew, at full size with plain code; any other part must fit worse."""
    root = avatar_parts.package_folder() / "sets" / "set4"
    files = {
        kind: sorted(
            next(root.glob(f"*#0?{kind[:8]}*")).glob("*.png"), key=lambda path: int(path.stem.split("#")[0])
        )
        for kind in avatar_parts.CATS
    }
    rows = table(made / "avatars")
    assert [row["file"] for row in rows] == [f"00/{i:05d}.png" for i in range(COUNT)]

    def again(row: dict[str, str], backdrop: np.ndarray) -> np.ndarray:
        whole = Image.fromarray(backdrop).resize((1024, 1024), Image.Resampling.NEAREST).convert("RGBA")
        for kind, group in avatar_parts.CATS.items():
            if row[kind] != "hidden":
                with Image.open(files[kind][group.names.index(row[kind])]) as part:
                    whole.alpha_composite(part.convert("RGBA"))
        return np.asarray(whole.convert("RGB").resize((64, 64), Image.Resampling.BOX), float)

    for i in (0, 5, 8, 11, 14):
        row = rows[i]
        picture = np.asarray(Image.open(made / "avatars" / row["file"]))
        rng = avatar_pictures.random.Random(f"avatars/1/{i}")
        hue, saturation = rng.random(), avatar_pictures.between(rng, 0.10, 0.26)
        backdrop = avatar_pictures.gradient(
            64,
            avatar_pictures.colour(hue, saturation / 2, 0.99),
            avatar_pictures.colour(hue, saturation, 0.95),
        )
        assert np.array_equal(picture[:3, 63], np.asarray(backdrop)[:3, 63])
        difference = np.abs(picture - again(row, np.asarray(backdrop)))
        assert difference.mean() < 3, row
        for kind, group in avatar_parts.CATS.items():
            if row[kind] == "hidden":
                continue
            other = group.names[(group.names.index(row[kind]) + 3) % len(group.names)]
            if other != row[kind]:
                wrong = np.abs(picture - again({**row, kind: other}, np.asarray(backdrop)))
                assert wrong.mean() > difference.mean(), (row, kind, other)


def test_markings_stay_on_the_body():
    for fur in avatar_parts.FURS:
        marked, plain = (avatar_parts.cat([1, number, 2, 2, 15], 64).getchannel("A") for number in (fur, 2))
        assert marked.tobytes() == plain.tobytes(), fur


def test_an_accessory_lies_above_all_else():
    for numbers in ((1, 0, 4, 3, 7), (1, 0, 12, 3, 11), (1, 0, 0, 3, 0)):
        whole = np.asarray(avatar_parts.cat(numbers, 64))
        accessory = avatar_parts.CATS["accessory"]
        alone = np.asarray(avatar_parts.compose([(accessory.folder, numbers[4])], 64))
        solid = alone[..., 3] == 255
        assert solid.sum() > 100 and np.array_equal(whole[solid], alone[solid])


def test_scaling_makes_no_dark_rim(tmp_path, monkeypatch):
    """Transparent pixels are black in most files; their black must not mix into the rim of a white disk."""
    y, x = np.mgrid[:1024, :1024]
    disk = np.where(np.hypot(x - 512, y - 512)[..., None] < 400, 255, 0).astype(np.uint8).repeat(4, axis=2)
    Image.fromarray(disk).save(tmp_path / "disk.png")
    monkeypatch.setattr(avatar_parts, "part_files", lambda folder: (tmp_path / "disk.png",))
    small = np.asarray(avatar_parts.load_part.__wrapped__("any", 0, 64).image)
    rim = (small[..., 3] > 8) & (small[..., 3] < 250)
    assert rim.sum() > 50 and small[rim][:, :3].min() > 240


def test_names_of_parts_say_what_they_are():
    def look(kind: str, name: str) -> np.ndarray:
        group = avatar_parts.CATS[kind]
        part = np.asarray(avatar_parts.compose([(group.folder, group.names.index(name))], 64), float)
        return part[part[..., 3] > 200][:, :3].mean(axis=0) if part[..., 3].any() else None

    assert look("fur", "plain") is None and look("accessory", "none") is None
    red, green, blue = look("body", "red"), look("body", "lime"), look("body", "blue")
    assert red.argmax() == 0 and green.argmax() == 1 and blue.argmax() == 2
    assert look("accessory", "red hat").argmax() == 0 and np.ptp(look("accessory", "black hat")) < 10
    assert look("accessory", "red scarf").argmax() == 0 and look("accessory", "blue scarf").argmax() == 2
    assert look("body", "cream").min() > look("body", "grey").min() > look("body", "charcoal").min()


def test_classes_are_balanced_and_of_one_shape(made):
    folder = made / "robohash"
    found = {path.name: sorted(path.glob("*.png")) for path in folder.iterdir() if path.is_dir()}
    assert sorted(found) == ["cats", "heads", "humans", "monsters", "robots"]
    assert {len(pictures) for pictures in found.values()} == {COUNT // 5}
    pixels = set()
    for pictures in found.values():
        for path in pictures:
            with Image.open(path) as picture:
                assert (picture.format, picture.size, picture.mode) == ("PNG", (256, 256), "RGB")
                pixels.add(picture.tobytes())
    assert len(pixels) == COUNT
    per_class = Counter(picture.path.split("/")[0] for picture in avatars.plan_robohash(1, 3200).pictures)
    assert set(per_class.values()) == {640}


def test_the_background_says_nothing_about_the_class():
    """The same seed gives all classes the same background; the upper corners are free of any figure."""
    plain = 0
    for i in range(24):
        rows = [
            np.asarray(avatar_pictures.class_picture(kind, f"s{i}"))[0]
            for kind in ("heads", "monsters", "robots")
        ]
        assert all(np.array_equal(row[[0, 255]], rows[0][[0, 255]]) for row in rows)
        backdrop = np.asarray(avatar_pictures.background(avatar_pictures.random.Random(f"s{i}")))
        assert np.array_equal(backdrop[0][[0, 255]], rows[0][[0, 255]])
        plain += bool((backdrop == backdrop[:, :1]).all())
    assert 10 <= plain <= 22  # two in three are gradients


def test_glasses_lie_on_the_face_and_beards_match_the_hair():
    with_glasses = 0
    for i in range(60):
        parts = avatar_pictures.draw_human(avatar_pictures.random.Random(f"people/{i}"))
        kinds = [folder.split("#")[-1] for folder, _ in parts]
        names = {kind: avatar_parts.part_files(folder)[n].stem for kind, (folder, n) in zip(kinds, parts)}
        assert kinds[0] == "Body" and kinds.index("Eye") < kinds.index("Top")
        if "Accessories" in kinds:
            with_glasses += 1
            assert kinds[-1] == "Accessories"
        if "-Auburn" in names["Top"] and "FacialHair" in names:
            assert names["FacialHair"].endswith("-Auburn")
    assert 12 <= with_glasses <= 36  # four in ten


def test_pairs_are_outline_left_and_cat_right(made):
    folder = made / "edges2cats"
    found = {path.name: sorted(path.glob("*.png")) for path in folder.iterdir() if path.is_dir()}
    assert {name: len(pictures) for name, pictures in found.items()} == {"train": 13, "val": 1, "test": 1}
    for path in found["train"]:
        with Image.open(path) as picture:
            assert (picture.format, picture.size, picture.mode) == ("PNG", (512, 256), "RGB")
            both = np.asarray(picture, int)
        left, right = both[:, :256], both[:, 256:]
        assert np.ptp(left, axis=-1).max() == 0, "the outline is grey"
        assert (left[0] == 255).mean() > 0.9 and np.ptp(right, axis=-1).max() > 60
        ink, cat = left[..., 0] < 128, (right < 250).any(axis=-1)
        assert 0.03 < ink.mean() < 0.25, path
        # The outline stands where the cat is, and reaches as far.
        for axis in (0, 1):
            a, b = np.flatnonzero(ink.any(axis=axis)), np.flatnonzero(cat.any(axis=axis))
            assert abs(a[0] - b[0]) <= 6 and abs(a[-1] - b[-1]) <= 6, path
        assert (ink & ~ndimage.binary_dilation(cat, iterations=4)).sum() < 10
        # Strokes, not specks: what is dark hangs together, and is as thick as a pen.
        labels, count = ndimage.label(ink, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())[1:]
        assert count < 90 and sizes[sizes < 6].sum() < 0.02 * ink.sum(), path
        assert 0.7 < ndimage.distance_transform_edt(ink)[ink].mean() < 2.5


def test_held_out_pairs_are_other_cats():
    plan = avatars.plan_edges2cats(1, 1200)
    parts = {}
    for picture in plan.pictures:
        parts.setdefault(picture.path.split("/")[0], []).append(picture.arguments[0])
    assert {name: len(cats) for name, cats in parts.items()} == {"train": 1000, "val": 100, "test": 100}
    everyone = [numbers for cats in parts.values() for numbers in cats]
    assert len(set(everyone)) == 1200
    # An outline must tell the colour: bodies and bows that share theirs with another are left out.
    alphas = [
        np.asarray(avatar_parts.compose([(avatar_parts.CATS["body"].folder, n)], 128))[..., 3]
        for n in range(15)
    ]
    used = sorted({numbers[0] for numbers in everyone})
    for i, a in enumerate(used):
        for b in used[:i]:
            assert np.abs(alphas[a].astype(int) - alphas[b]).mean() > 1, (a, b)
    assert not any(
        numbers[4] == avatar_parts.CATS["accessory"].names.index("blue bow") for numbers in everyone
    )


# ---- strokes -----------------------------------------------------------------------------------------------


def test_a_thick_cross_becomes_two_strokes_through_its_middle():
    mask = np.zeros((80, 80), bool)
    mask[37:44, 10:70] = mask[10:70, 37:44] = True
    skeleton = avatar_strokes.thin(mask)
    assert skeleton[mask].sum() == skeleton.sum() < 130
    assert not ndimage.binary_erosion(skeleton, np.ones((2, 2))).any(), "lines are one pixel wide"
    strokes = avatar_strokes.strokes_of(mask, avatar_strokes.Pen(10, 8, 5, 1.0))
    assert len(strokes) == 2
    for stroke in strokes:
        extent = np.ptp(stroke, axis=0)
        assert extent.max() > 50 and extent.min() < 3


def test_a_ring_becomes_one_closed_stroke():
    y, x = np.mgrid[:80, :80]
    radius = np.hypot(y - 40, x - 40)
    (stroke,) = avatar_strokes.strokes_of((radius > 22) & (radius < 28), avatar_strokes.Pen(10, 8, 5, 1.0))
    assert np.allclose(stroke[0], stroke[-1])
    assert np.abs(np.hypot(*(stroke - 40).T) - 25).max() < 1.5


def test_stubs_and_specks_are_dropped():
    mask = np.zeros((60, 100), bool)
    mask[27:34, 5:95] = True
    mask[23:27, 50:53] = True  # a stub
    mask[29:32, 70:73] = False  # a hole
    mask[50:54, 40:46] = True  # a speck
    (stroke,) = avatar_strokes.strokes_of(mask, avatar_strokes.Pen(10, 12, 2, 1.0))
    assert np.ptp(stroke[:, 0]) > 80 and np.ptp(stroke[:, 1]) < 4


def test_no_two_hands_draw_alike_but_one_hand_repeats():
    numbers = (1, 2, 0, 3, 1)
    drawings = [avatar_pairs.outline(numbers, avatar_pairs.random.Random(seed)).tobytes() for seed in "aab"]
    assert drawings[0] == drawings[1] != drawings[2]


# ---- interrupted, damaged, in the way ----------------------------------------------------------------------


def test_a_complete_set_is_left_alone_and_not_even_opened(sets, monkeypatch, capsys):
    before = times(sets)
    monkeypatch.setattr(Image, "open", None)
    assert run(sets, *NAMES) == 0
    assert times(sets) == before
    assert capsys.readouterr().out.count("MB, complete") == 3


def test_what_was_deleted_or_cut_short_comes_back_alone(sets, made, capsys):
    victims = [
        "avatars/00/00003.png",
        "robohash/humans/0001.png",
        "edges2cats/val/0000.png",
        "avatars/attributes.csv",
    ]
    for victim in victims:
        (sets / victim).unlink()
    cut = sets / "robohash/cats/0002.png"
    cut.write_bytes(cut.read_bytes()[:-500])
    before = times(sets)
    assert run(sets, *NAMES) == 0
    assert content(sets) == content(made)
    changed = {path for path, when in times(sets).items() if before.get(path) != when}
    assert {path for path in changed if path.endswith(".png")} == {*victims[:3], "robohash/cats/0002.png"}
    out = capsys.readouterr().out
    assert "1 made" in out and "2 made" in out


def test_verify_finds_a_picture_that_was_exchanged(sets, made, capsys):
    target = sets / "avatars/00/00007.png"
    size = target.stat().st_size
    for other in sorted((sets / "avatars/00").glob("*.png")):
        if other != target and other.stat().st_size <= size:
            target.write_bytes(other.read_bytes().ljust(size, b"\0"))  # decodes, and is as long
            break
    assert content(sets) != content(made)
    assert run(sets, "avatars") == 0
    assert content(sets) != content(made), "names and sizes alone can't tell"
    assert run(sets, "avatars", extra=("--verify",)) == 0
    assert content(sets) == content(made)
    assert "SHA-256 of the pixels" in capsys.readouterr().out


def test_a_killed_run_is_continued(tmp_path):
    count = 400
    command = [
        sys.executable,
        str(REPO / "data/avatars.py"),
        "--sets",
        "avatars",
        "--count",
        str(count),
        "--quiet",
    ]
    command += ["--workers", "2", "--out", str(tmp_path / "killed")]
    folder = tmp_path / "killed" / "avatars"
    process = subprocess.Popen(command, start_new_session=True)
    while len(list(folder.glob("00/*.png"))) < 20:
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while alive := group_of(process.pid):  # the workers notice, and end by themselves
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)
    survivors = times(folder)
    pictures = [path for path in survivors if path.endswith(".png") and not Path(path).name.startswith(".")]
    assert 20 <= len(pictures) < count
    assert json.loads((folder / "manifest.json").read_text())["complete"] is False
    assert not (folder / "attributes.csv").exists()
    for path in pictures:
        Image.open(folder / path).load()

    for out in ("killed", "whole"):
        arguments = ["--sets", "avatars", "--count", str(count), "--out", str(tmp_path / out), "--quiet"]
        assert avatars.main([*arguments, "--workers", "1"]) == 0
    assert content(folder) == content(tmp_path / "whole" / "avatars")
    after = times(folder)
    assert all(after[path] == survivors[path] for path in pictures), "whole pictures are kept"


@pytest.mark.parametrize("wait_for", ["process", "picture"])
@pytest.mark.parametrize("times_pressed", [1, 2])
def test_ctrl_c_ends_it_at_once_and_without_a_traceback(tmp_path, wait_for, times_pressed):
    """Also while the workers are being started. As a terminal does, the signal goes to all processes."""
    command = [
        sys.executable,
        str(REPO / "data/avatars.py"),
        "--sets",
        "avatars",
        "--count",
        "2000",
        "--quiet",
    ]
    command += ["--workers", "2", "--out", str(tmp_path)]
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (len(group_of(process.pid)) > 2 if wait_for == "process" else list(tmp_path.rglob("00/*.png"))):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    for _ in range(times_pressed):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
    _, error = process.communicate(timeout=30)
    if times_pressed == 1:
        assert process.returncode == 130 and error.strip() == "Interrupted; the same command continues."
    deadline = time.monotonic() + 20
    while alive := group_of(process.pid):
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def group_of(leader: int) -> list[int]:
    """Processes of a session that are still running."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            alive.append(int(stat.parent.name))
    return alive


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"settings": {}}', '{"complete": true, "folders": 3}'])
def test_a_damaged_manifest_is_replaced(sets, made, capsys, damage):
    (sets / "avatars/manifest.json").write_text(damage)
    assert run(sets, "avatars") == 0
    assert "is damaged" in capsys.readouterr().out
    assert content(sets / "avatars") == content(made / "avatars")


def test_a_damaged_manifest_among_other_pictures_stops(sets, capsys):
    (sets / "avatars/manifest.json").write_text("{")
    Image.new("RGB", (4, 4)).save(sets / "avatars/00/mine.png")
    before = content(sets)
    assert run(sets, "avatars") == 1
    assert "mine.png" in capsys.readouterr().err
    assert content(sets) == before


def test_files_of_others_are_left_alone(tmp_path, capsys):
    folder = tmp_path / "robohash"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"precious")
    assert run(tmp_path, "robohash") == 1
    error = capsys.readouterr().err
    assert "holiday.jpg" in error and "--out" in error and "Traceback" not in error
    assert content(folder) == {"holiday.jpg": hashlib.sha256(b"precious").hexdigest()}


def test_other_settings_need_a_word_and_then_leave_nothing_behind(sets, made, tmp_path, capsys):
    before = content(sets / "avatars")
    arguments = ["--sets", "avatars", "--out", str(sets), "--count", "12", "--workers", "1", "--quiet"]
    assert avatars.main(arguments) == 1
    error = capsys.readouterr().err
    assert "count 15" in error and "--remake" in error
    assert content(sets / "avatars") == before
    (sets / "avatars/notes.md").write_text("mine")
    assert avatars.main([*arguments, "--remake"]) == 0
    assert len(list(sets.glob("avatars/00/*.png"))) == len(table(sets / "avatars")) == 12
    assert (sets / "avatars/notes.md").read_text() == "mine"


def test_a_new_recipe_makes_the_set_again(sets, monkeypatch, capsys):
    monkeypatch.setattr(avatars, "RECIPE", avatars.RECIPE + 1)
    before = times(sets / "avatars")
    assert run(sets, "avatars") == 0
    after = times(sets / "avatars")
    assert after.keys() == before.keys() and all(after[path] != before[path] for path in before)


def test_two_runs_do_not_mix(sets, capsys):
    with avatar_store.locked(sets / "avatars"):
        assert run(sets, "avatars") == 1
    assert "another run" in capsys.readouterr().err
    assert run(sets, "avatars") == 0


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    avatar_parts.package_folder.cache_clear()
    avatar_parts.part_files.cache_clear()
    monkeypatch.setattr(avatar_parts.importlib.util, "find_spec", lambda name: None)
    try:
        assert run(tmp_path, "avatars") == 1
    finally:
        monkeypatch.undo()
        avatar_parts.package_folder.cache_clear()
    error = capsys.readouterr().err
    assert "robohash" in error and "make setup" in error and "pip install robohash==" in error
    assert content(tmp_path) == {}


def test_another_version_of_the_package_is_noticed(monkeypatch):
    body = avatar_parts.CATS["body"]
    monkeypatch.setitem(avatar_parts.CATS, "body", body._replace(names=body.names[:-1]))
    with pytest.raises(avatar_parts.PartsError, match="has 15 cats' parts of the kind 'body', expected 14"):
        avatar_parts.check_parts()


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert run(tmp_path / "file", "avatars") == 1
    error = capsys.readouterr().err
    assert "can't write" in error and "--out" in error and "Traceback" not in error


def test_a_disk_too_small_is_noticed_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**5, 10**5)
    )
    assert run(tmp_path, "robohash") == 1
    assert "needs about 1 MB" in capsys.readouterr().err
    assert content(tmp_path) == {}


def test_a_write_that_fails_leaves_no_half_picture(tmp_path):
    """A limit on the size of files stands for the full disk: the larger pictures can't be written to their end."""
    command = [
        sys.executable,
        str(REPO / "data/avatars.py"),
        "--sets",
        "robohash",
        "--count",
        "20",
        "--workers",
        "1",
    ]
    command += ["--quiet", "--out", str(tmp_path)]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
    failed = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert (
        "can't write" in failed.stderr and "File too large" in failed.stderr and "continues" in failed.stderr
    )
    assert not list(tmp_path.rglob("*.part"))
    for path in tmp_path.rglob("*.png"):
        Image.open(path).load()


def test_a_worker_that_is_ended_is_reported(tmp_path):
    pictures = [avatar_workers.Picture(f"{i}.png", (3,)) for i in range(2)]
    with pytest.raises(avatar_workers.SetError, match="ended from outside"):
        list(avatar_workers.paint_all("os:_exit", tmp_path, pictures, workers=2))


# ---- contact sheets and the command line -------------------------------------------------------------------


def test_sheets_show_the_set_and_stay_small(sets, tmp_path):
    for name in NAMES:
        target = tmp_path / "sheets" / f"{name}.png"
        assert run(sets, name, extra=("--sheet", str(target))) == 0
        assert target.stat().st_size < 400_000
        with Image.open(target) as page:
            columns, rows, width, height = avatars.SHEETS[name]
            assert page.width >= columns * width and page.height >= rows * height
            first = np.asarray(page.convert("RGB"))[6 : 6 + height, 6 : 6 + width]
            assert first.std() > 20, "there is a picture in the first place"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--count", "3"], "--count must be at least 12"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--sheet", "x.png"], "--sheet shows one set"),
        (["--sets", "avatars", "--sheet", "x.jpg"], "must end in .png"),
        (["--sets", "dogs"], "invalid choice"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        avatars.main(arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_more_cats_than_exist_are_refused(tmp_path, capsys):
    arguments = ["--sets", "avatars", "--out", str(tmp_path), "--count", "200000"]
    assert avatars.main(arguments) == 1
    assert "at most 29,160" in capsys.readouterr().err
