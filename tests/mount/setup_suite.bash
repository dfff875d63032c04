# Once for all files: two real users. The kernel enforces permissions, so they must be real.
#
# Other runs on this machine may be using them: each leaves a file named after its process, and the last one
# removes the users that one of them made. Else the run that ends first takes bob away from the others.
USERS=/run/lock/gpufs-test-users

setup_suite() {
	local u
	mkdir -p "$USERS"
	exec 9> "$USERS/lock"
	flock 9
	: > "$USERS/$$"
	for u in gpufs-alice gpufs-bob; do
		id "$u" >/dev/null 2>&1 && continue
		useradd --create-home --shell /bin/bash "$u"
		: > "$USERS/made.$u"
	done
	exec 9>&-
	id -nG gpufs-bob | grep -qw gpufs-alice || true
	GPUFS_BIN=${GPUFS_BIN:-$PWD/build-test/gpufs}
	export GPUFS_BIN
	[ -x "$GPUFS_BIN" ] || { echo "no gpufs at $GPUFS_BIN: run tests/run" >&2; return 1; }
	FAKECLOUD_BIN=${FAKECLOUD_BIN:-$(dirname "$GPUFS_BIN")/fakecloud} # beside it, or in a build directory:
	[ -x "$FAKECLOUD_BIN" ] || FAKECLOUD_BIN=$(dirname "$GPUFS_BIN")/tests/fake/fakecloud
	export FAKECLOUD_BIN
	# On a stock Debian udev makes it 0666; a bare machine has 0600, and users could not mount.
	chmod 0666 /dev/fuse
}

teardown_suite() {
	local run u
	(
		flock 9
		rm -f "$USERS/$$"
		for run in "$USERS"/[0-9]*; do
			[ ! -d "/proc/${run##*/}" ] || exit 0
		done
		for u in "$USERS"/made.*; do
			[ ! -e "$u" ] || userdel --remove "${u##*/made.}" >/dev/null 2>&1
		done
		rm -rf "$USERS"/made.* "$USERS"/[0-9]*
	) 9> "$USERS/lock"
	return 0
}
