"""How much hypothesis makes up: the same examples in every `make test`, other and more ones in `make fuzz`.

A test of everything must not fail today for an input that nobody tried yesterday; looking for such inputs is a task of
its own, and what it finds becomes a test by itself.
"""

import os

from hypothesis import settings

MORE = int(os.environ.get("FUZZ", "0"))
"""How many times the usual number; 0: the usual ones."""

settings.register_profile("repeated", derandomize=True, database=None)
settings.register_profile("random", print_blob=True)
settings.load_profile("random" if MORE else "repeated")


def examples(usual: int) -> int:
    return usual * max(MORE, 1)
