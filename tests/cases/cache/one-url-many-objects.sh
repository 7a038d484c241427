#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Objects of one size and one validator whose URLs differ in what is hidden from people: each has an entry of its own. No
# secret is on the disk. A renewed signature leads to what is there.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"

SIZE=3000000
for name in a b other; do
	make_object "$name/data.bin" $SIZE
	touch -d 2026-01-01 "$SRV/$name/data.bin" # nginx's ETag is date and size
done
nginx_start 'set $which a; if ($arg_key = swordfish) { set $which b; } if ($http_x_tenant = other) { set $which other; }
	location = /data.bin { alias '"$SRV"'/$which/data.bin; }
	location = /signed { alias '"$SRV"'/a/data.bin; }'
etags() { curl -sI "$@" | tr -d '\r' | sed -n 's/^ETag: //p'; }
assert_match '^".*"$' "$(etags "$NGINX_URL/data.bin?key=herring")" "the ETag"
assert_eq "$(etags "$NGINX_URL/data.bin?key=herring")" "$(etags "$NGINX_URL/data.bin?key=swordfish")" "ETags"

reads() # NAME WHAT FETCHED SOURCE [ARGUMENT...]: the mount of SOURCE gives the bytes of NAME, of which so many are fetched
{
	name=$1 what=$2 fetched=$3 source=$4
	shift 4
	cache_mount "$source" "$MNT" -o name=data "$@"
	cmp "$SRV/$name/data.bin" "$MNT/data" || fail "$what: the bytes of another object"
	case $fetched in
	all) assert_between $SIZE "$(vmofs_stat bytes_fetched)" $((3 * SIZE)) "bytes fetched, $what" ;;
	none) assert_nothing_fetched ;;
	esac
	vmofs_umount
}
for fetched in all none; do
	reads a "key=herring" $fetched "$NGINX_URL/data.bin?key=herring"
	reads b "key=swordfish" $fetched "$NGINX_URL/data.bin?key=swordfish"
	reads a "key=***" $fetched "$NGINX_URL/data.bin?key=***"
	reads a "no key" $fetched "$NGINX_URL/data.bin"
	reads other "another header" $fetched "$NGINX_URL/data.bin" -o "header=X-Tenant: other"
done
assert_eq 3 "$(cache_field name "$NGINX_URL/data.bin?key=***" | wc -l)" "entries that are shown with a hidden key"
assert_eq 5 "$(cache_field name | wc -l)" "entries"
"$VMOFS" cache verify "$CACHE" || fail "something is wrong in the cache"

signed() # DATE SIGNATURE
{
	echo "$NGINX_URL/signed?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=mackerel%2F$1&X-Amz-Date=$1&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=$2"
}
reads a "signed" all "$(signed 20260101T000000Z haddock)"
reads a "signed anew" none "$(signed 20260202T000000Z halibut)"
assert_eq 6 "$(cache_field name | wc -l)" "entries after what was signed"

for secret in herring swordfish mackerel haddock halibut; do
	! grep -rqa $secret "$CACHE" || fail "'$secret' is on the disk"
done
"$VMOFS" cache clear --url "$NGINX_URL/data.bin?key=***" "$CACHE" >/dev/null
assert_eq 3 "$(cache_field name | wc -l)" "entries after all with a hidden key were removed"
