"""Set-up and launch: the choices they make and the errors they give. Nothing is installed here."""

import json
import re
import subprocess
import sys

import pytest
from conftest import REPO

from tools import lab, setup_env


@pytest.mark.parametrize(
    ("wanted", "system", "machine", "gpu", "build", "reason"),
    [
        ("auto", "Linux", "x86_64", True, "gpu", "an NVIDIA GPU answers"),
        ("auto", "Linux", "x86_64", False, "cpu", "no NVIDIA GPU found"),
        ("auto", "Linux", "aarch64", False, "plain", "Linux on aarch64"),
        ("auto", "Darwin", "arm64", False, "plain", "Darwin on arm64"),
        ("gpu", "Linux", "x86_64", False, "gpu", "asked for with TF=gpu"),
    ],
)
def test_the_tensorflow_build_is_chosen_and_explained(wanted, system, machine, gpu, build, reason):
    chosen, why = setup_env.choose_build(wanted, system, machine, gpu)
    assert chosen == build and reason in why


def test_a_gpu_is_seen_only_when_the_driver_lists_one(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not setup_env.has_nvidia_gpu()
    for script, seen in [
        ("echo 'GPU 0: NVIDIA X (UUID: y)'", True),
        ("echo 'No devices'", False),
        ("exit 9", False),
    ]:
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert setup_env.has_nvidia_gpu() is seen


def test_an_unsupported_python_is_named(monkeypatch):
    monkeypatch.setattr(setup_env.sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit, match=r"3\.9\.1.*3\.11 to 3\.13(.|\n)*PYTHON=python3\.11"):
        setup_env.check_python()


def test_a_machine_without_venv_gets_the_command_that_mends_it(monkeypatch, tmp_path):
    """Debian's python3 without python3-venv: creating the environment fails half-way."""
    monkeypatch.setattr(setup_env, "VENV", tmp_path / ".venv")
    code = f"import os, sys; os.mkdir({str(tmp_path / '.venv')!r}); print('ensurepip is not available'); sys.exit(1)"
    failing = [sys.executable, "-c", code]
    real_run = subprocess.run
    monkeypatch.setattr(setup_env.subprocess, "run", lambda _, **options: real_run(failing, **options))
    with pytest.raises(SystemExit) as caught:
        setup_env.create_venv(tmp_path / ".venv" / "bin" / "python")
    assert "ensurepip is not available" in str(caught.value)
    assert re.search(r"apt-get install python3\.\d+-venv", str(caught.value))
    assert not (tmp_path / ".venv").exists()


def test_a_failed_install_shows_pips_words_and_leaves_no_stamp(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(setup_env, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(setup_env, "STAMP", tmp_path / ".venv" / "installed.json")
    monkeypatch.setattr(setup_env, "create_venv", lambda python: None)
    failing = [sys.executable, "-c", "import sys; print('no matching distribution'); sys.exit(1)"]
    real = setup_env.run_pip
    monkeypatch.setattr(setup_env, "run_pip", lambda command: real(failing))
    with pytest.raises(SystemExit, match=r"no matching distribution(.|\n)*starts over"):
        setup_env.main(["--tf", "cpu"])
    assert not setup_env.STAMP.exists()


def test_a_second_setup_does_nothing(monkeypatch):
    assert json.loads(setup_env.STAMP.read_text())["tensorflow"] == setup_env.TENSORFLOW
    monkeypatch.setattr(setup_env, "create_venv", lambda python: pytest.fail("set up twice"))
    setup_env.main([])


def test_the_lock_pins_everything_and_names_no_address():
    lines = (REPO / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    for line in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[^ ;]+( ; .+)?", line), line
    assert "://" not in "\n".join(lines)
    names = {line.split("==")[0].lower() for line in pins}
    assert not {"tensorflow", "tensorflow-cpu"} & names, "the Makefile chooses TensorFlow's build"
    wanted = re.findall(r"^([A-Za-z0-9_-]+)[=<>]", (REPO / "requirements.txt").read_text(), re.MULTILINE)
    assert len(wanted) > 10
    assert {name.lower() for name in wanted} - {"tensorflow"} <= names
    assert f"tensorflow=={setup_env.TENSORFLOW.rsplit('.', 1)[0]}" in (REPO / "requirements.txt").read_text()


def test_lab_as_root_without_display():
    line = lab.command(8899, "127.0.0.1", root=True, display=False)
    assert "--allow-root" in line and "--no-browser" in line and "--ServerApp.port=8899" in line
    line = lab.command(8888, "127.0.0.1", root=False, display=True)
    assert "--allow-root" not in line and "--no-browser" not in line


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_lab_refuses_what_is_no_port(port, capsys):
    with pytest.raises(SystemExit):
        lab.main(["--port", port])
    assert "port" in capsys.readouterr().err


def test_make_alone_lists_every_target():
    listing = subprocess.run(["make"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    targets = re.search(r"\.PHONY: (.+)", (REPO / "Makefile").read_text()).group(1).split()
    for target in targets:
        assert re.search(rf"^  make {target} +\S", listing, re.MULTILINE), f"`make` does not list {target}"
