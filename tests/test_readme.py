"""What the READMEs promise: commands that exist, links that lead somewhere, tables that match the result files."""

import re
import subprocess
import sys

import pytest
from conftest import REPO

from benchmarks import tables

PAGES = tables.readmes()
TARGETS = set(re.search(r"\.PHONY: (.+)", (REPO / "Makefile").read_text()).group(1).split())


def commands(page):
    """Lines of fenced blocks without a language, and code spans that start with a command."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash|sh|)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`((?:make|python3?|\.venv/bin/python) [^`]+)`", text)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()] + spans


def test_the_two_commands_stand_in_the_first_screen():
    first_screen = "\n".join((REPO / "README.md").read_text(encoding="utf-8").splitlines()[:20])
    assert "make lab" in first_screen and "make test" in first_screen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_commands_exist(page):
    for command in commands(page):
        for target in re.findall(r"\bmake ((?:[a-z]+ ?)+)(?![\w.-])", command):
            for name in target.split():
                assert name in TARGETS, f"{page.name}: `make {name}` is no target"
        for script in re.findall(r"python3? ([\w./-]+\.py)", command):
            found = [folder for folder in (REPO, page.parent) if (folder / script).exists()]
            assert found, f"{page.name}: {script} does not exist"
        for module in re.findall(r"python3? -m ((?:tools|utils|benchmarks)[\w.]*)", command):
            done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=REPO, capture_output=True)
            assert done.returncode == 0, f"{page.name}: python -m {module} --help fails"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    for target in targets:
        assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"


def test_every_folder_of_the_repository_is_explained():
    text = (REPO / "README.md").read_text(encoding="utf-8")
    tracked = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line} - {".ci"}
    assert len(folders) >= 7
    for folder in folders:
        assert f"]({folder})" in text, f"README.md does not say what {folder}/ is"


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "REPO", tmp_path)
    monkeypatch.setitem(tables.TABLES, "numbers", lambda: "| a |\n|---|\n| 1 |\n")
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- table: numbers -->\nold\n<!-- end table -->\nafter\n")
    return page


def test_tables_are_written_between_markers_only(house):
    with pytest.raises(SystemExit, match=r"README\.md.*make tables"):
        tables.main(["--check"])
    tables.main([])
    expected = "before\n<!-- table: numbers -->\n| a |\n|---|\n| 1 |\n<!-- end table -->\nafter\n"
    assert house.read_text() == expected
    tables.main(["--check"])
    assert [path.name for path in house.parent.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: nothing -->\n<!-- end table -->\n", "no table is called 'nothing'"),
        ("<!-- table: numbers -->\nno end\n", "1 table markers but 0 end markers"),
    ],
)
def test_broken_markers_are_errors_and_change_nothing(house, text, message):
    house.write_text(text)
    with pytest.raises(SystemExit, match=message):
        tables.main([])
    assert house.read_text() == text


def test_tables_match_the_result_files():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert tables.filled(text, page.name) == text, "the tables are stale: make tables"


def test_code_style():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "."], cwd=REPO, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
