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
	# No HTTP unless a test asks for it (http_lib.bash): tests run side by side, and 8080 is one port.
	export GPUFS_SERVER_PORT=0
}

# The binary survives `unset GPUFS_*`: the daemon must not see names that are no settings.
BIN_UNDER_TEST=${BIN_UNDER_TEST:-$GPUFS_BIN}
export BIN_UNDER_TEST

# gpufs_start [OPTION...]: mount in the background; options are gpufs's own (-o key=value …).
gpufs_start() {
	"$GPUFS_BIN" "$M" -o database_path="$DB" "$@" || return
	# A large market is put in order on a worker, a moment after the mount is there.
	[[ "$*" != *synthetic_offers=* ]] || until_true 20 market_there
}
market_there() { ! grep -qw starting "$M/status"; }

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
				[ -d "$inst" ] || continue
				[ -e "$inst/cgroup.kill" ] && echo 1 > "$inst/cgroup.kill"
				until_true 10 rmdir "$inst"
			done
			rmdir "$cg" 2>/dev/null
		done
	fi
	local log reports=
	for log in "$T"/state*/gpufs.log; do
		reports+=$(grep -hE -A 30 'ERROR: [A-Za-z]*Sanitizer|: runtime error: ' "$log" 2>/dev/null)
	done
	rm -rf "$T"
	[ -z "$reports" ] || { printf 'the daemon was reported by a sanitizer:\n%s\n' "$reports" >&2; return 1; }
}

# until_true SECONDS COMMAND...: poll until it succeeds.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { echo "never true: $*" >&2; return 1; }
		nap
	done
}

# A thirtieth of a second without a process of its own: hundreds of tests poll, three at a time.
nap() {
	[ -n "${NAP_FD:-}" ] || exec {NAP_FD}<> <(:)
	read -rt 0.03 -u "$NAP_FD" || true
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

# What a shell cannot do: single system calls (probe.py); prints `ok`, or what was refused.
PROBE=$BATS_TEST_DIRNAME/probe.py
probe() { python3 "$PROBE" "$@"; }
alice_probe() { alice python3 "$PROBE" "$@"; }
bob_probe() { bob python3 "$PROBE" "$@"; }

# draft NAME: alice's new draft.
draft() { alice mkdir "$M/sessions/$1"; }
# put NAME TEXT: alice writes TEXT (printf's escapes) to the spec in one write; prints how it went.
put() {
	# shellcheck disable=SC2059
	printf "$2" | alice_probe write "$M/sessions/$1/spec" "${@:3}"
}
# val NAME FILE: a value of a session, as root.
val() { cat "$M/sessions/$1/$2"; }
# still_draft NAME: nothing was bought: no order, no machine.
still_draft() {
	[ "$(val "$1" state)" = draft ] && [ ! -s "$M/sessions/$1/bought_at" ] &&
		[ ! -s "$M/sessions/$1/instance_id" ] && ! compgen -G "$T/state/local/gpufs-*" >/dev/null
}
# ready NAME: waits until it runs.
ready() { [ "$(timeout 60 cat "$M/sessions/$1/wait/ready")" = running ]; }
# no COMMAND...: it must fail (a bare `! command` in the middle of a test is not looked at).
no() { ! "$@"; }
# is WANTED TEXT...: a comparison that shows both when they differ.
is() {
	local wanted=$1
	shift
	[ "$wanted" = "$*" ] || { printf 'wanted: %s\n   got: %s\n' "$wanted" "$*" >&2; return 1; }
}
# colleague COMMAND...: bob, who is in alice's group (the kernel looks at the process's groups).
colleague() {
	setpriv --reuid gpufs-bob --regid gpufs-bob --groups "$(id -g gpufs-alice),$(id -g gpufs-bob)" \
		env HOME=/tmp USER=gpufs-bob "$@"
}
colleague_probe() { colleague python3 "$PROBE" "$@"; }
