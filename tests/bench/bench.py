# SPDX-License-Identifier: Apache-2.0
"""The command line and the order of runs: for each row A B C A B C ..., never A A A B B B."""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

import report
import rows
import tools
import trees  # noqa: F401  adds its rows
from lab import TOP, Lab, machine_busy, renice


def parse_arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description="vmofs beside curl, a file and other mounts")
    parser.add_argument("--quick", action="store_true", help="small objects, short and single runs")
    parser.add_argument("--only", default=",".join(rows.ROWS), help="rows: " + ", ".join(rows.ROWS))
    parser.add_argument("--tools", default=",".join(tools.ALL), help="tools: " + ", ".join(tools.ALL))
    parser.add_argument("--runs", type=int, default=None, help="of each row and tool (3; 1 with --quick)")
    parser.add_argument("--out", default=f"{TOP}/build/bench", help="for results.jsonl, table.md, plot.svg")
    parser.add_argument("--vmofs", default=None, help="the program (build/*/vmofs, else from PATH)")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further one has the next")
    parser.add_argument("--nice", type=int, default=0, help="for all that is measured, on a machine with other work")
    parser.add_argument("--append", action="store_true", help="add to the results that are in --out")
    args = parser.parse_args()
    args.only, args.tools = args.only.split(","), args.tools.split(",")
    for name in args.only:
        if name not in rows.ROWS:
            parser.error(f"no row '{name}': {', '.join(rows.ROWS)}")
    for name in args.tools:
        if name not in tools.ALL:
            parser.error(f"no tool '{name}': {', '.join(tools.ALL)}")
    args.runs = args.runs or (1 if args.quick else 3)
    return args


def find_vmofs(args):
    candidates = [args.vmofs] if args.vmofs else [f"{TOP}/build/{d}vmofs" for d in ("release/", "")]
    for path in candidates:
        if path and os.access(path, os.X_OK):
            os.environ["VMOFS"] = os.path.abspath(path)
            return
    if args.vmofs:
        sys.exit(f"bench: no program '{args.vmofs}'")


def measure(context, row, tool):
    """One run, as a record. A failure is a result as well: the reason stands in it."""
    record = {"row": row, "tool": tool, "seed": context.seed}
    busy, ticks = machine_busy()
    start = time.monotonic()
    try:
        record.update(rows.ROWS[row][1](context, tool))
    except tools.Unavailable as why:
        record["skipped"] = str(why)
    except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as why:
        record["failed"] = f"{type(why).__name__}: {why}"[:300]
    busy_after, ticks_after = machine_busy()
    record["wall_s"] = time.monotonic() - start
    record["machine_busy"] = (busy_after - busy) / max(1, ticks_after - ticks)
    return record


def say(record):
    figures = [f"{k}={v:.1f}" if isinstance(v, float) else f"{k}={v}" for k, v in record.items()
               if k not in ("row", "tool", "seed", "machine_busy")]
    print(f'{record["row"]:14} {record["tool"]:10}', *figures, file=sys.stderr, flush=True)


def main():
    args = parse_arguments()
    find_vmofs(args)
    for sig in (signal.SIGINT, signal.SIGTERM):  # also from a background job, which would ignore SIGINT
        signal.signal(sig, lambda number, _: sys.exit(128 + number))
    os.makedirs(args.out, exist_ok=True)
    if args.nice:
        os.setsid()
        renice(os.getpid(), args.nice)
    lab = Lab(1024 if args.quick else 4096, 256 if args.quick else 1024, (64, 4) if args.quick else (64, 16),
              args.nice)
    gone = set()
    try:
        with open(f"{args.out}/results.jsonl", "a" if args.append else "w") as out:
            for row in args.only:
                for run in range(min(args.runs, rows.ROWS[row][4])):
                    context = rows.Context(lab, 3 if args.quick else 8, args.seed + run)
                    for tool in rows.ROWS[row][2]:
                        if tool not in args.tools or (row, tool) in gone:
                            continue
                        record = measure(context, row, tool)
                        if "skipped" in record:
                            gone.add((row, tool))
                        out.write(json.dumps(record) + "\n")
                        out.flush()
                        say(record)
    finally:
        lab.close()
    report.write(args.out)


if __name__ == "__main__":
    main()
