#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A long directory of a server far away: it is cut while its first page is still coming in, every key is there
# once, and requests beyond its pages are few, also where the directory is hardly longer than a page.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

keys_once() # KEYS MOST-REQUESTS
{
	s3_listd_start -n "$1" -d 0 -w 20
	s3_env
	vmofs_mount s3://bucket
	lists=$(s3_listd_stat lists)
	assert_eq "$(seq -f 'f%08.0f' 0 $(($1 - 1)) | md5sum)" "$(ls -f "$MNT" | grep '^f' | sort | md5sum)" "$1 keys"
	assert_between $((($1 + 999) / 1000)) $(($(s3_listd_stat lists) - lists)) "$2" "listing requests for $1 keys"
	vmofs_umount
}

keys_once 900 2
keys_once 1500 20
keys_once 40000 70
