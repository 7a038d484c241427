#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lighttpd's index, with rounded sizes: the mount is equal to what is served, odd names, sizes and empty directories included.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

index_make_tree
# It refuses references with control characters.
rm "$SRV/tab	here"
index_start_lighttpd
index_check_ls
index_check
