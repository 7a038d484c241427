# SPDX-License-Identifier: Apache-2.0
"""The command line and the order of runs: for each row A B C A B C ..., never A A A B B B."""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import compare
import disk  # noqa: F401  adds its rows, as do the others
import machine
import report
import rows
import streams  # noqa: F401
import sweeps  # noqa: F401
import tools
import trees  # noqa: F401
import writing  # noqa: F401
from lab import TOP, Lab, machine_busy, renice

GROUPS = ["must", "more", "trees", "write", "sweep", "stub", "fio"]


def parse_arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description="vmofs beside curl, a file and other mounts")
    parser.add_argument("--quick", action="store_true", help="small objects, short and single runs")
    parser.add_argument("--group", default=None, help="rows of these groups (must): " + ", ".join(GROUPS))
    parser.add_argument("--only", default=None, help="these rows: " + ", ".join(rows.ROWS))
    parser.add_argument("--tools", default=None, help="tools: " + ", ".join(tools.ALL))
    parser.add_argument("--runs", type=int, default=None, help="of each row and tool (3; 1 with --quick)")
    parser.add_argument("--seconds", type=int, default=None, help="of each timed read (3; 2 with --quick)")
    parser.add_argument("--out", default=f"{TOP}/build/bench", help="for results.jsonl, report.md and plots")
    parser.add_argument("--publish", metavar="KIND", default=None,
                        help="write into tests/bench/results/DATE-KIND instead, KIND being what sort of machine this is")
    parser.add_argument("--vmofs", default=None, help="the program (build/vmofs, else from PATH)")
    parser.add_argument("--compare", metavar="OLD", default=None,
                        help="only vmofs, and beside it this other vmofs: a program, or a revision that is built first")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further one has the next")
    parser.add_argument("--nice", type=int, default=0, help="for all that is measured, on a machine with other work")
    parser.add_argument("--append", action="store_true", help="add to the results that are in --out")
    parser.add_argument("--list", action="store_true", help="print groups and rows")
    args = parser.parse_args()
    check_names(parser, args)
    args.runs = args.runs or (1 if args.quick else 3)
    args.seconds = args.seconds or (2 if args.quick else 3)
    if args.publish:
        args.out = f"{TOP}/tests/bench/results/{time.strftime('%Y-%m-%d', time.gmtime())}-{args.publish}"
    return args


def check_names(parser, args):
    """Turns the lists of names into lists, and refuses what is in none."""
    def split(text, known, what):
        names = text.split(",")
        for name in names:
            if name not in known:
                parser.error(f"no {what} '{name}': {', '.join(known)}")
        return names
    groups = split(args.group or "must", GROUPS, "group")
    args.groups = groups if not args.only else []
    args.only = split(args.only, list(rows.ROWS), "row") if args.only else \
        [name for group in groups for name in by_cost(group)]
    args.tools = split(args.tools, tools.ALL, "tool") if args.tools else None


def by_cost(group):
    """The rows of a group; what is run once takes longest and comes last."""
    return sorted((name for name, row in rows.ROWS.items() if row.group == group), key=lambda name: rows.ROWS[name].most == 1)


def find_vmofs(args):
    candidates = [args.vmofs] if args.vmofs else [f"{TOP}/build/{d}vmofs" for d in ("release/", "")]
    for path in candidates:
        if os.access(path, os.X_OK):
            tools.PROGRAM["vmofs"] = os.path.abspath(path)
            return
    if args.vmofs:
        sys.exit(f"bench: no program '{args.vmofs}'")


def without_paths(lab, text):
    """A reason without the folders of this run and this machine."""
    for path, name in ((lab.dir, "MEMORY"), (lab.disk, "DISK"), (os.path.dirname(tools.vmofs_program()), "BUILD"), (TOP, ".")):
        text = text.replace(path, name)
    return text


def measure(context, row, tool):
    """One run, as a record. A failure is a result as well: the reason stands in it."""
    record = {"row": row, "tool": tool, "seed": context.seed}
    busy, ticks = machine_busy()
    start = time.monotonic()
    try:
        record.update(rows.ROWS[row].run(context, tool))
    except tools.Unavailable as why:
        record["skipped"] = str(why)
    except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as why:
        record["failed"] = without_paths(context.lab, f"{type(why).__name__}: {why}")[:300]
    busy_after, ticks_after = machine_busy()
    record["wall_s"] = time.monotonic() - start
    record["machine_busy"] = (busy_after - busy) / max(1, ticks_after - ticks)
    return record


def say(record):
    figures = [f"{k}={v:.1f}" if isinstance(v, float) else f"{k}={v}" for k, v in record.items()
               if k not in ("row", "tool", "seed", "machine_busy")]
    print(f'{record["row"]:14} {record["tool"]:10}', *figures, file=sys.stderr, flush=True)


def tools_of(args, row):
    """What is run for a row: what was asked for, or for a group of promises what they need."""
    if args.tools:
        return [tool for tool in row.tools if tool in args.tools]
    return [tool for tool in row.tools if tool in row.core] if row.core and "must" in args.groups else row.tools


def turns(args, name, row):
    """The (run, tool) of a row in their order."""
    for run in range(min(args.runs, row.most)):
        for tool in tools_of(args, row):
            if run == 0 or tool not in tools.SLOW or name.startswith("disk"):
                yield run, tool


def run_rows(args, lab, keep):
    gone, holds = set(), ""
    for name in args.only:
        row = rows.ROWS[name]
        if row.holds != holds:
            lab.release()
            holds = row.holds
        for run, tool in turns(args, name, row):
            if (name, tool) in gone:
                continue
            record = measure(rows.Context(lab, args.seconds, args.seed + run), name, tool)
            if "skipped" in record:
                gone.add((name, tool))
            keep(record)


def main():
    args = parse_arguments()
    if args.list:
        for group in GROUPS:
            print(f"{group}: " + " ".join(by_cost(group)))
        return
    find_vmofs(args)
    for sig in (signal.SIGINT, signal.SIGTERM):  # also from a background job, which would ignore SIGINT
        signal.signal(sig, lambda number, _: sys.exit(128 + number))
    os.makedirs(args.out, exist_ok=True)
    if args.nice:
        os.setsid()
        renice(os.getpid(), args.nice)
    os.environ["TMPDIR"] = tempfile.gettempdir()
    started = time.monotonic()
    lab = Lab({name for row in args.only for name in rows.ROWS[row].objects}, args.quick, args.nice)
    try:
        with open(f"{args.out}/results.jsonl", "a" if args.append else "w") as out:
            def keep(record):
                out.write(json.dumps(record) + "\n")
                out.flush()
                say(record)
            keep({"row": "", "tool": "", "machine": machine.describe(tools.vmofs_program())})
            if args.compare:
                compare.run_rows(args, lab, measure, keep)
            else:
                run_rows(args, lab, keep)
    finally:
        lab.close()
    (compare.write if args.compare else report.write)(args.out)
    print(f"bench: {time.monotonic() - started:.0f} s, in {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
