"""The tables of benchmarks/README.md that no lesson or model has of its own, as Markdown, from the result files."""

from __future__ import annotations

import json
import statistics

from benchmarks.model_tables import seconds
from benchmarks.turns import busy_sentence
from tools.machine import sentence
from utils.lesson import RESULTS

FAST, FAST_LOW = "written by hand", "written by hand, bfloat16 products"
KERAS = ("Keras layers", "Keras layers, unroll=True", "Keras, unroll=True, 1-thread ops")
TWO_LAYERS = ("LSTM-2", "GRU-2", "Bi-GRU-2")
COPY_LIMIT, INDEX, BEST_PNG = "copy limit", "NumPy index, tf.constant", "shuffle paths, decode, float last"
OF_2018 = ("one-shot", "initializable")
NO_PEERS = "PyTorch not measured"


def read(name: str) -> dict:
    """A result file by its stem.

    Raises:
        ValueError: it was not measured.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        part = "T_05" if name.startswith("T_05") else name
        raise ValueError(f"{path.name} is missing. Make it:  make bench B={part}")
    return json.loads(path.read_text(encoding="utf-8"))


def lines(head: str, rows: list[str], below: str) -> str:
    rule = "|" + "---|" * (head.count("|") - 1)
    return "\n".join([head, rule, *rows]) + f"\n\n{below}\n"


def on(result: dict) -> str:
    """Machine, versions and date, and whether the machine was busy."""
    beside = f", PyTorch {result['pytorch']}" if "pytorch" in result else ""
    return f"{sentence(result['machine'])}{beside}.{busy_sentence(result.get('foreign', 0.0))}"


def relative_spread(cells: list[tuple[float, list[float]]]) -> str:
    """How far apart the quartiles are, relative to the median: of the usual cell and of the worst."""
    widths = [(high - low) / middle for middle, (low, high) in cells]
    return (
        f"the quartiles lie {statistics.median(widths):.0%} of it apart, {max(widths):.0%} in the worst cell"
    )


# ----------------------------------------------------------------------------------------------------------- T_05
def t05_rows() -> tuple[dict, dict[str, dict[str, float]]]:
    """The result, and row -> column -> seconds."""
    result = read("T_05_speed")
    rows = [*result["rows"], *result.get("peers", [])]
    cells = {row["name"]: dict(zip(result["columns"], row["seconds"])) for row in rows}
    return result, {name: {c: s for c, s in row.items() if s is not None} for name, row in cells.items()}


def t05_table() -> str:
    """Seconds for 500 training and 100 test batches, by network and form."""
    result, cells = t05_rows()
    columns = result["columns"]
    peers = [row["name"] for row in result.get("peers", [])]

    def line(name: str, values: dict, form: str) -> str:
        return (
            f"| {name} | " + " | ".join(f"{values[c]:{form}}" if c in values else "" for c in columns) + " |"
        )

    rows = [
        line(f"**{name}**" if name in (FAST, FAST_LOW) else name, row, ".1f") for name, row in cells.items()
    ]
    fast = [(f"{FAST} / the fastest of Keras", FAST, KERAS)]
    fast += [(f"{own} / PyTorch", own, peers) for own in (FAST, FAST_LOW) if peers]
    for name, own, others in fast:
        ratios = {
            c: cells[own][c] / min(cells[other][c] for other in others)
            for c in columns
            if c in cells[own] and all(c in cells[other] for other in others)
        }
        rows.append(line(f"*{name}*", ratios, ".2f"))
    known = [
        (seconds, quartiles)
        for row in [*result["rows"], *result.get("peers", [])]
        for seconds, quartiles in zip(row["seconds"], row.get("quartiles", []))
        if seconds and quartiles
    ]
    spread = f"; {relative_spread(known)}" if known else ""
    measured = result.get("measured", {})
    versions = next(({"pytorch": c["pytorch"]} for c in measured.values() if "pytorch" in c), {})
    alone = [column for column, cell in measured.items() if versions and not cell["peers"]]
    apart = f" Measured in another run, without PyTorch: {', '.join(alone)}." if alone else ""
    below = f"Seconds. The {result['method']}{spread}.{apart} {on({**result, **versions})}"
    return lines("| | " + " | ".join(columns) + " |", rows, below)


def products_table() -> str:
    """Microseconds of single products, by element type and threads."""
    result, rows = read("T_05_products"), []
    counts = result["threads"]
    columns = [(dtype, count) for dtype in ("float32", "bfloat16") for count in counts]
    for name, row in result["rows"].items():
        cells = " | ".join(f"{row[dtype][count]['median']:,.0f}" for dtype, count in columns)
        rows.append(f"| {name} | {cells} |")
    quartiles = [
        (cell["median"], cell["quartiles"])
        for row in result["rows"].values()
        for cells in row.values()
        for cell in cells.values()
    ]
    heads = [f"{dtype}, {counts[count]} thread{'s' * (counts[count] > 1)}" for dtype, count in columns]
    below = (
        f"Microseconds of one call, medians of rounds in turns; {relative_spread(quartiles)}. {on(result)}"
    )
    return lines("| | " + " | ".join(heads) + " |", rows, below)


# ----------------------------------------------------------------------------------------------------------- T_10
def t10_table() -> str:
    """Milliseconds for 100 batches, and how many times the copy limit that is."""
    result = read("T_10")
    limit, rows = result["rows"][COPY_LIMIT]["ms"], []
    for name, row in (result["rows"] | result.get("peers", {})).items():
        low, high = row.get("quartiles", [row["low"], row["high"]])
        before = f"{row['seconds_2018'] * 1e3:,.0f}" if row["seconds_2018"] else ""
        old = name.startswith(OF_2018)
        digits = 0 if row["ms"] >= 100 else 1
        shown = f"{row['ms']:,.{digits}f}{' (scaled up)' if row['scaled'] else ''}"
        times = f"{row['ms'] / limit:,.{0 if row['ms'] > 100 * limit else 1}f}"
        between = f"{low:,.{digits}f} to {high:,.{digits}f}"
        rows.append(f"| {'2018: ' * old}{name} | {before} | {shown} | {between} | {times} |")
    below = (
        "Milliseconds for 100 batches of 128 out of 55,000 rows; medians of rounds in which all rows take turns; "
        f"numbers behind the names are sizes of shuffle buffers. {on(result)}"
    )
    return lines("| way | published in 2018 | ms | quartiles | × the copy limit |", rows, below)


# --------------------------------------------------------------------------------------------------------- models
def models_table() -> str:
    """A step of each model: seconds, share of the machine's convolution peak, memory."""
    files = [read("gan_speed"), read("model_steps")]
    rows = []
    for result in files:
        for name, row in result["rows"].items():
            cells = [
                f"{seconds(row[kind])} | {row[kind]['share_of_peak']:.0%}" for kind in ("float32", "bfloat16")
            ]
            memory = row["float32"]["memory_bytes"] / 1e9
            rows.append(f"| {name} | {' | '.join(cells)} | {row['operations'] / 1e9:.1f} | {memory:.1f} GB |")
    peaks = [
        " and ".join(f"{result['peak_operations_per_s'][kind] / 1e9:.0f}" for kind in ("float32", "bfloat16"))
        for result in files
    ]
    machines = list(dict.fromkeys(sentence(result["machine"]) for result in files))
    busy = max(result["busy_before_percent"] for result in files)
    below = (
        f"Median of {files[0]['rounds']} rounds in turns. The peaks in float32 and bfloat16: {peaks[0]} GFLOP/s when "
        f"the first rows were measured, {peaks[1]} with the last {len(files[1]['rows'])}. "
        f"{'; '.join(machines)}.{busy_sentence(busy / 100)}"
    )
    head = "| a step of | float32, s | of the peak | bfloat16, s | of the peak | 10⁹ operations | memory |"
    return lines(head, rows, below)


def peers_table() -> str:
    """A training step of three models, ours and PyTorch's; a sentence in its place where nobody measured it."""
    if not (RESULTS / "peer_models.json").exists():
        return "Not measured yet: `make bench PEERS=1` does.\n"
    result = read("peer_models")
    rows = []
    for network, cell in result["networks"].items():
        ours, other = cell["ours"], cell["pytorch"]
        best = min(("eager", "channels_last"), key=lambda form: other[form]["median"])
        cells = [ours["ours"], other["eager"], other["channels_last"], ours["bfloat16"], other["bfloat16"]]
        shown = [f"{row['median']:.1f} ({row['fastest']:.1f})" for row in cells]
        ratios = [
            f"{a['median'] / b['median']:.2f} ({a['fastest'] / b['fastest']:.2f})"
            for a, b in ((ours["ours"], other[best]), (ours["bfloat16"], other["bfloat16"]))
        ]
        rows.append(f"| {network} | " + " | ".join([*shown[:3], ratios[0], *shown[3:], ratios[1]]) + " |")
    known = [
        (row["median"], row["quartiles"])
        for cell in result["networks"].values()
        for side in ("ours", "pytorch")
        for row in cell[side].values()
    ]
    foreign = max(cell["foreign"] for cell in result["networks"].values())
    below = (
        f"Milliseconds a step, median of the rounds and in brackets the fastest; {relative_spread(known)}. A ratio "
        f"below 1 means that ours is faster. {on({**result, 'foreign': foreign})}"
    )
    head = (
        "| a step of | ours, float32 | PyTorch eager | PyTorch channels_last, fused Adam | ours / its best "
        "| ours, bfloat16 | PyTorch bfloat16 | ratio |"
    )
    return lines(head, rows, below)


def startup_table() -> str:
    """Imports, the first step, JupyterLab."""
    if not (RESULTS / "startup.json").exists():
        return "Not measured yet: `make bench B=startup` does.\n"
    result = read("startup")
    rows = [
        f"| {name} | {row['median']:.3g} s | {row['quartiles'][0]:.3g} to {row['quartiles'][1]:.3g} |"
        for name, row in result["rows"].items()
    ]
    if "cold_s" in result:
        rows.append(f"| `make lab` in a fresh clone, set-up included | {result['cold_s']:.0f} s | once |")
    rounds = next(iter(result["rows"].values()))["rounds"]
    return lines("| | median | quartiles |", rows, f"{rounds} rounds in turns. {on(result)}")


# -------------------------------------------------------------------------------------------------------- targets
def target(what: str, value: float | None, limit: float, at_most: bool = True, form: str = ".2f") -> str:
    """One line: what was aimed at, what was measured, whether it was reached."""
    aim = f"{'at most' if at_most else 'at least'} {limit:{form}}"
    if value is None:
        return f"| {what} | {aim} | {NO_PEERS} | |"
    reached = value <= limit if at_most else value >= limit
    return f"| {what} | {aim} | {value:{form}} | {'reached' if reached else '**missed**'} |"


def targets_table() -> str:
    """What we aimed at and what came out, in one place."""
    result, cells = t05_rows()
    peer = next((row["name"] for row in result.get("peers", [])), None)
    rows = []
    for column in TWO_LAYERS:
        for own in (FAST, FAST_LOW):
            value = cells[own][column] / cells[peer][column] if peer and column in cells[peer] else None
            rows.append(target(f"T_05, {column}: {own} / PyTorch", value, 0.85))
    worst = max(
        cells[FAST][c] / min(cells[name][c] for name in KERAS) for c in result["columns"] if c in cells[FAST]
    )
    rows.append(target(f"T_05, any network: {FAST} / Keras' layers", worst, 1.0))
    ways = read("T_10")["rows"]
    today = [name for name in ways if not name.startswith((*OF_2018, COPY_LIMIT, "NumPy"))]
    best = min(ways[name]["ms"] for name in today)
    for name, what in ((INDEX, "indexing the array"), (COPY_LIMIT, "copy limit")):
        rows.append(target(f"T_10: best `tf.data`, already running / {what}", best / ways[name]["ms"], 3.0))
    png = read("T_11")["rows"][BEST_PNG]["share_of_limit"]
    rows.append(target("T_11: PNG to float32, share of the decode limit", png, 0.85, at_most=False))
    networks = peer_models()
    for network, limit in (("m01 without", 0.9), ("m01 with", 0.8)):
        for form, name in (
            ("eager", "PyTorch eager"),
            ("channels_last", "PyTorch channels_last, fused Adam"),
        ):
            value = None
            if network in networks:
                cell = networks[network]
                value = cell["ours"]["ours"]["median"] / cell["pytorch"][form]["median"]
            rows.append(target(f"{network} batch normalization: ours / {name}", value, limit))
    return lines("| | aim | measured | |", rows, "Ratios of medians from the tables below.")


# -------------------------------------------------------------------------------------------------------- summary
def duration(seconds: float) -> str:
    """300 s, 4.9 s, 329 ms, 7.4 ms."""
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1e3, "ms")
    return f"{value:.{0 if value >= 100 else 1}f} {unit}"


def peer_models() -> dict[str, dict]:
    """Network -> its figures, ours and PyTorch's; empty where nobody measured them."""
    path = RESULTS / "peer_models.json"
    return json.loads(path.read_text(encoding="utf-8"))["networks"] if path.exists() else {}


def summary_table() -> str:
    """The tables of 2018 in one: what was published, their code today, this repository's best, PyTorch's best."""
    rows = []

    def row(what: str, published: float | None, then: float, now: float, peer: float | None) -> None:
        shown = ["" if s is None else duration(s) for s in (published, then, now, peer)]
        rows.append(f"| {what} | {shown[0]} | {shown[1]} | **{shown[2]}** | {shown[3]} |")

    result, cells = t05_rows()
    published = cells[next(name for name in cells if "2018" in name)]
    old = [name for name in cells if name.startswith("TF 1.x")]
    peers = [peer["name"] for peer in result.get("peers", [])]
    for column in TWO_LAYERS:
        peer = min((cells[name][column] for name in peers if column in cells[name]), default=None)
        then = min(cells[name][column] for name in old)
        now = min(cells[name][column] for name in (FAST, FAST_LOW))
        row(f"MNIST, {column}: 500 batches and a test", published[column], then, now, peer)
    t10 = read("T_10")
    ways, others = t10["rows"], t10.get("peers", {})
    best = min(ways[name]["ms"] for name in ways if not name.startswith((*OF_2018, COPY_LIMIT, "NumPy")))
    peer = min((other["ms"] / 1e3 for other in others.values()), default=None)
    for name in ("one-shot, 5000", "initializable, 5000"):
        then = ways[name]
        row(
            f"100 batches from arrays, {name.partition(',')[0]}",
            then["seconds_2018"],
            then["ms"] / 1e3,
            best / 1e3,
            peer,
        )
    t11 = read("T_11")
    ways, others = t11["rows"], t11.get("peers", {})
    then = ways["queue, 4 threads, capacity 5000"]
    peer = min((other["s"] for other in others.values()), default=None)
    row("100 batches of PNGs", then["seconds_2018"], then["s"], ways[BEST_PNG]["s"], peer)
    runs, networks = read("m01_speed")["runs"], peer_models()
    for which, published in (("without", 45.0), ("with", 90.0)):
        forms = {form: {"median": runs[f"{form} {which}"]["ms"]} for form in ("ours", "bfloat16")}
        # Our figure in turns with PyTorch, where that was measured.
        cell = networks.get(f"m01 {which}", {"ours": forms, "pytorch": {}})
        best = {
            side: min((one["median"] * 10 for one in cell[side].values()), default=None)
            for side in ("ours", "pytorch")
        }
        row(
            f"10,000 steps {which} batch normalization",
            published,
            runs[f"graph {which}"]["ms"] * 10,
            best["ours"],
            best["pytorch"],
        )
    below = (
        "2018: as published, on their machines (a GPU in the first three rows and the last two). The other columns: "
        "this machine, no GPU; medians, those of the steps scaled up. Ours is the faster of float32 and bfloat16; "
        "PyTorch's is float32 in the recurrent rows and the faster of both in the last two. Arrays: an iterator that "
        f"runs already; starting one takes about as long again. {sentence(t11['machine'])}."
    )
    return lines("| | published in 2018 | that code, today | **ours, today** | PyTorch |", rows, below)


TABLES = {
    "bench-summary": summary_table,
    "bench-targets": targets_table,
    "bench-models": models_table,
    "t05-speed": t05_table,
    "t05-products": products_table,
    "t10-ways": t10_table,
    "bench-peers": peers_table,
    "bench-startup": startup_table,
}
