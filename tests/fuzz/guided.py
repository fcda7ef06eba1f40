"""One target under atheris: ``python -m tests.fuzz.guided TARGET [libFuzzer's arguments]``.

Ends the process, as libFuzzer does: status 0, or another one and the input in a file.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    atheris = importlib.import_module("atheris")  # by name: it is not in the lock file
    # What is imported in here is instrumented. The targets are too: a rule of theirs that an
    # input reaches for the first time is as good as a new branch of the core.
    with atheris.instrument_imports(include=["gateway", "tests.fuzz"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
