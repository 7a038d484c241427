# SPDX-License-Identifier: Apache-2.0
"""From results.jsonl to table.md and plot.svg. Figures are medians over the runs of a row and tool."""
import json
import shutil
import statistics
import subprocess
import sys

import rows
import tools
import trees  # noqa: F401  adds its rows

COLUMNS = [  # figure, heading, format
    ("mib_s", "MiB/s", "{:.0f}"),
    ("iops", "IOPS", "{:.0f}"),
    ("p50_us", "p50 us", "{:.0f}"),
    ("p99_us", "p99 us", "{:.0f}"),
    ("start_ms", "start ms", "{:.1f}"),
    ("idle_rss_mib", "idle MiB", "{:.1f}"),
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
    ("requests", "requests", "{:.0f}"),
    ("daemon_cpu_s", "daemon CPU s", "{:.1f}"),
    ("peak_mib", "peak RSS MiB", "{:.0f}"),
    ("found_mib", "RSS after find MiB", "{:.0f}"),
    ("dropped_mib", "after the drop MiB", "{:.0f}"),
    ("above_budget_mib", "above budget MiB", "{:.1f}"),
    ("threads", "threads", "{:.0f}"),
    ("machine_busy", "machine busy", "{:.0%}"),
]


def medians(records):
    """{(row, tool): {figure: median, "runs": n}} and the reasons of those that have none."""
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
        result[key]["error"] = next((r["error"] for r in group if r.get("error")), "")
    return result, reasons


def best_peer(figures, row, name):
    values = [(figures[row, tool][name], tool) for tool in [*tools.PEERS, *tools.S3_PEERS] if name in figures.get((row, tool), {})]
    return max(values, default=(None, None))


def row_table(row, figures, reasons):
    title, _, row_tools, compared, _ = rows.ROWS[row]
    present = [tool for tool in row_tools if (row, tool) in figures]
    columns = [c for c in COLUMNS if any(c[0] in figures[row, tool] for tool in present)]
    lines = [f"### {row}: {title}", ""]
    lines += ["| tool | runs | " + " | ".join(c[1] for c in columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for tool in present:
        have = figures[row, tool]
        cells = [form.format(have[name]) if name in have else "" for name, _, form in columns]
        lines.append(f"| {tool} | {have['runs']} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {tool}: {reasons[row, tool]}" for tool in row_tools if (row, tool) in reasons]
    lines += [f"- {tool}: error of the reads: {figures[row, tool]['error']}" for tool in present
              if figures[row, tool]["error"]]
    return lines + [""]


def promises(figures):
    """What vmofs promises: (what, figure, how it is written, target, holds)."""
    def have(row, name, tool="vmofs"):
        return figures.get((row, tool), {}).get(name)

    def ratio(row, name, other):
        mine, theirs = have(row, name), other
        return mine / theirs if mine is not None and theirs else None

    def peer(row, name):
        return ratio(row, name, best_peer(figures, row, name)[0])

    def scale():
        return ratio("rand16-20ms", "iops", have("rand1-20ms", "iops"))

    def over(value, bound):
        return value is not None and value >= bound

    def under(value, bound):
        return value is not None and value <= bound

    checks = []

    def check(what, value, form, target, test):
        checks.append((what, value, form, target, test(value, float(target))))

    check("cold sequential, of the best peer", peer("seq-cold", "mib_s"), ">= {}x", "1.5", over)
    check("cold sequential, of curl", ratio("seq-cold", "mib_s", have("seq-cold", "mib_s", "curl")),
          ">= {}x", "0.6", over)
    for readers, target in (("1", "1.3"), ("16", "3")):
        row = f"rand{readers}-cold"
        check(f"cold random 4 KiB, {readers} reader(s), of nbdfuse",
              ratio(row, "iops", have(row, "iops", "nbdfuse")), ">= {}x", target, over)
        check("the same, wire/asked", have(row, "wire_per_asked"), "<= {}", "1.1", under)
    check("warm sequential, of a file in tmpfs", ratio("seq-warm", "mib_s", have("seq-warm", "mib_s", "tmpfs")),
          ">= {}x", "0.95", over)
    check("warm sequential, of a native file", ratio("seq-warm", "mib_s", have("seq-warm", "mib_s", "native")),
          ">= {}x", "0.95", over)
    check("warm random, of a native file", ratio("rand1-warm", "iops", have("rand1-warm", "iops", "native")),
          ">= {}x", "0.95", over)
    p50 = have("rand1-20ms", "p50_us")
    check("20 ms: random 4 KiB p50, ms", p50 and p50 / 1000, "<= {}", "21.5", under)
    check("20 ms: 16 readers of 1", scale(), ">= {}x", "14", over)
    check("20 ms: 256 MiB sequential, of the best peer", peer("seq-20ms", "mib_s"), ">= {}x", "0.8", over)
    check("peak RSS above the budget, MiB", have("memory", "above_budget_mib"), "<= {}", "24", under)
    check("idle RSS, MiB", have("start", "idle_rss_mib"), "<= {}", "12", under)
    check("start to usable, ms", have("start", "start_ms"), "<= {}", "50", under)
    check("10,000 outstanding: answered", have("outstanding", "answered"), ">= {}", "10000", over)
    check("10,000 outstanding: threads", have("outstanding", "threads"), "<= {}", "16", under)
    check("server stopped 60 s: answered of 64", have("stopped", "answered"), ">= {}", "64", over)
    check("the same, seconds until a reader ends on SIGINT", have("stopped", "interrupt_s"), "<= {}", "1", under)
    check("deadline 10 s: seconds until the last read has failed", have("deadline", "seconds"), "<= {}", "12", under)
    check("the same, answered afterwards of 64", have("deadline", "answered_after"), ">= {}", "64", over)
    tree_promises(check, have, over, under)
    return checks


def tree_promises(check, have, over, under):
    """Of listings and buckets."""
    def ratio(row, other, name="per_s"):
        mine, theirs = have(row, name, "vmofs-s3"), have(row, name, other)
        return mine / theirs if mine is not None and theirs else None

    def best(row):
        ratios = [r for r in (ratio(row, tool) for tool in tools.S3_PEERS) if r]
        return min(ratios, default=None)

    for row in ("find-20000", "ls-lR"):
        check(f"{row}, of rclone", ratio(row, "rclone-s3"), ">= {}x", "3", over)
        check("the same, of s3fs", ratio(row, "s3fs-s3"), ">= {}x", "10", over)
        check("the same, requests", have(row, "requests", "vmofs-s3"), "<= {}", "220", under)
    check("20 ms: 100,000 names, of serial pages by boto3", ratio("ls-100000-20ms", "boto3"), ">= {}x", "5", over)
    check("the same, by curl, which reads nothing of them", ratio("ls-100000-20ms", "curl"), ">= {}x", "5", over)
    for row in ("small-1", "small-8", "small-1-20ms", "small-8-20ms"):
        check(f"{row}: 1,000 small files, of the best peer", best(row), ">= {}x", "2", over)
    for row, name in (("s3-seq-cold", "mib_s"), ("s3-rand1-cold", "iops"), ("s3-rand16-cold", "iops"),
                      ("s3-seq-warm", "mib_s"), ("s3-rand1-warm", "iops")):
        check(f"{row}: a bucket, of plain HTTP", ratio(row, "vmofs", name), ">= {}x", "0.9", over)
    check("1,000,000 keys: RSS after find, MiB", have("tree-1M", "found_mib", "vmofs-s3"), "<= {}", "200", under)
    check("the same, after the kernel forgot them", have("tree-1M", "dropped_mib", "vmofs-s3"), "<= {}", "60", under)


def promise_table(figures):
    lines = ["| what | target | measured | holds |", "|---|---|---|---|"]
    for what, value, form, target, holds in promises(figures):
        if value is not None:
            lines.append(f"| {what} | {form.format(target)} | {value:.2f} | {'yes' if holds else '**no**'} |")
    return lines + [""]


def ratio_table(figures):
    lines = ["| row | figure | vmofs | limit | of the limit | best peer | of the best peer |", "|---" * 7 + "|"]
    for row, (title, _, row_tools, name, _) in rows.ROWS.items():
        mine = figures.get((row, "vmofs"), {}).get(name)
        limit = figures.get((row, row_tools[0]), {}).get(name) if row_tools[0] != "vmofs" else None
        theirs, who = best_peer(figures, row, name)
        if limit is None or name not in ("mib_s", "iops"):
            continue
        of = [f"{mine / x:.2f}" if mine and x else "" for x in (limit, theirs)]
        lines.append(f"| {title} | {'MiB/s' if name == 'mib_s' else 'IOPS'} | {mine or 0:.0f} | "
                     f"{row_tools[0]} {limit:.0f} | {of[0]} | {who or ''} {theirs or 0:.0f} | {of[1]} |")
    return lines + [""]


def plot(figures, out):
    """One panel per row with a throughput, one bar per tool."""
    panels = [row for row in rows.ROWS if rows.ROWS[row][3] in ("mib_s", "iops")
              and any(key[0] == row for key in figures)]
    if not panels or not shutil.which("gnuplot"):
        return
    script = ["set terminal svg size 1200,900 font 'sans,11' background 'white'", f"set output '{out}/plot.svg'",
              "set style data histograms", "set style fill solid 0.8 border", "set boxwidth 0.8", "unset key",
              "set yrange [0:*]", "set grid ytics", "set xtics rotate by -30",
              "set multiplot layout 3,3"]
    for row in panels:
        title, _, row_tools, name, _ = rows.ROWS[row]
        script += [f"set title '{title}'", f"set ylabel '{'MiB/s' if name == 'mib_s' else 'IOPS'}'", "$data << END"]
        script += [f"{tool} {figures[row, tool][name]:.2f} {2 if tool == 'vmofs' else 8}" for tool in row_tools
                   if name in figures.get((row, tool), {})]
        script += ["END", "plot $data using 0:2:3:xtic(1) with boxes lc variable"]
    subprocess.run(["gnuplot"], input="\n".join(script), text=True, check=False)


def write(out):
    with open(f"{out}/results.jsonl") as f:
        figures, reasons = medians([json.loads(line) for line in f])
    present = [row for row in rows.ROWS if any(key[0] == row for key in [*figures, *reasons])]
    lines = ["## Promises", ""] + promise_table(figures) + ["## Ratios", ""] + ratio_table(figures) + ["## Rows", ""]
    for row in present:
        lines += row_table(row, figures, reasons)
    with open(f"{out}/table.md", "w") as f:
        f.write("\n".join(lines))
    plot(figures, out)
    print("\n".join(lines))


if __name__ == "__main__":
    write(sys.argv[1])
