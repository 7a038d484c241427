#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Files of a bucket survive in the cache, small and large; a changed one is fetched, and the old one never seen.
# On moto: radosgw's listings tell late and wrongly of what was overwritten.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/cache.sh"

mkdir -p "$SRV/t/d"
for i in $(seq 30); do make_object "t/d/small$i" $((i * 1111)); done
make_object t/large 9000001
: >"$SRV/t/empty"
s3_start_moto
s3_mb bucket
s3_sync "$SRV/t" s3://bucket
s3_env

s3_mark
cache_mount s3://bucket
diff -r "$SRV/t" "$MNT" || fail "the tree is different"
vmofs_umount
assert_between 32 "$(s3_count 'GET /bucket/(d/small|large)')" 1000 "requests for contents by the first mount"

s3_mark
cache_mount s3://bucket
diff -r "$SRV/t" "$MNT" || fail "the tree is different from the cache"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
assert_eq 0 "$(s3_count 'GET /bucket/(d/small|large)')" "requests for contents by the second mount"
assert_between 1 "$(vmofs_stat cache.hits)" 100000 "pages read from the cache"

# What has been evicted comes from the disk too.
"$VMOFS" evict "$MNT" >/dev/null
assert_same_file "$SRV/t/large" "$MNT/large"
assert_eq 0 "$(s3_count 'GET /bucket/(d/small|large)')" "requests for contents after an eviction"
vmofs_umount

head -c 22222 /dev/urandom >"$SRV/t/d/small3"
head -c 9000002 /dev/urandom >"$SRV/t/large"
s3_put "$SRV/t/large" s3://bucket/large
s3_put "$SRV/t/d/small3" s3://bucket/d/small3
# The server's listings take a moment to know.
lists_it()
{
	"$VMOFS" ls -l s3://bucket/d/ | grep -q "22222 .*small3$" && "$VMOFS" ls -l s3://bucket/ | grep -q "9000002 .*large$"
}
wait_for 20 lists_it || fail "the server does not list the new versions"
cache_mount s3://bucket
diff -r "$SRV/t" "$MNT" || fail "the tree is different after a change"
vmofs_umount
"$VMOFS" cache verify "$CACHE" || fail "something is wrong in the cache"
