#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# What a killed process has uploaded in parts is aborted by the next one; the same key's uploads of somebody else, and those of a process that
# lives, are not.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

[ -x "$TEST_TOOLS/s3_change" ] || skip "s3_change has not been built"
export XDG_STATE_HOME=$TEST_TMP/state
head -c 20000000 /dev/urandom >"$TEST_TMP/big"
s3_start_moto # radosgw lists no uploads
s3_mb bucket
s3_env

# begin NAME: a process that stops before its upload is complete; sets PID
begin()
{
	"$TEST_TOOLS/s3_change" s3://bucket "" hang , new "key/a b+ü" "$TEST_TMP/big" >"$TEST_TMP/$1" 2>&1 &
	PID=$!
	PIDS="$PIDS $PID"
	wait_for 60 grep -q hangs "$TEST_TMP/$1" || fail "it does not come to its end: $(cat "$TEST_TMP/$1")"
}
begin killed
KILLED=$PID
begin alive
ALIVE=$PID
s3 upload s3://bucket/key/other
s3 upload "s3://bucket/key/a b+ü"
assert_eq 4 "$(s3 uploads bucket | wc -l)" "uploads before"
kill -9 "$KILLED"
wait "$KILLED" || :
"$TEST_TOOLS/s3_change" s3://bucket "" new next "$TEST_TMP/big" >"$TEST_TMP/next" 2>&1
grep -q '^ok ' "$TEST_TMP/next" || fail "$(cat "$TEST_TMP/next")"
s3 uploads bucket >"$TEST_TMP/left"
assert_eq 3 "$(wc -l <"$TEST_TMP/left")" "uploads after: $(cat "$TEST_TMP/left")"
assert_eq 1 "$(grep -c 'key/other' "$TEST_TMP/left")" "somebody else's"
kill -9 "$ALIVE"
wait "$ALIVE" || :
"$TEST_TOOLS/s3_change" s3://bucket "" store next "$TEST_TMP/big" >"$TEST_TMP/next" 2>&1
assert_eq 2 "$(s3 uploads bucket | wc -l)" "uploads at the end"
assert_eq "" "$(ls "$XDG_STATE_HOME/vmofs/uploads")" "records of uploads"
