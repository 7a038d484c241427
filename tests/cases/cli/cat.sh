#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vmofs cat writes objects whole without a mount, in bounded memory, and says what it could not read.
. "$TEST_LIB/common.sh"

make_object big 40000000
make_object small 10
: >"$SRV/empty"
nginx_start

"$VMOFS" cat "$NGINX_URL/big" >"$TEST_TMP/out"
assert_same_file "$SRV/big" "$TEST_TMP/out"
"$VMOFS" cat --memory=8M --part-size=1M "$NGINX_URL/big" >"$TEST_TMP/out"
assert_same_file "$SRV/big" "$TEST_TMP/out"
"$VMOFS" cat -o memory=8M,connections=1 "file://$SRV/big" >"$TEST_TMP/out"
assert_same_file "$SRV/big" "$TEST_TMP/out"

# Several, with one in between that is not there: the others are written.
status=0
"$VMOFS" cat "$NGINX_URL/small" "$NGINX_URL/missing" "$NGINX_URL/empty" "$NGINX_URL/small" >"$TEST_TMP/out" 2>"$TEST_TMP/err" || status=$?
assert_eq 1 $status "status"
cat "$SRV/small" "$SRV/small" | cmp - "$TEST_TMP/out" || fail "the others were not written"
assert_match "missing.*404" "$(cat "$TEST_TMP/err")"

# Nobody reads any more: no message, an end.
"$VMOFS" cat "$NGINX_URL/big" 2>"$TEST_TMP/err" | head -c 5 >"$TEST_TMP/out" || :
assert_eq 5 "$(stat -c %s "$TEST_TMP/out")" "bytes"
assert_eq "" "$(cat "$TEST_TMP/err")" "message"
if [ -w /dev/full ]; then
	assert_fails "cannot write: No space left" sh -c "\"$VMOFS\" cat \"$NGINX_URL/small\" >/dev/full"
fi

# A broken transfer goes on where it broke; a refusal ends it, with its reason.
httpd_start --size 9000000
"$VMOFS" cat "$HTTPD_URL/object" >"$TEST_TMP/whole"
httpd_set "short-body=3"
"$VMOFS" cat --retry-base=10ms "$HTTPD_URL/object" >"$TEST_TMP/out"
assert_same_file "$TEST_TMP/whole" "$TEST_TMP/out"
httpd_set "status=403&status-count=-1"
status=0
"$VMOFS" cat "$HTTPD_URL/object" >"$TEST_TMP/out" 2>"$TEST_TMP/err" || status=$?
assert_eq 1 $status "status"
assert_match "cannot read '$HTTPD_URL/object' at 0: .*403" "$(cat "$TEST_TMP/err")"
assert_fails "is one file" "$VMOFS" cat -p x "$HTTPD_URL/object"
