"""Flags: the settings of a run, given on the command line. What `tf.flags` became, and the traps on the way.

    python -m utils.u03_flags                                      see everything below happen
    python -m utils.u03_flags --steps 20 --no-augment              the same with your values; --help lists them
    python -m utils.u03_flags --steps 20 --save runs/a.json        keep the settings,
    python -m utils.u03_flags --settings runs/a.json --warmup 5    and take them up again, all but one

**What became of it.** `tf.flags` (or `tf.app.flags`) of TensorFlow 1.x was a cover over Google's library for flags,
`absl.flags` of the package absl-py. TensorFlow 2 keeps the cover as `tf.compat.v1.flags`. Python's own library for the
purpose is `argparse`. This file declares one set of flags in both styles, `define_flags` and `build_parser`, so that
you can lay them side by side and translate an old script.

**Which to take.** `argparse`, if a script reads its own settings: it comes with Python, and nothing in it is global.
`absl.flags`, if many modules of one large program each declare flags of their own: it has one global `FLAGS`, and
that is its point and the source of its traps. The functions `trap_…` below do the wrong and the right thing, for both.

**Three habits** avoid most trouble, whichever you take:

1. Parse in a function that is called under `if __name__ == "__main__":`, as `parse_args` is below. A module that
   parses while it is imported reads the flags of whoever imports it: of pytest, of Jupyter, of your other script.
2. Check every value where it is declared, with its bounds, so that a bad one is refused before any data is loaded.
3. Write the settings of each run into its folder (`save_settings`), so that you know in a month what made the result.

**In a notebook** the command line belongs to the kernel (`-f …/kernel.json`), and nobody types flags. Lessons therefore
keep their settings in a cell of UPPER_CASE names. To run code that wants flags there, use `read_flags` for absl, or
`parser.parse_args(command_line())`; both read nothing in a notebook, so that the defaults hold.

References: https://docs.python.org/3/library/argparse.html, https://abseil.io/docs/python/guides/flags
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from utils.lesson import in_notebook, quiet_start, write_json

PAIR = argparse.BooleanOptionalAction  # makes of --augment the pair --augment and --no-augment
OPTIMIZERS = ("adam", "rmsprop", "sgd")
WARMUP_RULE = "--warmup must be smaller than --steps"


class FlagError(Exception):
    """A flag or a settings file is not as it should be. The message names it and says what was expected."""


def is_rate(value: float) -> bool:
    """Whether `value` is above 0 and at most 1. Put this way round it also refuses "nan", which no bound excludes."""
    return 0 < value <= 1


def checked(convert: Callable, test: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    """Make a `type=` for argparse: `convert` makes the value of a flag's text, `test` says whether it is allowed.

    `expected` completes the message "argument --steps: '0' is not …", as in "a whole number from 1 on".
    """

    def parse(text: str) -> Any:
        try:
            value = convert(text)
            if test(value):
                return value
        except ValueError:
            pass  # the message below says what was expected
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")

    return parse


count = checked(int, lambda number: number >= 1, "a whole number from 1 on")
count_or_zero = checked(int, lambda number: number >= 0, "a whole number from 0 on")
rate = checked(float, is_rate, "a number above 0 and at most 1")
sizes = checked(
    lambda text: [int(part) for part in text.split(",")],
    lambda numbers: min(numbers) >= 1,
    "whole numbers from 1 on with commas between them, such as 256,128",
)


def define_flags(api: Any, values: Any) -> None:
    """Declare the flags in the style of 2018, in `values`.

    Args:
        api: `absl.flags` or `tf.compat.v1.flags`; the calls are the same.
        values: the `FlagValues` that gets them. Left out, it would be the global `FLAGS` of the whole program.
    """
    api.DEFINE_string("name", "first", "what the run is called", flag_values=values)
    api.DEFINE_integer("steps", 500, "training steps", lower_bound=1, flag_values=values)
    api.DEFINE_integer("warmup", 0, "steps of rising learning rate", lower_bound=0, flag_values=values)
    api.DEFINE_float("learning_rate", 0.001, "step size of the optimizer", flag_values=values)
    api.DEFINE_enum("optimizer", "adam", OPTIMIZERS, "how weights are updated", flag_values=values)
    api.DEFINE_list("hidden", ["256", "128"], "units of each layer", flag_values=values)
    api.DEFINE_boolean("augment", True, "shift the images a little", flag_values=values)

    api.register_validator("learning_rate", is_rate, "must be above 0 and at most 1", flag_values=values)
    are_sizes = lambda texts: texts and all(text.isdecimal() and int(text) >= 1 for text in texts)
    api.register_validator("hidden", are_sizes, "must be whole numbers from 1 on", flag_values=values)
    fits = lambda flags: flags["warmup"] < flags["steps"]
    api.register_multi_flags_validator(["warmup", "steps"], fits, WARMUP_RULE, flag_values=values)


def build_parser() -> FlagParser:
    """Declare the same flags with argparse, and in a group of their own those of the demonstration."""
    parser = FlagParser(
        prog="python -m utils.u03_flags",
        description="The same flags with argparse, absl.flags and tf.compat.v1.flags, and the traps of each.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,  # --help shows the defaults
        allow_abbrev=False,  # or --opt would do for --optimizer, until a new flag begins like that
    )
    parser.add_argument("--name", default="first", help="what the run is called")
    parser.add_argument("--steps", type=count, default=500, help="training steps")
    parser.add_argument("--warmup", type=count_or_zero, default=0, help="steps of rising learning rate")
    parser.add_argument("--learning_rate", type=rate, default=0.001, help="step size of the optimizer")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="how weights are updated")
    parser.add_argument("--hidden", type=sizes, default=[256, 128], metavar="N,N", help="units of each layer")
    parser.add_argument("--augment", action=PAIR, default=True, help="shift the images a little")
    demonstration = parser.add_argument_group("the demonstration")
    demonstration.add_argument("--settings", metavar="FILE", help="take its values where no flag is given")
    demonstration.add_argument("--save", metavar="FILE", help="write the settings to it")
    demonstration.add_argument("--tensorflow", action=PAIR, default=True, help="show TF 1.x too (seconds)")
    return parser


class FlagParser(argparse.ArgumentParser):
    """An argparse parser that raises FlagError where the plain one prints its usage and ends the program."""

    def error(self, message: str) -> None:
        """Called by argparse with what is wrong."""
        raise FlagError(message)


def command_line() -> list[str]:
    """The arguments that the user typed: those of the script, and none in a notebook, where they are the kernel's."""
    return [] if in_notebook() else sys.argv[1:]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the flags; values of a `--settings` file hold where the command line says nothing.

    Args:
        argv: the arguments without the program's name; None: those of the command line.

    Raises:
        SystemExit: (script) a flag or the file is wrong; usage and message are on stderr, the exit status is 2.
        FlagError: (notebook) the same, as an exception that a cell can show.
    """
    parser = build_parser()
    given = command_line() if argv is None else list(argv)
    try:
        args = parser.parse_args(given)
        if args.settings:
            saved = load_settings(args.settings)
            try:  # the file by itself, so that a complaint about it can name it
                known = run_settings(args)
                if unknown := sorted(saved.keys() - known.keys()):
                    raise FlagError(f"unknown setting {unknown[0]!r}; known are {', '.join(known)}")
                parser.parse_args(settings_to_argv(saved))
            except FlagError as error:
                raise FlagError(f"{args.settings}: {error}") from None
            args = parser.parse_args([*settings_to_argv(saved), *given])  # of two values the last counts
        if args.warmup >= args.steps:
            raise FlagError(WARMUP_RULE)
    except FlagError as error:
        if in_notebook():
            raise
        argparse.ArgumentParser.error(parser, str(error))
    return args


def read_flags(values: Any = absl_flags.FLAGS, argv: Sequence[str] | None = None) -> list[str]:
    """Parse absl flags, in a script or in a notebook, once or again.

    `FLAGS(sys.argv)` called again keeps what the first call gave, and lists grow; this starts from the defaults.

    Args:
        values: the global `FLAGS`, or a `FlagValues` of your own.
        argv: the arguments without the program's name; None: those of the command line, in a notebook none.

    Returns the arguments that are no flags. An unknown flag or a refused value raises `absl.flags.Error`.
    """
    if values.is_parsed():
        values.unparse_flags()
    return values([sys.argv[0] or "notebook", *(command_line() if argv is None else argv)])[1:]


def absl_settings(argv: Sequence[str], api: Any = absl_flags) -> dict[str, Any]:
    """The settings as `define_flags` and absl, or tf.compat.v1 as `api`, read them from `argv`."""
    values = api.FlagValues()
    define_flags(api, values)
    rest = read_flags(values, argv)
    if rest:
        raise FlagError(f"what is {' '.join(rest)!r}? It belongs to no flag; write --flag=value, or --noflag")
    hidden = [int(size) for size in values.hidden]  # DEFINE_list gives texts
    return values.flag_values_dict() | {"hidden": hidden}


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the run in `args`, without the flags of the demonstration."""
    others = ("settings", "save", "tensorflow")
    return {name: value for name, value in vars(args).items() if name not in others}


def save_settings(path: str | os.PathLike, settings: dict[str, Any]) -> None:
    """Write settings as JSON, whole or not at all. Missing folders are made, an existing file is replaced.

    Args:
        path: the file, for example "runs/first/settings.json".
        settings: for example `vars(args)`: texts, numbers, booleans, None, lists of them, and paths (saved as text).

    Raises:
        FlagError: a value that JSON cannot hold (it is named), or a path that cannot be written. No file is touched.
    """
    plain = {}
    for name, value in settings.items():
        plain[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
        try:
            json.dumps(plain[name], allow_nan=False, ensure_ascii=False).encode("utf-8")
        except (TypeError, ValueError):
            raise FlagError(f"setting {name!r} is {value!r}, which JSON cannot hold; not saved") from None
    path = Path(path)
    if path.is_dir():
        raise FlagError(f"{path} is a folder; name a file in it, for example {path / 'settings.json'}")
    try:
        write_json(path, plain)
    except OSError as error:
        raise FlagError(f"cannot write the settings to {path}: {error}") from error


def load_settings(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `save_settings` wrote. FlagError names the file, if it is missing or holds anything else."""
    try:
        settings = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FlagError(f"cannot read {path}: {error.strerror}; --save FILE writes such a file") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise FlagError(f"{path} is not a settings file: {error}") from error
    if not isinstance(settings, dict):
        raise FlagError(f"{path} is not a settings file: it holds no {{name: value, …}}")
    return settings


def settings_to_argv(settings: dict[str, Any]) -> list[str]:
    """Turn settings back into the command line that gives them, so that the parser checks them like typed ones.

    >>> settings_to_argv({"steps": 20, "augment": False, "hidden": [64, 32], "data_path": None})
    ['--steps=20', '--no-augment', '--hidden=64,32']

    `absl.flags.flag_dict_to_args` does it for absl. What does not fit into one flag raises FlagError.
    """
    argv = []
    for name, value in settings.items():
        listed = isinstance(value, (list, tuple))
        parts = value if listed else [value]
        if any(isinstance(part, (dict, list, tuple)) or (listed and "," in str(part)) for part in parts):
            raise FlagError(f"setting {name!r} is {value!r}, which does not fit into one flag")
        if isinstance(value, bool):
            argv.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:  # None is "not given"
            argv.append(f"--{name}={','.join(map(str, parts))}")
    return argv


Row = tuple[str, str, str]  # how the flag is declared, what is typed or done, what comes of it


def attempt(label: str, done: str, subject: Any) -> Row:
    """Let a FlagParser or a FlagValues parse the words of `done`, or call a function, and say what came of it."""
    try:
        if isinstance(subject, FlagParser):
            found, rest = vars(subject.parse_args(done.split())), []
        elif isinstance(subject, absl_flags.FlagValues):
            rest = read_flags(subject, done.split())
            found = subject.flag_values_dict()
        else:
            subject()
            return label, done, "no complaint"
    except Exception as error:
        return label, done, f"{type(error).__name__}: {error}"
    values = ", ".join(f"{name} = {value!r}" for name, value in found.items())
    return label, done, values + (f", left over: {rest}" if rest else "")


def one_argparse(name: str, **options: Any) -> FlagParser:
    """A parser with a single flag."""
    parser = FlagParser(prog="train.py", allow_abbrev=False)
    parser.add_argument(f"--{name}", **options)
    return parser


def one_absl(kind: str, name: str, default: Any, **options: Any) -> Any:
    """A FlagValues with a single flag, declared by absl's DEFINE_<kind>."""
    values = absl_flags.FlagValues()
    getattr(absl_flags, f"DEFINE_{kind}")(name, default, "", flag_values=values, **options)
    return values


def trap_boolean() -> list[Row]:
    """A boolean is switched by the flag's name, not by a word after it

    argparse: `bool("False")` is True, because the text is not empty; BooleanOptionalAction makes a pair of flags.
    absl: `--augment` alone is already true, and the word after it becomes a left-over argument.
    """
    values = one_absl("boolean", "augment", True)
    return [
        attempt("argparse, type=bool", "--augment False", one_argparse("augment", type=bool)),
        attempt("BooleanOptionalAction", "--no-augment", one_argparse("augment", action=PAIR)),
        attempt("absl, DEFINE_boolean", "--augment False", values),
        attempt("absl, DEFINE_boolean", "--augment=False", values),
        attempt("absl, DEFINE_boolean", "--noaugment", values),
    ]


def trap_list() -> list[Row]:
    """A list of numbers

    argparse: `type=list` takes the text apart letter by letter; give it a function, as `build_parser` does.
    absl: DEFINE_list gives texts, not numbers, and accepts any; DEFINE_multi_integer wants the flag repeated.
    """
    several = one_absl("multi_integer", "hidden", [])
    return [
        attempt("argparse, type=list", "--hidden 64,32", one_argparse("hidden", type=list)),
        attempt("argparse, type=sizes", "--hidden 64,32", one_argparse("hidden", type=sizes)),
        attempt("absl, DEFINE_list", "--hidden=64,x", one_absl("list", "hidden", [])),
        attempt("absl, DEFINE_multi_integer", "--hidden=64 --hidden=32", several),
    ]


def trap_unchecked() -> list[Row]:
    """Values that nobody checks

    Bounds let "nan" pass, which is neither below nor above; see `is_rate`. argparse checks neither a default nor what
    is assigned later. absl checks both.
    """
    bounds = {"lower_bound": 0, "upper_bound": 1}
    bounded = one_absl("float", "rate", 0.1, **bounds)
    return [
        attempt("absl, bounds 0 and 1", "--rate=nan", bounded),
        attempt("argparse, type=rate", "--rate=nan", one_argparse("rate", type=rate)),
        attempt("argparse, type=rate, default=-1", "", one_argparse("rate", type=rate, default=-1)),
        attempt("absl, default=-1", "declared", lambda: one_absl("float", "rate", -1, **bounds)),
        attempt("absl, bounds 0 and 1", "FLAGS.rate = -1", lambda: setattr(bounded, "rate", -1)),
    ]


def trap_order() -> list[Row]:
    """Reading too early, and declaring twice

    absl refuses to read a flag before parsing (tf.flags parsed by itself at that moment). A notebook cell that declares
    into the global FLAGS fails when it runs again: declare into a new FlagValues, which the cell makes.
    """
    values, parser = one_absl("integer", "steps", 500), one_argparse("steps")
    again = lambda: absl_flags.DEFINE_integer("steps", 500, "", flag_values=values)
    return [
        attempt("absl, before parsing", "FLAGS.steps", lambda: values.steps),
        attempt("absl, the same FLAGS", "declared again", again),
        attempt("absl, a new FlagValues", "declared again", lambda: one_absl("integer", "steps", 500)),
        attempt("argparse, the same parser", "declared again", lambda: parser.add_argument("--steps")),
    ]


def trap_notebook() -> list[Row]:
    """A notebook's command line is the kernel's

    `sys.argv` names the file by which Jupyter talks to the kernel. Read nothing there: `command_line()` gives [].
    """
    values = one_absl("integer", "steps", 500)
    return [
        attempt("absl, FLAGS(sys.argv)", "-f kernel.json", values),
        attempt("argparse, parse_args()", "-f kernel.json", one_argparse("steps", default=500)),
        attempt("absl, read_flags(FLAGS)", "", values),
    ]


TRAPS = (trap_boolean, trap_list, trap_unchecked, trap_order, trap_notebook)


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def show_app_run(v1: Any) -> None:
    """Run tf.compat.v1.app.run, beside absl, on a command line with a typing error."""
    v1.flags.DEFINE_integer("steps", 500, "training steps")  # into the global FLAGS, as in 2018
    print("Declared through tf.compat.v1.flags, the flag is in absl's FLAGS:", "steps" in absl_flags.FLAGS)
    print("tf.compat.v1.app.run(main) is given --stpes=7, a typing error, and lets it pass:")
    try:
        v1.app.run(lambda argv: print("  main sees steps =", v1.flags.FLAGS.steps), ["train.py", "--stpes=7"])
    except SystemExit as end:
        print(f"  then it ends the program: SystemExit({end.code}), which in a notebook looks like an error")
    print("absl.flags does not let it pass:\n ", attempt("", "--stpes=7", absl_flags.FLAGS)[2])


def main(args: argparse.Namespace) -> None:
    """Run the demonstration with the settings in `args`."""
    settings = run_settings(args)
    argv = list(absl_flags.flag_dict_to_args(settings))
    print("What you see here is explained at the top of utils/u03_flags.py.")
    _title("The same flags in both styles")
    print("argparse is given ", shlex.join(settings_to_argv(settings)))
    print("absl is given     ", shlex.join(argv))
    columns = {"argparse": settings, "absl.flags": absl_settings(argv)}
    if args.tensorflow:
        print("(TensorFlow is imported for the third column, which takes seconds.)", flush=True)
        quiet_start()
        from tensorflow.compat import v1

        columns["tf.compat.v1.flags"] = absl_settings(argv, v1.flags)
    print("\n" + " " * 15 + "".join(f"{way:<20}" for way in columns).rstrip())
    for name in settings:
        print(f"{name:<15}" + "".join(f"{column[name]!r:<20}" for column in columns.values()).rstrip())
    print("All the same:", all(column == settings for column in columns.values()))

    for trap in TRAPS:
        title, text = trap.__doc__.split("\n", 1)
        _title(f"Trap: {title}")
        print(textwrap.dedent(text).strip() + "\n")
        for declared, typed, outcome in trap():
            print(f"  {declared:<32} {typed:<24} {outcome}")

    _title("The settings of a run in a file")
    with tempfile.TemporaryDirectory() as folder:
        path, flagfile = Path(args.save or f"{folder}/settings.json"), Path(folder, "flags.txt")
        save_settings(path, settings)
        print(path.read_text(encoding="utf-8"), end="")
        again = run_settings(parse_args([f"--settings={path}"]))
        print("Read back and checked as if typed, the same:", again == settings)
        flagfile.write_text("\n".join(argv), encoding="utf-8")
        again = absl_settings([f"--flagfile={flagfile}"])
        print("The same by absl's own way, --flagfile=FILE:", again == settings)
    if args.tensorflow:
        _title("Trap: tf.app.run ignores flags that do not exist, and ends the program")
        show_app_run(v1)


if __name__ == "__main__":
    try:
        main(parse_args())
    except FlagError as error:
        sys.exit(f"error: {error}")
