"""`make bench`: which benchmarks run, in what order, how a busy machine is noticed, and what the tables say of it."""

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from conftest import REPO

from benchmarks import (
    bench,
    bench_tables,
    gan_speed,
    peer,
    startup,
    t05_speed,
    t10_dataset,
    t11_tables,
    turns,
)

PYTORCH = (peer.VENV / "installed.json").exists()


# ------------------------------------------------------------------------------------------------ the dispatcher
@pytest.fixture
def started(monkeypatch):
    """The command lines that `bench.main` starts; modules named in `fails` end with an error."""
    lines, fails = [], set()

    def call(line, **_):
        lines.append(line[1:])
        return subprocess.CompletedProcess(line, int(line[2] in fails))

    monkeypatch.setattr(bench.subprocess, "run", call)
    monkeypatch.setattr(bench.psutil, "cpu_percent", lambda interval: 0.0)
    return lines, fails


def test_one_part_and_the_tables(started):
    lines, _ = started
    bench.main(["T_10"])
    assert lines == [["-m", "benchmarks.t10_dataset"], ["-m", "benchmarks.tables"]]


def test_peers_and_rounds_reach_those_that_know_them(started):
    lines, _ = started
    bench.main(["T_05", "T_11", "m01", "--peers", "--rounds", "2"])
    assert lines == [
        ["-m", "benchmarks.t05_speed", "--peers", "--rounds", "2"],
        ["-m", "benchmarks.t05_products", "--rounds", "2"],
        ["-m", "benchmarks.t11_images", "--peers"],
        ["-m", "benchmarks.m01_batch_normalization", "speed"],
        ["-m", "benchmarks.peer_models", "m01", "--peers", "--rounds", "2"],
        ["-m", "benchmarks.tables"],
    ]


def test_without_peers_nothing_of_pytorch_runs(started):
    lines, _ = started
    bench.main([])
    modules = [line[1] for line in lines]
    assert "benchmarks.peer_models" not in modules and all("--peers" not in line for line in lines)
    assert {"benchmarks.t05_speed", "benchmarks.gan_speed", "benchmarks.startup"} <= set(modules)


def test_a_missing_benchmark_is_left_out_and_said(started, monkeypatch, capsys):
    lines, _ = started
    parts = {"models": [bench.Script("benchmarks.not_written"), bench.Script("benchmarks.startup")]}
    monkeypatch.setattr(bench, "PARTS", parts)
    bench.main([])
    assert [line[1] for line in lines] == ["benchmarks.startup", "benchmarks.tables"]
    assert "benchmarks.not_written is not there yet" in capsys.readouterr().out


def test_a_failing_benchmark_does_not_stop_the_others(started):
    lines, fails = started
    fails.add("benchmarks.t10_dataset")
    with pytest.raises(SystemExit, match=r"failed: python -m benchmarks\.t10_dataset"):
        bench.main(["T_10", "startup"])
    assert [line[1] for line in lines] == [
        "benchmarks.t10_dataset",
        "benchmarks.startup",
        "benchmarks.tables",
    ]


def test_an_unknown_part_is_refused(started, capsys):
    with pytest.raises(SystemExit):
        bench.main(["T_99"])
    assert "no benchmark T_99" in capsys.readouterr().err and not started[0]


def test_each_benchmark_takes_the_arguments_it_is_given():
    """Every line of the dispatcher's table parses, without running anything."""
    scripts = [script for part in bench.PARTS.values() for script in part if bench.exists(script.module)]
    assert len(scripts) >= 8
    for script in scripts:
        source = (REPO / (script.module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        for flag in ["--peers"] * script.peers + ["--rounds"] * script.rounds:
            assert f'"{flag}"' in source, f"{script.module} has no {flag}"
        for argument in script.arguments:
            assert re.search(rf'"{argument}"', source), f"{script.module} knows no {argument}"


def test_make_passes_its_settings_on():
    command = ["make", "-n", "--no-print-directory", "bench", "B=T_05 m01", "PEERS=1", "ROUNDS=3"]
    # `make test` hands its own flags down, which would let make say more.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, cwd=REPO, env=clean, capture_output=True, text=True)
    line = done.stdout.splitlines()[-1]
    assert " ".join(line.split()) == ".venv/bin/python -m benchmarks.bench T_05 m01 --peers --rounds 3"


# -------------------------------------------------------------------------------------------------- taking turns
def test_rows_take_turns():
    order = []
    rows = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    found, foreign = turns.take_turns(rows, 3, progress=lambda line: None)
    assert order == list("ababab")
    assert found == {"a": [1, 3, 5], "b": [2, 4, 6]} and len(foreign) == 3


def test_spread():
    assert turns.spread([4.0, 1.0, 3.0, 2.0, 5.0]) == {
        "median": 3.0,
        "quartiles": [1.5, 4.5],
        "fastest": 1.0,
        "slowest": 5.0,
        "rounds": 5,
    }
    assert turns.spread([2.0])["quartiles"] == [2.0, 2.0]


class Clock:
    """A machine of two cores whose processor time is set by hand."""

    def __init__(self, monkeypatch):
        self.now, self.machine, self.own = 0.0, 0.0, 0.0
        monkeypatch.setattr(turns, "CORES", 2)
        monkeypatch.setattr(turns.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(turns.Meter, "processor_seconds", lambda meter: (self.machine, self.own))


def test_what_others_use_is_the_rest(monkeypatch):
    clock = Clock(monkeypatch)
    meter = turns.Meter()
    clock.now, clock.machine, clock.own = 10.0, 15.0, 12.0
    assert meter.foreign() == pytest.approx(3 / 20)
    assert "15%" in turns.busy_sentence(meter.foreign()) and turns.busy_sentence(0.05) == ""


def test_a_foreign_process_is_noticed_and_a_child_of_ours_is_not():
    """Two processes that are busy; a meter that is told of one of them sees the other."""
    burn = "import time; end = time.time() + 60\nwhile time.time() < end: pass"
    both = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(2)]
    try:
        processes = [psutil.Process(process.pid) for process in both]
        knows_one, knows_both = turns.Meter(processes[:1]), turns.Meter(processes)
        deadline = time.monotonic() + 120
        while (used := processes[1].cpu_times().user) < 0.5 and time.monotonic() < deadline:
            time.sleep(0.2)
        difference = knows_one.foreign() - knows_both.foreign()
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert used >= 0.5, "the machine gave a busy loop not half a second in two minutes"
    assert difference == pytest.approx(used / knows_one.seconds() / turns.CORES, rel=0.5)


# ------------------------------------------------------------------------------------------------- helper processes
SERVER = """
from benchmarks.peers.serve import serve
def fails(question):
    raise ValueError("no such thing")
serve({"good": lambda question: print("more noise") or {"seconds": question["n"] * 2.0}, "bad": fails}, {"it": "is"})
"""


@pytest.fixture
def server(tmp_path):
    (tmp_path / "server_for_test.py").write_text(SERVER)
    settings = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPO}"}
    with peer.Peer("server_for_test", sys.executable, settings=settings) as helper:
        yield helper


def test_a_helper_answers(server):
    assert server.about == {"it": "is", "rows": ["good", "bad"]}
    assert server.seconds("good", n=4) == 8.0 and server.ask("good", n=1) == {"seconds": 2.0}
    assert psutil.Process(server.process.pid) in server.processes


def test_a_helper_that_fails_says_why(server):
    with pytest.raises(peer.PeerError, match="bad: ValueError: no such thing"):
        server.ask("bad")


def test_the_environment_is_made_once(tmp_path, monkeypatch):
    """pip is called with the packages, a finished environment is kept, one of other packages is made anew."""
    installed = []
    monkeypatch.setattr(peer, "VENV", tmp_path / "venv")
    monkeypatch.setattr(peer, "REPO", tmp_path)
    monkeypatch.setattr(peer, "run_pip", lambda command: installed.append(command))
    assert peer.python().exists() and peer.python() == tmp_path / "venv" / "bin" / "python"
    assert len(installed) == 1 and installed[0][-len(peer.PACKAGES) :] == peer.PACKAGES
    monkeypatch.setattr(peer, "PACKAGES", ["torch==9.*"])
    peer.python()
    assert len(installed) == 2


def test_a_broken_installation_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(peer, "VENV", tmp_path / "venv")
    monkeypatch.setattr(peer, "REPO", tmp_path)

    def fails(command):
        raise SystemExit("pip could not install")

    monkeypatch.setattr(peer, "run_pip", fails)
    for _ in range(2):
        with pytest.raises(SystemExit, match="pip could not"):
            peer.python()


# ------------------------------------------------------------------------------------------------------- the rows
def test_bytes_are_delivered_as_the_same_floats_with_their_labels():
    rows = 128 * 3
    images = (np.arange(rows)[:, None] % 256 / 255).astype(np.float32).repeat(3, axis=1)
    batches = list(t10_dataset.permuted_bytes(images, np.arange(rows)).take(3).as_numpy_iterator())
    x, y = (np.concatenate(part) for part in zip(*batches))
    assert x.dtype == np.float32 and sorted(y) == list(range(rows)) and list(y) != sorted(y)
    np.testing.assert_allclose(x, images[y], atol=1e-6)


def test_columns_measured_before_stay_only_on_the_same_machine(tmp_path, monkeypatch):
    path = tmp_path / "T_05_speed.json"
    monkeypatch.setattr(t05_speed, "RESULT", path)
    path.write_text(json.dumps({"measured": {"GRU-1": {}}, "machine": {"cpu": "a", "date": "2026-01-01"}}))
    assert t05_speed.earlier({"cpu": "a", "date": "2026-01-02"}) == {"GRU-1": {}}
    assert t05_speed.earlier({"cpu": "b", "date": "2026-01-01"}) == {}


def test_first_step_is_slower_than_a_later_one():
    found = startup.first_step()
    assert found["first"] > 2 * found["later"] > 0


def test_lab_is_measured_until_the_page_is_there(monkeypatch):
    """A server that prints its address at once and answers half a second later."""
    program = (
        "import http.server, sys, time\n"
        "port = int(sys.argv[1].partition('=')[2])\n"
        "print(f'http://127.0.0.1:{port}/', flush=True)\n"
        "time.sleep(0.5)\n"
        "http.server.HTTPServer(('127.0.0.1', port), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
    )
    real = subprocess.Popen

    def popen(command, **settings):
        port = next(word for word in command if word.startswith("PORT="))
        return real([sys.executable, "-c", program, port], **settings)

    monkeypatch.setattr(startup.subprocess, "Popen", popen)
    before = {child.pid for child in psutil.Process().children()}
    seconds = startup.lab()
    assert 0.5 < seconds < 60
    assert {child.pid for child in psutil.Process().children()} <= before


# ----------------------------------------------------------------------------------------------------- the tables
MACHINE = {
    "cpu": "Test", "cores": 2, "memory_gib": 1, "gpu": [], "tensorflow": "2", "keras": "3", "python": "3", "date": "d",
}  # fmt: skip


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Result files with round figures: by hand 8 s, Keras 10 s, PyTorch 10 s; tf.data 20 ms over a limit of 5 ms."""
    monkeypatch.setattr(bench_tables, "RESULTS", tmp_path)
    row = lambda name, seconds: {
        "name": name,
        "seconds": [seconds] * 3,
        "quartiles": [[seconds, seconds + 1]] * 3,
    }
    forms = {**dict(zip(bench_tables.KERAS, (12.0, 11.0, 10.0))), bench_tables.FAST: 8.0}
    forms[bench_tables.FAST_LOW] = 9.0
    t05 = {
        "method": "median",
        "columns": list(bench_tables.TWO_LAYERS),
        "rows": [row(name, seconds) for name, seconds in forms.items()],
        "peers": [row("PyTorch", 10.0)],
        "foreign": 0.0,
        "machine": MACHINE,
    }
    ms = lambda value: {"ms": value, "low": value, "high": value, "scaled": False, "seconds_2018": None}
    ways = {"initializable": 1.0, "slices": 20.0, bench_tables.INDEX: 10.0, "copy limit": 5.0}
    t10 = {"rows": {name: ms(value) for name, value in ways.items()}, "machine": MACHINE}
    t11 = {"rows": {bench_tables.BEST_PNG: {"share_of_limit": 0.9}}}
    models = {
        "networks": {
            f"m01 {which}": {
                "ours": {form: turns.spread([20.0]) for form in ("loop", "ours", "bfloat16")},
                "pytorch": {form: turns.spread([25.0]) for form in ("eager", "channels_last", "bfloat16")},
                "foreign": 0.5,
            }
            for which in ("without", "with")
        },
        "machine": MACHINE,
        "pytorch": "2.13",
    }
    for name, content in {"T_05_speed": t05, "T_10": t10, "T_11": t11, "peer_models": models}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_targets_say_what_is_reached_and_what_is_missed(results):
    table = bench_tables.targets_table()
    line = lambda start: next(text for text in table.splitlines() if text.startswith(f"| {start}"))
    assert "| at most 0.85 | 0.80 | reached |" in line("T_05, GRU-2: written by hand / PyTorch")
    assert "| 0.90 | **missed** |" in line("T_05, GRU-2: written by hand, bfloat16 products / PyTorch")
    assert "| at most 3.00 | 2.00 | reached |" in line(
        "T_10: best `tf.data`, already running / indexing the array"
    )
    assert "| at most 3.00 | 4.00 | **missed** |" in line(
        "T_10: best `tf.data`, already running / copy limit"
    )
    assert "| at least 0.85 | 0.90 | reached |" in line("T_11")
    assert "| at most 0.90 | 0.80 | reached |" in line(
        "m01 without batch normalization: ours / PyTorch eager"
    )


def test_durations_have_three_digits_at_least_where_they_matter():
    shown = [bench_tables.duration(seconds) for seconds in (300.04, 28.14, 1.0, 0.329, 0.0074)]
    assert shown == ["300 s", "28.1 s", "1.0 s", "329 ms", "7.4 ms"]


def test_shares_of_the_peak_and_medians_over_rounds(monkeypatch):
    """Two rounds of two kinds: medians over the rounds, the peak of the same kind, the busiest moment."""
    peaks = iter([100.0, 200.0, 300.0, 400.0])  # float32, bfloat16, float32, bfloat16
    monkeypatch.setattr(gan_speed, "run_worker", lambda *_: next(peaks))
    busy = iter([3.0, 30.0, 1.0, 2.0])
    monkeypatch.setattr(gan_speed.psutil, "cpu_percent", lambda interval: next(busy))
    seconds = iter([1.0, 0.5, 3.0, 1.5])
    run = lambda name, more: {"seconds": next(seconds), "memory_bytes": 7, "flags": more}
    found = gan_speed.measure(2, ["small"], run, lambda result: 100.0 if result["flags"] else 200.0)
    assert found["peak_operations_per_s"] == {"float32": 200.0, "bfloat16": 300.0}
    wide, half = (found["rows"]["small"][kind] for kind in ("float32", "bfloat16"))
    assert (wide["s"], wide["low"], wide["high"], wide["memory_bytes"]) == (2.0, 1.0, 3.0, 7)
    assert wide["share_of_peak"] == pytest.approx(200 / 2 / 200) and half["s"] == 1.0
    assert half["share_of_peak"] == pytest.approx(100 / 1 / 300) and found["busy_before_percent"] == 30.0


def test_targets_without_pytorch(results):
    (results / "peer_models.json").unlink()
    content = json.loads((results / "T_05_speed.json").read_text())
    (results / "T_05_speed.json").write_text(json.dumps({**content, "peers": []}))
    assert bench_tables.targets_table().count(bench_tables.NO_PEERS) == 10
    assert "make bench PEERS=1" in bench_tables.peers_table()


def test_ratios_and_spread_stand_in_the_tables(results):
    table = bench_tables.t05_table()
    assert "| *written by hand / the fastest of Keras* | 0.80 | 0.80 | 0.80 |" in table
    assert "| *written by hand / PyTorch* | 0.80 | 0.80 | 0.80 |" in table
    assert "the quartiles lie 10% of it apart, 12% in the worst cell" in table
    assert "| slices |  | 20.0 | 20.0 to 20.0 | 4.0 |" in bench_tables.t10_table()


def test_a_busy_machine_stands_below_the_table(results):
    assert "busy" not in bench_tables.t05_table()
    assert "other programs used 50% of the processor" in bench_tables.peers_table()


def test_a_missing_result_names_its_command(results):
    (results / "T_10.json").unlink()
    with pytest.raises(ValueError, match=r"T_10\.json is missing.*make bench B=T_10"):
        bench_tables.t10_table()


def test_disturbed_rows_of_t11_are_named(monkeypatch):
    row = {
        "s": 1.0,
        "low": 1.0,
        "high": 1.0,
        "first_batch_s": 0.1,
        "share_of_limit": 0.5,
        "seconds_2018": None,
    }
    rows = {"calm": {**row, "disturbed": False}, "loud": {**row, "disturbed": True}}
    content = {"rows": rows, "batches_measured": 25, "scaled_by": 4, "machine": MACHINE}
    monkeypatch.setattr(t11_tables, "read", lambda: content)
    assert "**The machine was busy** in loud." in t11_tables.methods_table()


# -------------------------------------------------------------------------------- equal work, where PyTorch is there
EQUAL = """
import numpy as np, torch
from benchmarks.peers import t05
torch.manual_seed(0)
for kind in ("LSTM", "GRU"):
    model = t05.Recurrent(kind, 1)
    values = {name: p.detach().numpy() for name, p in model.named_parameters()}
    images = np.random.default_rng(0).uniform(size=(3, 28, 28)).astype(np.float32)
    np.savez(f"TARGET/{kind}.npz", scores=model(torch.from_numpy(images)).detach().numpy(), images=images,
             **{name.replace(".", "/"): value for name, value in values.items()})
"""


@pytest.mark.skipif(not PYTORCH, reason="PyTorch is installed by make bench PEERS=1 only")
def test_pytorchs_recurrent_networks_are_ours(tmp_path):
    """Its weights in our layers give its scores: the two sides of T_05 compute the same."""
    import tensorflow as tf

    from benchmarks.t05_fast_rnn import Stack

    program = EQUAL.replace("TARGET", str(tmp_path))
    done = subprocess.run([str(peer.python()), "-c", program], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    order = {"LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2]}  # PyTorch: reset before update
    for kind, gates in order.items():
        found = np.load(tmp_path / f"{kind}.npz")
        part = lambda name, found=found, kind=kind: np.split(found[f"layers/{name}_l0"], len(order[kind]))
        kernel, recurrent = (
            np.concatenate([part(name)[g] for g in gates]).T for name in ("weight_ih", "weight_hh")
        )
        biases = [np.concatenate([part(name)[g] for g in gates]) for name in ("bias_ih", "bias_hh")]
        stack = Stack(kind, 1, 256, seed=1)
        bias = sum(biases) if kind == "LSTM" else np.stack(biases)
        for variable, value in zip(stack.weights[0], (kernel, recurrent, bias)):
            variable.assign(value)
        stack.out_kernel.assign(found["scores/weight"].T)
        stack.out_bias.assign(found["scores/bias"])
        np.testing.assert_allclose(stack(tf.constant(found["images"])), found["scores"], atol=1e-5)
