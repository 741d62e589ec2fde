"""u03_flags: the two styles agree, bad values are refused with clear messages, settings survive a file."""

import argparse
import doctest
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from absl import flags

from utils import u03_flags as u03

DEFAULTS = {
    "name": "first",
    "steps": 500,
    "warmup": 0,
    "learning_rate": 0.001,
    "optimizer": "adam",
    "hidden": [256, 128],
    "augment": True,
}


def by_argparse(*argv):
    return u03.run_settings(u03.parse_args(argv))


def run(*argv, cwd, code=None):
    """Run the module, or `code`, in a fresh Python."""
    command = ["-c", code] if code else ["-m", "utils.u03_flags"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *command, *argv],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=300,
    )


def refusal(capsys, *argv):
    """The message with which parse_args ends the program."""
    with pytest.raises(SystemExit) as caught:
        u03.parse_args(argv)
    out, err = capsys.readouterr()
    assert caught.value.code == 2 and out == "" and err.startswith("usage: python -m utils.u03_flags")
    return err.splitlines()[-1].removeprefix("python -m utils.u03_flags: error: ")


def test_defaults_are_the_same_in_both_styles():
    assert by_argparse() == u03.absl_settings([]) == DEFAULTS


@pytest.mark.parametrize(
    ("for_argparse", "for_absl", "expected"),
    [
        ("--steps=20 --warmup=3", "--steps=20 --warmup=3", {"steps": 20, "warmup": 3}),
        ("--learning_rate 1", "--learning_rate 1", {"learning_rate": 1.0}),
        ("--learning_rate 1e-4", "--learning_rate 1e-4", {"learning_rate": 1e-4}),
        ("--optimizer sgd", "--optimizer sgd", {"optimizer": "sgd"}),
        ("--hidden 64,32,16", "--hidden 64,32,16", {"hidden": [64, 32, 16]}),
        ("--hidden 7", "--hidden 7", {"hidden": [7]}),
        ("--no-augment", "--noaugment", {"augment": False}),
        ("--no-augment --augment", "--noaugment --augment", {"augment": True}),
        ("--name 训练", "--name 训练", {"name": "训练"}),
        ("--steps=5 --steps=6", "--steps=5 --steps=6", {"steps": 6}),
    ],
)
def test_given_flags_are_the_same_in_both_styles(for_argparse, for_absl, expected):
    assert by_argparse(*for_argparse.split()) == u03.absl_settings(for_absl.split()) == DEFAULTS | expected


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("steps", "0", "a whole number from 1 on"),
        ("steps", "-3", "a whole number from 1 on"),
        ("steps", "1e3", "a whole number from 1 on"),
        ("steps", "", "a whole number from 1 on"),
        ("warmup", "-1", "a whole number from 0 on"),
        ("learning_rate", "0", "a number above 0 and at most 1"),
        ("learning_rate", "1.5", "a number above 0 and at most 1"),
        ("learning_rate", "nan", "a number above 0 and at most 1"),
        ("learning_rate", "inf", "a number above 0 and at most 1"),
        ("learning_rate", "fast", "a number above 0 and at most 1"),
        ("hidden", "", "whole numbers from 1 on with commas"),
        ("hidden", "64,", "whole numbers from 1 on with commas"),
        ("hidden", "64,x", "whole numbers from 1 on with commas"),
        ("hidden", "64,0", "whole numbers from 1 on with commas"),
        ("optimizer", "Adam", "choose from"),
    ],
)
def test_bad_values_are_refused_in_both_styles(capsys, flag, value, message):
    said = refusal(capsys, f"--{flag}={value}")
    assert said.startswith(f"argument --{flag}: ") and repr(value) in said and message in said
    with pytest.raises(flags.Error, match=f"flag --{flag}"):
        u03.absl_settings([f"--{flag}={value}"])


def test_rule_about_two_flags(capsys):
    assert by_argparse("--steps=10", "--warmup=9")["warmup"] == 9
    assert refusal(capsys, "--steps=10", "--warmup=10") == "--warmup must be smaller than --steps"
    with pytest.raises(flags.IllegalFlagValueError, match="--warmup must be smaller than --steps"):
        u03.absl_settings(["--steps=10", "--warmup=10"])


@pytest.mark.parametrize(
    ("typed", "by_argparse_said", "by_absl_said"),
    [
        ("--stpes=3", "--stpes=3", "Unknown command line flag 'stpes'"),
        ("--opt sgd", "--opt sgd", "Unknown command line flag 'opt'"),
        ("extra", "extra", "what is 'extra'?"),
        ("--augment False", "False", "what is 'False'?"),
    ],
)
def test_what_belongs_to_no_flag_is_refused(capsys, typed, by_argparse_said, by_absl_said):
    assert refusal(capsys, *typed.split()) == f"unrecognized arguments: {by_argparse_said}"
    with pytest.raises((flags.UnrecognizedFlagError, u03.FlagError), match=re.escape(by_absl_said)):
        u03.absl_settings(typed.split())


def test_type_bool_is_the_trap_and_the_pair_is_not():
    rows = {(declared, typed): outcome for declared, typed, outcome in u03.trap_boolean()}
    assert rows["argparse, type=bool", "--augment False"] == "augment = True"
    assert rows["BooleanOptionalAction", "--no-augment"] == "augment = False"
    assert rows["absl, DEFINE_boolean", "--augment False"] == "augment = True, left over: ['False']"
    assert rows["absl, DEFINE_boolean", "--augment=False"] == "augment = False"
    assert rows["absl, DEFINE_boolean", "--noaugment"] == "augment = False"


@pytest.mark.parametrize(
    ("trap", "outcomes"),
    [
        (
            u03.trap_list,
            ["['6', '4', ',', '3', '2']", "hidden = [64, 32]", "hidden = ['64', 'x']", "hidden = [64, 32]"],
        ),
        (
            u03.trap_unchecked,
            ["rate = nan", "FlagError: argument --rate", "rate = -1", "IllegalFlagValue", "IllegalFlagValue"],
        ),
        (
            u03.trap_order,
            ["UnparsedFlagAccessError", "DuplicateFlagError", "no complaint", "ArgumentError"],
        ),
        (
            u03.trap_notebook,
            ["UnrecognizedFlagError: Unknown command line flag 'f'", "FlagError: unrecog", "steps = 500"],
        ),
    ],
)
def test_traps_do_what_their_text_says(trap, outcomes):
    rows = trap()
    assert len(rows) == len(outcomes) and trap in u03.TRAPS
    for (_, _, found), expected in zip(rows, outcomes):
        assert expected in found


def test_traps_leave_the_global_flags_alone():
    before = set(flags.FLAGS)
    for trap in u03.TRAPS:
        trap()
    u03.absl_settings(["--steps=3"])
    assert set(flags.FLAGS) == before


def test_checked_names_the_text_and_lets_other_errors_through():
    even = u03.checked(int, lambda number: number % 2 == 0, "an even number")
    assert even("4") == 4
    for text in ("3", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not an even number"):
            even(text)


def test_script_reads_sys_argv_and_a_notebook_nothing(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--steps=7"])
    assert u03.command_line() == ["--steps=7"]
    assert u03.parse_args().steps == 7
    assert u03.parse_args([]).steps == 500  # an empty list is a command line, not "none given"

    monkeypatch.setattr(u03, "in_notebook", lambda: True)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "/run/kernel-1.json"])
    assert u03.command_line() == []
    assert u03.parse_args().steps == 500
    values = u03.one_absl("integer", "steps", 500)
    assert u03.read_flags(values) == [] and values.steps == 500
    with pytest.raises(u03.FlagError, match="argument --steps"):  # not SystemExit, which a cell shows badly
        u03.parse_args(["--steps=0"])


def test_in_a_real_kernel():
    """One cell, run twice: it declares, parses and logs, and neither the kernel's -f nor the second run disturbs it."""
    import nbclient
    import nbformat

    cell = """
from absl import flags
from utils.u01_logging import get_logger
from utils.u03_flags import parse_args, read_flags
values = flags.FlagValues()
flags.DEFINE_integer("steps", 500, "", flag_values=values)
get_logger("train").info("left over %s, steps %d, %d", read_flags(values), values.steps, parse_args().steps)
"""
    cells = [nbformat.v4.new_code_cell(cell), nbformat.v4.new_code_cell(cell)]
    nbclient.NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=120).execute()
    for done in cells:
        assert [output.get("name") for output in done.outputs] == ["stdout"]
        assert re.fullmatch(r".*INFO +train: left over \[\], steps 500, 500\n", done.outputs[0].text)


def test_read_flags_starts_afresh_each_time():
    values = u03.one_absl("integer", "steps", 500)
    flags.DEFINE_multi_integer("hidden", [], "", flag_values=values)
    assert u03.read_flags(values, ["--steps=7", "--hidden=1", "left", "over"]) == ["left", "over"]
    assert (values.steps, values.hidden) == (7, [1])
    u03.read_flags(values, ["--hidden=2"])
    assert (values.steps, values.hidden) == (500, [2])


def test_nothing_is_parsed_or_declared_at_import(tmp_path):
    code = "from absl import flags; a = set(flags.FLAGS); import utils.u03_flags; print(set(flags.FLAGS) - a)"
    done = run("--nonsense", "-f", "x", cwd=tmp_path, code=code)
    assert done.returncode == 0 and done.stdout.strip() == "set()", done.stderr


def test_settings_survive_a_file(tmp_path):
    path = tmp_path / "a run" / "设置.json"
    settings = {
        **DEFAULTS,
        "name": "训练, with 'quotes' and = signs",
        "learning_rate": 0.1 + 0.2,
        "hidden": [1],
        "augment": False,
        "data_path": Path("data") / "set",
        "limit": None,
    }
    u03.save_settings(path, settings)
    assert u03.load_settings(path) == settings | {"data_path": os.path.join("data", "set")}
    assert "训练" in path.read_text(encoding="utf-8")  # readable, not escaped
    u03.save_settings(path, {"steps": 1})
    assert u03.load_settings(path) == {"steps": 1}
    assert os.listdir(path.parent) == [path.name]


def test_saved_settings_are_taken_up_and_the_command_line_wins(tmp_path):
    path = tmp_path / "a.json"
    given = (
        "--steps=20",
        "--no-augment",
        "--hidden=5,6",
        "--name=--x y",
        "--learning_rate=0.30000000000000004",
    )
    u03.save_settings(path, by_argparse(*given))
    assert by_argparse("--settings", str(path)) == by_argparse(*given)
    changed = by_argparse("--steps=9", f"--settings={path}", "--augment")
    assert changed == by_argparse(*given) | {"steps": 9, "augment": True}
    argv = list(flags.flag_dict_to_args(u03.load_settings(path)))
    assert u03.absl_settings(argv) == by_argparse(*given)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"steps": 0}', "argument --steps: '0' is not a whole number from 1 on"),
        ('{"steps": 2.5}', "argument --steps: '2.5' is not a whole number from 1 on"),
        ('{"steps": true}', "argument --steps: expected one argument"),
        ('{"learning_rate": NaN}', "'nan' is not a number above 0 and at most 1"),
        ('{"augment": "no"}', "argument --augment"),
        ('{"stpes": 3}', "unknown setting 'stpes'; known are name, steps, warmup"),
        ('{"help": true}', "unknown setting 'help'"),
        ('{"steps": {"a": 1}}', "setting 'steps' is {'a': 1}, which does not fit into one flag"),
        ('{"hidden": ["1,2", 3]}', "does not fit into one flag"),
        ("[1, 2]", "is not a settings file: it holds no {name: value, …}"),
        ('{"steps": 20', "is not a settings file: "),
        ("", "is not a settings file: "),
        (b"\xff\xfe", "is not a settings file: "),
        (None, "No such file or directory; --save FILE writes such a file"),
    ],
)
def test_bad_settings_file_is_named(tmp_path, capsys, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refusal(capsys, f"--settings={path}")
    assert str(path) in said and message in said


@pytest.mark.parametrize("value", [object(), {1, 2}, math.nan, [math.inf], "\udc80", b"x"])
def test_value_that_json_cannot_hold_is_named_and_nothing_is_touched(tmp_path, value):
    path = tmp_path / "a.json"
    u03.save_settings(path, {"steps": 1})
    with pytest.raises(u03.FlagError, match=r"setting 'odd' is .*, which JSON cannot hold"):
        u03.save_settings(path, {"steps": 2, "odd": value})
    assert json.loads(path.read_text()) == {"steps": 1} and os.listdir(tmp_path) == ["a.json"]


def test_settings_cannot_be_written(tmp_path):
    with pytest.raises(u03.FlagError, match="is a folder; name a file in it"):
        u03.save_settings(tmp_path, {"steps": 1})
    (tmp_path / "file").write_text("")
    with pytest.raises(u03.FlagError, match="cannot write the settings to") as caught:
        u03.save_settings(tmp_path / "file" / "a.json", {"steps": 1})
    assert str(tmp_path / "file" / "a.json") in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


def test_interrupted_write_leaves_the_old_settings(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    u03.save_settings(path, {"steps": 1})

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)  # the last act of an atomic write
    with pytest.raises(u03.FlagError, match="No space left on device"):
        u03.save_settings(path, {"steps": 2})
    assert u03.load_settings(path) == {"steps": 1}


def test_example_in_the_text():
    result = doctest.testmod(u03)
    assert result.attempted == 1 and result.failed == 0


def test_help_and_bad_flag_of_the_command(tmp_path):
    shown = run("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for flag, default in DEFAULTS.items():
        assert f"--{flag}" in shown.stdout and f"(default: {default})" in shown.stdout
    wrong = run("--steps=0", cwd=tmp_path)
    assert wrong.returncode == 2 and "argument --steps: '0' is not" in wrong.stderr
    folder = run("--no-tensorflow", f"--save={tmp_path}", cwd=tmp_path)
    assert folder.returncode == 1 and folder.stderr.startswith("error: ") and "Traceback" not in folder.stderr


def test_demonstration_with_tensorflow(tmp_path):
    """tf.compat.v1.flags gives the same settings; app.run swallows a typing error and ends the program."""
    options = ["--steps=20", "--no-augment", "--hidden=5,6", "--save=runs/a.json"]
    done = run(*options, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["argparse", "absl.flags", "tf.compat.v1.flags"] in lines
    assert ["steps", "20", "20", "20"] in lines and ["augment", "False", "False", "False"] in lines
    for statement in (
        "All the same: True",
        "Read back and checked as if typed, the same: True",
        "--flagfile=FILE: True",
        "the flag is in absl's FLAGS: True",
        "main sees steps = 500",
        "SystemExit(None)",
        "Unknown command line flag 'stpes'. Did you mean: steps ?",
    ):
        assert statement in done.stdout
    assert json.loads((tmp_path / "runs" / "a.json").read_text()) == DEFAULTS | {
        "steps": 20,
        "augment": False,
        "hidden": [5, 6],
    }
    assert os.listdir(tmp_path) == ["runs"]
    for trap in u03.TRAPS:
        for declared, typed, _ in trap():
            assert declared in done.stdout and typed in done.stdout


def test_tf_flags_are_absl_flags(monkeypatch):
    import tensorflow as tf

    v1 = tf.compat.v1.flags
    used = mock.Mock(wraps=v1)
    assert (
        u03.absl_settings([], used) == DEFAULTS and used.DEFINE_boolean.called
    )  # it is TensorFlow that declares
    for argv in ([], ["--steps=7", "--noaugment", "--hidden=1,2", "--optimizer=sgd"]):
        assert u03.absl_settings(argv, v1) == u03.absl_settings(argv)
    with pytest.raises(flags.IllegalFlagValueError, match="learning_rate"):
        u03.absl_settings(["--learning_rate=nan"], v1)
    # As the text says, tf.flags parses by itself when a flag is first read, where absl refuses.
    monkeypatch.setattr(sys, "argv", ["train.py", "--u03_steps=8"])
    v1.DEFINE_integer("u03_steps", 5, "a flag in the global FLAGS")
    try:
        flags.FLAGS.unparse_flags()
        with pytest.raises(flags.UnparsedFlagAccessError):
            _ = flags.FLAGS.u03_steps
        assert v1.FLAGS.u03_steps == 8 and flags.FLAGS.u03_steps == 8
    finally:
        delattr(flags.FLAGS, "u03_steps")
        flags.FLAGS.unparse_flags()
