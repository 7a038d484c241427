#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a page and a HEAD say of a file differs in detail (minutes, zones, entity tags); an unchanged file keeps its inode all the same.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

mkdir "$SRV/d"
for i in 1 2 3 4 5; do echo $i >"$SRV/d/f$i"; done
touch -d '2021-02-03 04:05:06.789 UTC' "$SRV"/d/*
export TZ=Asia/Kolkata # the servers' zone

check() # NAME
{
	vmofs_mount "$INDEX_URL/" "$MNT" --metadata-ttl=100ms
	first=$(stat -c %i "$MNT/d/f1")
	for i in 1 2 3; do
		ls "$MNT/d" >/dev/null
		assert_eq "$first" "$(stat -c %i "$MNT/d/f1")" "inode with $1, listed"
		sleep 0.2
		assert_eq "$first" "$(stat -c %i "$MNT/d/f1")" "inode with $1, later"
		assert_eq 1 "$(cat "$MNT/d/f1")"
	done
	assert_match '^1612325(106|100)$' "$(stat -c %Y "$MNT/d/f1")" "time with $1"
	vmofs_umount
}

index_start_nginx; check nginx
index_start_nginx 'autoindex_format json;'; check 'nginx in JSON'
if command -v lighttpd >/dev/null; then index_start_lighttpd; check lighttpd; fi
if command -v apache2 >/dev/null; then index_start_apache FancyIndexing; check apache; fi
if command -v caddy >/dev/null; then index_start_caddy; check caddy; fi
