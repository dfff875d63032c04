#!/usr/bin/env bats
# shellcheck shell=bash
# The spec: what is refused and where it says so, what buys, and what must never buy.

load lib

setup() {
	common_setup
	gpufs_start
}
teardown() {
	[ -z "${NS:-}" ] || kill "$NS"
	common_teardown
}

# refused WANTED TEXT [PLACE]: one write of TEXT is refused with WANTED, `error` explains, nothing changed.
refused() {
	is "$1 write" "$(put x "$2")"
	grep -q " $1 " "$M/sessions/x/error"
	[ -z "${3:-}" ] || grep -q "$3" "$M/sessions/x/error"
	still_draft x
}

@test "a bad word is refused by write, and error names line, column and reason" {
	draft x
	refused EINVAL 'nonsense=1\n' 'line 1, column 1: nonsense: unknown key'
	refused EINVAL 'hours\n'
	refused EINVAL 'hours=\n' 'hours: a value is missing'
	refused ENOENT 'offer=local-nothing hours=1\n' 'offer=local-nothing'
	refused ERANGE 'hours=0\n' 'must be 1 to 12'
	refused ERANGE 'hours=-1\n'
	refused ERANGE 'hours=13\n'
	refused ERANGE 'hours=99999999999999999999\n'
	refused EINVAL 'hours=1.5\n' 'whole number'
	refused EINVAL 'hours=NaN\n'
	refused EINVAL 'hours=0x2\n'
	refused EINVAL 'hours=2h\n'
	refused EINVAL 'hours=2\n\n  bad=3\n' 'line 3, column 3: bad'
	refused EINVAL 'label=ok hours=1 bad=3\n' 'line 1, column 18: bad'
	refused EINVAL 'offer=local-cpu gpu=CPU hours=1\n' 'line 1, column 17: gpu'
	refused EINVAL 'min_vram=24 max_vram=8\n'
	refused EINVAL 'workload_type=dreaming\n' 'must be one of'
	refused ERANGE 'retries=6\n'
	refused EINVAL 'protect=perhaps\n'
	refused EINVAL 'offer=../../etc hours=1\n'
	refused EINVAL 'idle_minutes=5\n' 'not support'
	[ ! -s "$M/sessions/x/spec" ]
}

@test "NUL, control bytes and invalid UTF-8 are refused at their place" {
	draft x
	refused EINVAL 'hours=1\n\0\n' 'line 2, column 1: the spec holds a NUL byte'
	refused EINVAL 'label=\xff\xfe\n' 'line 1, column 7: .*UTF-8'
	refused EINVAL 'label=\xc0\xaf\n' 'UTF-8'
	refused EINVAL 'label=\xed\xa0\x80\n' 'UTF-8'
	refused EINVAL 'label=a\x1b[31m\n' 'control'
	refused EINVAL 'hours=1\r\n' 'carriage return'
	# The sentence itself holds none of them.
	no grep -q $'\x1b' "$M/sessions/x/error"
	no grep -q $'\x1b' "$M/error"
}

@test "a megabyte of junk is refused and costs nothing" {
	draft x
	head -c 1048576 /dev/zero | tr '\0' x >"$T/junk"
	run alice sh -c "cat '$T/junk' > '$M/sessions/x/spec'"
	[ "$status" -ne 0 ]
	[[ "$output" == *"File too large"* || "$output" == *"Invalid argument"* ]]
	head -c 1048576 /dev/urandom >"$T/junk"
	chmod 644 "$T/junk"
	run alice cp "$T/junk" "$M/sessions/x/spec"
	[ "$status" -ne 0 ]
	yes '# only a comment' | head -c 65537 >"$T/junk"
	is "EFBIG write" "$(alice_probe write "$M/sessions/x/spec" <"$T/junk")"
	grep -q 'EFBIG a spec has at most' "$M/sessions/x/error"
	still_draft x
	is ok "$(put x 'offer=local-cpu hours=1\n')"
	ready x
}

@test "64 KiB of spec are accepted" {
	draft x
	{ echo 'offer=local-cpu hours=1'; yes '# a comment of some length to fill the text'; } |
		head -c 65535 >"$T/big"
	echo >>"$T/big"
	is 65536 "$(stat -c %s "$T/big")"
	is ok "$(alice_probe write "$M/sessions/x/spec" <"$T/big")"
	ready x
}

@test "JSON of depth 10 000 and other broken JSON is refused" {
	draft x
	deep=$(printf '[%.0s' {1..10000})
	refused EINVAL "{\"label\":$deep}"
	refused EINVAL "{\"a\":$(printf '{"a":%.0s' {1..10000})"
	refused EINVAL '{"hours":1,"hours":2}' 'column 18'
	refused EINVAL '{"hours":1} {"hours":2}'
	refused EINVAL '{"hours":"2"}' 'JSON number'
	refused EINVAL '{"hours":2,"nonsense":true}' 'nonsense'
	refused EINVAL '{"hours":null}'
	refused EINVAL '{"label":"a\\u0000b"}'
	refused EINVAL '{hours:1}'
	refused ERANGE '{"offer":"local-cpu","hours":13}' 'line 1, column 22: hours=13'
}

@test "JSON buys, also with the REST API's field names" {
	draft x
	is ok "$(put x '{"offer_id":"local-cpu","reservation_hours":2,"consumer_id":"team-a","workload_type":"training"}')"
	ready x
	is "$(printf 'offer=local-cpu\nhours=2\nconsumer=team-a\nworkload_type=training')" "$(val x spec)"
	is team-a "$(val x consumer)"
	is training "$(val x workload_type)"
}

@test "words: quotes, comments, several lines; the later word of a key wins; it reads back canonical" {
	draft x
	is ok "$(put x "  label='two words' # a comment\n# another\nhours=1\n\n hours=3 offer=local-cpu\n env.A=\"q'uote\"\n")"
	ready x
	is "$(printf 'offer=local-cpu\nhours=3\nlabel='"'two words'"'\nenv.A="q'"'"'uote"')" "$(val x spec)"
	is 'two words' "$(val x label)"
}

@test "an unfinished last line buys nothing, and reason says so" {
	draft x
	is ok "$(put x 'offer=local-cpu hours=2')"
	still_draft x
	grep -q 'unfinished' "$M/sessions/x/reason"
	is ok "$(put x 'offer=local-cpu hours=1')"
	still_draft x
	is ok "$(put x '{"offer":"local-cpu","hours":2')"
	still_draft x
	grep -q 'unfinished' "$M/sessions/x/reason"
	is ok "$(put x "offer=local-cpu hours=2 label='open\n")"
	still_draft x
	# Half a line and its other half through one descriptor are one line.
	printf '%s' 'offer=local-cpu ho' >"$T/a"
	printf '%s\n' 'urs=2' >"$T/b"
	alice sh -c "cat '$T/a' '$T/b' > '$M/sessions/x/spec'"
	ready x
}

@test "a refused line between two good ones buys nothing" {
	draft x
	run alice bash -c "printf 'offer=local-cpu hours=2\nbad=1\nlabel=z\n' > '$M/sessions/x/spec'"
	[ "$status" -ne 0 ]
	still_draft x
	grep -q 'a line of the spec was refused' "$M/sessions/x/reason"
	grep -q 'line 2, column 1: bad' "$M/sessions/x/error"
	# Whatever comes after a refusal through the same descriptor fails too.
	run alice_probe lines "$M/sessions/x/spec" < <(printf 'offer=local-cpu hours=2\nbad=1\nlabel=z\n')
	is "$(printf 'ok\nEINVAL\nEINVAL')" "$output"
	still_draft x
	# And a spoilt descriptor does not spoil the next one.
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	ready x
}

@test "an incomplete spec stays a draft and reason says what is missing" {
	draft x
	is ok "$(put x 'offer=local-cpu\n')"
	still_draft x
	grep -q 'hours' "$M/sessions/x/reason"
	is ok "$(put x 'gpu=CPU hours=2\n')"
	still_draft x
	grep -q 'max_price' "$M/sessions/x/reason"
	is "$(printf 'gpu=CPU\nhours=2')" "$(val x spec)"
	# Appending completes it.
	alice sh -c "echo max_price=1 >> '$M/sessions/x/spec'"
	ready x
	is local-cpu "$(val x offer_id)"
}

@test "selection keys take the cheapest match, and max_price is a hard cap" {
	gpufs_stop
	gpufs_start -o local_price_per_hour=0.5
	draft x
	is "ENOSPC close" "$(put x 'gpu=CPU hours=1 max_price=0.49\n')"
	still_draft x
	grep -q 'no offer matches' "$M/sessions/x/reason"
	grep -q ' ENOSPC ' "$M/sessions/x/error"
	is "ENOSPC open" "$(alice_probe read "$M/sessions/x/wait/ready" | sed 's/read/open/')"
	is ok "$(put x 'gpu=cpu hours=1 max_price=0.50\n')"
	ready x
	is 0.50 "$(val x price_per_hour)"
	is 0.50 "$(val x cost_max)"
}

@test "the same spec again changes nothing; another text after the purchase is EBUSY" {
	buy x
	before=$(val x instance_id)
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	is ok "$(put x 'hours=2\noffer=local-cpu # in other words\n')"
	is "EBUSY write" "$(put x 'offer=local-cpu hours=3\n')"
	grep -q 'EBUSY this session was bought already' "$M/sessions/x/error"
	is ok "$(alice_probe call truncate "$M/sessions/x/spec" 0)"
	is "$(printf 'offer=local-cpu\nhours=2')" "$(val x spec)"
	is "$before" "$(val x instance_id)"
	is running "$(val x state)"
}

@test "two writers at once: each spec counts whole, and one machine is bought" {
	draft x
	run alice_probe two-writers "$M/sessions/x/spec" $'offer=local-cpu hours=2\n' $'offer=local-cpu hours=3\n'
	[ "$status" -eq 0 ]
	ready x
	is 3 "$(sed -n s/hours=//p "$M/sessions/x/spec")"
	is 1 "$(val x attempts)"
	# Many at once: exactly one purchase, and every reader sees one whole spec.
	draft y
	for h in 1 2 3 4 5 6; do
		alice sh -c "echo 'offer=local-cpu hours=$h' > '$M/sessions/y/spec'" 2>/dev/null &
	done
	wait
	ready y
	is 1 "$(val y attempts)"
	grep -qx 'hours=[1-6]' "$M/sessions/y/spec"
}

# From a pid namespace that the daemon can see: pids differ from child to child.
@test "a writer in a pid namespace of its own buys when it closes, not before" {
	draft x
	slow_writer unshare --pid --fork
}

# Outside of the daemon's own pid namespace every pid is 0, so no flush says who closes.
@test "a writer that the daemon's pid namespace does not know buys when it closes, not before" {
	gpufs_stop
	DB=$T/none # the lock file names a pid of the other namespace: nobody may signal that
	# (The leak sanitizer cannot stop the threads of a process in another pid namespace.)
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 unshare --pid --fork --kill-child "$GPUFS_BIN" "$M" -f -o database_path="$T/state/gpufs.db" 3>&- &
	NS=$!
	until_true 20 test -e "$M/version"
	draft x
	slow_writer env
}

# slow_writer COMMAND...: a spec that is complete after its first line, from children; the label comes last.
slow_writer() {
	mkfifo "$T/in"
	chmod 666 "$T/in"
	"$@" setpriv --reuid gpufs-alice --regid gpufs-alice --init-groups sh -c "
		{ /bin/echo 'offer=local-cpu hours=2'; cat '$T/in'; /bin/echo 'label=late'; } > '$M/sessions/x/spec'" 3>&- &
	local writer=$!
	exec 4>"$T/in"
	# The first child ended and flushed; the shell that opened it still holds it open.
	until_true 20 grep -q hours=2 "$M/sessions/x/spec"
	still_draft x
	exec 4>&-
	wait "$writer"
	ready x
	is late "$(val x label)"
}

@test "a writer that opens in one thread and closes in another buys" {
	draft x
	is ok "$(printf 'offer=local-cpu hours=2\n' | alice_probe threads "$M/sessions/x/spec")"
	ready x
}

@test "children that write in turn buy once, at the end" {
	draft x
	alice bash -c "{ /bin/echo offer=local-cpu; /bin/echo hours=2; /bin/echo label=last; } > '$M/sessions/x/spec'"
	ready x
	is last "$(val x label)"
	draft y
	alice bash -c "( echo offer=local-cpu hours=2; /bin/true; echo label=last ) > '$M/sessions/y/spec'"
	ready y
	is last "$(val y label)"
}

@test "exec 3> with several echos collects lines and buys when complete" {
	draft x
	alice bash -ec "exec 3>'$M/sessions/x/spec'; echo label=first >&3; echo offer=local-cpu >&3
		[ \"\$(cat '$M/sessions/x/state')\" = draft ]; echo hours=2 >&3; exec 3>&-"
	ready x
	is first "$(val x label)"
}

@test "cp, tee, dd, cat, python and perl write specs" {
	echo 'offer=local-cpu hours=2' >"$T/good"
	chmod 644 "$T/good"
	draft a && alice cp "$T/good" "$M/sessions/a/spec" && ready a
	draft b && alice sh -c "tee '$M/sessions/b/spec' <'$T/good'" && ready b
	draft c && alice dd if="$T/good" of="$M/sessions/c/spec" bs=5 status=none && ready c
	draft d && alice sh -c "cat '$T/good' > '$M/sessions/d/spec'" && ready d
	alice rmdir "$M/sessions/a" "$M/sessions/b" "$M/sessions/c" "$M/sessions/d"
	until_true 30 grep -qx 'sessions.stopping 0' "$M/status"
	draft e && alice python3 -c "open('$M/sessions/e/spec', 'w').write(open('$T/good').read())" && ready e
	draft f && alice perl -e "open my \$f, '>', '$M/sessions/f/spec' or die; print \$f \"offer=local-cpu hours=2\n\"; close \$f or die" && ready f
	# And they all see a refusal.
	echo 'bad=1' >"$T/bad"
	chmod 644 "$T/bad"
	draft g
	run alice cp "$T/bad" "$M/sessions/g/spec"
	[ "$status" -ne 0 ]
	run alice sh -c "tee '$M/sessions/g/spec' <'$T/bad'"
	[ "$status" -ne 0 ]
	run alice dd if="$T/bad" of="$M/sessions/g/spec"
	[ "$status" -ne 0 ]
	run alice python3 -c "with open('$M/sessions/g/spec', 'w') as f: f.write('bad=1\n')"
	[ "$status" -ne 0 ]
	[ "$(val g state)" = draft ]
}

@test "one-liners work and fail alike in dash, bash and busybox sh" {
	local n=0 sh name
	for sh in dash bash 'busybox sh'; do
		n=$((n + 1)) name=s$n
		alice $sh -ec "mkdir '$M/sessions/$name'"
		run alice $sh -ec "echo 'hours=13' > '$M/sessions/$name/spec'; echo survived"
		[ "$status" -ne 0 ]
		[[ "$output" != *survived* ]]
		alice $sh -c "cat '$M/sessions/$name/error'" | grep -q 'ERANGE .*hours=13'
		run alice $sh -ec "echo 'offer=local-cpu hours=2 max_price=0 commit' > '$M/sessions/$name/spec'
			timeout 60 cat '$M/sessions/$name/wait/ready'"
		is running "$output"
		run alice $sh -ec "read -r s < '$M/sessions/$name/state'; echo \"\$s\"; . '$M/sessions/$name/env'; echo \"\$GPU_HOST\""
		is "$(printf 'running\n127.0.0.1')" "$output"
		run alice $sh -ec "echo nonsense > '$M/sessions/$name/ctl'"
		[ "$status" -ne 0 ]
		alice $sh -ec "echo +1h > '$M/sessions/$name/remaining'; rmdir '$M/sessions/$name'
			timeout 60 cat '$M/history/last/$name/wait/gone'" | grep -qx 'proof complete'
	done
}

@test "commit in the spec returns the refusal to the shell" {
	draft x
	is "EINVAL write" "$(put x 'offer=local-cpu commit\n')"
	grep -q 'hours' "$M/sessions/x/error"
	is "ENOSPC write" "$(put x 'gpu=RTX_4090 hours=2 max_price=1 commit\n')"
	still_draft x
	run alice bash -c "echo 'gpu=RTX_4090 hours=2 max_price=1 commit' > '$M/sessions/x/spec'"
	[ "$status" -ne 0 ]
	[[ "$output" == *"No space left"* ]]
	# Without it the shell sees nothing, so reason, error and wait/ready say it.
	alice bash -c "echo 'gpu=RTX_4090 hours=2 max_price=1' > '$M/sessions/x/spec'"
	still_draft x
	grep -q 'not bought: no offer matches' "$M/sessions/x/reason"
	is "ENOSPC read" "$(alice_probe read "$M/sessions/x/wait/ready")"
	is ok "$(put x 'offer=local-cpu hours=2 commit\n')"
	ready x
}

@test "commit in ctl buys what the spec says, and refuses what it lacks" {
	gpufs_stop
	gpufs_start -o auto_commit=no
	draft x
	is "EINVAL write" "$(printf 'commit\n' | alice_probe write "$M/sessions/x/ctl")"
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	still_draft x
	grep -q 'commit' "$M/sessions/x/reason"
	is "EINVAL write" "$(printf 'comit\n' | alice_probe write "$M/sessions/x/ctl")"
	is "EBUSY write" "$(printf 'extend 1h\n' | alice_probe write "$M/sessions/x/ctl")"
	still_draft x
	is ok "$(printf 'commit\n' | alice_probe write "$M/sessions/x/ctl")"
	ready x
	is ok "$(printf 'commit\n' | alice_probe write "$M/sessions/x/ctl")"
	is 1 "$(val x attempts)"
}

@test "plan says for free what commit would do" {
	draft x
	grep -q '^refused EINVAL' "$M/sessions/x/plan"
	is ok "$(put x 'offer=local-cpu hours=2')"
	is ok "$(put x 'offer=local-cpu\n')"
	grep -q '^why .*hours' "$M/sessions/x/plan"
	gpufs_stop
	gpufs_start -o auto_commit=no -o local_price_per_hour=0.25
	is ok "$(put x 'offer=local-cpu hours=2\n')"
	is "$(printf 'offer local-cpu\nprovider local\nprice_per_hour 0.25\nmax_price 0.2625\nhours 2\ncost_max 0.50')" \
		"$(val x plan)"
	is ok "$(put x 'gpu=H100 hours=2 max_price=1\n')"
	grep -q '^refused ENOSPC' "$M/sessions/x/plan"
	still_draft x
}

@test "wait=MINUTES makes it pending until an offer matches" {
	draft x
	is ok "$(put x 'gpu=RTX_4090 hours=2 max_price=1 wait=30\n')"
	is pending "$(val x state)"
	[ ! -s "$M/sessions/x/bought_at" ]
	grep -q 'waiting for an offer' "$M/sessions/x/reason"
	alice rmdir "$M/sessions/x"
	timeout 30 cat "$M/history/last/x/wait/gone" | grep -qx 'proof complete'
	[ ! -s "$M/history/last/x/instance_id" ]
	draft y
	is "ERANGE write" "$(put y 'wait=-5\n')"
	is "EINVAL write" "$(put y 'wait=soon\n')"
}

@test "a close after the draft was removed buys nothing" {
	draft x
	mkfifo "$T/in" "$T/out"
	chmod 666 "$T/in" "$T/out"
	alice_probe hold-open "$M/sessions/x/spec" t <"$T/in" >"$T/out" &
	exec 4>"$T/in" 5<"$T/out"
	read -r -u 5 line
	is open "$line"
	echo 'offer=local-cpu hours=2' >&4
	read -r -u 5 line
	is ok "$line"
	alice rmdir "$M/sessions/x"
	exec 4>&-
	wait $!
	exec 5<&-
	# A session of the same name is another one.
	draft x
	still_draft x
	[ ! -s "$M/sessions/x/spec" ]
	is 0 "$(ls "$M/history" | grep -vcx last)"
}

@test "a write to a removed draft fails, and says so" {
	draft x
	mkfifo "$T/in" "$T/out"
	chmod 666 "$T/in" "$T/out"
	alice_probe hold-open "$M/sessions/x/spec" t <"$T/in" >"$T/out" &
	exec 4>"$T/in" 5<"$T/out"
	read -r -u 5 line
	alice rmdir "$M/sessions/x"
	echo 'offer=local-cpu hours=2' >&4
	read -r -u 5 line
	is ENOENT "$line"
	exec 4>&-
	wait $!
	exec 5<&-
	alice cat "$M/error" | grep -q 'the session was removed'
}

@test "truncation: > replaces, >> adds, : > empties a draft" {
	gpufs_stop
	gpufs_start -o auto_commit=no
	draft x
	is ok "$(put x 'offer=local-cpu\n')"
	is ok "$(put x 'hours=2\n' append)"
	is "$(printf 'offer=local-cpu\nhours=2')" "$(val x spec)"
	is ok "$(put x 'label=new\n')"
	is label=new "$(val x spec)"
	alice sh -c ": > '$M/sessions/x/spec'"
	[ ! -s "$M/sessions/x/spec" ]
	is ok "$(put x 'hours=3\n')"
	is "EINVAL truncate" "$(alice_probe call truncate "$M/sessions/x/spec" 3)"
	is ok "$(alice_probe call truncate "$M/sessions/x/spec" 0)"
	[ ! -s "$M/sessions/x/spec" ]
}

@test "rights inside a spec: override_hard_max and protected consumers are an administrator's" {
	gpufs_stop
	gpufs_start -o protected_consumers=board
	draft x
	refused EPERM 'override_hard_max=1\nhours=20\n'
	refused EPERM 'consumer=board\n' 'protected'
	echo 'offer=local-cpu hours=20 override_hard_max=1' >"$M/sessions/x/spec"
	ready x
	[ "$(val x remaining)" -gt 71000 ]
}

@test "what this machine has not is refused by name, while it is written" {
	draft x
	refused EINVAL 'offer=local-cpu hours=1 image=ubuntu:24.04\n' 'image: the provider local has no'
	refused EINVAL 'offer=local-cpu hours=1 template=abc\n' 'template: the provider local has no'
	refused EINVAL "offer=local-cpu hours=1 on_start='make it so'\n" 'on_start: the provider local has no'
	refused EINVAL 'offer=local-cpu hours=1 ports=8000\n' 'ports: the provider local has no'
	refused EINVAL 'offer=local-cpu hours=1 disk_gb=100\n' 'disk_gb: the provider local has no'
	refused EINVAL 'offer=local-cpu hours=1 interruptible=1 bid=0.1\n' 'interruptible: the provider local'
	[ ! -s "$M/sessions/x/spec" ]
	# Line by line, as bash writes it: the line that cannot be is the one that is refused.
	is ok "$(put x 'offer=local-cpu\n')"
	is "EINVAL write" "$(put x 'image=ubuntu:24.04\n' append)"
	is offer=local-cpu "$(val x spec)"
	# Among offers of several providers such a wish is a condition: nothing here meets it.
	is "ENOSPC close" "$(put x 'gpu=CPU max_price=1 hours=1 image=ubuntu:24.04\n')"
	still_draft x
	grep -q 'image: the provider local has no' "$M/sessions/x/error"
	is "refused ENOSPC" "$(head -n 1 "$M/sessions/x/plan")"
}

@test "keys of the machine: their form is checked, and they read back" {
	draft x
	refused EINVAL 'image=/bad\n' 'image'
	refused EINVAL 'template=a/b\n' 'template'
	refused ERANGE 'ports=65536\n' 'ports'
	refused EINVAL 'ports=80,80\n' '80 is there twice'
	refused ERANGE 'disk_gb=0\n' 'disk_gb'
	refused ERANGE 'bid=0.0001\n' '0.001 to 128'
	refused EINVAL 'interruptible=0 bid=0.5\n' 'interruptible=1'
	refused EINVAL 'max_price=0.4 bid=0.5\n' 'more than max_price'
	refused EINVAL 'launch_mode=entrypoint\n' 'not supported'
	is ok "$(put x '{"docker_image":"a/b:1","exposed_ports":[80,443],"on_start_cmd":"a\\nb","disk_gb":9}')"
	is "$(printf '%s\n' disk_gb=9 image=a/b:1 'on_start="a\x0ab"' ports=80,443)" "$(val x spec)"
	is ok "$(put x 'gpu=CPU hours=1 max_price=1 interruptible=1\n')"
	still_draft x
	grep -q 'interruptible=1 needs bid=USD' "$M/sessions/x/reason"
}

@test "a session has ports/ and provider.log, and an unknown provider_cost" {
	draft x
	[ -z "$(ls "$M/sessions/x/ports")" ]
	is 550 "$(stat -c %a "$M/sessions/x/ports")"
	is 440 "$(stat -c %a "$M/sessions/x/provider.log")"
	[ ! -s "$M/sessions/x/provider.log" ] && [ ! -s "$M/sessions/x/provider_cost" ]
	is "ENOENT open" "$(alice_probe call open "$M/sessions/x/ports/8000" r)"
	is "EPERM mkdir" "$(alice_probe call mkdir "$M/sessions/x/ports/8000")" ||
		is "EACCES mkdir" "$(alice_probe call mkdir "$M/sessions/x/ports/8000")"
}
