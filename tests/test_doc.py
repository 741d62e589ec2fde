"""The snippets of the documents run as they stand, and each checks its own claim."""

import re
import subprocess
import sys

import pytest
from conftest import REPO

SNIPPETS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in sorted((REPO / "doc").glob("*.md"))
    for number, code in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE),
        start=1,
    )
]


def test_nine_questions_nine_snippets():
    text = (REPO / "doc" / "faq.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^## \d\. ", text, re.MULTILINE)) == 9
    assert text.count("```python") == 9


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippet_runs(code, tmp_path):
    assert "assert" in code, "a snippet checks what it claims"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip(), "a snippet shows something"


def test_every_tf1_call_of_the_lessons_is_in_the_map():
    """A reader who meets a `v1` name in a lesson finds it in doc/tf1_to_tf2.md."""
    page = (REPO / "doc" / "tf1_to_tf2.md").read_text(encoding="utf-8")
    missing = {}
    for script in sorted((REPO / "example-python").glob("T_*.py")):
        text = script.read_text(encoding="utf-8")
        calls = set(re.findall(r"\bv1\.((?:[a-z]\w*\.)*[A-Za-z]\w*)\(", text))
        assert calls or "v1" not in text
        for call in calls:
            if call not in page:
                missing.setdefault(call, script.stem)
    assert not missing


def test_the_lessons_that_the_documents_name_exist():
    stems = {"_".join(script.stem.split("_")[:2]) for script in (REPO / "example-python").glob("T_*.py")}
    planned = {f"T_{number:02d}" for number in range(1, 13)}
    for page in (REPO / "doc").glob("*.md"):
        named = set(re.findall(r"\bT_\d\d\b", page.read_text(encoding="utf-8")))
        assert named <= planned, f"{page.name} names {named - planned}"
        assert named & stems or page.stem == "faq"
