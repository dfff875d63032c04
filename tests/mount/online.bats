#!/usr/bin/env bats
# shellcheck disable=SC2154 # run sets $stderr
# What asks the clouds without a daemon: gpufs --check --online, gpufs --orphans [--destroy].

load lib
load life_lib
load fake

setup() {
	common_setup
	fake_start --calm --time-factor 0.02
	export GPUFS_VASTAI_API_KEY=$FAKE_KEY GPUFS_VASTAI_BASE_URL
	GPUFS_VASTAI_BASE_URL=$(fake_url)
	export GPUFS_DATABASE_PATH=$DB
	mkdir -p "$T/state"
}

teardown() {
	fake_teardown
	common_teardown
}

# ---- help ----

check() { run timeout 120 "$GPUFS_BIN" --check --online "$@"; }
# No standard input that is a terminal, and messages apart.
orphans() { run --separate-stderr timeout 300 "$GPUFS_BIN" --orphans "$@" < /dev/null; }
bats_require_minimum_version 1.5.0

# json FILTER: of $output, which must be one JSON object and hold it true.
json() { jq -e "$1" <<< "$output" > /dev/null || { echo "not: $1" >&2; echo "$output" >&2; return 1; }; }
ends() { [ "$status" -eq "$1" ] || { printf 'status %s\n%s\n%s\n' "$status" "$output" "$stderr" >&2; return 1; }; }
has() { grep -Eq "$1" <<< "$output" || { printf 'lacks: %s\n%s\n' "$1" "$output" >&2; return 1; }; }

# own_key: a gpufs.key whose labels `label` can make.
own_key() {
	printf 'deployment abcd1\nkey %064d\n' 7 > "$T/state/gpufs.key"
	chmod 600 "$T/state/gpufs.key"
}

# label NUMBER [ATTEMPT]: the label that this deployment gives session 00000000-…-NUMBER.
label() {
	python3 - "$T/state/gpufs.key" "$@" <<-'PY'
		import base64, hashlib, hmac, sys, uuid
		words = dict(l.split() for l in open(sys.argv[1]) if not l.startswith("#"))
		b32 = lambda b, n: base64.b32encode(b + bytes(8)).decode().lower()[:n]
		session = uuid.UUID(int=int(sys.argv[2]))
		attempt = sys.argv[3] if len(sys.argv) > 3 else "1"
		body = f"gpufs-{words['deployment']}-{b32(session.bytes, 26)}-{attempt}"
		mac = hmac.new(bytes.fromhex(words["key"]), body.encode(), hashlib.sha256).digest()
		print(body + "-" + b32(mac, 10))
	PY
}

# answers TEXT COMMAND...: on a terminal of its own, with that answer typed once the question stands (and the
# shell command $MEANWHILE, if any, is done). What is printed comes out, and its exit status.
answers() {
	timeout 120 python3 -c '
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
seen, asked = b"", False
while True:
    try:
        got = os.read(fd, 4096)
    except OSError:
        got = b""
    if not got:
        break
    seen += got
    if not asked and b"[y/N] " in seen:
        asked = True
        os.system(os.environ.get("MEANWHILE", ":"))
        os.write(fd, sys.argv[1].encode() + b"\n")
sys.stdout.write(seen.decode(errors="replace").replace("\r", ""))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
' "$@"
}

# sql TEXT: on the database, while nobody uses it.
sql() { python3 -c 'import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute(sys.argv[2]); d.commit()' "$DB" "$1"; }

living() { [ "$(fake_living)" = "$1" ]; }

# ---- --check --online ----

@test "a good key: reached, accepted, balance, offers and clock, each on its line" {
	check
	ends 0
	has '^  reachable +ok +answered in [0-9]+ ms$'
	has '^  key +ok +accepted$'
	has '^  balance +ok +\$100\.00$'
	has '^  offers +ok +[1-9][0-9]* on a first page, with 50 GB of disk; the cheapest is \$[0-9.]+ an hour: [0-9]+ x .+, vastai-[0-9]+$'
	has "^  clock +ok +this machine's agrees"
	has '^A start would work\.$'
	no grep -q "$FAKE_KEY" <<< "$output"
	check --json
	ends 0
	json '.works and (.online | keys == ["vastai"])'
	json '.online.vastai | .reachable and .key == "accepted" and .balance == 100 and .offers > 0 and
		(.cheapest | .price_per_hour > 0 and (.id | test("^vastai-[0-9]+$")) and (.gpu_type | length > 0)) and
		(.rows | keys == ["balance", "clock", "key", "offers", "reachable"] and all(.good and (.needed | not)))'
	is 2 "$(fake_calls account)"
	is 2 "$(fake_calls search)"
	no test -e "$T/state/gpufs.key" # it changes nothing
	fake_stop
}

@test "without --online no cloud is asked, and without a cloud --online says so" {
	run "$GPUFS_BIN" --check
	ends 0
	no grep -q 'What vastai says' <<< "$output"
	is 0 "$(fake_ctl meter | jq .requests)"
	unset GPUFS_VASTAI_API_KEY
	check
	ends 0
	has 'No cloud is configured, so none was asked'
	check --json
	json '.online == {}'
	fake_stop
}

@test "a key that is refused is said, and a start would work all the same" {
	GPUFS_VASTAI_API_KEY=nobodysecretkey check
	ends 0
	has '^  reachable +ok '
	has '^  key +warn refused: '
	has '^  balance +warn not known$'
	has '^A start would work\.$'
	no grep -q nobodysecretkey <<< "$output"
	GPUFS_VASTAI_API_KEY=nobodysecretkey check --json
	ends 0
	json '.online.vastai | .reachable and .key == "refused" and (has("balance") or has("offers") | not)'
	fake_stop
}

@test "a cloud that is not reached is said, and so are no credit and a wrong clock" {
	fake_ctl mode refuse
	check
	ends 0
	has '^  reachable +warn no: .*refused'
	has '^  key +warn not known: '
	check --json
	json '.works and (.online.vastai | (.reachable | not) and .key == "unknown" and (has("balance") | not) and
		(.rows.reachable.good | not))'
	fake_ctl mode ok
	fake_ctl credit 0
	fake_ctl date-skew 300
	check
	ends 0
	has '^  balance +warn \$0\.00: purchases there will be refused$'
	has "^  clock +warn this machine's is (299|300|301) s behind the provider's: "
	fake_stop
}

@test "a start that would fail ends with 1 with --online too" {
	echo x > "$T/file"
	check "$T/file"
	ends 1
	has 'A start would fail'
	has '^  key +ok +accepted$'
}

# ---- --orphans ----

@test "nothing can be verified without gpufs.key: a sentence, 1, and nothing is asked or made" {
	orphans
	ends 1
	[[ "$stderr" == *"no key file $T/state/gpufs.key"* ]]
	is '' "$output"
	is 0 "$(fake_ctl meter | jq .requests)"
	no test -e "$T/state/gpufs.key"
	own_key
	unset GPUFS_VASTAI_API_KEY
	orphans
	ends 1
	[[ "$stderr" == *"no cloud is configured"* ]]
}

@test "an orphan is shown and stays; with --destroy --yes it is destroyed and proven gone" {
	own_key
	fake_create "$(label 1)"
	mine=$ID
	stranger=$(fake_ctl foreign)
	alike=$(fake_ctl foreign "gpufs-abcd1-aaaaaaaaaaaaaaaaaaaaaaaaae-1-aaaaaaaaaa")
	orphans
	ends 0
	has 'machines seen: 3, of known sessions: 0, not ours: 2 \(never touched\)'
	has "^vastai +$mine +orphan +yes +[a-z]+ +[$][0-9.]+ +[0-9hms]+ +$(label 1)"'$'
	has "^vastai +$alike +foreign +no "
	no grep -q "$stranger" <<< "$output"
	has '^Nothing was destroyed\. gpufs --orphans --destroy ends it\.$'
	living 1
	orphans --json
	ends 0
	json '.complete and .destroyed == 0 and (.database | (.exists or .in_use | not) and .sessions == 0)'
	json '.providers == [.providers[0]] and (.providers[0] | .name == "vastai" and .complete and .machines == 3 and .known == 0 and .foreign == 2)'
	json ".orphans == [.orphans[0]] and (.orphans[0] | .provider == \"vastai\" and .id == \"$mine\" and .label == \"$(label 1)\" and
		.verified and .kind == \"orphan\" and .price_per_hour > 0 and .attempt == 1 and
		.session_id == \"00000000-0000-0000-0000-000000000001\" and (.created_at | fromdate > 0) and (has(\"result\") | not))"
	json "[.unverified[].id] == [\"$alike\"] and (.unverified[0] | .verified | not)"
	orphans --destroy --yes
	ends 0
	has "^vastai $mine gone: "
	living 0
	is 1 "$(fake_calls destroy)"
	orphans --json
	json '.orphans == [] and .providers[0].foreign == 2'
	fake_stop
}

@test "--destroy asks on a terminal: only yes is yes; without one it wants --yes" {
	own_key
	fake_create "$(label 1)"
	orphans --destroy
	ends 2
	[[ "$stderr" == *"scripts say --yes"* ]]
	is 0 "$(fake_calls list)"
	for word in n '' no yesno; do
		run answers "$word" "$GPUFS_BIN" --orphans --destroy
		ends 1
		has 'Destroy this machine\? This cannot be undone\. \[y/N\]'
		has "$ID +orphan" # whoever answers sees what about
		has 'not confirmed: nothing was destroyed'
	done
	living 1
	is 0 "$(fake_calls destroy)"
	run answers y "$GPUFS_BIN" --orphans --destroy
	ends 0
	has "^vastai $ID gone: "
	living 0
	# Nothing to destroy: nothing to ask.
	run answers y "$GPUFS_BIN" --orphans --destroy
	ends 0
	no grep -q 'y/N' <<< "$output"
	has 'nothing of ours that no session owns'
	fake_stop
}

@test "with --json the question goes to standard error and the result is JSON" {
	own_key
	fake_create "$(label 1)"
	run answers yes sh -c "'$GPUFS_BIN' --orphans --destroy --json > '$T/json'"
	ends 0
	has 'y/N'
	output=$(cat "$T/json")
	json ".destroyed == 1 and (.orphans[0] | .id == \"$ID\" and .result == \"gone\" and (.text | length > 0))"
	fake_create "$(label 2)"
	run answers n sh -c "'$GPUFS_BIN' --orphans --destroy --json > '$T/json'"
	ends 1
	output=$(cat "$T/json")
	json '.destroyed == 0 and (.refused | test("not confirmed")) and (.orphans[0] | has("result") | not)'
	fake_stop living
}

@test "a list that is not whole ends with 3 and a sentence; what it shows verified may still be destroyed" {
	own_key
	fake_create "$(label 1)"
	fake_ctl fault list 500 always
	orphans
	ends 3
	[[ "$stderr" == *"vastai: there may be more machines than were seen: "* ]]
	orphans --destroy --yes --json
	ends 3
	json '(.complete | not) and .orphans == [] and .destroyed == 0'
	living 1
	fake_ctl no-faults
	fake_ctl set key_dead 1
	orphans
	ends 3
	fake_ctl set key_dead 0
	fake_ctl foreign
	fake_ctl foreign
	fake_ctl fault list partial:1 always
	orphans --destroy --yes
	ends 3
	[[ "$stderr" == *"the list is incomplete"* ]]
	fake_ctl no-faults
	orphans --destroy --yes
	ends 0
	living 0
	fake_stop
}

@test "a DELETE whose answer is lost, refused for a moment, or slow to take effect: said only when it is gone" {
	own_key
	n=0
	for fault in lost 500 429 linger:2s; do
		n=$((n + 1))
		fake_create "$(label $n)"
		fake_ctl fault destroy $fault 1
		orphans --destroy --yes
		ends 0
		has "^vastai $ID gone: "
		living 0
		fake_ctl no-faults
	done
	fake_stop
}

@test "while the question stands: another label spares a machine, and a daemon stops everything" {
	own_key
	fake_create "$(label 1)"
	MEANWHILE="curl -sS -X PUT -H 'Authorization: Bearer $FAKE_KEY' -H 'Content-Type: application/json' \
		--data '{\"label\":\"somebody-else\"}' $(fake_url)/api/v0/instances/$ID/ >&2" run answers y "$GPUFS_BIN" --orphans --destroy
	ends 1
	has "^vastai $ID spared: it does not carry this mark any more"
	is 0 "$(fake_calls destroy)"
	fake_create "$(label 2)"
	MEANWHILE="GPUFS_VASTAI_API_KEY= '$GPUFS_BIN' '$M' >&2" run answers y "$GPUFS_BIN" --orphans --destroy
	ends 1
	has 'is a gpufs that uses the database'
	is 0 "$(fake_calls destroy)"
	gpufs_stop
	fake_stop living
}

@test "what is gone at a second look is said so, and a refused key ends nothing" {
	own_key
	fake_create "$(label 1)"
	fake_ctl fault get auth always
	orphans --destroy --yes
	ends 1
	has "^vastai $ID failed: "
	is 0 "$(fake_calls destroy)"
	fake_ctl no-faults
	fake_ctl fault get gone 1
	orphans --destroy --yes
	ends 0
	has "^vastai $ID gone_before: "
	is 0 "$(fake_calls destroy)"
	fake_stop living
}

@test "--yes is no answer to whether these are the right books" {
	own_key
	for n in 1 2 3 4 5 6; do fake_create "$(label $n)"; done
	orphans --destroy --yes
	ends 1
	[[ "$stderr" == *"6 orphans at once are more than an accident makes"* ]]
	is 0 "$(fake_calls destroy)"
	for n in $(fake_ctl instances | jq .id | tail -n +2); do fake_ctl event vanish "$n"; done
	mkdir "$T/elsewhere"
	mv "$T/state/gpufs.key" "$T/elsewhere"
	orphans --destroy --yes -o key_path="$T/elsewhere/gpufs.key"
	ends 1
	[[ "$stderr" == *"there is no database $DB beside the key file"* ]]
	living 1
	run answers y "$GPUFS_BIN" --orphans --destroy -o key_path="$T/elsewhere/gpufs.key"
	ends 0
	living 0
	fake_stop
}

@test "a damaged database decides nothing" {
	own_key
	fake_create "$(label 1)"
	head -c 8192 /dev/urandom > "$DB"
	orphans --destroy --yes
	ends 1
	[[ "$stderr" == *"is not a database"* ]]
	is 0 "$(fake_calls destroy)"
	fake_stop living
}

@test "beside a daemon: what it knows is no orphan, and destroying is left to it; then by its books" {
	gpufs_start -o sessions_access=all,default_max_price=10
	mkdir "$M/sessions/train"
	until_true 60 sh -c "[ \"\$(ls '$M/inventory' | wc -l)\" -gt 5 ]"
	echo "gpu=$(cat "$M/inventory/$(ls "$M/inventory" | head -n 1)/gpu_type" | tr ' ' _) hours=1" > "$M/sessions/train/spec"
	until_true 60 test -s "$M/sessions/train/instance_id"
	known=$(cat "$M/sessions/train/instance_id")
	orphans --destroy --yes # nothing to do is no refusal
	ends 0
	fake_create "$(label 1)"
	pid=$(daemon_pid)
	orphans --json
	ends 0
	json ".database | .exists and .in_use and .sessions == 1 and .pid == $pid"
	json ".providers[0].known == 1 and [.orphans[].id] == [\"$ID\"]"
	orphans --destroy --yes
	ends 1
	[[ "$stderr" == *"process $pid uses this database and destroys orphans by itself, 15m"* ]]
	orphans --destroy --yes -o orphan_action=alert
	ends 1
	[[ "$stderr" == *"ORPHAN_ACTION=alert lets it only show"* ]]
	is 0 "$(fake_calls destroy)"
	gpufs_stop
	orphans --destroy --yes
	ends 0
	has "^vastai $ID gone: "
	living 1
	# An attempt that the books do not know yet: they are an old copy.
	sql 'UPDATE session SET attempt = 0'
	orphans --destroy --yes
	ends 0
	has "^vastai +$known +newer +yes "
	living 1
	# One that they gave up, which nobody owns.
	sql 'UPDATE session SET attempt = 2'
	orphans --json
	json ".orphans[0] | .id == \"$known\" and .kind == \"late\" and .session == \"train\""
	# And with the database lost, the key says whose it is.
	rm "$DB"*
	orphans
	has "^vastai +$known +orphan +yes "
	orphans --destroy --yes
	ends 0
	living 0
	fake_stop
}
