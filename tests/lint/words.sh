#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: words.sh [TREE]
# No promises instead of work, no path of somebody's machine, no host of a package mirror.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
tmp=$(mktemp) || exit 2
trap 'rm -f "$tmp"' EXIT

# grep over all text of the tree; this folder names the words it looks for
everywhere()
{
	grep -rnIE "$@" --exclude-dir=.git --exclude-dir='build*' --exclude-dir=lint --exclude=LICENSE . |
		sed 's|^\./||'
}

in_product()
{
	grep -rnIwiE "$@" src include providers conf 2>/dev/null
}

{
	everywhere -w 'TODO|FIXME|XXX|HACK'
	in_product 'todo|fixme|xxx|hack|not (yet )?implemented|unimplemented|stub|for now'
	everywhere '(^|[^A-Za-z0-9_.$}*-])/(work|home|root|Users)/|(^|[^A-Za-z0-9_.$}-])/tmp/w/'
	everywhere '(deb|ftp|snapshot|security|archive)\.(debian|ubuntu)\.(org|com)'
	everywhere -iw 'issues? #?[0-9]+'
	find src include providers tests -name '*.[ch]' -exec grep -L 'SPDX-License-Identifier: Apache-2.0' {} + 2>/dev/null |
		sed 's/$/: no SPDX line/'
} | sort -u >"$tmp"
cat "$tmp"
[ ! -s "$tmp" ]
