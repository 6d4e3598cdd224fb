"""Coverage-guided fuzzing of what strangers write, by atheris, for a bounded time: adapters and matchers.

    python -m tests.faults.payloads [--seconds 60] [--only TEXT]

Each target is a process of its own, as atheris never returns. It begins with the payloads of `tests/payloads`, follows
the branches of `ingestion` and `storms`, and holds every input to what the property tests promise
(`tests/ingestion/fuzz.py`). An input that breaks a promise is printed and kept in a scratch folder; exit 1.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")
os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(48))
os.environ.setdefault("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")  # nothing here asks a database

PAYLOADS = Path(__file__).parent.parent / "payloads"
MATCHERS = [b'{alertname=~"Node.*", severity!="info"}', b'a="b",c!~"d|e"', b"namespace=payments", b'"a b"=\'x\\"\'']
TARGETS = ("alertmanager", "generic", "kubernetes-event", "matchers")
WORDS = [
    r"\u0000", r"\ud800", r"\u202e", "null", "[]", "{}", "1e999", "-1", "9" * 400, "2026-11-25T10:00:00Z",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", '"labels":', '"status":"resolved",', '"endsAt":', '"id":',
    '"specversion":"1.0",', '"data_base64":', '"count":', '"involvedObject":', "=~", "!~", "!=", "{", "}", '"', "~/",
]  # fmt: skip
"""What msgspec, which is not followed, makes something of: put in at random places."""
LONGEST_BYTES = 8192


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.payloads")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--only", default="", help="targets whose name has this in it")
    parser.add_argument("--target", choices=TARGETS, help="fuzz this one in this process")
    parser.add_argument("--folder", type=Path, help="where it keeps what it finds")
    arguments = parser.parse_args()
    if arguments.target:
        fuzz(arguments.target, arguments.seconds, arguments.folder)
    return fuzz_all([name for name in TARGETS if arguments.only in name], arguments.seconds)


def fuzz_all(targets: list[str], seconds: int) -> int:
    """0: every input kept every promise. 1: see what was printed. Without atheris: 0, and it is said."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("NOT FUZZED by coverage: atheris has no package for this platform")
        return 0
    broken = 0
    for target in targets:
        folder = Path(tempfile.mkdtemp(prefix=f"stormconsole-fuzz-{target}-"))
        command = [sys.executable, "-m", "tests.faults.payloads", f"--target={target}", f"--seconds={seconds}"]
        done = subprocess.run([*command, f"--folder={folder}"], capture_output=True, text=True, timeout=seconds + 120)
        runs = re.search(r"^Done (\d+) runs", done.stdout + done.stderr, re.MULTILINE)
        if done.returncode == 0 and runs:
            print(f"fuzzed {target}: {int(runs[1]):,} inputs in {seconds} s, every promise kept", flush=True)
        else:
            broken += 1
            print(
                f"fuzzed {target}: BROKEN, the input is in {folder}\n{(done.stdout + done.stderr)[-4000:]}", flush=True
            )
    return int(broken > 0)


def fuzz(target: str, seconds: int, folder: Path) -> None:
    """Never returns: the process ends with 0 after the time, with another code at the first broken promise."""
    import atheris

    with atheris.instrument_imports(include=["ingestion", "storms"]):
        import django

        django.setup()
        check = _matchers() if target == "matchers" else _adapter(target)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for number, seed in enumerate(_seeds(target)):
        (corpus / str(number)).write_bytes(seed)
    words = folder / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    limits = [
        f"-dict={words}",
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_BYTES}",
        "-timeout=10",
        "-rss_limit_mb=2048",
    ]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", str(corpus)], check)
    atheris.Fuzz()


def _seeds(target: str) -> list[bytes]:
    """Valid ones; a payload after a byte that chooses its media type."""
    if target == "matchers":
        return MATCHERS
    files = [path for path in (PAYLOADS / target).glob("*.json") if path.name.count(".") == 1]
    return [bytes([choice]) + path.read_bytes() for path in sorted(files) for choice in range(3)]


def _adapter(kind: str) -> Callable[[bytes], None]:
    from ingestion.adapters.batch import Content
    from tests.ingestion import fuzz as promises

    types = promises.MEDIA_TYPES[kind]

    def check(data: bytes) -> None:
        media_type = types[data[0] % len(types)] if data else types[0]
        for terms in promises.TERMS:
            promises.check(kind, Content(data[1:], media_type, promises.RECEIVED_AT), terms)

    return check


def _matchers() -> Callable[[bytes], None]:
    from storms.matchers import MatcherError, parse_matchers

    def check(data: bytes) -> None:
        try:
            matchers = parse_matchers(data.decode("utf-8", "ignore"))
        except MatcherError:
            return
        assert list(parse_matchers(",".join(map(str, matchers)))) == list(matchers)
        for matcher in matchers:
            matcher.matches({matcher.name: "x" * 100})

    return check


if __name__ == "__main__":
    sys.exit(main())
