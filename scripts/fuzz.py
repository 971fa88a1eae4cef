"""Try every parser with a million inputs that coverage guides (atheris), and write down what came of it.

    scripts/fuzz [--runs N] [TARGET...]

A crash, an input over 5 seconds or 512 MB ends it, and leaves the input in a file.
After a million docs/fuzzing.md is written anew; what it says of targets that were not tried is kept.
"""

import argparse
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = 1_000_000
REPORT = ROOT / "docs" / "fuzzing.md"
PLACES = [str(ROOT), str(ROOT / "tests")]
"""The sources as they stand: what is compiled cannot be watched."""

RUN = """
import sys
import atheris
sys.path[:0] = {places!r}
with atheris.instrument_imports(include=["fastrouter", "fuzz"]):
    import fuzz
atheris.Setup(sys.argv, fuzz.TARGETS[{name!r}])
atheris.Fuzz()
"""


def main() -> None:
    sys.path[:0] = PLACES
    import fuzz

    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(fuzz.TARGETS)}")
    chosen = parser.parse_args()
    found = {name: run(name, fuzz.seeds(name), chosen.runs) for name in chosen.targets or fuzz.TARGETS}
    rows = known_rows() | found
    lines = [
        "# Fuzzing",
        "",
        "Written by `scripts/fuzz`; do not edit. Inputs are guided by coverage (atheris). Each parser",
        "returns, or raises what it says that it raises, within 5 seconds and 512 MB. The targets are in",
        f"`tests/fuzz.py`. Python {platform.python_version()}, {platform.machine()}.",
        "",
        "| parser | inputs | paths covered | inputs a second | peak memory | crashes, hangs |",
        "|---|---|---|---|---|---|",
        *(rows[name] for name in fuzz.TARGETS if name in rows),
    ]
    print("\n".join(lines))
    if chosen.runs >= RUNS:
        REPORT.write_text("\n".join(lines) + "\n")


def known_rows() -> dict[str, str]:
    """What the report says already, by target."""
    lines = REPORT.read_text().splitlines()
    return {line.split()[1]: line for line in lines if line.startswith("| ")}


def run(name: str, seeds: list[bytes], runs: int) -> str:
    """Fuzz one target; its row of the table. Ends the program when something is found."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            Path(corpus, str(number)).write_bytes(seed)
        options = ["-max_len=4200", "-timeout=5", "-rss_limit_mb=512", "-print_final_stats=1"]
        process = subprocess.run(
            [sys.executable, "-c", RUN.format(places=PLACES, name=name), f"-runs={runs}", *options, corpus],
            stderr=subprocess.PIPE, text=True, errors="replace", check=False,
        )  # fmt: skip
    if process.returncode:
        sys.exit(f"{process.stderr[-4000:]}\nfuzz: {name} failed")
    print(f"{name} is done", file=sys.stderr)

    def last(pattern: str) -> str:
        return f"{int(re.findall(pattern, process.stderr)[-1]):,}"

    cells = [
        name,
        last(r"number_of_executed_units: (\d+)"),
        last(r"cov: (\d+)"),
        last(r"average_exec_per_sec: +(\d+)"),
        last(r"peak_rss_mb: +(\d+)") + " MB",
        "none",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
