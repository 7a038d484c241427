#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is no index says so before there is a mount, with the reason and a way out.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

mkdir -p "$SRV/open/sub" "$SRV/page" "$SRV/closed/inner"
echo x >"$SRV/open/x"
echo inside >"$SRV/closed/inner/file"
echo '<html><p>It works!</p></html>' >"$SRV/page/index.html"
nginx_start "location /open/ { autoindex on; } location /page/ { } location /text/ { default_type text/plain; return 200 hello; }
	location /json/ { default_type application/json; return 200 '{\"a\":1}'; } location /elsewhere/ { return 301 http://other.invalid/x/; }
	location /circle/ { return 302 /circle/; } location /moved/ { return 301 /open/; } location /busy/ { return 503; }"
list() { "$VMOFS" ls --timeout=2s --retry-base=10ms "$@"; }

assert_eq sub/x "$(list "$NGINX_URL/open/" | tr -d '\n')"
assert_eq sub/x "$(list "$NGINX_URL/moved/" | tr -d '\n')" "a directory that has moved"
assert_fails "cannot list '$NGINX_URL/missing/': the server answered 404.*path" list "$NGINX_URL/missing/"
assert_fails "cannot list '$NGINX_URL/closed/': the server answered 403.*no index" list "$NGINX_URL/closed/"
assert_fails "'$NGINX_URL/page/': there is no index page.*links nothing below.*without a slash.*list:FILE" list "$NGINX_URL/page/"
assert_fails "type is 'text/plain'" list "$NGINX_URL/text/"
assert_fails "JSON is not a list of files" list "$NGINX_URL/json/"
assert_fails "may be 'http://other.invalid/x/'" list "$NGINX_URL/elsewhere/"
assert_fails "redirect that cannot be followed" list "$NGINX_URL/circle/"
assert_fails "503|in time" list "$NGINX_URL/busy/"
assert_fails "there is no 'nothing'" list -p nothing "$NGINX_URL/open/"
assert_fails "cannot list '$NGINX_URL/missing/'" "$VMOFS" mount "$NGINX_URL/missing/" "$MNT"
assert_fails "is a directory; name a file" "$VMOFS" cat "$NGINX_URL/open/"
assert_fails "a directory, but no file 'sub'" "$VMOFS" cat -p sub "$NGINX_URL/open/"
assert_fails "'$NGINX_URL/open' is a directory; a URL with a slash" "$VMOFS" ls "$NGINX_URL/open"
assert_fails "'$NGINX_URL/open' is a directory; a URL with a slash" "$VMOFS" mount "$NGINX_URL/open" "$MNT"
