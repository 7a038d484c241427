#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 600
# FLAVOURS: gcc asan
# The daemon is killed at random moments under writers: what fsync promised is there after the next mount, and in the bucket at once
# where fsync=remote promised it; no sector is a mixture; names that were replaced are the old or the new file, never none; what was not
# stored is stored by the next mount. ROUNDS (10) kills.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'journal|recover|Transport|cannot'

ROUNDS=${ROUNDS:-10}
[ "$TEST_FLAVOUR" = gcc ] || ROUNDS=$(((ROUNDS + 2) / 3))
CHECK=$TEST_TOOLS/write_check
[ -x "$CHECK" ] || skip "write_check has not been built"
side=$TEST_TMP/side
mkdir "$side"
write_start
for f in small:400 large:60000 fresh:2000; do
	name=${f%:*}
	"$CHECK" make "$TEST_TMP/made" "$side/$name" "${f#*:}"
	s3_put "$TEST_TMP/made" "s3://bucket/$name"
done
echo 0 | s3_put - s3://bucket/replaced
echo 0 >"$side/replaced"

# replace: what the file says counts up; each number is a new file that is synced and renamed over the old one
cat >"$TEST_TMP/replace.py" <<'PY'
import os, sys
mnt, side = sys.argv[1:]
n = int(open(side).read())
try:
    mount, parent = os.stat(mnt).st_dev, os.getppid()
    while os.stat(mnt).st_dev == mount and os.getppid() == parent:
        n += 1
        open(side + ".tried", "w").write(str(n))
        with open(mnt + "/replaced.new", "w") as f:
            f.write(str(n) + "\n" * 3000)
            f.flush()
            os.fsync(f.fileno())
        os.rename(mnt + "/replaced.new", mnt + "/replaced")
        with open(side + ".tmp", "w") as f:
            f.write(str(n))
        os.rename(side + ".tmp", side)
except OSError as e:
    print("replace:", e, "at", n)
PY

check_all() # DIR WHERE
{
	for name in small large fresh; do
		"$CHECK" check "$1/$name" "$side/$name" >>"$TEST_TMP/check.log" || fail "$2: $name is not what was promised ($how, round $round)"
	done
	said=$(tr -d '\n' <"$1/replaced") # empty: there is neither the old nor the new one
	assert_between "$(cat "$side/replaced")" "${said:-none}" "$(cat "$side/replaced.tried" 2>/dev/null || echo 0)" "$2: what was renamed ($how, round $round)"
}

fetch_all()
{
	mkdir -p "$TEST_TMP/bucket"
	for name in small large fresh replaced; do
		s3 get "s3://bucket/$name" "$TEST_TMP/bucket/$name" || fail "there is no '$name' in the bucket"
	done
}

begin=$(date +%s)
for round in $(seq "$ROUNDS"); do
	how=remote
	[ $((round % 2)) -eq 0 ] || how=local
	write_mount "$MNT" "fsync=$how,write-age=300ms"
	pid=$(vmofs_pid)
	writers=
	for name in small large fresh; do
		"$CHECK" run "$MNT/$name" "$side/$name" -s "$RANDOM" -f $((1 + RANDOM % 40)) $([ $name != fresh ] || echo -c) >>"$TEST_TMP/writers.log" 2>&1 &
		writers="$writers $!"
	done
	python3 "$TEST_TMP/replace.py" "$MNT" "$side/replaced" >>"$TEST_TMP/writers.log" 2>&1 &
	writers="$writers $!"
	sleep "$(awk -v r=$RANDOM -v s=$SLOW 'BEGIN { print (0.2 + r / 32768 * 1.8) * (s > 1 ? 2 : 1) }')"
	kill -9 "$pid"
	for w in $writers; do
		wait "$w" || fail "a writer ends otherwise ($how, round $round): $(tail -n 5 "$TEST_TMP/writers.log")"
	done
	umount -l "$MNT"
	if [ $how = remote ]; then
		fetch_all
		check_all "$TEST_TMP/bucket" "the bucket right after the kill"
	fi
	write_mount "$MNT" "fsync=$how"
	check_all "$MNT" "the next mount"
	# Killed once more before anything of it has been stored, now and then.
	if [ $((round % 3)) -eq 0 ]; then
		kill_mount
		write_mount "$MNT" "fsync=$how"
		check_all "$MNT" "the mount after that"
	fi
	for name in small large fresh; do
		"$CHECK" adopt "$MNT/$name" "$side/$name"
	done
	sed -n 1p "$MNT/replaced" | tr -d '\n' >"$side/replaced"
	sync_all
	fetch_all
	check_all "$TEST_TMP/bucket" "the bucket after vmofs sync"
	for name in small large fresh replaced; do
		assert_same_file "$TEST_TMP/bucket/$name" "$MNT/$name"
	done
	vmofs_umount
done
write_mount
head -c 20000000 /dev/zero >"$MNT/parts"
sync_all
vmofs_umount
# What others have left is looked for when something is uploaded in parts. One whose beginning the server has not answered before the kill cannot be known as ours; it has nothing in it.
assert_eq "" "$(s3 filled bucket)" "uploads that are left"
assert_eq 0 "$(find "$JOURNAL" -name '*.log' -size +0 | wc -l)" "logs that are left"
echo "$ROUNDS kills in $(($(date +%s) - begin)) s: $(grep -c fsync "$TEST_TMP/writers.log" || :) writers; $(awk '{ n += $5 } END { print n }' "$TEST_TMP/check.log") sectors were newer than promised"
