#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh [--quick] [--group GROUP,...] [--only ROW,...] [--tools TOOL,...] [--runs N] [--seconds N] [--out DIR]
#	[--publish KIND] [--vmofs PROGRAM] [--compare PROGRAM|REVISION] [--append] [--list]
# Measures vmofs beside curl, a native file and the other mounts. README.md beside this file says how to
# read the result. Runs as root: kernel caches are dropped and network namespaces made.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

[ "$(id -u)" -eq 0 ] || { echo "bench: needs root (drop_caches, network namespaces)" >&2; exit 77; }
for program in python3 fio nginx curl nsenter cc; do
	command -v "$program" >/dev/null || { echo "bench: no $program: sh conf/setup.sh --bench" >&2; exit 77; }
done

tools=$(mktemp -d "${TMPDIR:-/tmp}/vmofs-bench.XXXXXX")
trap 'rm -rf "$tools"' EXIT
for program in tunlink many_reads s3_listd read_pattern; do
	cc -std=gnu17 -D_GNU_SOURCE -O2 -pthread -o "$tools/$program" "$top/tests/tools/$program.c"
done
BENCH_TOOLS=$tools PYTHONDONTWRITEBYTECODE=1 python3 "$here/bench.py" "$@"
