#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: size.sh [TREE]
# A function of more than 70 lines or a file of more than 900 is to be split.
# A function is what stands between a lone "{" and a lone "}" in the first column, as clang-format leaves it.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
tmp=$(mktemp) || exit 2
trap 'rm -f "$tmp"' EXIT

find src include providers tests \( -name '*.[ch]' -o -name '*.sh' \) 2>/dev/null | sort | xargs -r awk '
function judge_file() {
	if (lines > 900)
		printf "%s: %d lines, at most 900\n", name, lines;
}
FNR == 1 { judge_file(); name = FILENAME; start = 0 }
{ lines = FNR }
/^{$/ { start = FNR; head = last }
/^}$/ && start {
	if (FNR - start + 1 > 70)
		printf "%s:%d: %d lines, at most 70: %s\n", FILENAME, start, FNR - start + 1, head;
	start = 0;
}
/^[^ \t#\/{}*]/ { last = $0 }
END { judge_file() }
' >"$tmp"
cat "$tmp"
[ ! -s "$tmp" ]
