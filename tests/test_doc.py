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
