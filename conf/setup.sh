#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs what vmofs needs on Debian 12 and 13, and nothing that is there already.
# It changes the machine in two ways only: packages, and a private libfuse3 (static, for
# passthrough) in $VMOFS_DEPS_DIR, default /opt/vmofs-deps, where the system's is older than 3.17.
set -eu

FUSE_MIN=3.17
DEPS=${VMOFS_DEPS_DIR:-/opt/vmofs-deps}
PATH=$PATH:/usr/sbin:/sbin

usage()
{
	cat <<'EOF'
usage: sh conf/setup.sh [--build] [--test] [--bench] [--docker]
  --build   what building vmofs needs
  --test    and what tests/run.sh needs (the default)
  --bench   and the peers that tests/bench/run.sh compares with
  --docker  and what building the container image without an engine needs
EOF
}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# Each word is PACKAGE or PACKAGE=COMMAND; the second form is content with the command from elsewhere.
BUILD='gcc=gcc libc6-dev cmake=cmake ninja-build=ninja pkg-config=pkg-config libfuse3-dev fuse3=fusermount3
	libcurl4-openssl-dev libssl-dev libzstd-dev libjansson-dev libexpat1-dev'
TEST='libcmocka-dev clang=clang clang-format=clang-format nginx-light=nginx
	python3=python3 curl=curl openssl=openssl iproute2=ip util-linux procps=ps attr=getfattr git=git'
BENCH='fio=fio gnuplot-nox=gnuplot nftables=nft nbdkit=nbdkit libnbd-bin=nbdfuse rclone=rclone
	s3fs=s3fs httpdirfs=httpdirfs'
DOCKER='buildah=buildah debootstrap=debootstrap'
FUSE_BUILD='dpkg-dev=dpkg-source meson=meson'

want=$BUILD
[ $# -gt 0 ] || set -- --test
for arg; do
	case $arg in
	--build)  ;;
	--test)   want="$want $TEST" ;;
	--bench)  want="$want $TEST $BENCH" ;;
	--docker) want="$want $TEST $DOCKER" ;;
	-h|--help) usage; exit 0 ;;
	*) usage >&2; die "unknown argument '$arg'" ;;
	esac
done

# The sanitizers' and libFuzzer's run time comes in a package of clang's own version.
clang_rt()
{
	case " $want " in *clang=clang*) ;; *) return 0 ;; esac
	major=$(clang -dumpversion 2>/dev/null | cut -d. -f1) || major=
	if [ -z "$major" ]; then
		case $VERSION_ID in 12) major=14 ;; 13) major=19 ;; *) return 0 ;; esac
	fi
	printf ' libclang-rt-%s-dev' "$major"
}

# Prints the packages among "$@" that are not installed.
missing()
{
	packages=
	for word; do
		case $word in
		*=*) command -v "${word#*=}" >/dev/null 2>&1 || packages="$packages ${word%%=*}" ;;
		*) packages="$packages $word" ;;
		esac
	done
	[ -n "$packages" ] || return 0
	# shellcheck disable=SC2086  # a list of words
	dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null >"$tmp/have" || :
	for p in $packages; do
		grep -qx "installed $p" "$tmp/have" || printf '%s ' "$p"
	done
}

# Sets $root to what a command is run with to be root, or ends with what is to be done.
become_root()
{
	root=
	[ "$(id -u)" -ne 0 ] || return 0
	command -v sudo >/dev/null 2>&1 || die "$1, and this is neither root nor is there sudo. As root, run: sh conf/setup.sh"
	root=sudo
}

# A package that is installed for its program must not start a service: Debian asks this file first.
no_services()
{
	[ ! -e /usr/sbin/policy-rc.d ] || return 0
	# shellcheck disable=SC2016
	$root sh -c 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d'
	made_policy=1
}

install_packages()
{
	become_root "packages are missing: $*"
	say "installing: $*"
	no_services
	apt='apt-get -qq -o DPkg::Lock::Timeout=300'
	$root $apt update >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "apt-get update failed"; }
	$root env DEBIAN_FRONTEND=noninteractive $apt install -y --no-install-recommends "$@" >"$tmp/log" 2>&1 ||
		{ cat "$tmp/log" >&2; die "apt-get install failed for: $*"; }
}

# version_ok HAVE: at least $FUSE_MIN?
version_ok() { [ -n "$1" ] && dpkg --compare-versions "$1" ge "$FUSE_MIN"; }

fuse_is_there()
{
	version_ok "$(pkg-config --modversion fuse3 2>/dev/null)" ||
		version_ok "$(sed -n 's/^Version: *//p' "$DEPS/lib/pkgconfig/fuse3.pc" 2>/dev/null)"
}

# The mirror that this machine's own sources name for Debian.
mirror()
{
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' \
		"Release: $VERSION_CODENAME" 'Origin: Debian' | head -n 1
}

# Debian 13's source package, fetched and checked by apt, built without patches.
build_fuse()
{
	# shellcheck disable=SC2046,SC2086  # lists of words
	set -- $(missing $FUSE_BUILD gcc=gcc ninja-build=ninja)
	[ $# -eq 0 ] || install_packages "$@"
	uri=$(mirror)
	if [ -z "$uri" ]; then
		become_root "the package lists are empty"
		$root apt-get -qq -o DPkg::Lock::Timeout=300 update
		uri=$(mirror)
	fi
	[ -n "$uri" ] || die "no Debian mirror found in the apt sources of this machine"
	say "building a private libfuse3 (Debian 13's) into $DEPS"

	chmod 755 "$tmp"
	mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/src"
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri trixie main" >"$tmp/src.list"
	apt="apt-get -qq -o Dir::Etc::sourcelist=$tmp/src.list -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::lists=$tmp/lists -o Dir::Cache=$tmp/cache -o Acquire::Languages=none
		-o APT::Sandbox::User=$(id -un)"
	(
		set -e
		cd "$tmp/src"
		$apt update
		$apt source --only-source fuse3
		cd fuse3-*/
		meson setup build --prefix="$DEPS" --libdir=lib --buildtype=release --default-library=static \
			-Db_staticpic=true -Dexamples=false -Dtests=false -Dutils=false -Duseroot=false
		ninja -C build
	) >"$tmp/log" 2>&1 || { tail -n 40 "$tmp/log" >&2; die "cannot build libfuse3"; }

	root=
	mkdir -p "$DEPS" 2>/dev/null && [ -w "$DEPS" ] || become_root "cannot write to $DEPS"
	$root ninja -C "$tmp"/src/fuse3-*/build install >"$tmp/log" 2>&1 ||
		{ tail -n 40 "$tmp/log" >&2; die "cannot install libfuse3 into $DEPS"; }
}

clean_up()
{
	[ -z "$made_policy" ] || $root rm -f /usr/sbin/policy-rc.d
	rm -rf "$tmp"
}

made_policy=
root=
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmofs-setup.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ID=unknown VERSION_ID=0 VERSION_CODENAME=
[ ! -r /etc/os-release ] || . /etc/os-release
if ! command -v dpkg-query >/dev/null 2>&1 || { [ "$ID" != debian ] && [ "${ID_LIKE:-}" != debian ]; }; then
	die "this is '${ID}', and only Debian 12 and 13 are known here. By hand: gcc or clang, cmake 3.25, ninja, pkg-config,
  and the development files of fuse3 ($FUSE_MIN or later for passthrough), libcurl, openssl, zstd, jansson, expat, cmocka"
fi

# shellcheck disable=SC2046,SC2086  # lists of words
set -- $(missing $want $(clang_rt))
[ $# -eq 0 ] || install_packages "$@"
fuse_is_there || build_fuse
