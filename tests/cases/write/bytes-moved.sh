#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc
# TIMEOUT: 300
# What a small change of a large object costs on a server that verifies signatures: 4 KiB in 1 GiB, 1 MiB at its end; by our
# counters and by the server's log. No upload is left behind, and the rest of the object is as it was.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

GIB=1073741824
write_start radosgw
truncate -s $GIB "$TEST_TMP/object"
for mib in 0 100 511 900 1023; do
	head -c 1000000 /dev/urandom | dd of="$TEST_TMP/object" bs=1M seek=$mib conv=notrunc status=none
done
s3_put "$TEST_TMP/object" s3://bucket/object
# Bodies of requests and answers, by who stands between.
s3_front
sed -i 's/access_log \([^;]*\);/log_format n "\\"$request\\" $status $request_length $bytes_sent"; access_log \1 n;/' "$TEST_TMP/nginx/conf"
kill -HUP "$NGINX_PID"
sleep 0.5
export AWS_ENDPOINT_URL=$S3_URL
write_mount "$MNT" write-age=600s,readahead-max=0
ls -l "$MNT" >/dev/null

up_down() # bytes of requests and answers since s3_mark, of both together
{
	sleep 0.3
	s3_lines | awk '{ up += $(NF - 1); down += $NF } END { print up + 0, down + 0 }'
}
# moved WHAT MOST-UP MOST-DOWN COMMAND...: in bytes
moved()
{
	what=$1 most_up=$2 most_down=$3
	shift 3
	before=$(vmofs_stat write.bytes_up)
	s3_mark
	"$@"
	set -- $(up_down)
	echo "$what: $1 bytes up, $2 down, $(s3_count .) requests"
	assert_between 4096 "$1" "$most_up" "$what: bytes up"
	assert_between 0 "$2" "$most_down" "$what: bytes down"
	assert_between 4096 $(($(vmofs_stat write.bytes_up) - before)) "$1" "$what: bytes up by vmofs stat"
}
overwrite()
{
	python3 - "$@" <<'PY'
import os, sys
f = os.open(sys.argv[1], os.O_WRONLY)
os.pwrite(f, b"p" * 4096, int(sys.argv[2]))
os.fsync(f)
os.close(f)
PY
}
append() { head -c 1048576 /dev/zero | tr '\0' e | dd of="$1" bs=1M oflag=append conv=notrunc,fsync iflag=fullblock status=none; }
# 5.1 and 0.1 MiB are promised. S3 takes no parts of less than 5 MiB but the last: the server puts such a part together from what it has and the page.
moved "4 KiB in 1 GiB" 104857 104857 overwrite "$MNT/object" 536870912
overwrite "$TEST_TMP/object" 536870912
moved "4 KiB at its end" 104857 104857 overwrite "$MNT/object" $((GIB - 4096))
overwrite "$TEST_TMP/object" $((GIB - 4096))
moved "1 MiB more" 1153433 104857 append "$MNT/object"
append "$TEST_TMP/object"
assert_stored object "$TEST_TMP/object"
assert_eq "" "$(s3 uploads bucket)" "uploads that are left"
assert_eq object "$(s3 ls s3://bucket/ | awk '{ print $2 }')" "objects"
assert_same_at() { cmp -n 3000000 -i "$1" "$MNT/object" "$TEST_TMP/object" || fail "wrong bytes at $1"; }
for at in 0 536000000 $((GIB - 2000000)); do
	assert_same_at $at
done
