# SPDX-License-Identifier: Apache-2.0
"""The plots of a report, by gnuplot: bars for each row, lines for what was swept over."""
import shutil
import subprocess

import rows
import sweeps

UNITS = {"mib_s": "MiB/s", "iops": "IOPS", "per_s": "a second"}
COLOURS = ["#1b6ca8", "#888888", "#d98032", "#5a9a57", "#a05195"]


def gnuplot(path, size, script):
    head = [f"set terminal pngcairo size {size} font 'sans,9' background 'white'", f"set output '{path}'", "set grid ytics"]
    return subprocess.run(["gnuplot"], input="\n".join(head + script), text=True, check=False,
                          capture_output=True).returncode == 0


def bars(figures, names, path):
    """One panel a row, one bar a tool, ours in another colour."""
    across = 4
    down = -(-len(names) // across)
    script = ["set style fill solid 0.8 border", "set boxwidth 0.8", "unset key", "set yrange [0:*]",
              "set xtics rotate by -30 noenhanced", f"set multiplot layout {down},{across}"]
    for name in names:
        row = rows.ROWS[name]
        script += [f"set title '{name}' noenhanced", f"set ylabel '{UNITS[row.figure]}'", "$data << END"]
        script += [f"{tool} {figures[name, tool][row.figure]:.2f} {0x1b6ca8 if tool.startswith('vmofs') else 0x888888}"
                   for tool in row.tools if row.figure in figures.get((name, tool), {})]
        script += ["END", "plot $data using 0:2:3:xtic(1) with boxes lc rgb variable"]
    return gnuplot(path, f"{330 * across},{250 * down}", [*script, "unset multiplot"])


def lines(figures, path, panels):
    """One panel for each (title, label of x, [(x, row)]), with one line a tool; the steps of x are even."""
    script = ["set key outside top center horizontal", "set logscale y", f"set multiplot layout 1,{len(panels)}"]
    for title, label, points in panels:
        figure = rows.ROWS[points[0][1]].figure
        tools = [tool for tool in rows.ROWS[points[0][1]].tools
                 if any(figure in figures.get((name, tool), {}) for _, name in points)]
        script += [f"set title '{title}'", f"set xlabel '{label}'", f"set ylabel '{UNITS[figure]}'",
                   f"set xrange [-0.3:{len(points) - 0.7}]",
                   "set xtics (" + ", ".join(f"'{x}' {i}" for i, (x, _) in enumerate(points)) + ")"]
        for n, tool in enumerate(tools):
            script += [f"$d{n} << END"] + [f"{i} {figures[name, tool][figure]:.2f}" for i, (_, name) in enumerate(points)
                                           if figure in figures.get((name, tool), {})] + ["END"]
        script.append("plot " + ", ".join(
            f"$d{n} with linespoints lw 2 lc rgb '{COLOURS[0] if tool == 'vmofs' else COLOURS[1 + n]}' title '{tool}' noenhanced"
            for n, tool in enumerate(tools)))
    return gnuplot(path, f"{360 * len(panels)},280", [*script, "unset multiplot"])


SWEEPS = [  # file, title, panels
    ("distance.png", "What distance costs", [
        ("sequential, 256 MiB", "RTT, ms", [(rtt, f"rtt-{rtt}-seq") for rtt in sweeps.RTTS]),
        ("random 4 KiB, 1 reader", "RTT, ms", [(rtt, f"rtt-{rtt}-rand1") for rtt in sweeps.RTTS]),
        ("random 4 KiB, 16 readers", "RTT, ms", [(rtt, f"rtt-{rtt}-rand16") for rtt in sweeps.RTTS])]),
    ("readers.png", "Number of readers, and size of the object", [
        ("each its share of 1 GiB", "readers", [(n, f"readers-{n}") for n in sweeps.READERS]),
        ("random 4 KiB", "readers", [(n, f"readers-{n}-rand") for n in sweeps.READERS]),
        ("from the beginning, at most 1 GiB", "size", [(name, f"size-{name}") for name in sweeps.SIZES])]),
]


def draw(figures, out):
    """Makes the plots for which there are figures; returns [(file, title)]."""
    if not shutil.which("gnuplot"):
        return []
    made = []
    for group, title in (("must", "Close to the limit"), ("more", "One object"), ("trees", "Trees"),
                         ("stub", "What costs how much"), ("fio", "The jobs of mountpoint-s3")):
        names = [name for name, row in rows.ROWS.items() if row.group == group and row.figure in UNITS
                 and any(row.figure in figures.get((name, tool), {}) for tool in row.tools)]
        if names and bars(figures, names, f"{out}/{group}.png"):
            made.append((f"{group}.png", title))
    for name, title, panels in SWEEPS:
        present = [(what, label, had) for what, label, points in panels
                   if (had := [(x, row) for x, row in points if any(key[0] == row for key in figures)])]
        if present and lines(figures, f"{out}/{name}", present):
            made.append((name, title))
    return made
