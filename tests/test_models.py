"""What holds for every model folder: it stands alone, shared files are equal, and its README's commands parse."""

import ast
import re
import shlex
import subprocess
import sys

import pytest
from model_folders import MODELS, copy_alone, modules

EXPECTED = {
    "m01_batch_normalization",
    "m02_dcgan",
    "m03_wgan",
    "m04_pix2pix",
    "m05_sequence_labeling",
    "m06_seq2seq",
}
FOLDERS = sorted(path.name for path in MODELS.iterdir() if path.is_dir() and list(path.glob("*.py")))
# Kept in m02_dcgan; the other folders hold copies, so that each runs alone.
SHARED = ("runner.py", "pictures.py", "layers.py")
# What a folder may import besides its own files and Python's library: the direct dependencies of requirements.txt.
ALLOWED = {"tensorflow", "keras", "numpy", "PIL", "matplotlib", "tqdm", "IPython", "jieba"}
ALLOWED |= {"scipy", "onnx", "onnxruntime", "tf2onnx", "tornado"}  # m04
ALLOWED |= {"pypinyin"}  # m06
MAX_LINES = 450


def scripts(folder):
    """Files of the folder that are run: those that end in a guard."""
    return sorted(
        file for file in (MODELS / folder).glob("*.py") if 'if __name__ == "__main__":' in file.read_text()
    )


def test_every_model_folder_is_tested():
    assert set(FOLDERS) == EXPECTED, "a new folder goes into EXPECTED, a missing one is a mistake"
    for folder in FOLDERS:
        assert scripts(folder), f"{folder} has nothing to run"


@pytest.mark.parametrize("name", SHARED)
def test_shared_files_are_equal(name):
    original = MODELS / "m02_dcgan" / name
    copies = [path for path in MODELS.glob(f"*/{name}") if path != original]
    assert copies, f"no other folder has {name}: it is not shared"
    for copy in copies:
        same = copy.read_bytes() == original.read_bytes()
        mend = f"cp models/m02_dcgan/{name} models/{copy.parent.name}/{name}"
        assert same, f"{copy.parent.name}/{name} differs from m02_dcgan's. Change that one, then:  {mend}"


def test_the_corpus_of_words_and_of_pinyin_is_the_same():
    original, copy = MODELS / "m05_sequence_labeling" / "corpus.py", MODELS / "m06_seq2seq" / "corpus.py"
    mend = "cp models/m05_sequence_labeling/corpus.py models/m06_seq2seq/"
    assert copy.read_bytes() == original.read_bytes(), (
        f"m06 has another corpus.py than m05. Change that one, then:  {mend}"
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_are_own_files_or_dependencies(folder):
    own = {file.stem for file in (MODELS / folder).glob("*.py")}
    for file in (MODELS / folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file.name}: a script's folder is no package"
                names = [node.module]
            for name in names:
                root = name.split(".")[0]
                assert root in own | ALLOWED | sys.stdlib_module_names, f"{folder}/{file.name} imports {name}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_stay_readable(folder):
    for file in (MODELS / folder).glob("*.py"):
        count = len(file.read_text(encoding="utf-8").splitlines())
        assert count <= MAX_LINES, f"{folder}/{file.name} has {count} lines: split it"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_script_of_a_copied_folder_explains_its_flags(folder, tmp_path):
    """Imported in a process that sees that folder alone; the trainings of copies are in each model's own tests."""
    copy = copy_alone(folder, tmp_path / "alone")
    names = [script.stem for script in scripts(folder)]
    program = """if True:
        import importlib, sys
        for name in sys.argv[1:]:
            module = importlib.import_module(name)
            if not hasattr(module, "parse_args"):
                print("explained", name, "(it takes no flags)")
                continue
            try:
                module.parse_args(["--help"])
            except SystemExit as done:
                assert done.code == 0
            print("explained", name)
    """
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program, *names],
        cwd=copy,
        env=clean,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    explained = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("explained")]
    assert explained == names
    assert "usage:" in done.stdout and done.stderr == "", "TensorFlow's start-up messages do not get through"


def readme_commands(folder):
    """(script, flags) of each `python script.py …` in the folder's README, from blocks and code spans."""
    page = MODELS / folder / "README.md"
    if not page.exists():
        return []
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash|sh|)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]*python3? [^`\n]+\.py[^`\n]*)`", text)
    found = re.findall(r"(?:^|\s|/)python3? (?:models/\w+/)?(\w+)\.py([^\n#|&>]*)", "\n".join(lines))
    return [(name, shlex.split(flags)) for name, flags in found]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_readme_and_its_commands(folder):
    commands = readme_commands(folder)
    assert commands, f"models/{folder}/README.md is missing or shows no command"
    for name, flags in commands:
        if not (MODELS / folder / f"{name}.py").exists():
            continue  # a script of another folder: tests/test_readme.py looks for it
        if any(flag in ("-h", "--help") for flag in flags):
            continue
        (module,) = modules(folder, name)
        if not hasattr(module, "parse_args"):
            assert not flags, f"README of {folder}: {name}.py takes no flags"
            continue
        try:
            module.parse_args(flags)
        except SystemExit:
            pytest.fail(f"README of {folder}: `python {name}.py {' '.join(flags)}` does not parse")
