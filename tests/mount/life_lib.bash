# shellcheck shell=bash disable=SC2154
# What the tests of a session's life, its ends and of faults share besides lib.bash: commands inside a
# session, receipts, who is left of a session, and deaths of gpufs itself.

# on NAME COMMAND...: on the machine of alice's session NAME, through its own ssh/config.
on() {
	local name=$1
	shift
	alice ssh -n -o ConnectTimeout=30 -F "$M/sessions/$name/ssh/config" "$name.gpu" "$@"
}

# say TEXT FILE: alice writes one line, as a shell does.
say() { alice sh -c 'echo "$1" > "$2"' sh "$1" "$2"; }

# value FILE: what alice reads below the mount; for comparisons inside until_true.
value() { alice cat "$M/$1"; }
reads() { [ "$(value "$1")" = "$2" ]; }

# gone NAME: the receipt of the newest ended life of that name, once the proof is complete.
gone() { alice timeout 60 cat "$M/history/last/$1/wait/gone"; }

# jobs_left WORD: processes whose command line has the word.
jobs_left() { pgrep -f -- "$1" | wc -l; }
no_jobs() { [ "$(jobs_left "$1")" -eq 0 ]; }

# sshd_count: the sshds that this test's sessions have (their configuration lies below $T).
sshd_count() { pgrep -f -- "-f $T/state/local/" | wc -l; }
sshds_are() { [ "$(sshd_count)" -eq "$1" ]; }

# both_killed: SIGKILL for holder and daemon, as a power cut would do; returns when both are gone.
both_killed() {
	local d h
	d=$(daemon_pid)
	h=$(holder_pid)
	kill -KILL "$h" "$d"
	until_true 30 pid_gone "$d"
	until_true 30 pid_gone "$h"
}
# A zombie is gone once its threads are: until then its descriptors are open.
pid_gone() {
	[ ! -d "/proc/$1" ] && return
	[ "$(awk '{print $3}' "/proc/$1/stat")" = Z ] &&
		[ "$(find "/proc/$1/task" -mindepth 1 -maxdepth 1 | wc -l)" -le 1 ]
}

# slow_sshd FILE GO: an sshd that starts only once the file GO is there (PATH is searched first).
slow_sshd() {
	printf '#!/bin/sh\nwhile [ ! -e "%s" ]; do sleep 0.02; done\nexec /usr/sbin/sshd "$@"\n' \
		"$2" > "$1"
	chmod 755 "$1" "$(dirname "$1")"
}

# hold NAME: a process of alice's holds the session's dead man's switch; its pid is in $holding.
hold() {
	setpriv --reuid gpufs-alice --regid "$(id -g gpufs-alice)" --init-groups \
		sh -c 'exec 9> "$1"; exec sleep 1000' sh "$M/sessions/$1/hold" 3>&- &
	holding=$!
	until_true 20 reads "sessions/$1/hold" 1
}

# waits_in FILE: a `cat FILE` has it open (and so is in its read, or on the way to it).
waits_in() {
	local p
	p=$(pgrep -x -f "cat $1") || return 1
	readlink "/proc/$p/fd/"* | grep -qxF "$1"
}

# watched FILE OUT: a cat of alice's that waits in FILE; its pid is in $waiter.
watched() {
	setpriv --reuid gpufs-alice --regid "$(id -g gpufs-alice)" --init-groups \
		cat "$1" > "$2" 2>&1 3>&- &
	waiter=$!
	until_true 20 waits_in "$1"
}

# ended_with PID: waits for this shell's background process; its exit status is in $status, as after run
# (which itself waits in a subshell, and so cannot wait for our children).
ended_with() {
	status=0
	wait "$1" || status=$?
}

# readme_lines README N: the commands of its Nth transcript, one a line, for this test's mount.
readme_lines() {
	awk -v n="$2" '/^<!-- run by tests\/mount\/readme.bats/ { on++; next } on == n && /^```sh/ { in_block = 1; next }
		in_block && /^```/ { exit } in_block' "$1" | sed "s|/mnt/gpu|$M|g"
}

# transcript SHELL README [N]: every line of it as alice under SHELL, as printed there: what stands behind
# "# " is what appears on standard output, and a line without it prints nothing. Each line has a shell of its
# own, in the folder of the last `cd`.
transcript() {
	local line wanted got shell=$1 count=0 folder=
	while IFS= read -r line <&4; do
		[[ "$line" != 'cd '* ]] || folder="$line && "
		wanted=
		[[ "$line" != *'# '* ]] || wanted=${line##*'# '}
		# shellcheck disable=SC2086 # busybox sh is two words
		got=$(alice $shell -c "$folder$line" 2> "$T/stderr") || {
			printf '%s: failed: %s\n%s\n' "$shell" "$line" "$(cat "$T/stderr")" >&2
			return 1
		}
		[ "$got" = "$wanted" ] || {
			printf '%s: %s\nwanted: %s\n   got: %s\n' "$shell" "$line" "$wanted" "$got" >&2
			return 1
		}
		count=$((count + 1))
	done 4< <(readme_lines "$2" "${3:-1}")
	[ "$count" -ge 9 ]
}
