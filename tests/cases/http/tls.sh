#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# GROUP: http
# https: an unknown authority is refused with a reason, a known one trusted; HTTP/2 where it is asked for; what is
# given for https is not told to http.
. "$TEST_LIB/common.sh"
need openssl

make_object big.bin 3000001
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext 'subjectAltName=IP:127.0.0.1' \
	-keyout "$TEST_TMP/key.pem" -out "$TEST_TMP/ca.pem" 2>/dev/null
httpd_start --file "$SRV/big.bin"
TLS_PORT=$(free_port)
nginx_start "listen 127.0.0.1:$TLS_PORT ssl http2; ssl_certificate $TEST_TMP/ca.pem; ssl_certificate_key $TEST_TMP/key.pem;
	location = /down { return 302 $HTTPD_URL/object; }"
url=https://127.0.0.1:$TLS_PORT

"$VMOFS" mount "$url/big.bin" "$MNT" 2>"$TEST_TMP/refused.log" && fail "an unknown authority was trusted"
assert_match 'certificate' "$(cat "$TEST_TMP/refused.log")"

for options in "cacert=$TEST_TMP/ca.pem" "insecure" "cacert=$TEST_TMP/ca.pem,http=auto"; do
	vmofs_mount "$url/big.bin" "$MNT" -o "$options"
	cmp "$SRV/big.bin" "$MNT/big.bin"
	vmofs_umount
done
grep -q 'GET /big.bin HTTP/1.1" 206' "$TEST_TMP/nginx/access.log" || fail "HTTP/1.1 was not used"
grep -q 'GET /big.bin HTTP/2.0" 206' "$TEST_TMP/nginx/access.log" || fail "HTTP/2 was not used"

# The plain server wants the very token that https was given; it does not get it.
printf 'secret\n' >"$TEST_TMP/token"
httpd_set bearer=secret
"$VMOFS" mount -o "insecure,token-file=$TEST_TMP/token" "$url/down" "$MNT" 2>"$TEST_TMP/denied.log" &&
	fail "a token went from https to http"
assert_match '401' "$(cat "$TEST_TMP/denied.log")"
