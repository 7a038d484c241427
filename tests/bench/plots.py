# SPDX-License-Identifier: Apache-2.0
"""The plots of a report, by gnuplot: bars for each row, lines for what was swept over."""
import shutil
import subprocess

import rows
import sweeps

UNITS = {"mib_s": "MiB/s", "iops": "IOPS", "per_s": "a second"}
COLOURS = ["#1b6ca8", "#888888", "#d98032", "#5a9a57", "#a05195"]


def gnuplot(path, size, script):
    head = [f"set terminal svg size {size} font 'sans,11' background 'white'", f"set output '{path}'", "set grid ytics"]
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
    """One panel for each (title, label of x, logarithmic, [(x, row)])."""
    script = ["set key bottom left", "set yrange [0:*]", f"set multiplot layout 1,{len(panels)}"]
    for title, label, logarithmic, points in panels:
        figure = rows.ROWS[points[0][1]].figure
        tools = [tool for tool in rows.ROWS[points[0][1]].tools
                 if any(figure in figures.get((name, tool), {}) for _, name in points)]
        script += [f"set title '{title}'", f"set xlabel '{label}'", f"set ylabel '{UNITS[figure]}'",
                   "set logscale x 2" if logarithmic else "unset logscale x"]
        for i, tool in enumerate(tools):
            script += [f"$d{i} << END"] + [f"{x} {figures[name, tool][figure]:.2f}" for x, name in points
                                           if figure in figures.get((name, tool), {})] + ["END"]
        script.append("plot " + ", ".join(
            f"$d{i} with linespoints lw 2 lc rgb '{COLOURS[0] if tool == 'vmofs' else COLOURS[1 + i]}' title '{tool}' noenhanced"
            for i, tool in enumerate(tools)))
    return gnuplot(path, f"{420 * len(panels)},320", [*script, "unset multiplot"])


SWEEPS = [  # file, title, panels
    ("distance.svg", "What distance costs", [
        ("sequential, 256 MiB", "RTT, ms", False, [(rtt, f"rtt-{rtt}-seq") for rtt in sweeps.RTTS]),
        ("random 4 KiB, 1 reader", "RTT, ms", False, [(rtt, f"rtt-{rtt}-rand1") for rtt in sweeps.RTTS]),
        ("random 4 KiB, 16 readers", "RTT, ms", False, [(rtt, f"rtt-{rtt}-rand16") for rtt in sweeps.RTTS])]),
    ("readers.svg", "Number of readers", [
        ("each its share of 1 GiB", "readers", True, [(n, f"readers-{n}") for n in sweeps.READERS]),
        ("random 4 KiB", "readers", True, [(n, f"readers-{n}-rand") for n in sweeps.READERS])]),
    ("sizes.svg", "Size of the object", [
        ("from its beginning, at most 1 GiB", "KiB", True,
         [(size // 1024, f"size-{name}") for name, size in sweeps.SIZES.items()])]),
]


def draw(figures, out):
    """Makes the plots for which there are figures; returns [(file, title)]."""
    if not shutil.which("gnuplot"):
        return []
    made = []
    for group, title in (("must", "Close to the limit"), ("more", "One object"), ("trees", "Trees"),
                         ("stub", "What costs how much"), ("fio", "mountpoint-s3")):
        names = [name for name, row in rows.ROWS.items() if row.group == group and row.figure in UNITS
                 and any(row.figure in figures.get((name, tool), {}) for tool in row.tools)]
        if names and bars(figures, names, f"{out}/{group}.svg"):
            made.append((f"{group}.svg", title))
    for name, title, panels in SWEEPS:
        present = [(what, label, log, had) for what, label, log, points in panels
                   if (had := [(x, row) for x, row in points if any(key[0] == row for key in figures)])]
        if present and lines(figures, f"{out}/{name}", present):
            made.append((name, title))
    return made
