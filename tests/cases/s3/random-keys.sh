#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc
# TIMEOUT: 300
# 10,000 keys of random characters are signed, listed and read as the server has them.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

python3 - >"$TEST_TMP/keys.json" <<'PY'
import json, random
chooser = random.Random(7)
plain = [chr(c) for c in range(0x20, 0x7f) if chr(c) != "/"]
others = [chr(c) for c in (0xe4, 0x20ac, 0x4e2d, 0x1d11e, 0x0431, 0xa0, 0x09, 0x7f)]
def part():
    return "".join(chooser.choice(plain if chooser.random() < .95 else others) for _ in range(chooser.randrange(1, 12)))
keys = {}
while len(keys) < 10000:
    # directories begin with a letter and files with another one, so that none is in the way of another
    key = "/".join(["d" + part() for _ in range(chooser.choice([0, 0, 0, 1, 1, 2]))] + ["f" + part()])
    keys[key] = f"{len(keys)} {key}"
json.dump(keys, open("/dev/stdout", "w"))
PY
s3_start
s3_mb bucket
s3 texts bucket <"$TEST_TMP/keys.json"
s3_env
vmofs_mount s3://bucket
assert_eq 10000 "$(find "$MNT" -type f -printf x | wc -c)" files
python3 - "$TEST_TMP/keys.json" "$MNT" <<'PY'
import concurrent.futures, json, os, sys
keys = json.load(open(sys.argv[1]))
def check(key):
    with open(os.path.join(sys.argv[2], key), "rb") as f:
        return None if f.read() == keys[key].encode() else key
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    wrong = [key for key in pool.map(check, keys) if key is not None]
if wrong:
    sys.exit(f"{len(wrong)} keys read wrong, as {wrong[0]!r}")
PY
assert_eq 0 "$(vmofs_stat tree.hidden)" "hidden keys"
