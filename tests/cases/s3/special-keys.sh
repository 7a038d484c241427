#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# Keys that need care in a URL, in a signature, in XML or in a path read back as they were written; those that no path can
# show are hidden, and counted.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

# check KEYS...: of a JSON object in $1, that each key in it can be read and gives its text
check()
{
	python3 - "$1" "$MNT" <<'PY'
import json, os, sys
for key, text in json.load(open(sys.argv[1])).items():
    with open(os.path.join(sys.argv[2], key), encoding="utf-8") as f:
        got = f.read()
    if got != text:
        sys.exit(f"{key!r}: {got[:80]!r} instead of {text[:80]!r}")
PY
}
make() # FILE SHOWN HIDDEN: python lists of keys
{
	python3 -c '
import json, sys
shown, hidden = eval(sys.argv[2]), eval(sys.argv[3])
json.dump({k: "of " + k for k in shown}, open(sys.argv[1] + ".shown", "w"))
json.dump({k: "of " + k for k in shown + hidden}, open(sys.argv[1] + ".all", "w"))' "$@"
}

make "$TEST_TMP/a" '["a b", "a+b", "a%b", "%41", "x%2Fy", "ä/ü/€ 𝄞", "tab\there", "new\nline", "q?x&y=z#h", "~t*()!\x27\"<>",
	"back\\slash", "a:b@c;d,e=f$g", "deep/er/and/deep er"]' '["/lead", "twice//slash", "x/./y"]'
s3_start
s3_mb bucket
s3 texts bucket <"$TEST_TMP/a.all"
s3_env
vmofs_mount s3://bucket
check "$TEST_TMP/a.shown"
assert_eq 13 "$(find "$MNT" -type f -printf x | wc -c)" files
assert_eq 3 "$(vmofs_stat tree.hidden)" "hidden keys"
vmofs_umount

# Each alone, before any listing has said what there is.
vmofs_mount s3://bucket
assert_eq "of %41" "$(cat "$MNT/%41")"
assert_eq "of ä/ü/€ 𝄞" "$(cat "$MNT/ä/ü/€ 𝄞")"
assert_eq "of a+b" "$(cat "$MNT/a+b")"
vmofs_umount
vmofs_mount "s3://bucket/ä/"
assert_eq "of ä/ü/€ 𝄞" "$(cat "$MNT/ü/€ 𝄞")"
vmofs_umount

# What radosgw cannot store.
make "$TEST_TMP/b" '["/".join(["k" * 250] * 4) + "/" + "k" * 20, "n" * 255, "d/" + "ü" * 127, ".hidden", "..."]' '["n" * 256, "../up", "./dot", "e/" + "m" * 300]'
s3_start_moto
s3_mb bucket
s3 texts bucket <"$TEST_TMP/b.all"
s3_env
vmofs_mount s3://bucket
check "$TEST_TMP/b.shown"
find "$MNT" >/dev/null
assert_eq 4 "$(vmofs_stat tree.hidden)" "hidden keys"
