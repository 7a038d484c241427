#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: docs.sh [TREE]     environment: VMOFS, the program (default build/vmofs)
# The program knows its options (`vmofs --list-options`, one "COMMAND --name" or "mount -o name" per line): each
# stands in the man page, each key of a mount stands in conf/vmofs.conf, and that file has no other keys.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
vmofs=${VMOFS:-build/vmofs}
[ -x "$vmofs" ] || { echo "the program has not been built: $vmofs"; exit 77; }
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT

"$vmofs" --list-options >"$tmp/options" || { echo "$vmofs --list-options fails"; exit 1; }
grep -q -- ' --[a-z]' "$tmp/options" || { echo "$vmofs --list-options lists no option"; exit 1; }
sed -n 's/^[^ ]* -o \([a-z0-9-]*\).*/\1/p' "$tmp/options" | sort -u >"$tmp/keys"
sed -n 's/^#\{0,1\}\([a-z][a-z0-9-]*\) *=.*/\1/p' conf/vmofs.conf | sort -u >"$tmp/conf"

{
	for o in $(grep -o -- '--[a-z][a-z0-9-]*' "$tmp/options" | sort -u) $(cat "$tmp/keys"); do
		grep -qE -- "(^|[^a-z0-9-])$o([^a-z0-9-]|\$)" src/cli/vmofs.1.md || echo "src/cli/vmofs.1.md: nothing about $o"
	done
	comm -23 "$tmp/keys" "$tmp/conf" | sed 's/^/conf\/vmofs.conf: no line for /'
	comm -13 "$tmp/keys" "$tmp/conf" | sed 's/^/conf\/vmofs.conf: no such option: /'
} >"$tmp/out"
cat "$tmp/out"
[ ! -s "$tmp/out" ]
