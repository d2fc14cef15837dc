"""`python -m openklear.conformance`: the report; exit code 1 if our own losses depart from the formula."""

from __future__ import annotations

import argparse
import sys

from openklear.conformance import FORMATS, render, run
from openklear.errors import OpenKlearError


def main() -> int:
    """Print the report; 1 if ours departs, an error's own exit code if it could not be made."""
    parser = argparse.ArgumentParser(prog="python -m openklear.conformance", description=__doc__)
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--objective", action="append", help="only this one; may be given several times")
    parser.add_argument("--departures", action="store_true", help="only what does not agree")
    parser.add_argument("--framework", action="append", help="only rows of this one; may be given several times")
    chosen = parser.parse_args()
    try:
        report = run(objectives=chosen.objective)
    except OpenKlearError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(render(report, chosen.format, departures=chosen.departures, frameworks=chosen.framework), end="")
    return 0 if report.ours_agree else 1


if __name__ == "__main__":
    sys.exit(main())
