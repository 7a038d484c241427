#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A server that answers SlowDown to more than eight requests at once gets fewer at once; no reader sees an error.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_listd_start -n 3000 -d 3 -w 5 -c 8
s3_env
vmofs_mount s3://bucket
python3 - "$MNT" <<'PY'
import concurrent.futures, os, sys
paths = [f"{sys.argv[1]}/d{d:05}/f{f:08}" for d in range(3) for f in range(1000)]
def read(path):
    with open(path, "rb") as f:
        return len(f.read())
with concurrent.futures.ThreadPoolExecutor(48) as pool:
    sizes = list(pool.map(read, paths))
if sizes != [4096] * 3000:
    sys.exit("short files")
PY
assert_eq 0 "$(vmofs_stat read_errors)" "read errors"
slow=$(s3_listd_stat slowdowns) all=$(s3_listd_stat requests)
assert_between 0 "$((slow * 100 / all))" 25 "per cent of $all requests that were one too many"
