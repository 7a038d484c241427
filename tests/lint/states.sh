#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: states.sh [TREE]
# A comment above an enum of states lists its moves, one line each, as " *   EMPTY -> BUSY   who, when".
# The code has the same moves in a table, as "[PAGE_EMPTY] = BIT(PAGE_BUSY) | ..." in an array named *next.
# The two must say the same.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
files=$(find src providers -name '*.[ch]' 2>/dev/null | sort)
: >"$tmp/comment.raw"; : >"$tmp/code.raw"
# shellcheck disable=SC2086  # a list of files
[ -z "$files" ] || awk -v comment="$tmp/comment.raw" -v code="$tmp/code.raw" '
# The enumerator that a comment means: its whole name, or the name without the prefix (so the shortest one).
function full(state,   i, best) {
	for (i = 1; i <= nenum; i++) {
		if (enumerator[i] == state)
			return state;
		if (enumerator[i] ~ ("_" state "$") && (best == "" || length(enumerator[i]) < length(best)))
			best = enumerator[i];
	}
	return best;
}
function close_enum(   i, s, n) {
	n = split(body, s, ",");
	for (nenum = i = 0; ++i <= n;) {
		sub(/=.*/, "", s[i]);
		gsub(/[^A-Za-z0-9_]/, "", s[i]);
		if (s[i] != "")
			enumerator[++nenum] = s[i];
	}
	if (!nmoves)
		return;
	for (i = 1; i <= nmoves; i++)
		if (full(from[i]) == "" || full(to[i]) == "")
			return; # not the enum that the comment is about
	for (i = 1; i <= nmoves; i++)
		print full(from[i]) " -> " full(to[i]) > comment;
	nmoves = 0;
}
function close_file(   i) {
	for (i = 1; i <= nmoves; i++)
		printf "%s: no enum of this file has both %s and %s\n", name, from[i], to[i] > comment;
	nmoves = 0;
}
function close_table(   n, row, i, left, right) {
	n = split(body, row, /\[/);
	for (i = 2; i <= n; i++) {
		left = row[i]; sub(/\].*/, "", left);
		right = row[i]; sub(/^[^=]*=/, "", right);
		while (match(right, /[A-Z][A-Z0-9_]+/)) {
			if (substr(right, RSTART, RLENGTH) != "BIT")
				print left " -> " substr(right, RSTART, RLENGTH) > code;
			right = substr(right, RSTART + RLENGTH);
		}
	}
}
FNR == 1 { close_file(); in_comment = in_enum = in_table = 0; name = FILENAME }
!in_enum && !in_table && /^[ \t]*\/\*/ { in_comment = 1 }
in_comment {
	if (match($0, /^[ \t\/]*\*+[ \t]+[A-Z][A-Z0-9_]*[ \t]+->[ \t]+[A-Z][A-Z0-9_]*([ \t]|$)/)) {
		line = $0; sub(/^[ \t\/]*\*+[ \t]+/, "", line); sub(/->/, " ", line);
		split(line, w, /[ \t]+/);
		from[++nmoves] = w[1]; to[nmoves] = w[2];
	}
	if (/\*\//)
		in_comment = 0;
	next;
}
/^[ \t]*enum([ \t]+[a-z_0-9]+)?[ \t]*{/ { in_enum = 1; body = "" }
in_enum {
	line = $0; sub(/^[^{]*enum[^{]*{/, "", line); gsub(/\/\*[^*]*\*\//, "", line);
	body = body line;
	if (line ~ /}/) { sub(/}.*/, "", body); in_enum = 0; close_enum() }
	next;
}
/next\[[^=]*=[ \t]*{/ { in_table = 1; body = ""; sub(/^[^=]*=[ \t]*{/, "") }
in_table {
	line = $0; gsub(/\/\*[^*]*\*\//, "", line); sub(/\/\/.*/, "", line);
	body = body line;
	if (line ~ /}[ \t]*;/) { in_table = 0; close_table() }
	next;
}
END { close_file() }
' $files

sort -u "$tmp/comment.raw" >"$tmp/comment"
sort -u "$tmp/code.raw" >"$tmp/code"
diff -U0 "$tmp/comment" "$tmp/code" >"$tmp/diff" && exit 0
echo "moves in the comments (-) and in the next[] tables (+) differ:"
sed -n '/^[-+][^-+]/p' "$tmp/diff"
exit 1
