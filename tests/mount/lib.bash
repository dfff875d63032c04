# What every test on a real mount shares. Each test has its own folder $T with mount $M, database $DB and
# sessions' ports (the kernel picks them), so tests can run side by side. Nothing sleeps to wait: what can
# be awaited is read (wait/ready, wait/gone, wait/change), else `until_true` polls with a limit that only a
# failure reaches.

common_setup() {
	T=$(mktemp -d "${BATS_TMPDIR:-/tmp}/gpufs-test.XXXXXX")
	chmod 755 "$T"
	M=$T/gpu
	DB=$T/state/gpufs.db
	export T M DB
	unset "${!GPUFS_@}" || true
	GPUFS_BIN=${BIN_UNDER_TEST:?}
}

# The binary survives `unset GPUFS_*`: the daemon must not see names that are no settings.
BIN_UNDER_TEST=${BIN_UNDER_TEST:-$GPUFS_BIN}
export BIN_UNDER_TEST

# gpufs_start [OPTION...]: mount in the background; options are gpufs's own (-o key=value …).
gpufs_start() {
	"$GPUFS_BIN" "$M" -o database_path="$DB" "$@"
}

# The daemon's pid (the lock file names it) and its parent, the holder.
daemon_pid() { head -n 1 "$DB.lock" | tr -dc 0-9; }
holder_pid() { awk '{print $4}' "/proc/$(daemon_pid)/stat"; }

gpufs_stop() {
	local d h
	d=$(daemon_pid 2>/dev/null) || return 0
	[ -n "$d" ] && [ -d "/proc/$d" ] || return 0
	h=$(holder_pid)
	if [ "$(cat "/proc/$h/comm" 2>/dev/null)" = gpufs ]; then kill -TERM "$h"; else kill -TERM "$d"; fi
	until_true 15 test ! -d "/proc/$d"
}

common_teardown() {
	local d
	gpufs_stop || true
	d=$(daemon_pid 2>/dev/null || true)
	[ -n "$d" ] && kill -KILL "$d" 2>/dev/null
	umount -l "$M" 2>/dev/null || true
	# Sessions outlive the daemon, on purpose: end what this test left.
	local inst
	for inst in "$T"/state/local/gpufs-*; do
		[ -e "$inst/sshd_config" ] && pkill -KILL -f -- "-f $inst/sshd_config" 2>/dev/null
	done
	if [ -f "$T/state/gpufs.key" ]; then
		local dep cg
		dep=$(awk '$1 == "deployment" {print $2}' "$T/state/gpufs.key")
		for cg in $(find /sys/fs/cgroup -type d -name "gpufs-$dep" 2>/dev/null); do
			for inst in "$cg"/*/; do
				[ -e "$inst/cgroup.kill" ] && echo 1 > "$inst/cgroup.kill"
			done
		done
	fi
	rm -rf "$T"
}

# until_true SECONDS COMMAND...: poll until it succeeds.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { echo "never true: $*" >&2; return 1; }
		perl -e "select undef, undef, undef, 0.02"
	done
}

# as USER COMMAND...: as one of the two real users, with that user's groups and home.
as() {
	local user=$1
	shift
	setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups \
		env HOME="$(getent passwd "$user" | cut -d: -f6)" USER="$user" "$@"
}
alice() { as gpufs-alice "$@"; }
bob() { as gpufs-bob "$@"; }

# buy NAME [WORDS]: alice makes a session and waits until it runs.
buy() {
	alice mkdir "$M/sessions/$1"
	alice sh -c 'echo "$1" > "$2"' sh "${2:-offer=local-cpu hours=2}" "$M/sessions/$1/spec"
	[ "$(alice timeout 60 cat "$M/sessions/$1/wait/ready")" = running ]
}
