"""`make faults`: every fault many times, a table at the end, exit 1 unless nothing was lost and nothing made twice.

After a run of every fault the payload path is fuzzed too (`tests.faults.payloads`).

    python -m tests.faults [--only TEXT] [--runs 20] [--seed N] [--results DIR] [--list]

What a fault's runs gave is kept in `--results` as soon as it is done; the same command again goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from random import Random

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")
os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(48))

from stormconsole.commands import PROJECT
from tests.faults import payloads
from tests.faults.catalogue import FAULTS, OUTAGE, Fault
from tests.faults.rig import Rig
from tests.faults.runner import Run, run_once
from tests.faults.servers import faketime
from tests.faults.table import render
from tests.harness.kube import Kube, running_kube

OUTAGE_RUNS = 3
FUZZ_SECONDS = 60


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        # Also in the background, where the shell has SIGINT ignored: what was started is stopped and cleared away.
        signal.signal(number, signal.default_int_handler)
    arguments = _parse()
    faults = [
        fault for fault in [*FAULTS, OUTAGE] if not arguments.only or arguments.only in f"{fault.family} {fault.name}"
    ]
    if arguments.list:
        print("\n".join(f"{fault.family:<11} {fault.name}" for fault in faults))
        return 0
    if any(map(_with_clocks, faults)):
        try:
            faketime()
        except LookupError as missing:
            sys.exit(f"the clock faults cannot run: {missing}")
    seed = arguments.seed or secrets.randbelow(10**6)
    print(f"seed {seed}, {arguments.runs} runs of {len(faults)} faults", flush=True)
    results = Path(arguments.results or f"/tmp/stormconsole-faults-{seed}")
    results.mkdir(parents=True, exist_ok=True)
    _require_same_code(results)
    with running_kube() as kube:
        for _, alike in groupby(faults, key=_with_clocks):
            _run_all(kube, list(alike), arguments.runs, seed, results)
    runs = [Run(**one) for fault in faults for one in _kept(results, fault)]
    print(render(runs))
    broken = 0 if arguments.only else payloads.fuzz_all(list(payloads.TARGETS), FUZZ_SECONDS)
    return 0 if runs and all(run.ok for run in runs) and not broken else 1


def _require_same_code(results: Path) -> None:
    """A table is of one state of the code: what another one gave is not gone on with."""
    commands = (["git", "rev-parse", "HEAD"], ["git", "diff", "HEAD", "--", "."])
    outputs = [subprocess.run(command, capture_output=True, cwd=PROJECT).stdout for command in commands]
    state = f"{outputs[0].decode().strip()} {hashlib.sha256(outputs[1]).hexdigest() if outputs[1] else 'clean'}"
    kept = results / "code.txt"
    if kept.exists() and kept.read_text() != state:
        sys.exit(f"{results} holds runs of other code ({kept.read_text()}): choose another folder")
    kept.write_text(state)
    print(f"code {state}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--only", default="", help="faults whose family or name has this in it")
    parser.add_argument(
        "--runs", type=int, default=int(os.environ.get("RUNS", "20")), help="of each fault (default 20)"
    )
    parser.add_argument("--seed", type=int, default=0, help="to repeat the chances of an earlier run")
    parser.add_argument("--results", default="", help="where to keep what was done, to go on from there later")
    parser.add_argument("--list", action="store_true", help="name the faults")
    return parser.parse_args()


def _with_clocks(fault: Fault) -> bool:
    """Only where clocks are stepped does every call of a clock go through a library that reads a file."""
    return fault.family == "clock"


def _run_all(kube: Kube, faults: list[Fault], runs: int, seed: int, results: Path) -> None:
    """On one rig, which is made anew after a run that did not end well."""
    rig: Rig | None = None
    try:
        for fault in faults:
            wanted = min(runs, OUTAGE_RUNS) if fault is OUTAGE else runs
            done = _kept(results, fault)
            chance = Random(f"{seed} {fault.name}")
            seeds = [chance.randrange(10**9) for _ in range(wanted)]
            for number in range(len(done), wanted):
                if rig is None:
                    rig = Rig(kube, clocks=_with_clocks(fault)).__enter__()
                run = _run_one(rig, fault, seeds[number])
                done.append(asdict(run))
                _file(results, fault).write_text(json.dumps(done, indent=1))
                _say(run, number, wanted)
                if not run.ok:
                    _keep_logs(rig, results, run)
                    rig.__exit__(None, None, None)
                    rig = None
    finally:
        if rig is not None:
            rig.__exit__(None, None, None)


def _run_one(rig: Rig, fault: Fault, seed: int) -> Run:
    began = time.monotonic()
    try:
        return run_once(rig, fault, seed)
    except Exception as error:  # the suite's own failure is a failed run, and the next one gets a new rig
        return Run(fault.name, seed, seconds=time.monotonic() - began, problems=[f"the suite: {_brief(error)}"])


def _brief(error: Exception) -> str:
    """The end is where a server's log says why it did not start."""
    said = repr(error)
    return said if len(said) <= 1000 else f"{said[:200]} ... {said[-800:]}"


def _say(run: Run, number: int, wanted: int) -> None:
    word = "ok" if run.ok else "FAILED"
    print(
        f"{time.strftime('%H:%M:%S')} {run.fault:<30} {number + 1:>2}/{wanted} {word:<6}"
        f" {run.acknowledged} acknowledged, settled after {run.recovery:.1f} s,"
        f" took {run.seconds:.1f} s {run.statuses} {run.notes or ''}",
        flush=True,
    )
    for problem in run.problems:
        print(f"    seed {run.seed}: {problem}", flush=True)


def _keep_logs(rig: Rig, results: Path, run: Run) -> None:
    folder = results / f"{run.fault.replace(' ', '-')}-{run.seed}"
    folder.mkdir(exist_ok=True)
    for process in rig.processes.values():
        (folder / f"{process.name}.log").write_text(rig.log(process.name))


def _file(results: Path, fault: Fault) -> Path:
    return results / f"{fault.name.replace(' ', '-')}.json"


def _kept(results: Path, fault: Fault) -> list[dict[str, object]]:
    path = _file(results, fault)
    return list(json.loads(path.read_text())) if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
