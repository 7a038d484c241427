#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: includes.sh [TREE]
# A layer includes lower layers only, and a foreign library is included by its owner only.
# No two files share a base name, so that an include line means one file.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
tmp=$(mktemp) || exit 2
trap 'rm -f "$tmp"' EXIT

find src include providers -name '*.[ch]' 2>/dev/null | sort | xargs -r awk '
BEGIN {
	# layer -> the layers it sees; "vmofs" is the public API, which every layer sees
	see["public"]    = "";
	see["base"]      = "base";
	see["store"]     = "base store";
	see["vm"]        = "base store vm";
	see["net"]       = "base net";
	see["providers"] = "base net";
	see["image"]     = "base store vm net providers image";
	see["write"]     = "base store vm write";
	see["cow"]       = "base store vm cow";
	see["fs"]        = "base store vm net providers image write fs";
	see["daemon"]    = "base store vm net providers image write cow fs daemon";
	see["cli"]       = "base store vm net providers image write cow fs daemon cli";

	# what a foreign header name starts with -> who includes it
	owner["curl/"]          = "src/net/";
	owner["fuse"]           = "src/fs/";
	owner["linux/fuse"]     = "src/fs/";
	owner["openssl/"]       = "src/net/ src/base/digest";
	owner["zstd"]           = "src/base/unzstd providers/zstd/ src/image/";
	owner["zlib"]           = "providers/gzip/ src/image/";
	owner["jansson"]        = "src/daemon/ src/cli/ src/image/ src/net/ providers/s3/ providers/http/";
	owner["archive"]        = "src/image/";
	owner["expat"]          = "providers/s3/";
	owner["microhttpd"]     = "src/daemon/";
}
function bad(msg) { printf "%s:%d: %s\n", FILENAME, FNR, msg }
FNR == 1 {
	n = split(FILENAME, part, "/");
	layer = part[1] == "src" ? part[2] : part[1] == "include" ? "public" : "providers";
	if (!(layer in see))
		bad("unknown layer \"" layer "\": give it a row in tests/lint/includes.sh");
}
/^[ \t]*#[ \t]*include[ \t]*</ {
	name = $0; sub(/^[^<]*</, "", name); sub(/>.*/, "", name);
	for (prefix in owner) {
		if (index(name, prefix) != 1)
			continue;
		k = split(owner[prefix], who, " ");
		for (ok = i = 0; ++i <= k;)
			ok = ok || index(FILENAME, who[i]) == 1;
		if (!ok)
			bad("<" name "> is included by " owner[prefix] " only");
	}
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
	name = $0; sub(/^[^"]*"/, "", name); sub(/".*/, "", name);
	if (layer == "public") {
		bad("a public header includes <vmofs/...> only, not \"" name "\"");
		next;
	}
	if (index(name, "vmofs/") == 1) {
		bad("public headers are written <" name ">");
		next;
	}
	if (!index(name, "/")) {
		if (layer != "providers")
			bad("\"" name "\": write includes from the root of src, as \"" layer "/" name "\"");
		next;
	}
	split(name, part, "/");
	target = (part[1] in see) && part[1] != "public" ? part[1] : "providers";
	if (index(name, "../"))
		bad("\"" name "\": no relative includes");
	else if (layer == "providers" && target == "providers") {
		split(FILENAME, mine, "/");
		if (part[1] != mine[2] && name !~ /^http\/http_(origin|head)[.]h$/)
			bad("of another provider only http/http_origin.h and http/http_head.h may be included, not \"" name "\"");
	} else if (!index(" " see[layer] " ", " " target " "))
		bad("layer \"" layer "\" must not include \"" name "\" of \"" target "\"");
}
' >"$tmp"

find src include providers tests -name '*.[ch]' 2>/dev/null | awk -F/ '
	$NF in first { printf "%s: the same base name as %s\n", $0, first[$NF] }
	{ first[$NF] = $0 }' >>"$tmp"

cat "$tmp"
[ ! -s "$tmp" ]
