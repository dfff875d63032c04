#!/usr/bin/env bats
# shellcheck shell=bash
# Names that users make, where they may make them, and what can never be made.

load lib

setup() {
	common_setup
	gpufs_start
}
teardown() { common_teardown; }

@test "names of letters, digits, dot, dash and underscore are good, up to 63 of them" {
	local n long
	long=$(printf 'a%.0s' {1..63})
	for n in a A9 0 a.b a..b a-b a_b 'x._-' last all "$long"; do
		is ok "$(alice_probe call mkdir "$M/sessions/$n")"
		is draft "$(val "$n" state)"
	done
	is 11 "$(alice ls "$M/sessions" | wc -l)"
	for n in a a..b "$long"; do is ok "$(alice_probe call rmdir "$M/sessions/$n")"; done
}

@test "other names are EINVAL, longer ones ENAMETOOLONG, and error says why in one line" {
	local n
	for n in ' ' 'a b' '-rf' '.hidden' '_x' 'ü' 'naïve' 'a,b' 'a=b' 'a+b' '*' '$(id)' "a'b" 'a\x0ab' \
		'a\x1b[31m' '\xff\xfe' '日本' 'a:b' '~'; do
		is "EINVAL mkdir" "$(alice_probe call mkdir "$M/sessions/$n")"
		is 1 "$(alice cat "$M/error" | wc -l)"
		alice grep -q ' EINVAL: ' "$M/error"
		no alice grep -qP '[\x00-\x08\x0b-\x1f\x7f]' "$M/error"
	done
	for n in 64 200 255 300 1000 5000; do
		is "ENAMETOOLONG mkdir" "$(alice_probe call mkdir "$M/sessions/$(printf "%${n}s" | tr ' ' a)")"
	done
	is "EEXIST mkdir" "$(alice_probe call mkdir "$M/sessions/..")"
	is "EEXIST mkdir" "$(alice_probe call mkdir "$M/sessions/.")"
	is "ENOENT mkdir" "$(alice_probe call mkdir "$M/sessions/a/b")"
	is "" "$(ls -A "$M/sessions")"
}

@test "a look-up of any name is harmless" {
	local n
	for n in '..' 'a b' '\x01' '\xff' "$(printf 'x%.0s' {1..255})"; do
		probe call stat "$M/sessions/$n"
		probe call stat "$M/inventory/$n"
		probe call stat "$M/history/$n"
		probe call stat "$M/history/last/$n"
		probe call stat "$M/providers/$n"
		probe call stat "$M/search/$n"
		probe call stat "$M/$n"
	done
	is ENOENT "$(probe call stat "$M/inventory/nothing" | cut -d' ' -f1)"
	is ok "$(probe call stat "$M/version")"
	# A mount can be walked upwards, too.
	is "$(stat -c %i "$M")" "$(stat -c %i "$M/inventory/..")"
}

@test "directories are made in sessions/ only: elsewhere EPERM, with a sentence" {
	local d
	draft x
	for d in "$M" "$M/inventory" "$M/inventory/local-cpu" "$M/search" "$M/search/all" "$M/history" \
		"$M/history/last" "$M/providers" "$M/providers/local" "$M/sessions/x" "$M/sessions/x/ssh"; do
		is "EPERM mkdir" "$(probe call mkdir "$d/new")"
		grep -q 'directories can be made in sessions/ only' "$M/error"
	done
	is "EPERM mkdir" "$(alice_probe call mkdir "$M/sessions/x/new")"
	is "EACCES mkdir" "$(alice_probe call mkdir "$M/new")"
	is "EPERM rmdir" "$(probe call rmdir "$M/inventory")"
	is "EPERM rmdir" "$(probe call rmdir "$M/inventory/local-cpu")"
	is "EPERM rmdir" "$(probe call rmdir "$M/sessions")"
	is "EPERM rmdir" "$(alice_probe call rmdir "$M/sessions/x/ssh")"
}

@test "files and links are made nowhere, and files are removed nowhere" {
	local d what
	draft x
	for d in "$M" "$M/inventory" "$M/sessions" "$M/sessions/x" "$M/sessions/x/ssh" "$M/history"; do
		for what in create mknod mkfifo; do
			is "EPERM $what" "$(probe call $what "$d/new")"
			grep -q 'files cannot be made here' "$M/error"
		done
		is "EPERM symlink" "$(probe call symlink /etc/passwd "$d/new")"
		is "EPERM link" "$(probe call link "$M/version" "$d/new")"
	done
	is "EPERM create" "$(alice_probe call create "$M/sessions/new")"
	is "EPERM create" "$(alice_probe call create "$M/sessions/x/new")"
	is "EPERM unlink" "$(alice_probe call unlink "$M/sessions/x/spec")"
	is "EPERM unlink" "$(probe call unlink "$M/version")"
	is "EPERM unlink" "$(probe call unlink "$M/search/all/best")"
	run alice sed -i s/a/b/ "$M/sessions/x/spec"
	[ "$status" -ne 0 ]
	echo hours=1 >"$T/new"
	chmod 666 "$T/new"
	run alice mv "$T/new" "$M/sessions/x/spec"
	[ "$status" -ne 0 ]
	[ ! -s "$M/sessions/x/spec" ]
	run alice touch "$M/sessions/x/new"
	[ "$status" -ne 0 ]
}

@test "rename inside sessions/ renames, and keeps everything" {
	buy x
	local id ino
	id=$(val x id) ino=$(stat -c %i "$M/sessions/x")
	is ok "$(alice_probe call rename "$M/sessions/x" "$M/sessions/y")"
	[ ! -e "$M/sessions/x" ]
	is y "$(ls "$M/sessions")"
	is "$id" "$(val y id)"
	is "$ino" "$(stat -c %i "$M/sessions/y")"
	is running "$(val y state)"
	is "GPU_NAME='y'" "$(head -n 1 "$M/sessions/y/env")"
	run alice ssh -F "$M/sessions/y/ssh/config" y.gpu uname
	is Linux "$output"
	# The old name is free at once, for another session.
	draft x
	[ "$(val x id)" != "$id" ]
	is draft "$(val x state)"
	alice rmdir "$M/sessions/y"
	alice timeout 30 cat "$M/history/last/y/wait/gone" | grep -qx 'name y'
}

@test "rename onto a name in use is EEXIST; elsewhere EPERM; bad names EINVAL" {
	draft x
	draft y
	is "EEXIST rename" "$(alice_probe call rename "$M/sessions/x" "$M/sessions/y")"
	run alice mv -T "$M/sessions/x" "$M/sessions/y"
	[ "$status" -ne 0 ]
	[ -d "$M/sessions/x" ] && [ -d "$M/sessions/y" ]
	alice cat "$M/error" | grep -q 'there is a session y already'
	# mv without -T would go into the directory.
	run alice mv "$M/sessions/x" "$M/sessions/y"
	[ "$status" -ne 0 ]
	is "EINVAL rename" "$(alice_probe call rename "$M/sessions/x" "$M/sessions/a b")"
	is "ENAMETOOLONG rename" "$(alice_probe call rename "$M/sessions/x" "$M/sessions/$(printf 'x%.0s' {1..64})")"
	is "EINVAL renameat2" "$(alice_probe exchange "$M/sessions/x" "$M/sessions/y")"
	is "EPERM rename" "$(probe call rename "$M/sessions/x" "$M/x")"
	is "EPERM rename" "$(probe call rename "$M/sessions/x" "$M/history/x")"
	is "EPERM rename" "$(probe call rename "$M/inventory/local-cpu" "$M/sessions/z")"
	is "EPERM rename" "$(probe call rename "$M/inventory/local-cpu" "$M/inventory/z")"
	is "EPERM rename" "$(alice_probe call rename "$M/sessions/x/spec" "$M/sessions/x/z")"
	is "EPERM rename" "$(alice_probe call rename "$M/sessions/x/spec" "$M/sessions/y/spec")"
	is "ENOENT rename" "$(alice_probe call rename "$M/sessions/none" "$M/sessions/z")"
	is ok "$(alice_probe call rename "$M/sessions/x" "$M/sessions/x")"
	is "$(printf 'x\ny')" "$(ls "$M/sessions")"
}

@test "mkdir of a name in use is EEXIST, rmdir of one that is not there ENOENT" {
	draft x
	is "EEXIST mkdir" "$(alice_probe call mkdir "$M/sessions/x")"
	is "ENOENT rmdir" "$(alice_probe call rmdir "$M/sessions/y")"
	is ok "$(alice_probe call rmdir "$M/sessions/x")"
	is "ENOENT rmdir" "$(alice_probe call rmdir "$M/sessions/x")"
	is ok "$(alice_probe call mkdir "$M/sessions/x")"
}
