"""u01_logging: where messages go, that each comes once, and what is said when a setting is wrong."""

import importlib
import io
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
import warnings
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path

import pytest
from tqdm import tqdm

from utils import u01_logging as u01

NAME = "test_u01"


@pytest.fixture(autouse=True)
def clean():
    """Leave no handler, filter or level behind: logging is one for the whole process."""
    loggers = [logging.getLogger(name) for name in (NAME, f"{NAME}.child", f"{NAME}_other", *u01.LIBRARIES)]
    before = [(list(log.handlers), list(log.filters), log.level, log.propagate) for log in loggers]
    yield
    for log, (handlers, filters, level, propagate) in zip(loggers, before):
        u01.close_handlers(log)
        log.handlers[:], log.filters[:], log.propagate = handlers, filters, propagate
        log.setLevel(level)
    logging.captureWarnings(False)


def run(code, **environment):
    """Run `code` in a fresh Python, from the current folder."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=120,
    )


def test_each_handler_has_its_own_level(tmp_path, capsys):
    path = tmp_path / "made" / "on the way" / "训练.log"
    logger = u01.get_logger(NAME, level="WARNING", file=path, file_level="INFO")
    logger.debug("a debug")
    logger.info("an info")
    logger.warning("a warning")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING  test_u01: a warning\n", err)
    lines = path.read_text(encoding="utf-8").splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    place = rf"test_u01 \[{os.getpid()}\] test_u01_logging\.py:\d+: "
    assert len(lines) == 2
    assert re.fullmatch(rf"{stamp} INFO     {place}an info", lines[0])
    assert re.fullmatch(rf"{stamp} WARNING  {place}a warning", lines[1])
    u01.get_logger(NAME, level="debug", file=path, file_level=logging.ERROR).debug("on the console only")
    assert "on the console only" in capsys.readouterr().err
    assert "on the console only" not in path.read_text(encoding="utf-8")


def test_without_a_path_no_file_appears(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    u01.get_logger(NAME, level="DEBUG").error("console only")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.count("console only") == 1


@pytest.mark.parametrize("file", ["runs/a.log", "~/runs/a.log"])
def test_relative_path_means_the_folder_of_the_set_up(tmp_path, monkeypatch, file):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # the home folder on Windows
    monkeypatch.chdir(tmp_path)
    logger = u01.get_logger(NAME, file=file)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    logger.info("hello")
    assert "hello" in (tmp_path / "runs" / "a.log").read_text()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_notebook_shows_messages_on_stdout(monkeypatch, capsys):
    monkeypatch.setattr(u01, "in_notebook", lambda: True)
    u01.get_logger(NAME).info("in a cell")
    out, err = capsys.readouterr()
    assert "in a cell" in out and err == ""


@pytest.mark.parametrize("max_bytes", [0, 1000])
def test_existing_file_is_continued(tmp_path, max_bytes):
    path = tmp_path / "a.log"
    path.write_text("first run\n", encoding="utf-8")
    u01.get_logger(NAME, file=path, max_bytes=max_bytes).info("second run")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "first run" and lines[1].endswith("second run")


def test_chinese_is_utf8_in_the_file_even_where_the_console_cannot_show_it(tmp_path):
    path = tmp_path / "a.log"
    done = run(
        rf"""
        from utils.u01_logging import get_logger
        logger = get_logger("train", file={str(path)!r})
        logger.info("\u635f\u5931 %.2f", 0.25)
        logger.info("bad file name %s", "x\udc80.png")  # how Python holds a name that is not UTF-8
        """,
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        PYTHONIOENCODING="ascii",
    )
    assert done.returncode == 0 and b"Logging error" not in done.stderr
    assert rb"\u635f\u5931 0.25" in done.stderr
    content = path.read_bytes().decode("utf-8")
    assert "损失 0.25" in content and r"x\udc80.png" in content


def test_set_up_twice_each_message_comes_once(tmp_path, capsys):
    old, new = tmp_path / "old.log", tmp_path / "new.log"
    first = u01.get_logger(NAME, level="DEBUG", file=old)
    old_handlers = list(first.handlers)
    for _ in range(3):
        logger = u01.get_logger(NAME, level="INFO", file=new)
    assert logger is first and len(logger.handlers) == 2
    logger.info("once")
    logger.debug("file only: the last call's levels hold")
    err = capsys.readouterr().err
    assert err.count("once") == 1 and "file only" not in err
    content = new.read_text()
    assert content.count("once") == 1 and content.count("file only") == 1
    assert old.read_text() == ""
    assert old_handlers[1].stream is None  # closed


def test_reloading_the_module_doubles_nothing(capsys):
    u01.get_logger(NAME)
    importlib.reload(u01)
    u01.get_logger(NAME).info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_handlers_of_others_stay_and_the_root_does_not_repeat(capsys):
    mine, root = io.StringIO(), io.StringIO()
    u01.get_logger(NAME).addHandler(logging.StreamHandler(mine))
    handler = logging.StreamHandler(root)
    logging.getLogger().addHandler(handler)
    try:
        logger = u01.get_logger(NAME)
        logger.warning("hello")
    finally:
        logging.getLogger().removeHandler(handler)
    assert root.getvalue() == "" and mine.getvalue() == "hello\n"
    u01.close_handlers(logger)
    assert len(logger.handlers) == 1
    assert capsys.readouterr().err.count("hello") == 1


def test_child_writes_through_its_parent(tmp_path, capsys):
    u01.get_logger(NAME, file=tmp_path / "a.log")
    logging.getLogger(f"{NAME}.child").debug("from the child")
    content = (tmp_path / "a.log").read_text()
    assert content.count("from the child") == 1 and f"{NAME}.child" in content
    assert capsys.readouterr().err == ""


def test_files_rotate_and_stay_small(tmp_path):
    path = tmp_path / "a.log"
    logger = u01.get_logger(NAME, level="ERROR", file=path, max_bytes=1000, backups=2)
    for step in range(100):
        logger.info("step %03d", step)
    parts = [path.with_name("a.log.2"), path.with_name("a.log.1"), path]  # oldest first
    assert sorted(tmp_path.iterdir()) == sorted(parts)
    assert all(part.stat().st_size <= 1000 for part in parts)
    steps = [int(line[-3:]) for part in parts for line in part.read_text().splitlines()]
    assert steps == list(range(100 - len(steps), 100)) and len(steps) > 20


def test_max_bytes_zero_never_cuts(tmp_path):
    logger = u01.get_logger(NAME, level="ERROR", file=tmp_path / "a.log", max_bytes=0, backups=0)
    for step in range(100):
        logger.info("step %03d", step)
    assert len((tmp_path / "a.log").read_text().splitlines()) == 100


@pytest.mark.parametrize(
    ("level", "number"), [("info", 20), ("INFO", 20), ("Warn", 30), ("FATAL", 50), (15, 15), ("debug", 10)]
)
def test_level_number(level, number):
    assert u01.level_number(level) == number


@pytest.mark.parametrize("level", ["LOUD", "", "NOTSET", 0, -1, True, None, 1.5, "20"])
def test_bad_level_is_named_with_the_choices(level):
    with pytest.raises(
        ValueError,
        match=r"take one of DEBUG, (\w+, )*INFO, WARN, WARNING, ERROR, CRITICAL",  # others add levels
    ) as caught:
        u01.get_logger(NAME, level=level)
    assert str(caught.value).startswith(f"{level!r} is not a logging level")


@pytest.mark.parametrize("name", ["", "root"])
def test_root_logger_is_refused(name):
    with pytest.raises(ValueError, match="name the logger"):
        u01.get_logger(name)


@pytest.mark.parametrize("sizes", [{"max_bytes": -1}, {"backups": 0}, {"backups": -1}])
def test_sizes_that_make_no_sense(tmp_path, sizes):
    with pytest.raises(ValueError, match="needs at least one backup"):
        u01.get_logger(NAME, file=tmp_path / "a.log", **sizes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("{tmp}", "{tmp} is a folder; `file` must name a file in it, for example {tmp}/test_u01.log"),
        ("{tmp}/file/a.log", "cannot write the log file {tmp}/file/a.log: a part of its path is a file"),
        ("/proc/nowhere/a.log", "cannot write the log file /proc/nowhere/a.log: "),  # not even root may
    ],
)
def test_path_that_cannot_be_written_is_named(tmp_path, file, message):
    if file.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("needs /proc, as on Linux")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as caught:
        u01.get_logger(NAME, file=file.format(tmp=tmp_path))
    assert message.format(tmp=tmp_path) in str(caught.value)


@pytest.mark.parametrize("wrong", [{"level": "LOUD"}, {"file_level": "LOUD"}, {"file": "."}, {"backups": 0}])
def test_failed_call_changes_nothing(tmp_path, wrong, capsys):
    path = tmp_path / "a.log"
    logger = u01.get_logger(NAME, level="DEBUG", file=path)
    before = list(logger.handlers)
    with pytest.raises((ValueError, OSError)):
        u01.get_logger(NAME, **{"file": tmp_path / "b.log", **wrong})
    assert logger.handlers == before and logger.level == logging.DEBUG
    logger.debug("still here")
    assert "still here" in capsys.readouterr().err and "still here" in path.read_text()
    assert [part.name for part in tmp_path.iterdir()] == ["a.log"]
    with pytest.raises(ValueError, match=f"already the file of logger '{NAME}'"):
        u01.get_logger(f"{NAME}_other", file=path)


def test_message_that_cannot_be_written_never_stops_the_program(capsys):
    logger = u01.get_logger(NAME)
    logger.info("step %d", "not a number")
    assert "Logging error" in capsys.readouterr().err
    if Path("/dev/full").exists():  # a device that is always full
        logger = u01.get_logger(NAME, file="/dev/full")
        logger.info("on a full disk")
        assert "No space left" in capsys.readouterr().err
    u01.get_logger(NAME).info("and on")
    assert "and on" in capsys.readouterr().err


def test_exception_is_logged_with_traceback_and_goes_on(tmp_path):
    logger = u01.get_logger(NAME, file=tmp_path / "a.log")
    with pytest.raises(ZeroDivisionError), u01.log_exceptions(logger, "dividing"):
        1 / 0  # noqa: B018
    content = (tmp_path / "a.log").read_text()
    assert "ERROR" in content and "dividing failed" in content
    assert "Traceback (most recent call last)" in content and "test_u01_logging.py" in content
    assert content.rstrip().endswith("ZeroDivisionError: division by zero")
    with pytest.raises(KeyboardInterrupt), u01.log_exceptions(logger, "training"):
        raise KeyboardInterrupt
    last = (tmp_path / "a.log").read_text().splitlines()[-1]
    assert "WARNING" in last and "training was interrupted" in last  # and no traceback


def test_message_beside_a_bar_has_its_own_line(capsys):
    logger = u01.get_logger(NAME)
    with tqdm(total=3, file=sys.stderr, ncols=60, mininterval=0) as bar:
        bar.update()
        logger.info("beside the bar")
        bar.update()
    pieces = re.split(r"[\r\n]", capsys.readouterr().err)
    assert sum("beside the bar" in piece for piece in pieces) == 1
    assert any(re.fullmatch(r"\d\d:\d\d:\d\d INFO     test_u01: beside the bar", piece) for piece in pieces)


def _worker(queue, index):
    logger = logging.getLogger("worker")
    logger.handlers[:] = [QueueHandler(queue)]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    for step in range(20):
        logger.info("worker %d step %d", index, step)


def test_several_processes_write_one_file_through_a_queue(tmp_path):
    logger = u01.get_logger(NAME, level="ERROR", file=tmp_path / "a.log", file_level="INFO")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    listener = QueueListener(queue, *logger.handlers, respect_handler_level=True)
    listener.start()
    workers = [context.Process(target=_worker, args=(queue, index)) for index in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    listener.stop()
    lines = (tmp_path / "a.log").read_text().splitlines()
    expected = sorted(f"worker {index} step {step}" for index in range(2) for step in range(20))
    assert sorted(line.rpartition(": ")[2] for line in lines) == expected
    assert {re.search(r"\[(\d+)\]", line)[1] for line in lines} == {str(worker.pid) for worker in workers}


def test_libraries_are_routed_once_whenever_they_add_handlers(tmp_path, capsys):
    library = logging.getLogger("tensorflow")
    library.addHandler(logging.StreamHandler(sys.stderr))  # as TensorFlow's import does
    logger = u01.get_logger(NAME, file=tmp_path / "a.log")
    for _ in range(2):
        u01.route_libraries(logger)
    library.addHandler(logging.StreamHandler(sys.stderr))
    library.warning("from the library")
    library.info("too low")
    err = capsys.readouterr().err
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING  tensorflow: from the library\n", err)
    assert (tmp_path / "a.log").read_text().count("from the library") == 1


def test_route_can_be_turned_to_another_logger_and_level(capsys):
    u01.route_libraries(u01.get_logger(NAME))
    other = io.StringIO()
    target = logging.getLogger(f"{NAME}_other")
    target.propagate = False
    target.addHandler(logging.StreamHandler(other))
    u01.route_libraries(target, level="INFO", names=["tensorflow"])
    logging.getLogger("tensorflow").info("to the other")
    assert other.getvalue() == "to the other\n" and capsys.readouterr().err == ""


def test_routed_again_after_the_logger_was_set_up_anew(tmp_path):
    u01.route_libraries(u01.get_logger(NAME, file=tmp_path / "a.log"))
    u01.get_logger(NAME, file=tmp_path / "b.log")
    logging.getLogger("tensorflow").warning("hello")
    assert (tmp_path / "a.log").read_text() == "" and "hello" in (tmp_path / "b.log").read_text()


def test_absl_and_python_warnings_come_once(tmp_path):
    # In a process of its own: absl sets up the root logger at its first message, and pytest collects warnings.
    done = run(
        """
        import warnings
        from absl import logging as absl_logging
        from utils.u01_logging import get_logger, route_libraries
        route_libraries(get_logger("train"))
        absl_logging.warning("from absl")
        absl_logging.info("too low")
        warnings.warn("a python warning")
        """
    )
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 0 and len([line for line in lines if line.strip()]) <= 3
    assert sum(line.endswith("WARNING  absl: from absl") for line in lines) == 1
    assert sum("py.warnings" in line and "UserWarning: a python warning" in line for line in lines) == 1


def test_fatal_record_of_absl_still_ends_the_program():
    done = run(
        """
        from absl import logging as absl_logging
        from utils.u01_logging import get_logger, route_libraries
        absl_logging.use_absl_handler()
        route_libraries(get_logger("train"))
        absl_logging.fatal("the end")
        print("still running")
        """
    )
    assert done.returncode != 0 and b"still running" not in done.stdout
    assert b"CRITICAL absl: the end" in done.stderr


def test_routing_touches_nothing_on_errors_nor_what_is_not_named():
    with pytest.raises(ValueError, match="into itself"):
        u01.route_libraries(logging.getLogger("absl"))
    with pytest.raises(ValueError, match="not a logging level"):
        u01.route_libraries(u01.get_logger(NAME), level="LOUD")
    assert logging.getLogger("tensorflow").filters == []
    before = warnings.showwarning
    u01.route_libraries(u01.get_logger(NAME), names=["absl"])
    assert warnings.showwarning is before  # Python's warnings are left alone unless named


@pytest.mark.parametrize("layout", [u01.CONSOLE_FORMAT, u01.FILE_FORMAT])
def test_explain_shows_what_the_format_writes(layout):
    record = logging.getLogger(NAME).makeRecord(NAME, logging.INFO, "/a/b.py", 42, "step %d", (7,), None)
    rows = u01.explain(layout, record)
    assert all(meaning for _, _, meaning in rows)
    rebuilt = layout
    for field, text, _ in rows:
        rebuilt = rebuilt.replace(field, text)
    assert rebuilt == logging.Formatter(layout).format(record)
    assert dict((field, text) for field, text, _ in rows)["%(message)s"] == "step 7"


def test_tf_logging_is_the_logger_tensorflow(capsys):
    import tensorflow as tf

    v1 = tf.compat.v1
    functions = {name for name in v1.logging.__all__ if callable(getattr(v1.logging, name))}
    assert set(u01.TF1_LOGGING) == functions  # the table is complete and invents nothing

    library = logging.getLogger("tensorflow")
    assert tf.get_logger() is library
    u01.route_libraries(u01.get_logger(NAME, level="DEBUG"), level="DEBUG")
    for then, level in [("debug", 10), ("info", 20), ("warn", 30), ("warning", 30), ("error", 40)]:
        getattr(v1.logging, then)("value %d", 3)
        library.log(level, "value %d", 3)
        old, new = capsys.readouterr().err.splitlines()
        assert old[9:] == new[9:] and old.endswith("tensorflow: value 3")  # the same but for the time
    v1.logging.set_verbosity(v1.logging.ERROR)
    assert library.level == logging.ERROR and v1.logging.get_verbosity() == library.getEffectiveLevel()


def test_demonstration(tmp_path):
    """It runs from any folder, leaves nothing there, and shows what it says it shows."""
    work, logs = tmp_path / "work", tmp_path / "logs"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "utils.u01_logging", "--folder", str(logs)],
        cwd=work,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    text = done.stdout
    assert done.returncode == 0, text
    assert list(work.iterdir()) == []
    assert {part.name for part in logs.iterdir()} == {"train.log", "small.log", "small.log.1", "small.log.2"}
    assert text.count("with addHandler in the cell, this comes twice") == 2
    assert text.count("with get_logger, this comes once") == 1
    assert len(re.findall(r"^WARNING:tensorflow:from tensorflow again", text, re.M)) == 2
    assert len(re.findall(r"WARNING  tensorflow: from tensorflow$", text, re.M)) == 1
    assert len(re.findall(r"WARNING  absl: from absl$", text, re.M)) == 1
    assert text.count("Python speaks once") == 1 and text.count("tf.print speaks at each call: x =") == 3
    log = (logs / "train.log").read_text(encoding="utf-8")
    for words in ("batch 0 has shape (100, 784)", "第7张", "KeyError", "from absl"):
        assert words in log
