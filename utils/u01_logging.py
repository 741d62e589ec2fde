"""Logging for a training script: what to write, where it goes, and how it stays readable.

    python -m utils.u01_logging                    see everything below happen
    python -m utils.u01_logging --folder runs/log  the same, and keep the log files to look at

A message that you `print` is gone with the terminal, says nothing about when it came, and cannot be turned down.
Python's `logging` mends all three. In a program it is one line, and then messages:

    logger = get_logger("train", file="runs/first/train.log")
    logger.info("step %d  loss %.4f", step, loss)

**The way of a message.** A *logger* takes the message and makes a *record* of it: text, level, time, file, line.
Each *handler* of the logger then writes the record to one place, in its own *format*. Two gates stand in the way,
and a record must reach the level of both: first the logger's, then the handler's. So one logger can show INFO on
the console and keep DEBUG in the file.

**Levels.** DEBUG 10 (for whoever looks for a fault), INFO 20 (the story of the run), WARNING 30 (it goes on, but
look), ERROR 40 (something failed), CRITICAL 50 (the run ends). A logger that nobody set up passes WARNING and above.

**Names** form a tree by their dots: `logging.getLogger("train.data")` is a child of "train", and its records go up
to the handlers of "train". So set up one logger in the main script; every other file takes a child of it by name
and sets up nothing. A record climbs on to the root logger, where a notebook or a library may have put a handler;
then each message appears twice. `get_logger` therefore ends the climb at its logger (`propagate = False`). It is
also why we do not use `logging.basicConfig`: that sets up the root, and does nothing if somebody did so before.

**Write `logger.info("loss %.4f", loss)`, not an f-string.** The text is put together only when a handler wants it.
With an f-string a silenced DEBUG message still costs the formatting, and for a tensor on a GPU the wait for its value.

**Exceptions.** Inside `except`, `logger.exception("reading %s failed", path)` writes an ERROR with the traceback.
`log_exceptions` does so for a whole block, so that the traceback of a night's run is in the file in the morning.

**Inside `@tf.function`** Python runs only while TensorFlow traces the function, so a log line appears once and not at
each call; AutoGraph also tries to rewrite the logging code, and warns. Use `tf.print` there, or log what it returns.

**Progress bars.** A bar redraws its last line; a message written by someone else lands in the middle of it. The
console handler here writes with `tqdm.write`, which lifts the bars, writes, and draws them again. For loggers of
others there is `tqdm.contrib.logging.logging_redirect_tqdm`.

**Several processes** must not write one rotating file: the process that renames it leaves the others writing into
the old one, and lines get lost. Give each its own file (`file=f"runs/worker{index}.log"`), or let one write: the
workers put records into a queue with `logging.handlers.QueueHandler(queue)`, and the main process takes them out with
`logging.handlers.QueueListener(queue, *logger.handlers, respect_handler_level=True)`.

**TensorFlow** has three voices: the Python logger "tensorflow" (`tf.get_logger()`), the Python logger "absl" (Keras
uses it), and C++, which writes to the terminal past Python. `route_libraries` brings the first two into your log.
The third obeys `TF_CPP_MIN_LOG_LEVEL` (0 everything, 1 no INFO, 2 no WARNING either, 3 no ERROR), set before the
import; what the import itself says is held back by `utils.lesson.quiet_start`. What became of `tf.logging` is in
`TF1_LOGGING` below.

Reference: https://docs.python.org/3/howto/logging.html
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from tqdm import tqdm

from utils.lesson import in_notebook, quiet_start

# On the console the day is known and the line should be short. In a file that is read weeks later, or beside the
# files of other processes, date, process and place in the code are needed.
CONSOLE_FORMAT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
CONSOLE_TIME = "%H:%M:%S"
FILE_FORMAT = "%(asctime)s %(levelname)-8s %(name)s [%(process)d] %(filename)s:%(lineno)d: %(message)s"

# What the fields of the two formats mean. "%(name)s" is replaced by the record's attribute "name".
FIELDS = {
    "asctime": "when: local time, after the comma milliseconds",
    "levelname": "how serious; -8 fills up to 8 letters, so that the columns stand in line",
    "name": "which logger: the part of the program that speaks",
    "process": "number of the process: which worker it was",
    "filename": "file of the source code that made the message",
    "lineno": "line in that file",
    "message": "the text, its arguments filled in",
}

# What became of tf.logging. TensorFlow 2 keeps it as tf.compat.v1.logging, a thin cover over the logger "tensorflow".
TF1_LOGGING = {
    "set_verbosity": "logger.setLevel(logging.INFO)",
    "get_verbosity": "logger.getEffectiveLevel()",
    "debug": "logger.debug(…)",
    "info": "logger.info(…)",
    "warn": "logger.warning(…)",
    "warning": "logger.warning(…)",
    "error": "logger.error(…)",
    "fatal": "logger.critical(…)",
    "log": "logger.log(level, …)",
    "log_if": "if condition: logger.log(level, …)",
    "log_every_n": "if step % n == 0: logger.log(level, …), or absl.logging.log_every_n",
    "log_first_n": "if step < n: logger.log(level, …), or absl.logging.log_first_n",
    "vlog": "absl.logging.vlog",
    "flush": "nothing: handlers flush after each record",
    "TaskLevelStatusMessage": "nothing: it went with the job system it was for",
}

LIBRARIES = ("tensorflow", "absl", "py.warnings")
_MARK = "u01_logging"  # the names of our handlers begin with it, so that we replace only our own


def level_number(level: str | int) -> int:
    """Turn "info", "INFO" or 20 into 20.

    Raises:
        ValueError: it is no level's name, or not a whole number from 1 on. NOTSET (0) is refused because it means
            "ask the parent" for a logger, and so silently WARNING.
    """
    known = {name: number for name, number in logging.getLevelNamesMapping().items() if number > 0}
    if isinstance(level, str) and level.upper() in known:
        return known[level.upper()]
    if isinstance(level, int) and not isinstance(level, bool) and level > 0:
        return level
    names = ", ".join(sorted(known, key=lambda name: (known[name], name)))
    raise ValueError(f"{level!r} is not a logging level; take one of {names}, or a whole number from 1 on")


class ConsoleHandler(logging.Handler):
    """Writes each record on a line of its own above the progress bars of tqdm.

    To stderr in a script, so that results on stdout can be piped on; to stdout in a notebook, where stderr is shown
    as if it were an error. The stream is looked up at each record: it may have been redirected since.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. As with every handler, a failure is reported on stderr and never stops the program."""
        try:
            stream = sys.stdout if in_notebook() else sys.stderr
            tqdm.write(self.format(record), file=stream)
            stream.flush()
        except Exception:
            self.handleError(record)


def _file_handler(name: str, file: str | os.PathLike, max_bytes: int, backups: int) -> RotatingFileHandler:
    """Open the log file of logger `name`; the errors are those of `get_logger`."""
    if max_bytes < 0 or backups < 0 or (max_bytes > 0 and backups == 0):
        raise ValueError(
            f"max_bytes={max_bytes} and backups={backups}: a file that is cut at max_bytes needs at least one backup "
            "to rotate into; max_bytes=0 never cuts it"
        )
    path = Path(file).expanduser().absolute()
    for other, holder in logging.root.manager.loggerDict.items():
        for handler in getattr(holder, "handlers", []):
            if other != name and getattr(handler, "baseFilename", None) == str(path):
                raise ValueError(
                    f"{path} is already the file of logger {other!r}; two handlers would rotate it away from each "
                    f"other. Use that logger or a child of it, logging.getLogger({other + '.more'!r}), or another file"
                )
    if path.is_dir():
        raise OSError(
            f"{path} is a folder; `file` must name a file in it, for example {path / (name + '.log')}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # UTF-8 whatever the machine's locale; a character that no encoding knows is written as \udc80, not lost.
        return RotatingFileHandler(
            path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        below_file = isinstance(error, (FileExistsError, NotADirectoryError))
        reason = "a part of its path is a file, not a folder" if below_file else error.strerror
        raise OSError(f"cannot write the log file {path}: {reason}. Give `file` another place") from error


def close_handlers(logger: logging.Logger) -> None:
    """Take away and close the handlers that `get_logger` gave to `logger`; those of others stay."""
    for handler in list(logger.handlers):
        if (handler.name or "").startswith(_MARK):
            logger.removeHandler(handler)
            with suppress(OSError):  # on a full disk; the message that did not fit was reported when it came
                handler.close()


def get_logger(
    name: str,
    level: str | int = "INFO",
    file: str | os.PathLike | None = None,
    file_level: str | int = "DEBUG",
    max_bytes: int = 5_000_000,
    backups: int = 3,
) -> logging.Logger:
    """Set up the logger `name`: to the console, and to a file if you name one.

    Call it as often as you like (a notebook cell that runs twice does): the last call holds, and no message comes
    twice. If a call fails, the logger stays as it was. Nothing is written anywhere but to the console and `file`.

    Args:
        name: the logger's name, for example "train"; other files then use `logging.getLogger("train.data")`.
        level: what the console shows at least, a name ("INFO") or a number.
        file: where to write; missing folders are made, an existing file is continued. None: no file.
        file_level: what the file keeps at least.
        max_bytes: the file is renamed to `file.1`, the old `file.1` to `file.2` and so on, before it would grow
            larger than this. 0: never.
        backups: how many such older files are kept, so that all take at most (backups + 1) · max_bytes.

    Returns:
        The `logging.Logger`, also to be had by `logging.getLogger(name)`.

    Raises:
        ValueError: an empty name, a level that does not exist, sizes that make no sense, a file in use by another.
        OSError: the file cannot be written; the message names it.
    """
    if not name or name == "root":
        raise ValueError(
            "name the logger, for example 'train': the root logger would speak for every library as well"
        )
    console = ConsoleHandler(level_number(level))
    console.setFormatter(logging.Formatter(CONSOLE_FORMAT, CONSOLE_TIME))
    handlers: list[logging.Handler] = [console]
    if file is not None:
        lowest = level_number(file_level)
        handlers.append(_file_handler(name, file, max_bytes, backups))
        handlers[1].setLevel(lowest)
        handlers[1].setFormatter(logging.Formatter(FILE_FORMAT))

    logger = logging.getLogger(name)
    close_handlers(logger)
    for handler in handlers:
        handler.name = f"{_MARK} {type(handler).__name__} of {name}"
        logger.addHandler(handler)
    # The first gate lets through what any handler wants.
    logger.setLevel(min(handler.level for handler in handlers))
    logger.propagate = False
    return logger


@contextmanager
def log_exceptions(logger: logging.Logger, doing: str) -> Iterator[None]:
    """Write the exception that ends the block, with its traceback, to `logger`; then let it go on.

        with log_exceptions(logger, "training"):
            train()

    Args:
        logger: where to write: an ERROR, or for Ctrl-C a WARNING without traceback.
        doing: what the block does, for the message "training failed".
    """
    try:
        yield
    except KeyboardInterrupt:
        logger.warning("%s was interrupted", doing)
        raise
    except Exception:
        logger.exception("%s failed", doing)
        raise


class _Forward:
    """A filter that hands each record to another logger and stops it.

    A filter, because a logger asks its filters before its handlers. Handlers that TensorFlow or absl add later, when
    they are imported or at their first message, therefore have nothing to print a second time.
    """

    mark = _MARK

    def __init__(self, target: logging.Logger):
        self.target = target

    def filter(self, record: logging.LogRecord) -> bool:
        self.target.handle(record)
        # A fatal record goes its own way too, because absl ends the program with it.
        return record.levelno >= logging.CRITICAL


def route_libraries(
    logger: logging.Logger, level: str | int = "WARNING", names: Sequence[str] = LIBRARIES
) -> None:
    """Send what libraries log, and Python's warnings, through the handlers of `logger`.

    It may stand before or after the import of TensorFlow, and may be repeated: the last call holds.

    Args:
        logger: from `get_logger`.
        level: what the libraries may say at least. (Under absl's `app.run` its flag --verbosity decides for "absl".)
        names: the libraries' loggers; "py.warnings" stands for `warnings.warn`.

    Raises:
        ValueError: `level` does not exist, or `logger` is one of `names`.
    """
    if logger.name in names:
        raise ValueError(f"logger {logger.name!r} cannot be routed into itself; leave it out of `names`")
    lowest = level_number(level)
    logging.captureWarnings("py.warnings" in names)
    for name in names:
        library = logging.getLogger(name)
        for old in [old for old in library.filters if getattr(old, "mark", None) == _MARK]:
            library.removeFilter(old)
        library.addFilter(_Forward(logger))
        library.setLevel(lowest)


def explain(layout: str, record: logging.LogRecord) -> list[tuple[str, str, str]]:
    """Take a format apart: for each of its fields the text it gives for `record`, and what it means.

    Returns:
        Rows (field, text, meaning), for example ("%(lineno)d", "120", "line in that file").
    """
    logging.Formatter(layout).format(record)  # fills in record.message and record.asctime
    fields = re.finditer(r"%\((\w+)\)[-\d]*\w", layout)
    return [(field[0], field[0] % record.__dict__, FIELDS.get(field[1], "")) for field in fields]


# ----- the demonstration -------------------------------------------------------------------------------------------


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def _say(text: str) -> None:
    print(text, flush=True)  # at once, or it would come after the log lines when the output goes into a pipe


def demonstrate(folder: Path) -> None:
    """Show the module at work; log files go into `folder`."""
    _say("What you see here is explained at the top of utils/u01_logging.py.")
    _title("1. One logger, two places")
    path = folder / "train.log"
    logger = get_logger("train", file=path)
    logger.debug("batch 0 has shape %s", (100, 784))
    logger.info("step %4d  loss %.4f", 100, 0.2513)
    logging.getLogger("train.data").warning("图片 第%d张.png is damaged, left out", 7)
    _say(
        f"\nThe console shows INFO and above. The file {path.name} keeps DEBUG too, and says more about each:\n"
    )
    _say(path.read_text(encoding="utf-8"))
    _say(
        "The second line came from logging.getLogger('train.data'), which nobody set up: it is a child of 'train'."
    )

    _title("2. The format, field by field")
    record = logger.makeRecord("train", logging.INFO, __file__, 42, "step %d", (100,), None)
    for field, text, meaning in explain(FILE_FORMAT, record):
        _say(f"{field:<16} {text:<24} {meaning}")

    _title("3. The same set-up twice, as when a notebook cell runs again")
    for _ in range(2):
        logging.getLogger("naive").addHandler(ConsoleHandler())
        logger = get_logger("train", file=path)
    logging.getLogger("naive").warning("with addHandler in the cell, this comes twice")
    logger.warning("with get_logger, this comes once")

    _title("4. An exception goes into the log with its traceback")
    try:
        with log_exceptions(logger, "reading the settings"):
            {"steps": 100}["learning_rate"]
    except KeyError:
        _say("\nThe exception then went on, and here we caught it.")

    _title("5. Messages beside a progress bar")
    for step in tqdm(range(1, 31), desc="training", ncols=70):
        time.sleep(0.02)
        if step % 10 == 0:
            logger.info("step %d: the bar made room for this line", step)

    _title("6. A file that does not grow for ever: max_bytes=2000, backups=2")
    small = get_logger("small", level="ERROR", file=folder / "small.log", max_bytes=2000, backups=2)
    for step in range(1, 101):
        small.info("step %d", step)
    for part in sorted(folder.glob("small.log*")):
        lines = part.read_text(encoding="utf-8").splitlines()
        first, last = (line.rpartition(": ")[2] for line in (lines[0], lines[-1]))
        _say(f"{part.name:<12} {part.stat().st_size:5d} bytes   {first} to {last}")
    _say("The newest are in small.log; what no longer fitted is gone.")
    close_handlers(small)

    _title("7. Clear errors")
    for wrong in ({"level": "LOUD"}, {"file": folder}, {"file": path / "below" / "a.log"}):
        try:
            get_logger("other", **wrong)
        except (ValueError, OSError) as error:
            _say(f"{type(error).__name__}: {error}")

    _title("8. TensorFlow's own messages (its import takes seconds)")
    quiet_start()
    import tensorflow as tf
    from absl import logging as absl_logging

    v1 = tf.compat.v1
    _say("As they come, through TensorFlow's handler and then absl's:\n")
    tf.get_logger().warning("from tensorflow")
    absl_logging.warning("from absl")
    tf.get_logger().warning("from tensorflow again: absl has set up the root logger, and all comes twice")
    route_libraries(logger)
    _say("\nAfter route_libraries(logger), each once, in our format and also in our file:\n")
    tf.get_logger().warning("from tensorflow")
    absl_logging.warning("from absl")
    v1.logging.warning("from tf.compat.v1.logging, which is the logger %r", tf.get_logger().name)

    _say("\nLogged inside @tf.function, called three times:\n")

    @tf.function(autograph=False)  # with AutoGraph, its warnings about the logging code would come as well
    def double(x):
        logger.info("Python speaks once, while the function is traced")
        tf.print("  tf.print speaks at each call: x =", x, output_stream=sys.stdout)
        return 2 * x

    for value in (1.0, 2.0, 3.0):
        double(tf.constant(value))

    _title("9. What became of tf.logging")
    for then, now in TF1_LOGGING.items():
        _say(f"tf.logging.{then:<23} {now}")
    v1.logging.set_verbosity(v1.logging.INFO)
    level = logging.getLogger("tensorflow").level
    _say(f"\ntf.compat.v1.logging.set_verbosity(INFO) has set the level of logger 'tensorflow' to {level}.")
    close_handlers(logger)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line of the demonstration."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.u01_logging", description="Show what the module does.", allow_abbrev=False
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where to keep the log files (default: a temporary folder, removed at the end)",
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Run the demonstration."""
    with tempfile.TemporaryDirectory(prefix="u01_logging_") as folder:
        demonstrate(args.folder or Path(folder))


if __name__ == "__main__":
    main(parse_args())
