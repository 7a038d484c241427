#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs what vmofs needs on Debian 12 and 13, and nothing that is there already.
# It changes the machine in three ways only: packages; a private libfuse3 (static; 3.17 for passthrough, 3.18 for
# io_uring) in $VMOFS_DEPS_DIR, default /opt/vmofs-deps, where the system's is older than 3.18; and for the tests a
# folder with S3 servers to chroot into, $VMOFS_TEST_CACHE/radosgw-root, default /var/cache/vmofs-tests.
set -eu

FUSE_BEST=3.18 # Debian sid's, for io_uring
FUSE_MIN=3.17  # Debian 13's, where that cannot be had
DEPS=${VMOFS_DEPS_DIR:-/opt/vmofs-deps}
S3_ROOT=${VMOFS_TEST_CACHE:-/var/cache/vmofs-tests}/radosgw-root
PATH=$PATH:/usr/sbin:/sbin

usage()
{
	cat <<'EOF'
usage: sh conf/setup.sh [--build] [--test] [--s3] [--bench] [--docker]
  --build   what building vmofs needs
  --test    and what tests/run.sh needs (the default)
  --s3      only the S3 servers of the tests; --test does this too, where it can
  --bench   and the peers that tests/bench/run.sh compares with
  --docker  and what building the container image without an engine needs
EOF
}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# Each word is PACKAGE or PACKAGE=COMMAND; the second form is content with the command from elsewhere.
BUILD='gcc=gcc libc6-dev cmake=cmake ninja-build=ninja pkg-config=pkg-config libfuse3-dev fuse3=fusermount3
	libcurl4-openssl-dev libssl-dev libzstd-dev zlib1g-dev libjansson-dev libexpat1-dev'
TEST='libcmocka-dev clang=clang clang-format=clang-format nginx-light=nginx
	python3=python3 python3-boto3 curl=curl openssl=openssl iproute2=ip util-linux procps=ps attr=getfattr git=git
	sqlite3=sqlite3 rsync=rsync
	lighttpd=lighttpd apache2-bin=apache2 caddy=caddy'
BENCH='fio=fio gnuplot-nox=gnuplot nftables=nft nbdkit=nbdkit libnbd-bin=nbdfuse rclone=rclone
	s3fs=s3fs httpdirfs=httpdirfs'
DOCKER='buildah=buildah debootstrap=debootstrap'
FUSE_BUILD='dpkg-dev=dpkg-source meson=meson gcc=gcc ninja-build=ninja liburing-dev libnuma-dev'
S3_PACKAGES='radosgw python3-moto python3-flask python3-flask-cors'

want=$BUILD
s3=
[ $# -gt 0 ] || set -- --test
for arg; do
	case $arg in
	--build)  ;;
	--test)   want="$want $TEST" s3=${s3:-try} ;;
	--s3)     want="$want $TEST" s3=must ;;
	--bench)  want="$want $TEST $BENCH" s3=${s3:-try} ;;
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

# version_ok HAVE WANTED
version_ok() { [ -n "$1" ] && dpkg --compare-versions "$1" ge "$2"; }

fuse_private() { sed -n 's/^Version: *//p' "$DEPS/lib/pkgconfig/fuse3.pc" 2>/dev/null; }
fuse_system() { pkg-config --modversion fuse3 2>/dev/null; }

# The best that there is, or the best that could be had when it was tried: the stamp is of this recipe.
FUSE_STAMP="1 $FUSE_BEST"
fuse_is_there()
{
	version_ok "$(fuse_system)" $FUSE_BEST && return 0
	version_ok "$(fuse_private)" $FUSE_MIN || version_ok "$(fuse_system)" $FUSE_MIN || return 1
	[ "$(cat "$DEPS/fuse3.stamp" 2>/dev/null)" = "$FUSE_STAMP" ] && return 0
	# Good enough for who cannot install what the better one needs.
	[ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1
}

# The mirror that this machine's own sources name for Debian.
mirror()
{
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' \
		"Release: $VERSION_CODENAME" 'Origin: Debian' | head -n 1
}

# other_apt DEB|DEB-SRC SUITE: sets $apt to an apt-get that sees only this suite, and leaves the machine's own alone
other_apt()
{
	uri=$(mirror)
	if [ -z "$uri" ]; then
		become_root "the package lists are empty"
		$root apt-get -qq -o DPkg::Lock::Timeout=300 update
		uri=$(mirror)
	fi
	[ -n "$uri" ] || die "no Debian mirror found in the apt sources of this machine"
	chmod 755 "$tmp"
	mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial"
	echo "$1 [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $2 main" >"$tmp/src.list"
	apt="apt-get -qq -o Dir::Etc::sourcelist=$tmp/src.list -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::lists=$tmp/lists -o Dir::Cache=$tmp/cache -o Acquire::Languages=none
		-o APT::Sandbox::User=$(id -un)"
}

# fuse_compile SUITE VERSION: its source package, fetched and checked by apt, built without patches in $tmp/src. What it
# links itself goes into the archive too, so that whoever links that needs to know no more.
fuse_compile()
{
	rm -rf "$tmp/src" "$tmp/lists" "$tmp/cache"
	other_apt deb-src "$1"
	mkdir -p "$tmp/src"
	(
		set -e
		cd "$tmp/src"
		$apt update
		$apt source --only-source fuse3
		cd fuse3-*/
		have=${PWD##*/fuse3-}
		version_ok "$have" "$2" || { echo "$1 has fuse3 $have, not $2"; exit 1; }
		meson setup build --prefix="$DEPS" --libdir=lib --buildtype=release --default-library=static \
			-Db_staticpic=true -Dexamples=false -Dtests=false -Dutils=false -Duseroot=false
		ninja -C build
		cd build
		if grep -q '^Requires: *liburing' meson-private/fuse3.pc; then
			printf 'create lib/all.a\naddlib lib/libfuse3.a\naddlib %s\naddlib %s\nsave\nend\n' \
				"$(gcc -print-file-name=liburing.a)" "$(gcc -print-file-name=libnuma.a)" | ar -M
			mv lib/all.a lib/libfuse3.a
			sed -i '/^Requires:/d' meson-private/fuse3.pc
		fi
	) >"$tmp/log" 2>&1
}

# fuse_build SUITE VERSION
fuse_build()
{
	say "building a private libfuse3 (Debian's, of $1) into $DEPS"
	if ! (fuse_compile "$@"); then
		say "that does not work: $(tail -n 1 "$tmp/log")"
		return 1
	fi
	$root ninja -C "$tmp"/src/fuse3-*/build install >"$tmp/log" 2>&1 ||
		{ tail -n 40 "$tmp/log" >&2; die "cannot install libfuse3 into $DEPS"; }
}

setup_fuse()
{
	! fuse_is_there || return 0
	# shellcheck disable=SC2046,SC2086  # lists of words
	set -- $(missing $FUSE_BUILD)
	[ $# -eq 0 ] || install_packages "$@"
	root=
	mkdir -p "$DEPS" 2>/dev/null && [ -w "$DEPS" ] || become_root "cannot write to $DEPS"
	if ! fuse_build sid $FUSE_BEST && ! version_ok "$(fuse_private)" $FUSE_MIN &&
		! version_ok "$(fuse_system)" $FUSE_MIN; then
		fuse_build trixie $FUSE_MIN || { tail -n 40 "$tmp/log" >&2; die "cannot build libfuse3"; }
	fi
	# shellcheck disable=SC2016
	$root sh -c 'echo "$1" >"$2"' sh "$FUSE_STAMP" "$DEPS/fuse3.stamp"
	have=$(fuse_private)
	say "libfuse3 is ${have:-$(fuse_system)}"
}

# Radosgw is not in Debian 12, and moto is in neither: Debian sid's packages, with all that they depend on, are
# fetched and checked by apt and only unpacked (no script of theirs runs), to chroot into. Made beside its place
# and moved there when it works, under a lock; so what is there is whole. The version below is of this recipe.
S3_STAMP="1 $S3_PACKAGES"

s3_is_there() { [ "$(cat "$S3_ROOT/stamp" 2>/dev/null)" = "$S3_STAMP" ]; }

s3_unpack() # ROOT
{
	rm -rf "$1"
	mkdir -p "$1/srv"
	# It brings the symbolic links that all others unpack through.
	dpkg-deb -x "$tmp"/cache/archives/base-files_*.deb "$1" || return 1
	for deb in "$tmp"/cache/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1" --keep-directory-symlink --exclude='./usr/share/doc/*' \
			--exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' || return 1
	done
	# A look at each: programs for another kernel or processor end here.
	chroot "$1" radosgw --version >/dev/null || return 1
	chroot "$1" python3 -c 'import moto.server, moto.s3.urls' || return 1 # and compiles what it imports
	echo "$S3_STAMP" >"$1/stamp"
}

s3_make()
{
	other_apt deb sid
	: >"$tmp/no-packages"
	apt="$apt -o Dir::State::status=$tmp/no-packages -o APT::Install-Recommends=0"
	{ $apt update && $apt install -y --download-only base-files $S3_PACKAGES; } >"$tmp/log" 2>&1 || return 1
	s3_unpack "$S3_ROOT.new" >"$tmp/log" 2>&1 || { rm -rf "$S3_ROOT.new"; return 1; }
	rm -rf "$S3_ROOT" "$tmp/cache"
	mv "$S3_ROOT.new" "$S3_ROOT"
}

# Sets $why when there will be no S3 server.
setup_s3()
{
	! s3_is_there || return 0
	why="chroot needs root"
	[ "$(id -u)" -eq 0 ] || return 1
	why="cannot write to '${S3_ROOT%/*}'"
	mkdir -p "${S3_ROOT%/*}" 2>/dev/null && exec 9>"${S3_ROOT%/*}/lock" || return 1
	flock 9
	! s3_is_there || return 0
	say "preparing the S3 servers of the tests (radosgw, moto) in $S3_ROOT"
	(s3_make) && return 0
	why="Debian sid's radosgw cannot be fetched and unpacked: $(tail -n 3 "$tmp/log" | tr '\n' ' ')"
	return 1
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
setup_fuse
why=
[ -z "$s3" ] || setup_s3 || {
	[ "$s3" = try ] || die "no S3 server for the tests: $why"
	say "no S3 server for the tests: $why"
}
