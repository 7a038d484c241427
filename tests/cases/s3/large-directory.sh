#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# A directory of 100,000 keys is listed by several requests at once, whole, each key once.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_listd_start -n 100000 -d 0 -w 20
s3_env
vmofs_mount s3://bucket
assert_eq 100000 "$(ls -f "$MNT" | grep -c '^f')" files
assert_eq 100000 "$(ls -f "$MNT" | grep '^f' | sort -u | wc -l)" "different files"
assert_between 2 "$(s3_listd_stat peak)" 64 "listings at once"
assert_between 100 "$(s3_listd_stat lists)" 200 listings
