# SPDX-License-Identifier: Apache-2.0
#
# Rules of system calls, for cases that have sourced common.sh, s3.sh and write.sh. With POSIX_NATIVE=DIR the rules are
# tried in a folder there instead of a mount, to see what a local file system does.

# posix_start [OPTIONS]: an empty bucket at $MNT
posix_start()
{
	if [ -n "${POSIX_NATIVE:-}" ]; then
		MNT=$(mktemp -d "$POSIX_NATIVE/posix.XXXXXX")
		at_end 'rm -rf -- "$MNT"'
		return
	fi
	write_start
	write_mount "$MNT" "$@"
}

# posix_rules <<PY: python below the mountpoint, with what posix_rules.py has
posix_rules()
{
	cat >"$TEST_TMP/rules.py"
	(cd "$MNT" && PYTHONPATH=$TEST_LIB PYTHONDONTWRITEBYTECODE=1 POSIX_IS_NATIVE=${POSIX_NATIVE:+yes} python3 "$TEST_TMP/rules.py") || fail "see above"
}
