"""A training step of m01, DCGAN and pix2pix beside the same step in PyTorch, in turns.

    python -m benchmarks.peer_models --peers              # all three, about six minutes
    python -m benchmarks.peer_models dcgan --peers        # one anew; the others of the file stay

writes `benchmarks/results/peer_models.json`. Both sides hold their networks in processes of their own and take turns of
a few steps; that they compute the same is checked by the number of weights in their matrices. All steps are float32
unless the name says bfloat16. DCGAN is the paper's recipe at a quarter of its width, batch 64; pix2pix the paper's
size, batch 1.
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks import turns
from benchmarks.peer import Peer
from tools.machine import facts
from utils.lesson import RESULTS, write_json

RESULT = RESULTS / "peer_models.json"
STEPS = {"m01": 3, "dcgan": 1, "pix2pix": 1}  # in a turn
ROUNDS = {"m01": 15, "dcgan": 12, "pix2pix": 8}
FORMS = ("eager", "channels_last", "bfloat16")


def rows_of(model: str) -> dict[str, tuple[list[str], list[str]]]:
    """Network -> names of our rows and of PyTorch's; the rows of a network are compared with each other."""
    if model != "m01":
        return {model: (["ours", "bfloat16"], [f"{model}, {form}" for form in FORMS])}
    return {
        f"m01 {which}": (
            [f"{form} {which}" for form in ("loop", "ours", "bfloat16")],
            [f"m01 {which}, {form}" for form in FORMS],
        )
        for which in ("without", "with")
    }


def measure(model: str, rounds: int, peer: Peer) -> dict[str, dict]:
    """Network -> its rows, ours and PyTorch's, in milliseconds a step, and the share that other programs used.

    Raises:
        SystemExit: the two sides have networks of different size.
    """
    steps, networks = STEPS[model], rows_of(model)
    with Peer("benchmarks.own_steps", sys.executable, [model]) as own:
        runs, side = {}, {}
        for network, both in networks.items():
            weights = {}
            for helper, names in zip((own, peer), both):
                for name in names:
                    print(f"  {name}", flush=True)
                    weights[name] = helper.ask(name, steps=2)["matrix_weights"]
                    side[name] = "ours" if helper is own else "pytorch"
                    runs[name] = lambda helper=helper, name=name: helper.seconds(name, steps=steps) * 1e3
            if len(set(weights.values())) > 1:
                sys.exit(
                    f"{network}: the networks compared are not the same: {weights} numbers in their matrices"
                )
        found, foreign = turns.take_turns(runs, rounds, [*own.processes, *peer.processes])
    result = {}
    for network, both in networks.items():
        cell = {"foreign": sorted(foreign)[len(foreign) // 2], "ours": {}, "pytorch": {}}
        for name in [*both[0], *both[1]]:
            plain = name.removesuffix(network.removeprefix("m01")).strip().rpartition(", ")[2]
            cell[side[name]][plain] = turns.spread(found[name], 2)
        result[network] = cell
    return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help=f"some of {', '.join(STEPS)}; none: all")
    parser.add_argument(
        "--peers", action="store_true", help="needed: without PyTorch there is nothing to compare"
    )
    parser.add_argument("--rounds", type=int, help="in place of each model's own number")
    args = parser.parse_args(argv)
    if unknown := set(args.models) - set(STEPS):
        parser.error(f"no model {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    if not args.peers:
        parser.error(
            "this compares with PyTorch: give --peers, which installs it beside .venv when it is missing"
        )
    machine = facts()
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    same = {**stored.get("machine", {}), "date": ""} == {**machine, "date": ""}
    networks = stored.get("networks", {}) if same else {}
    for model in args.models or STEPS:
        print(f"{model}: building", flush=True)
        with Peer("models") as peer:
            networks |= measure(model, args.rounds or ROUNDS[model], peer)
            version = peer.about["pytorch"]
        for network in rows_of(model):
            for side in ("ours", "pytorch"):
                for form, cell in networks[network][side].items():
                    print(f"{network:<14} {side:<8} {form:<14} {cell['median']:8.1f} ms", flush=True)
        write_json(RESULT, {"networks": networks, "pytorch": version, "machine": machine})


if __name__ == "__main__":
    main()
