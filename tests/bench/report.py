# SPDX-License-Identifier: Apache-2.0
"""From results.jsonl to report.md and plots. Figures are medians over the runs of a row and tool.

    python3 tests/bench/report.py DIR
"""
import json
import os
import statistics
import sys

import disk  # noqa: F401  adds its rows, as do the others
import plots
import promises
import rows
import streams  # noqa: F401
import sweeps  # noqa: F401
import trees  # noqa: F401
import writing  # noqa: F401

COLUMNS = [  # figure, heading, format
    ("mib_s", "MiB/s", "{:.0f}"),
    ("iops", "IOPS", "{:.0f}"),
    ("p50_us", "p50 us", "{:.0f}"),
    ("p99_us", "p99 us", "{:.0f}"),
    ("ranges", "ranges", "{:.0f}"),
    ("first_ms", "first byte ms", "{:.1f}"),
    ("last_ms", "last byte ms", "{:.1f}"),
    ("first_mib_s", "first MiB/s", "{:.0f}"),
    ("second_mib_s", "second MiB/s", "{:.0f}"),
    ("longest_ms", "longest read ms", "{:.0f}"),
    ("without_s", "without s", "{:.2f}"),
    ("later_s", "later by s", "{:.2f}"),
    ("start_ms", "start ms", "{:.1f}"),
    ("usable_ms", "first read ms", "{:.1f}"),
    ("idle_rss_mib", "idle MiB", "{:.1f}"),
    ("objects", "objects", "{:.0f}"),
    ("fill_s", "fill s", "{:.0f}"),
    ("passed", "passed", "{:.0f}"),
    ("asked", "asked", "{:.0f}"),
    ("waiting", "waiting", "{:.0f}"),
    ("answered", "answered", "{:.0f}"),
    ("wrong", "wrong", "{:.0f}"),
    ("answered_after", "answered after", "{:.0f}"),
    ("interrupt_s", "interrupt s", "{:.2f}"),
    ("seconds", "s", "{:.2f}"),
    ("per_s", "a second", "{:.0f}"),
    ("asked_mib", "MiB asked", "{:.0f}"),
    ("wire_per_asked", "wire/asked", "{:.2f}"),
    ("up_mib", "MiB up", "{:.1f}"),
    ("down_mib", "MiB down", "{:.1f}"),
    ("requests", "requests", "{:.0f}"),
    ("daemon_cpu_s", "daemon CPU s", "{:.1f}"),
    ("cpu_s_per_gib", "CPU s a GiB", "{:.2f}"),
    ("peak_mib", "peak RSS MiB", "{:.0f}"),
    ("found_mib", "RSS after find MiB", "{:.0f}"),
    ("dropped_mib", "after the drop MiB", "{:.0f}"),
    ("above_budget_mib", "above budget MiB", "{:.1f}"),
    ("threads", "threads", "{:.0f}"),
    ("machine_busy", "machine busy", "{:.0%}"),
]


def load(path):
    """The records of runs, and what is known of the machine."""
    with open(path) as f:
        records = [json.loads(line) for line in f]
    return [r for r in records if r["row"] in rows.ROWS], records


def machine_lines(records):
    """The last description of the machine as a table."""
    had = [r["machine"] for r in records if "machine" in r]
    if not had:
        return []
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in had[-1].items()), ""]


def medians(records):
    """{(row, tool): {figure: median, "runs": n, "spread": of the compared figure}} and the reasons of those that have none."""
    groups, reasons = {}, {}
    for record in records:
        key = record["row"], record["tool"]
        if "failed" in record or "skipped" in record:
            reasons[key] = record.get("failed") or record["skipped"]
        else:
            groups.setdefault(key, []).append(record)
    result = {}
    for key, group in groups.items():
        figures = {name for record in group for name, value in record.items() if isinstance(value, (int, float))}
        result[key] = {name: statistics.median(r[name] for r in group if name in r) for name in figures}
        result[key]["runs"] = len(group)
        values = [r[rows.ROWS[key[0]].figure] for r in group if rows.ROWS[key[0]].figure in r]
        result[key]["range"] = (min(values), max(values)) if len(values) > 1 else None
        result[key]["error"] = next((r["error"] for r in group if r.get("error")), "")
    return result, reasons


def cell(have, name, form, compared):
    if name not in have:
        return ""
    text = form.format(have[name])
    if name == compared and have["range"]:
        low, high = (form.format(value) for value in have["range"])
        text += f" ({low}-{high})" if low != high else ""
    return text


def row_table(name, figures, reasons):
    row = rows.ROWS[name]
    present = [tool for tool in row.tools if (name, tool) in figures]
    columns = [c for c in COLUMNS if any(c[0] in figures[name, tool] for tool in present)]
    lines = [f"### {name}: {row.title}", ""]
    if present:
        lines += ["| tool | runs | " + " | ".join(c[1] for c in columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for tool in present:
        have = figures[name, tool]
        cells = [cell(have, figure, form, row.figure) for figure, _, form in columns]
        lines.append(f"| {tool} | {have['runs']} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {tool}: {reasons[name, tool]}" for tool in row.tools if (name, tool) in reasons]
    lines += [f"- {tool}: error of the reads: {figures[name, tool]['error']}" for tool in present
              if figures[name, tool]["error"]]
    return lines + [""]


def ratio_table(medians_):
    """For each row that has a limit: vmofs beside it and beside the best peer."""
    figures = promises.Figures(medians_)
    lines = ["| row | figure | vmofs | limit | of the limit | best peer | of the best peer |", "|---" * 7 + "|"]
    for name, row in rows.ROWS.items():
        tool = next((t for t in ("vmofs", "vmofs-disk", "vmofs-s3", "vmofs-write") if t in row.tools), None)
        mine = figures.have(name, row.figure, tool)
        if mine is None or row.figure not in ("mib_s", "iops", "per_s"):
            continue
        limit = row.tools[0] if row.tools[0] != tool else None
        first = figures.have(name, row.figure, limit) if limit else None
        theirs, who = figures.best(name, row.figure)
        cells = [f"{limit} {first:.0f}" if first else "", f"{mine / first:.2f}" if first else "",
                 f"{who} {theirs:.0f}" if theirs else "", f"{mine / theirs:.2f}" if theirs else ""]
        unit = {"mib_s": "MiB/s", "iops": "IOPS", "per_s": "a second"}[row.figure]
        lines.append(f"| {name}: {row.title} | {unit} | {mine:.0f} | " + " | ".join(cells) + " |")
    return lines + [""]


def write(out):
    records, everything = load(f"{out}/results.jsonl")
    figures, reasons = medians(records)
    present = [row for row in rows.ROWS if any(key[0] == row for key in [*figures, *reasons])]
    lines = ["# vmofs beside its limits and other mounts", "", *machine_lines(everything),
             "Figures are medians; beside the one that is compared, from the lowest to the highest run. "
             "How they came about, and what the columns mean: `tests/bench/README.md`.", "",
             "## Promises", "", *promises.tables(figures, True)]
    lines += [f"![{title}]({name})\n" for name, title in plots.draw(figures, out)]
    lines += ["## Ratios", "", *ratio_table(figures), "## Rows", ""]
    for row in present:
        lines += row_table(row, figures, reasons)
    with open(f"{out}/report.md", "w") as f:
        f.write("\n".join(lines).rstrip() + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    os.environ.setdefault("BENCH_TOOLS", "")
    write(sys.argv[1])
