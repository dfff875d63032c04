# Once for all files: two real users. The kernel enforces permissions, so they must be real.
MADE_USERS=

setup_suite() {
	local u
	for u in gpufs-alice gpufs-bob; do
		id "$u" >/dev/null 2>&1 && continue
		useradd --create-home --shell /bin/bash "$u"
		MADE_USERS+=" $u" # what was there before stays: another run may be using it
	done
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
	local u
	for u in $MADE_USERS; do
		userdel --remove "$u" >/dev/null 2>&1
	done
	return 0
}
