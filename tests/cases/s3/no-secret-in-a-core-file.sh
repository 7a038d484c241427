#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc
# The secret key is in no memory of the daemon that a core file would have, not in its environment, and in no
# log; whichever way it came, after listing and reading.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

# copies PID SECRET: how often it is in mappings that are dumped, and in /proc/PID/environ
copies()
{
	python3 - "$1" "$2" <<'PY'
import re, sys

pid, secret, found = sys.argv[1], sys.argv[2].encode(), 0
found += open(f"/proc/{pid}/environ", "rb").read().count(secret)
with open(f"/proc/{pid}/smaps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
    for line in maps:
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (....)", line)
        if head:
            where, end, rights = int(head[1], 16), int(head[2], 16), head[3]
        if not line.startswith("VmFlags:") or rights[:2] != "rw" or {"dd", "io"} & set(line.split()):
            continue
        tail = b""
        while where < end:
            mem.seek(where)
            try:
                piece = mem.read(min(end - where, 16 << 20))
            except OSError:
                break
            found += (tail + piece).count(secret)
            tail = piece[-len(secret) + 1:]
            where += len(piece)
print(found)
PY
}

s3_start
s3_mb bucket
s3_fill s3://bucket/ 20 2
export -n S3_SECRET # the test's own copy of it
use()
{
	vmofs_mount s3://bucket "$MNT" "${@:2}"
	find "$MNT" -type f -exec cat {} + >/dev/null
	assert_eq 0 "$(copies "$(vmofs_pid)" "$S3_SECRET")" "$1: copies of the secret key"
	assert_eq 1 "$(($(copies "$(vmofs_pid)" "$S3_URL") > 0))" "$1: what is there would be found"
	vmofs_umount
}

export AWS_ENDPOINT_URL=$S3_URL AWS_REGION=us-east-1
AWS_ACCESS_KEY_ID=$S3_KEY AWS_SECRET_ACCESS_KEY=$S3_SECRET use environment
mkdir -p "$HOME/.aws"
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$S3_KEY" "$S3_SECRET" >"$HOME/.aws/credentials"
use file
mv "$HOME/.aws/credentials" "$TEST_TMP/keys"
printf '{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "%s"}' "$S3_KEY" "$S3_SECRET" >"$TEST_TMP/json"
printf '[profile p]\ncredential_process = cat "%s"\n' "$TEST_TMP/json" >"$HOME/.aws/config"
use process -o profile=p
! grep -qF "$S3_SECRET" "$LOG" || fail "the log has the secret key"
