# SPDX-License-Identifier: Apache-2.0
"""Two versions of vmofs in one run: old and new in turn, the ratio of each pair, and how far the pairs differ."""
import json
import os
import statistics
import subprocess
import sys
import tempfile

import report
import rows
import tools
from lab import TOP

LOWER = {"start_ms", "usable_ms", "seconds", "later_s", "above_budget_mib"}  # less of these is better


def build(revision, folder):
    """The program of a revision of this repository, built from an archive of it."""
    source, target = f"{folder}/source", f"{folder}/build"
    os.mkdir(source)
    archive = subprocess.run(["git", "-C", TOP, "archive", revision], capture_output=True, check=False)
    if archive.returncode:
        sys.exit(f"bench: --compare: '{revision}' is neither a program nor a revision: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
    for argv in (["cmake", "-S", source, "-B", target, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"],
                 ["ninja", "-C", target, "vmofs"]):
        out = subprocess.run(argv, capture_output=True, text=True)
        if out.returncode:
            sys.exit(f"bench: --compare: cannot build '{revision}': {out.stdout[-2000:]}")
    return f"{target}/vmofs"


def run_rows(args, lab, measure, keep):
    with tempfile.TemporaryDirectory(prefix="vmofs-bench.") as folder:
        old = args.compare
        old = os.path.abspath(old) if os.path.isfile(old) and os.access(old, os.X_OK) else build(old, folder)
        programs = {"old": old, "new": tools.vmofs_program()}
        for name in args.only:
            row = rows.ROWS[name]._replace(holds="")
            for tool in [t for t in row.tools if t in tools.OURS and (not args.tools or t in args.tools)]:
                for run in range(min(args.runs, row.most)):
                    # Whoever is second finds a warmer machine.
                    for which in ("old", "new") if run % 2 == 0 else ("new", "old"):
                        tools.PROGRAM["vmofs"] = programs[which]
                        record = measure(rows.Context(lab, args.seconds, args.seed + run), name, tool)
                        lab.release()
                        keep(record | {"which": which, "run": run})


def pairs(records, row, tool, figure):
    """The ratios new / old of the runs that have both."""
    had = {(r["run"], r["which"]): r[figure] for r in records if r["row"] == row and r["tool"] == tool and r.get(figure)}
    return [had[run, "new"] / had[run, "old"] for run, which in had if which == "new" and (run, "old") in had]


def table(records):
    lines = ["| row | tool | figure | old | new | new/old | from | to | |", "|---" * 9 + "|"]
    for row, tool in dict.fromkeys((r["row"], r["tool"]) for r in records if r["row"]):
        of_row = [r for r in records if r["row"] == row and r["tool"] == tool]
        for figure in dict.fromkeys((rows.ROWS[row].figure, "cpu_s_per_gib", "wire_per_asked")):
            ratios = pairs(records, row, tool, figure)
            if not ratios:
                continue
            old, new = (statistics.median(r[figure] for r in of_row if r["which"] == which and figure in r)
                        for which in ("old", "new"))
            better = "less is better" if figure in LOWER | {"cpu_s_per_gib", "wire_per_asked"} else ""
            lines.append(f"| {row} | {tool} | {figure} | {old:.4g} | {new:.4g} | {statistics.median(ratios):.3f} | "
                         f"{min(ratios):.3f} | {max(ratios):.3f} | {better} |")
        for which in ("old", "new"):
            why = {r.get("failed") or r.get("skipped") for r in of_row if r["which"] == which} - {None}
            lines += [f"| {row} | {tool} | {which}: {reason} | | | | | | |" for reason in why]
    return lines + [""]


def write(out):
    with open(f"{out}/results.jsonl") as f:
        records = [json.loads(line) for line in f]
    lines = ["# Old and new vmofs, in turn", "", *report.machine_lines(records), *table([r for r in records if "which" in r])]
    with open(f"{out}/compare.md", "w") as f:
        f.write("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    write(sys.argv[1])
