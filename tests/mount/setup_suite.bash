# Once for all files: two real users. The kernel enforces permissions, so they must be real.
setup_suite() {
	local u
	for u in gpufs-alice gpufs-bob; do
		id "$u" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$u"
	done
	id -nG gpufs-bob | grep -qw gpufs-alice || true
	GPUFS_BIN=${GPUFS_BIN:-$PWD/build-test/gpufs}
	export GPUFS_BIN
	[ -x "$GPUFS_BIN" ] || { echo "no gpufs at $GPUFS_BIN: run tests/run" >&2; return 1; }
	# On a stock Debian udev makes it 0666; a bare machine has 0600, and users could not mount.
	chmod 0666 /dev/fuse
}

teardown_suite() {
	userdel --remove gpufs-alice >/dev/null 2>&1
	userdel --remove gpufs-bob >/dev/null 2>&1
	return 0
}
