"""The builder: what it makes of a script, what it refuses, and that it never leaves a bad notebook behind."""

import json

import nbformat
import pytest

from tools import notebooks

SCRIPT = '''# %% [markdown]
# # A lesson
#
# **Time**: not measured yet.

# %%
TEXT = """
# %% this line is inside a string
"""
print(TEXT.strip())

# %%
1 + 1

# %%
1 + 1
'''


@pytest.fixture
def house(tmp_path, monkeypatch):
    """An empty repository with one lesson script."""
    for name in ("SCRIPTS", "NOTEBOOKS", "RESULTS"):
        monkeypatch.setattr(notebooks, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    monkeypatch.setattr(notebooks, "MODEL_NOTEBOOKS", {})
    script = notebooks.SCRIPTS / "T_01_lesson.py"
    script.write_text(SCRIPT, encoding="utf-8")
    return script, notebooks.NOTEBOOKS / "T_01_lesson.ipynb"


def test_marker_inside_a_string_is_no_cell():
    cells = notebooks.convert(SCRIPT).cells
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "code", "code"]
    assert "# %% this line is inside a string" in cells[1].source


def test_ids_are_deterministic_and_distinct():
    ids = [cell.id for cell in notebooks.convert(SCRIPT).cells]
    assert ids == [cell.id for cell in notebooks.convert(SCRIPT).cells]
    assert len(set(ids)) == len(ids), "the two equal cells need two ids"


def test_an_inserted_cell_leaves_the_other_ids():
    longer = SCRIPT.replace("# %%\nTEXT", "# %%\nnew = 1\n\n# %%\nTEXT")
    before, after = ({cell.id for cell in notebooks.convert(text).cells} for text in (SCRIPT, longer))
    assert before < after and len(after) == len(before) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# %% [markdown]\n# title\n\n# %%\nx = (1\n", "not valid Python"),
        ("import os\n\n# %%\n1\n", "starts with a cell marker"),
        ("# %% [markdown]\n# title\n\n# %%\n\n# %%\n1\n", "an empty cell"),
    ],
)
def test_refused_scripts(text, message):
    with pytest.raises(notebooks.BuildError, match=message):
        notebooks.convert(text, "T_99.py")


def without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    return nbformat.writes(notebook)


def test_build_stores_outputs_and_twice_gives_the_same(house):
    _, target = house
    notebooks.main(["T_01"])
    first = target.read_bytes()
    notebook = nbformat.read(target, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].outputs[0]["text"] == "# %% this line is inside a string\n"
    assert code[1].outputs[0]["data"]["text/plain"] == "2"
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert notebook.metadata == notebooks.METADATA
    notebooks.main(["T_01"])
    assert target.read_bytes() == first, "outputs here are constant, so the files are equal byte for byte"
    assert not [path for path in target.parent.iterdir() if path != target], "no temporary file stays"


def test_the_measured_time_is_written_to_script_and_notebook(house):
    script, target = house
    notebooks.main([])
    line = next(line for line in script.read_text().splitlines() if "**Time**" in line)
    assert line.startswith("# **Time**: ") and "seconds on a two-core CPU" in line
    assert line[2:] in nbformat.read(target, as_version=4).cells[0].source
    result = json.loads((notebooks.RESULTS / "lesson_T_01.json").read_text())
    assert result["seconds"] > 0 and {"cpu", "tensorflow", "date"} <= set(result["machine"])
    notebooks.main(["--check"])


def test_a_failing_cell_leaves_the_old_notebook(house, capsys):
    script, target = house
    notebooks.main([])
    before = target.read_bytes()
    script.write_text(SCRIPT + "\n# %%\nraise RuntimeError('on purpose')\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"1 of 1 notebooks were not built: T_01_lesson\.py"):
        notebooks.main([])
    assert "on purpose" in capsys.readouterr().err
    assert target.read_bytes() == before


def test_a_failing_lesson_does_not_stop_the_others(house):
    _, target = house
    (notebooks.SCRIPTS / "T_00_bad.py").write_text("# %% [markdown]\n# bad\n\n# %%\n1 / 0\n")
    with pytest.raises(SystemExit, match="1 of 2 notebooks"):
        notebooks.main([])
    assert target.exists() and not (notebooks.NOTEBOOKS / "T_00_bad.ipynb").exists()


def test_a_path_of_this_machine_in_an_output_is_refused(house, capsys):
    script, target = house
    script.write_text(SCRIPT + "\n# %%\nimport os\n\nprint(os.getcwd())\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        notebooks.main([])
    assert "path of this machine" in capsys.readouterr().err and not target.exists()


def test_a_notebook_too_large_is_refused(house, monkeypatch, capsys):
    _, target = house
    monkeypatch.setattr(notebooks, "MAX_BYTES", 500)
    with pytest.raises(SystemExit):
        notebooks.main([])
    assert "the limit is 500" in capsys.readouterr().err and not list(target.parent.iterdir())


def test_check_names_what_is_wrong_and_the_repair(house):
    script, target = house

    def complaint():
        with pytest.raises(SystemExit) as caught:
            notebooks.main(["--check"])
        return str(caught.value)

    assert "T_01_lesson.ipynb is missing. Build it:  make notebooks T=T_01" in complaint()
    notebooks.main([])
    good = target.read_text()
    notebooks.main(["--check"])

    script.write_text(script.read_text().replace("1 + 1", "1 + 2", 1))
    assert "does not match T_01_lesson.py" in complaint()
    script.write_text(script.read_text().replace("1 + 2", "1 + 1", 1))

    notebook = nbformat.from_dict(json.loads(good))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    target.write_text(nbformat.writes(notebook))
    assert "not executed from top to bottom" in complaint()

    notebook = nbformat.from_dict(json.loads(good))
    notebook.cells[1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[])]
    target.write_text(nbformat.writes(notebook))
    assert "stores a failed cell" in complaint()

    target.write_text(good[: len(good) // 2])
    assert "not a valid notebook" in complaint()

    target.write_text(good)
    (target.parent / "T_02_orphan.ipynb").write_text(good)
    assert "T_02_orphan.ipynb has no script" in complaint()


def test_an_unknown_lesson_is_named(house):
    with pytest.raises(SystemExit, match=r"no lesson is called 'T_77'\. There are: T_01_lesson"):
        notebooks.main(["T_77"])


def test_changed_prose_is_taken_over_without_running(house, monkeypatch):
    script, target = house
    notebooks.main([])
    outputs = [cell.get("outputs") for cell in nbformat.read(target, as_version=4).cells]
    script.write_text(script.read_text().replace("# # A lesson", "# # A better title"))
    monkeypatch.setattr(notebooks, "execute", lambda *a, **k: pytest.fail("it ran"))
    notebooks.main(["--prose"])
    stored = nbformat.read(target, as_version=4).cells
    assert "A better title" in stored[0].source and [cell.get("outputs") for cell in stored] == outputs
    notebooks.main(["--check"])


def test_changed_code_cannot_be_taken_over_as_prose(house, capsys):
    script, target = house
    notebooks.main([])
    before = target.read_bytes()
    script.write_text(script.read_text().replace("1 + 1", "1 + 3", 1))
    with pytest.raises(SystemExit):
        notebooks.main(["--prose"])
    assert "build it without --prose" in capsys.readouterr().err and target.read_bytes() == before


def test_a_full_disk_leaves_the_old_notebook(house, monkeypatch):
    _, target = house
    notebooks.main([])
    before = target.read_bytes()

    def no_space(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(notebooks.Path, "replace", no_space)
    with pytest.raises(OSError, match="no space"):
        notebooks.publish(nbformat.v4.new_notebook(), target)
    assert target.read_bytes() == before and [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_script_edited_while_it_runs_is_not_published(house, capsys):
    """Outputs of one version below the code of another would be a lie."""
    script, target = house
    edit = f"\n# %%\nimport pathlib\n\npathlib.Path({str(script)!r}).write_text('# %%\\n1\\n')\n"
    script.write_text(SCRIPT + edit)
    with pytest.raises(SystemExit):
        notebooks.main([])
    assert "was edited while it ran" in capsys.readouterr().err and not target.exists()


def test_a_killed_kernel_is_said_in_a_sentence(house, capsys):
    script, target = house
    script.write_text(SCRIPT + "\n# %%\nimport os\n\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(SystemExit, match="1 of 1 notebooks were not built"):
        notebooks.main([])
    assert "no notebook was written" in capsys.readouterr().err and not target.exists()


def test_a_models_notebook_is_built_when_named_and_imports_its_own_folder(house, tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "helper.py").write_text("WORD = 'helped'\n")
    script, target = folder / "net.py", folder / "net.ipynb"
    script.write_text("# %% [markdown]\n# # A model\n\n# %%\nimport helper\n\nprint(helper.WORD)\n")
    notebooks.MODEL_NOTEBOOKS[script] = target
    notebooks.main([])
    assert not target.exists() and "make notebooks T=net" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"net\.ipynb is missing. Build it:  make notebooks T=net"):
        notebooks.main(["--check"])
    notebooks.main(["net"])
    assert nbformat.read(target, as_version=4).cells[1].outputs[0]["text"] == "helped\n"
    notebooks.main(["--check"])
    (folder / "helper.py").write_text("import pathlib\n\nWORD = pathlib.Path('runs/net/word').read_text()\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "word").write_text("from a finished run")
    notebooks.main(["net", "--run", str(tmp_path / "mine")])
    assert nbformat.read(target, as_version=4).cells[1].outputs[0]["text"] == "from a finished run\n"
    with pytest.raises(SystemExit, match="goes with the name of a model"):
        notebooks.main(["T_01", "--run", str(tmp_path / "mine")])
