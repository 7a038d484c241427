#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Interrupts that come at every moment of a change's life: each call is done or says EINTR, once, and what is there in the end is
# stored like everything else.
. "$TEST_LIB/common.sh"

there=$TEST_TMP/there
mkdir "$there"
vmofs_mount "file://$there" "$MNT" -o "rw,journal-dir=$TEST_TMP/journal"
"$TEST_TOOLS/interrupt_changes" 5 "$MNT" >"$TEST_TMP/result" || fail "calls fail: $(cat "$TEST_TMP/result")"
cat "$TEST_TMP/result"
field() { sed "s/.*\"$1\": \([0-9]*\).*/\1/" "$TEST_TMP/result"; }
assert_between 100 "$(field done)" 10000000 "done"
assert_between 10 "$(field interrupted)" 10000000 "interrupted"
nothing_waits() { [ "$(vmofs_stat outstanding)" -eq 0 ]; }
wait_for 20 nothing_waits || fail "$(vmofs_stat outstanding) requests wait for ever"
"$VMOFS" sync "$MNT" || fail "vmofs sync fails"
diff -r "$there" "$MNT" || fail "the mount is not what it is of"
vmofs_umount
