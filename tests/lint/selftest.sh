#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Each lint passes on a small clean tree and fails on each defect planted in a copy of it.
set -u
lint=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
bad=0

good_tree()
{
	rm -rf "$tmp/tree"
	mkdir -p "$tmp/tree/src/base" "$tmp/tree/src/vm" "$tmp/tree/src/net" "$tmp/tree/src/cli" \
		"$tmp/tree/providers/one" "$tmp/tree/providers/two" "$tmp/tree/include/vmofs" "$tmp/tree/conf"
	cd "$tmp/tree" || exit 2
	cp "$lint/../../.clang-format" .
	spdx='/* SPDX-License-Identifier: Apache-2.0 */'
	printf '%s\n#ifndef NUM_H\n#define NUM_H\n\nstatic inline int num(void)\n{\n\treturn 1;\n}\n\n#endif\n' \
		"$spdx" >src/base/num.h
	printf '%s\n#include "base/num.h"\n#include <curl/curl.h>\n' "$spdx" >src/net/loop.c
	printf '%s\n#include <stddef.h>\n\nextern const size_t answer;\n' "$spdx" >include/vmofs/api.h
	printf '%s\n#include "one_private.h"\n#include <vmofs/api.h>\n' "$spdx" >providers/one/one.c
	printf '%s\nint one(void);\n' "$spdx" >providers/one/one_private.h
	cat >src/vm/page.h <<'EOF'
/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PAGE_H
#define PAGE_H

/*
 *      fetch          fill
 *   A --------> BUSY ------> FULL
 *
 *   EMPTY -> BUSY    page_fetch
 *   BUSY  -> FULL    page_fill
 *   BUSY  -> EMPTY   page_fail
 */
enum page_state { PAGE_EMPTY, PAGE_BUSY, PAGE_HALF_FULL, PAGE_FULL, PAGE_NSTATES };

#endif
EOF
	cat >src/vm/page.c <<'EOF'
/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/page.h"

static const unsigned page_next[] = {
	[PAGE_EMPTY] = BIT(PAGE_BUSY),
	[PAGE_BUSY] = BIT(PAGE_FULL) | BIT(PAGE_EMPTY), /* done, or not */
	[PAGE_FULL] = 0,
};
EOF
	printf '# how much memory all mounts use together\n#memory = auto\n' >conf/vmofs.conf
	printf '**--json**\n:   print JSON\n\n**-o memory=SIZE**\n:   how much\n' >src/cli/vmofs.1.md
	printf '#!/bin/sh\nprintf "stat --json\\nmount -o memory\\n"\n' >"$tmp/vmofs"
	chmod 755 "$tmp/vmofs"
}

run() { VMOFS=$tmp/vmofs sh "$lint/$1.sh" "$tmp/tree" >"$tmp/out" 2>&1; }

# passes LINT: the clean tree is clean
passes()
{
	good_tree
	run "$1"
	r=$?
	[ $r -ne 77 ] || { echo "$1: skipped: $(cat "$tmp/out")"; return; }
	[ $r -eq 0 ] || { echo "$1: fails on a clean tree:"; cat "$tmp/out"; bad=1; }
}

# fails LINT WHAT COMMAND: the lint finds what COMMAND plants
fails()
{
	good_tree
	eval "$3"
	run "$1"
	r=$?
	case $r in
	77) ;;
	0) echo "$1: does not find: $2"; bad=1 ;;
	*) [ -s "$tmp/out" ] || { echo "$1: finds '$2' without a word"; bad=1; } ;;
	esac
}

for l in includes headers format size words states docs; do
	passes $l
done

fails includes "a lower layer that includes a higher one" 'echo "#include \"vm/page.h\"" >>src/base/num.h'
fails includes "two layers of one height" 'echo "#include \"net/loop.h\"" >>src/vm/page.c'
fails includes "curl outside net" 'echo "#include <curl/curl.h>" >>src/vm/page.c'
fails includes "FUSE outside fs" 'echo "#include <fuse_lowlevel.h>" >>src/cli/main.c'
fails includes "a provider that looks into vm" 'echo "#include \"vm/page.h\"" >>providers/one/one.c'
fails includes "a provider that looks into another" 'echo "#include \"two/two.h\"" >>providers/one/one.c'
fails includes "a bare include" 'echo "#include \"page.h\"" >>src/vm/page.c'
fails includes "a public header that includes a private one" 'echo "#include \"base/num.h\"" >>include/vmofs/api.h'
fails includes "a layer without a row" 'mkdir src/extra; echo "int x;" >src/extra/x.c'
fails includes "two files of one base name" 'cp src/vm/page.c src/net/page.c'
fails headers "a header that needs another" 'echo "size_t twice(size_t x);" >>src/base/num.h'
fails headers "a header without a guard" 'echo "struct one { int x; };" >>providers/one/one_private.h'
fails format "spaces for tabs" 'printf "int x(void)\n{\n  return 1;\n}\n" >>src/vm/page.c'
fails size "a long function" '{ echo "int f(void)"; echo "{"; seq -f "	g(%g);" 70; echo "}"; } >>src/vm/page.c'
fails size "a long file" 'seq -f "/* %g */" 901 >src/vm/page.c'
fails words "a promise" 'echo "/* TO""DO: all */" >>src/vm/page.c'
fails words "a path of a machine" 'echo "cd /ho""me/me/vmofs" >>conf/vmofs.conf'
fails words "no licence line" 'echo "int x;" >src/vm/x.c'
fails states "a move only in the code" 'sed -i "/BUSY  -> EMPTY/d" src/vm/page.h'
fails states "a move only in the comment" 'sed -i "s/BIT(PAGE_FULL) |//" src/vm/page.c'
fails states "a state that is none" 'sed -i "s/BUSY  -> FULL/BUSY  -> FOOL/" src/vm/page.h'
fails docs "an option without a line in the man page" 'sed -i "s/--json/--yaml/" src/cli/vmofs.1.md'
fails docs "a key without a line in vmofs.conf" 'sed -i "/memory =/d" conf/vmofs.conf'
fails docs "a key that does not exist any more" 'echo "#colour = red" >>conf/vmofs.conf'

exit $bad
