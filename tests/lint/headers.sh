#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: headers.sh [TREE]
# Every header compiles alone, and twice, with gcc and with clang.
set -u
lint=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$lint/../..}" || exit 2
deps=${VMOFS_DEPS_DIR:-/opt/vmofs-deps}
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT

mkdir -p "$tmp/vmofs"
[ ! -r include/vmofs/version.h.in ] ||
	sed 's/@PROJECT_VERSION@/0.0.0/; s/@PROJECT_VERSION_[A-Z]*@/0/' include/vmofs/version.h.in >"$tmp/vmofs/version.h"

libs=$(PKG_CONFIG_PATH="$deps/lib/pkgconfig" pkg-config --cflags fuse3 libcurl openssl libzstd jansson cmocka) || exit 2
# as CMake does it: warnings in other people's headers are not ours
libs=$(printf '%s' "$libs" | sed 's/-I/-isystem /g')
flags="-std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Werror
	-fsyntax-only -Iinclude -Isrc -Iproviders -Itests -I$tmp $libs"

check()
{
	printf '#include "%s"\n#include "%s"\n' "$PWD/$2" "$PWD/$2" >"$tmp/alone.c"
	# shellcheck disable=SC2086  # a list of flags
	"$1" $flags "$tmp/alone.c" 2>"$tmp/log" && return 0
	printf '%s: does not compile alone with %s\n' "$2" "$1"
	head -n 8 "$tmp/log"
	return 1
}

failed=0
for cc in gcc clang; do
	command -v $cc >/dev/null || { echo "$cc is not installed"; exit 2; }
	for h in $(find include src providers tests -name '*.h' 2>/dev/null | sort); do
		check $cc "$h" || failed=1
	done
done
exit $failed
