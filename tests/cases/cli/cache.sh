#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vmofs cache ls, verify, clear and gc: what they print, what they remove, and what they refuse.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"

make_object a.bin 3M
make_object b.bin 2000000
nginx_start
c() { "$VMOFS" cache "$@"; }

assert_fails "no disk cache in '$CACHE'" c ls "$CACHE"
[ ! -e "$CACHE" ] || fail "looking has made a directory"
assert_fails "has no 'cache-dir'" c ls
assert_fails "unknown command 'cache list'" c list "$CACHE"
assert_fails "'--url' is for 'vmofs cache clear'" c gc --url x "$CACHE"
assert_fails "'--cache-size' is for 'vmofs cache gc'" c ls --cache-size 1G "$CACHE"
assert_fails "cache-size.*not a size" c gc --cache-size lots "$CACHE"

for o in a b; do
	cache_mount "$NGINX_URL/$o.bin"
	cat "$MNT/$o.bin" >/dev/null
	vmofs_umount
done
before=$(date +%s)
[ "$(c ls --json "$CACHE" | wc -l)" -eq 2 ] || fail "two objects are not two lines"
c ls --json "$CACHE" | python3 -c '
import json, sys
url, now = sys.argv[1:]
for line in sys.stdin:
    v = json.loads(line)
    size = 3145728 if v["url"] == url + "/a.bin" else 2000000
    assert v["url"] in (url + "/a.bin", url + "/b.bin"), v
    assert v["size"] == size and v["present"] == size, v
    assert size <= v["disk"] <= size + 65536, v
    assert int(now) - 300 <= v["used"] <= int(now) + 60, v
    assert v["validator"] and v["name"] and not v["damaged"] and not v["in_use"], v
' "$NGINX_URL" "$before" || fail "ls --json"
text=$(c ls "$CACHE")
assert_match "3\.0 MiB +3\.0 MiB .* whole +$NGINX_URL/a.bin" "$text"
assert_match '^2 objects, 4\.' "$text"
echo "cache-dir = $CACHE" | sed '1i [mount]' >"$TEST_TMP/conf"
assert_eq "$text" "$(c ls --config "$TEST_TMP/conf")" "the directory of the configuration"

assert_match '2 objects, 1257 pages checked' "$(c verify "$CACHE")"
c verify --json "$CACHE" | grep -q '"bad":0' || fail "something is wrong with what was just written"
name=$(cache_field name "$NGINX_URL/b.bin")
cache_damage "$(find "$CACHE" -path "*${name#??}*.data")" 5 1
assert_fails '5 wrong and dropped' c verify "$CACHE"
c verify "$CACHE" >/dev/null || fail "what was wrong is still there"
assert_between $((2000000 - 5 * 4096)) "$(cache_present "$NGINX_URL/b.bin")" $((2000000 - 4 * 4096)) "present after that"

# Beside a mount: what it uses stays.
cache_mount "$NGINX_URL/a.bin"
head -c 4096 "$MNT/a.bin" >/dev/null
assert_match 'in use' "$(c ls "$CACHE" | grep a.bin)" "what is in use"
c clear --json "$CACHE" | grep -q '"skipped":1' || fail "what is in use is not left alone"
assert_eq "$NGINX_URL/a.bin" "$(cache_field url)" "what is left"
assert_same_file "$SRV/a.bin" "$MNT/a.bin"
assert_nothing_fetched
c gc --cache-size 1G --cache-free 0 "$CACHE" >/dev/null || fail "gc beside a mount"
c verify "$CACHE" >/dev/null || fail "verify beside a mount"
vmofs_umount
c clear --url "$NGINX_URL/nothing" "$CACHE" >/dev/null
assert_eq 1 "$(cache_field url | wc -l)" "after clear of another URL"
assert_match '1 objects' "$(c clear --url "$NGINX_URL/a.bin" "$CACHE")"
assert_eq 0 "$(cache_field url | wc -l)" "after clear"
assert_eq 0 "$(find "$CACHE" -name '*.data' -o -name '*.index' | wc -l)" "files after clear"
