#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nginx's index with rounded sizes and local times: the mount is equal to what is served, odd names, sizes and empty directories included.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

index_make_tree
index_start_nginx 'autoindex_exact_size off; autoindex_localtime on;'
index_check_ls
index_check
