#!/usr/bin/env bats
# shellcheck shell=bash
# Ordinary tools over the whole tree: none hangs, none destroys, and what they copy is what is there.

load lib

setup() {
	common_setup
	gpufs_start -o synthetic_offers=40,synthetic_seed=7
}
teardown() { common_teardown; }

# Lines of complaint that name anything but ctl, which nobody can read.
complaints() {
	grep -v -e '/ctl' -e '\./ctl' -e 'Exiting with failure' -e 'some files' -e 'changed as we read' "$1" || true
}

@test "rm -rf destroys nothing: files refuse, and the session lives" {
	buy x
	local rm
	for rm in 'rm -rf' 'busybox rm -rf' 'rm -r --interactive=never'; do
		run alice timeout 60 $rm "$M/sessions/x"
		[ "$status" -ne 0 ]
		[ "$status" -ne 124 ]
		is running "$(val x state)"
	done
	# As root, from the top of the tree.
	run timeout 60 rm -rf "$M/sessions" "$M/inventory"
	[ "$status" -ne 0 ]
	[ "$status" -ne 124 ]
	is running "$(alice timeout 20 cat "$M/sessions/x/wait/ready")"
	run alice ssh -F "$M/sessions/x/ssh/config" x.gpu uname
	is Linux "$output"
}

@test "find -delete and rmdir of a protected session are refused until protect is 0" {
	buy x
	is 0 "$(val x protect)"
	alice sh -c "echo 1 > '$M/sessions/x/protect'"
	run alice find "$M/sessions/x" -delete
	[ "$status" -ne 0 ]
	is running "$(val x state)"
	is "EBUSY rmdir" "$(alice_probe call rmdir "$M/sessions/x")"
	grep -q 'protect' "$M/sessions/x/error"
	is "EBUSY rmdir" "$(probe call rmdir "$M/sessions/x")"
	is "EBUSY write" "$(echo destroy | alice_probe write "$M/sessions/x/ctl")"
	is "EBUSY write" "$(echo 'done' | alice_probe write "$M/sessions/x/ctl")"
	# These send rmdir whatever was refused before.
	run alice python3 -c "import shutil; shutil.rmtree('$M/sessions/x', ignore_errors=True)"
	run alice perl -MFile::Path=remove_tree -e 'remove_tree(shift)' "$M/sessions/x"
	is running "$(val x state)"
	is "EINVAL write" "$(echo perhaps | alice_probe write "$M/sessions/x/protect")"
	is 1 "$(val x protect)"
	alice sh -c "echo 0 > '$M/sessions/x/protect'"
	is ok "$(alice_probe call rmdir "$M/sessions/x")"
}

@test "grep -r of the whole tree ends, for a user and for root, living sessions and history included" {
	buy x
	draft y
	buy z
	alice rmdir "$M/sessions/z"
	alice timeout 30 cat "$M/history/last/z/wait/gone" >/dev/null
	run timeout 60 grep -r . "$M"
	[ "$status" -le 2 ]
	[[ "$output" == *sessions/x/state:running* ]]
	[[ "$output" == *proof\ complete* ]]
	run alice timeout 60 grep -rs . "$M"
	[ "$status" -le 2 ]
	[[ "$output" == *sessions/x/state:running* ]]
	run bob timeout 60 grep -rs . "$M"
	[ "$status" -le 2 ]
	[[ "$output" != *sessions/x/state:running* ]]
	run timeout 60 find "$M" -type f -size +0 -exec cat {} +
	[ "$status" -le 1 ]
	run timeout 60 du -a "$M"
	[ "$status" -eq 0 ]
	run timeout 60 ls -laR "$M"
	[ "$status" -eq 0 ]
	is running "$(val x state)"
	is draft "$(val y state)"
}

@test "cp -r, tar and rsync of the whole tree end and copy equal bytes" {
	buy x
	chmod 777 "$T"
	mkdir -m 777 "$T/cp" "$T/tar" "$T/rsync"
	run alice timeout 60 sh -c "cp -r '$M/.' '$T/cp' 2>'$T/cp.err'"
	[ "$status" -le 1 ]
	is "" "$(complaints "$T/cp.err")"
	run alice timeout 60 sh -c "tar -C '$M' -cf - . 2>'$T/tar.err' | tar -C '$T/tar' -xf -"
	[ "$status" -le 2 ]
	is "" "$(complaints "$T/tar.err")"
	# Directories of the tree are 0555; under load rsync can close a directory before it has made all
	# that belongs into it, on any file system: hence Du+w for the copy.
	run alice timeout 60 sh -c "rsync -r --links --chmod=Du+w '$M/' '$T/rsync' 2>'$T/rsync.err'"
	[ "$status" -le 23 ]
	is "" "$(complaints "$T/rsync.err")"
	local how f
	for how in cp tar rsync; do
		alice diff -r "$M/inventory" "$T/$how/inventory"
		alice diff -r "$M/sessions/x/ssh" "$T/$how/sessions/x/ssh"
		for f in README version schema.json sessions/x/id sessions/x/state sessions/x/spec sessions/x/env \
			sessions/x/log sessions/x/expires_at search/all/table.tsv search/gpu=CPU/table; do
			alice cmp "$M/$f" "$T/$how/$f"
		done
		is running "$(alice cat "$T/$how/sessions/x/state")"
	done
	# Unlisted names were not fallen into.
	[ ! -e "$T/cp/sessions/x/wait" ] && [ ! -e "$T/tar/watch" ]
}

@test "every reader of files gets the same bytes: cat, head, tail, dd, busybox, one byte at a time, mmap" {
	buy x
	local f s=$M/sessions/x
	for f in "$M/schema.json" "$M/search/all/offers.json" "$s/ssh/key" "$s/log" "$s/spec" "$s/id" \
		"$M/inventory/synthetic-100003/info.json"; do
		alice cat "$f" >"$T/want"
		[ -s "$T/want" ]
		alice busybox cat "$f" | cmp - "$T/want"
		alice head -c 1000000 "$f" | cmp - "$T/want"
		alice tail -c +1 "$f" | cmp - "$T/want"
		alice tail -n +1 "$f" | cmp - "$T/want"
		is "$(tail -n 1 "$T/want")" "$(alice tail -n 1 "$f")"
		is "$(tail -c 7 "$T/want")" "$(alice tail -c 7 "$f")"
		alice dd if="$f" bs=4096 status=none | cmp - "$T/want"
		alice dd if="$f" bs=7 status=none | head -c 700 | cmp - <(head -c 700 "$T/want")
		alice_probe read "$f" 65536 | cmp - "$T/want"
		alice sort "$f" | cmp - <(sort "$T/want")
		alice gzip -c "$f" | gunzip | cmp - "$T/want"
		alice sh -c "cp '$f' '$T/c.$$' 2>/dev/null || cat '$f' > /dev/null"
	done
	alice dd if="$s/id" bs=1 status=none | cmp - "$s/id"
	alice dash -c "read -r l < '$s/id'; echo \"\$l\"" | cmp - "$s/id"
	alice_probe mmap "$M/schema.json" | cmp - <(cat "$M/schema.json" "$M/schema.json")
	alice_probe mmap "$s/ssh/key" | cmp - <(cat "$s/ssh/key" "$s/ssh/key")
	alice_probe mmap "$s/log" | cmp - "$s/log"
	command -v less && alice less -F "$s/log" | cmp - "$s/log"
	true
}

@test "what is read through one descriptor is one snapshot" {
	draft x
	exec 4<"$M/sessions/x/info"
	read -r -n 8 -u 4 first
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	ready x
	{ printf '%s' "$first"; cat <&4; } >"$T/info"
	exec 4<&-
	grep -qx 'state draft' "$T/info"
	no grep -q running "$T/info"
	grep -qx 'state running' "$M/sessions/x/info"
}

@test "env is safe to source, whatever the session is called and labelled" {
	draft a.b-c_D
	is ok "$(put a.b-c_D "offer=local-cpu hours=2 label='\$(touch $T/pwned) \`id\` \" \\\\\\\\ ' env.X='\$(id)'\n")"
	ready a.b-c_D
	local sh
	for sh in dash bash 'busybox sh'; do
		is "a.b-c_D 127.0.0.1" "$(alice $sh -euc ". '$M/sessions/a.b-c_D/env'; echo \"\$GPU_NAME \$GPU_HOST\"")"
	done
	[ ! -e "$T/pwned" ]
}
