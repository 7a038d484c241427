#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Apache's plainest index, which has names only: the mount is equal to what is served, odd names, sizes and empty directories included.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

index_make_tree
index_start_apache -FancyIndexing
index_check_ls
index_check
