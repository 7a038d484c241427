#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: format.sh [--fix] [TREE]
# clang-format decides the layout. Its versions differ in details, so only version 14 judges.
set -u
mode="--dry-run -Werror"
[ "${1:-}" != --fix ] || { mode=-i; shift; }
cd "${1:-$(dirname "$0")/../..}" || exit 2

for tool in clang-format-14 clang-format; do
	case $($tool --version 2>/dev/null) in *"version 14."*) break ;; esac
	tool=
done
[ -n "$tool" ] || { echo "clang-format 14 is not installed, and other versions lay out differently"; exit 77; }

# shellcheck disable=SC2086  # a list of flags
find src include providers tests -name '*.[ch]' 2>/dev/null | sort | xargs -r "$tool" --style=file $mode
