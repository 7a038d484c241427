#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc
# TIMEOUT: 300
# As sent-ahead, on a server that verifies signatures and what each part is said to have.
. "$TEST_LIB/../cases/write/sent-ahead.sh" radosgw
