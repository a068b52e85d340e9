"""`python -m engine RUN_DIR`: run what is left of a run. This is the runner that the console launches."""

import sys
from pathlib import Path

from engine.core.errors import EXIT_USAGE, NanosoloError
from engine.run.directory import RunDirectory
from engine.run.runner import Runner


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m engine RUN_DIR", file=sys.stderr)
        return EXIT_USAGE
    try:
        return Runner(RunDirectory(Path(sys.argv[1]).absolute())).main()
    except NanosoloError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
