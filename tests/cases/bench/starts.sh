#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 180
# FLAVOURS: gcc
# The benchmark starts, measures, compares the bytes and writes its report. What it measures is nobody's promise here.
. "$TEST_LIB/common.sh"

for program in fio nginx curl nsenter; do
	command -v "$program" >/dev/null || skip "no $program"
done
[ "$(id -u)" -eq 0 ] || skip "needs root"

sh "$VMOFS_SRC/tests/bench/run.sh" --quick --only four-shares,slow-part --tools vmofs --seconds 1 --vmofs "$VMOFS" --out "$TEST_TMP/out" \
	>"$TEST_TMP/table.log" 2>"$TEST_TMP/runs.log" || fail "the benchmark ended with $?"
grep -c '"tool": "vmofs"' "$TEST_TMP/out/results.jsonl" | grep -qx 2 || fail "not one result for each row"
! grep -E '"(failed|skipped)"' "$TEST_TMP/out/results.jsonl" || fail "a row could not be measured"
grep -q '^### slow-part: ' "$TEST_TMP/out/report.md" || fail "the report lacks a row"
