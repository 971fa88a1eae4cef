"""Measure this router beside uWSGI's and a minimal relay in C, in one run.

All routers of a comparison run at the same time and have their turns, slice after slice, in random order:
what the machine does besides comes to all of them. The figures are medians over the rounds; what counts are
the ratios, which are the medians of those in each round, as a shared machine is not equally fast in all of
them.
CPU time is the first field of /proc/PID/schedstat, in nanoseconds: wall time says little there.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

from measuring import requests
from measuring.processes import Bench
from measuring.tables import measure_tables, under_announcements

KINDS = {
    "small": requests.small,
    "latency": requests.latency,
    "bulk": requests.bulk,
    "idle": requests.idle,
    "workers": requests.workers,
    "raw": requests.raw,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="*", help=f"what to measure: {', '.join(KINDS)} (all of them)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--floor", default="", help="another relay to compare with: PROGRAM LISTEN NODE")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument(
        "--tables", metavar="ALGORITHM", help="measure large tables with wrr, lrc or wlrc instead"
    )
    parser.add_argument(
        "--announcements", type=int, metavar="RUBBISH", help="measure with 10,000 nodes and RUBBISH a second"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), chosen.seconds, chosen.connections, chosen.floor)
        if chosen.announcements is not None:
            print(under_announcements(bench, chosen.announcements, chosen.rounds))
            return
        if chosen.tables:
            print(measure_tables(bench, chosen.rounds, chosen.tables))
            return
        medians, ratios = {}, {}
        for kind in chosen.kinds or KINDS:
            for way, comparison in KINDS[kind](bench, chosen.rounds).items():
                medians[way], ratios[way] = comparison.medians(), comparison.ratios()
                print(f"\n{comparison.table(way)}\n", flush=True)
    report = {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}",
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "connections": chosen.connections,
        "medians": medians,
        "ratios": ratios,
    }
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
