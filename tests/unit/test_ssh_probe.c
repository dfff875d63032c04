/*
 * src/io/ssh_probe.c against a real sshd (started by src/io/local_host.c) and against servers that do not
 * behave: refuse, reset, hold still, talk without end. A timer of the test watches that the loop goes on.
 * Needs root (a user is made for the sshd) and openssh-server.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../src/core/check.h"
#include "../../src/io/local_parts.h"

#include <cmocka.h> /* after ours: it makes `fail` a macro */

#define LABEL "gpufs-probe-1"

static struct {
	char user[32], dir[64];
	uid_t uid;
	gid_t gid;
	uv_loop_t loop;
	struct local_host *host;
	struct host_instance target;
	struct secret key, other_key;
	struct buf pub, other_pub;
} t;

struct seen {
	int calls;
	enum probe_verdict verdict;
	char host_key[256], text[400];
};

static void on_probe(void *arg, enum probe_verdict v, const char *host_key, const char *text)
{
	struct seen *s = arg;

	s->calls++;
	s->verdict = v;
	COPY(s->host_key, host_key);
	COPY(s->text, text);
}

static struct probe_args good_args(void)
{
	return (struct probe_args){.host = "127.0.0.1",
				   .user = t.target.user,
				   .port = t.target.port,
				   .private_key = &t.key,
				   .public_key = t.pub.data,
				   .host_key = t.target.host_key,
				   .timeout_us = 10 * SECOND_US};
}

static struct seen probe(const struct probe_args *args)
{
	struct seen s = {.calls = 0};

	ssh_probe_start(&t.loop, args, on_probe, &s);
	assert_int_equal(s.calls, 0); /* never inside the call */
	uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(s.calls, 1);
	return s;
}

static void expect(const struct probe_args *args, enum probe_verdict v, const char *says)
{
	struct seen s = probe(args);

	if (s.verdict != v || !strstr(s.text, says))
		fail_msg("wanted %d '%s', got %d: %s", (int)v, says, (int)s.verdict, s.text);
}

/* ---- a real sshd ---- */

static void logs_in(void **state)
{
	struct probe_args args = good_args();
	struct seen s;

	(void)state;
	s = probe(&args);
	if (s.verdict != PROBE_OK)
		fail_msg("%s", s.text);
	assert_string_equal(s.host_key, t.target.host_key);
	args.host_key = ""; /* nothing pinned: reported */
	s = probe(&args);
	assert_int_equal(s.verdict, PROBE_OK);
	assert_string_equal(s.host_key, t.target.host_key);
}

static void logs_in_by_name(void **state)
{
	struct probe_args args = good_args();

	(void)state;
	args.host =
		"localhost"; /* may be ::1 first, where nobody listens: the next address follows */
	expect(&args, PROBE_OK, "logged in");
}

static void a_pinned_key_with_a_comment_is_the_same_key(void **state)
{
	struct probe_args args = good_args();
	char pinned[400];

	(void)state;
	snprintf(pinned, sizeof(pinned), "%s root@there", t.target.host_key);
	args.host_key = pinned;
	expect(&args, PROBE_OK, "logged in");
}

static void another_host_key_is_an_alarm(void **state)
{
	struct probe_args args = good_args();
	struct seen s;

	(void)state;
	args.host_key = t.other_pub.data;
	s = probe(&args);
	assert_int_equal(s.verdict, PROBE_HOST_KEY);
	assert_string_equal(s.host_key, t.target.host_key);
	args.host_key = "ssh-ed25519 AAAA";
	expect(&args, PROBE_HOST_KEY, "another host key");
	args.host_key = "ssh-rsa AAAAB3NzaC1yc2E"; /* of a type that it does not have */
	expect(&args, PROBE_HOST_KEY, "another host key");
}

static void a_refused_key_is_told_apart(void **state)
{
	struct probe_args args = good_args();

	(void)state;
	args.private_key = &t.other_key;
	args.public_key = t.other_pub.data;
	expect(&args, PROBE_LOGIN_REFUSED, "does not accept the key");
	args = good_args();
	args.user = "nobody";
	expect(&args, PROBE_LOGIN_REFUSED, "does not accept the key");
}

static void the_key_is_copied(void **state)
{
	struct probe_args args = good_args();
	struct secret mine = {.bytes = NULL};
	struct seen s = {.calls = 0};
	char host[16] = "127.0.0.1";

	(void)state;
	secret_set(&mine, t.key.bytes, t.key.len);
	args.private_key = &mine;
	args.host = host;
	ssh_probe_start(&t.loop, &args, on_probe, &s);
	secret_wipe(&mine);
	memset(host, 'x', sizeof(host) - 1);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(s.verdict, PROBE_OK);
}

static void many_at_once(void **state)
{
	struct probe_args args = good_args();
	struct seen s[8] = {{.calls = 0}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(s); i++)
		ssh_probe_start(&t.loop, &args, on_probe, &s[i]);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		assert_int_equal(s[i].calls, 1);
		assert_int_equal(s[i].verdict, PROBE_OK);
	}
}

/* Cancelled after every number of turns until it would have been done. */
static void cancel_at_any_moment(void **state)
{
	struct probe_args args = good_args();
	bool finished = false;

	(void)state;
	for (int turns = 0; !finished && turns < 2000; turns++) {
		struct seen s = {.calls = 0};
		struct probe *p = ssh_probe_start(&t.loop, &args, on_probe, &s);

		for (int i = 0; i < turns && !s.calls; i++)
			uv_run(&t.loop, UV_RUN_ONCE);
		finished = s.calls > 0;
		if (!finished)
			ssh_probe_cancel(p);
		uv_run(&t.loop, UV_RUN_DEFAULT);
		assert_int_equal(s.calls, finished ? 1 : 0);
	}
	assert_true(finished);
	args.host = "localhost";
	for (int turns = 0; turns < 4; turns++) {
		struct seen s = {.calls = 0};
		struct probe *p = ssh_probe_start(&t.loop, &args, on_probe, &s);

		for (int i = 0; i < turns; i++)
			uv_run(&t.loop, UV_RUN_ONCE);
		ssh_probe_cancel(p);
		uv_run(&t.loop, UV_RUN_DEFAULT);
		assert_int_equal(s.calls, 0);
	}
	ssh_probe_cancel(NULL);
}

/* ---- servers that do not behave; they live on the same loop ---- */

struct server {
	uv_tcp_t listener, peer;
	int64_t port;
	const char *greeting; /* sent once, or, with `endless`, for ever */
	bool endless, reset, accepted;
	uv_write_t write;
};

static void send_more(struct server *s);

static void on_sent(uv_write_t *w, int status)
{
	struct server *s = w->data;

	if (!status && s->endless)
		send_more(s);
}

static void send_more(struct server *s)
{
	uv_buf_t b = uv_buf_init((char *)(uintptr_t)s->greeting, (unsigned)strlen(s->greeting));

	s->write.data = s;
	uv_write(&s->write, (uv_stream_t *)&s->peer, &b, 1, on_sent);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct server *s = listener->data;

	assert_int_equal(status, 0);
	assert_int_equal(uv_tcp_init(listener->loop, &s->peer), 0);
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&s->peer), 0);
	s->accepted = true;
	uv_unref((uv_handle_t *)&s->peer);
	if (s->reset)
		uv_tcp_close_reset(&s->peer, NULL);
	else if (s->greeting)
		send_more(s);
}

static void server_open(struct server *s)
{
	struct sockaddr_in a;
	int n = sizeof(a);

	assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &a), 0);
	assert_int_equal(uv_tcp_init(&t.loop, &s->listener), 0);
	s->listener.data = s;
	assert_int_equal(uv_tcp_bind(&s->listener, (const struct sockaddr *)&a, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&s->listener, 4, on_connection), 0);
	assert_int_equal(uv_tcp_getsockname(&s->listener, (struct sockaddr *)&a, &n), 0);
	s->port = ntohs(a.sin_port);
	uv_unref((uv_handle_t *)&s->listener);
}

static void server_close(struct server *s)
{
	uv_close((uv_handle_t *)&s->listener, NULL);
	if (s->accepted && !uv_is_closing((uv_handle_t *)&s->peer))
		uv_close((uv_handle_t *)&s->peer, NULL);
	uv_run(&t.loop, UV_RUN_DEFAULT);
}

static void meets(struct server *s, int64_t timeout_us, const char *says)
{
	struct probe_args args = good_args();
	int64_t before = (int64_t)uv_hrtime() / 1000, took_us;

	server_open(s);
	args.port = s->port;
	args.timeout_us = timeout_us;
	expect(&args, PROBE_NOT_YET, says);
	took_us = (int64_t)uv_hrtime() / 1000 - before;
	server_close(s);
	assert_true(took_us < timeout_us + 3 * SECOND_US); /* the machine of the test may be busy */
}

static void nobody_listens(void **state)
{
	struct probe_args args = good_args();
	struct server s = {.port = 0};

	(void)state;
	server_open(&s);
	server_close(&s);
	args.port = s.port;
	expect(&args, PROBE_NOT_YET, "Connection refused");
}

static void a_reset_is_not_yet(void **state)
{
	struct server s = {.reset = true};

	(void)state;
	meets(&s, 5 * SECOND_US, "while ");
}

static void a_tarpit_times_out(void **state)
{
	struct server s = {.greeting = NULL};

	(void)state;
	meets(&s, 200000, "no answer in time");
}

static void half_a_banner_times_out(void **state)
{
	struct server s = {.greeting = "SSH-2.0-Op"};

	(void)state;
	meets(&s, 200000, "no answer in time");
}

static int ticks;

static void on_tick(uv_timer_t *timer)
{
	(void)timer;
	ticks++;
}

/* Lines before the banner are legal; without end they would hold libssh2, and with it the loop. */
static void endless_talk_does_not_hold_the_loop(void **state)
{
	struct server s = {.greeting = "hello hello hello\r\n", .endless = true};
	uv_timer_t timer;

	(void)state;
	ticks = 0;
	uv_timer_init(&t.loop, &timer);
	uv_timer_start(&timer, on_tick, 1, 1);
	uv_unref((uv_handle_t *)&timer);
	meets(&s, 300000, "while waiting for the SSH handshake");
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_true(ticks > 5);
}

static void junk_is_not_yet(void **state)
{
	struct server s = {
		.greeting = "SSH-2.0-x\r\n\xff\xff\xff\xff\x01\x02\x03 junk junk junk junk"};

	(void)state;
	meets(&s, 500000, "while waiting for the SSH handshake");
}

static void what_cannot_be_is_not_yet(void **state)
{
	struct probe_args args = good_args();

	(void)state;
	args.port = 0;
	expect(&args, PROBE_NOT_YET, "is not known");
	args = good_args();
	args.host = "";
	expect(&args, PROBE_NOT_YET, "is not known");
	args = good_args();
	args.private_key = NULL;
	expect(&args, PROBE_NOT_YET, "is not known");
	args = good_args();
	args.host = "name.invalid";
	args.timeout_us = 3 * SECOND_US;
	expect(&args, PROBE_NOT_YET, "looking up the address");
}

/* ---- all ---- */

static void on_started(void *arg, const struct host_result *res)
{
	bool *done = arg;

	*done = true;
	if (res->err)
		printf("start of sshd: %s\n", res->text);
	else if (res->count)
		t.target = res->instances[0];
}

static int host_do(const struct host_call *call)
{
	bool done = false;

	local_host_call(t.host, call, on_started, &done);
	while (!done)
		uv_run(&t.loop, UV_RUN_ONCE);
	return t.target.port ? 0 : -1;
}

static int set_up(void **state)
{
	struct host_call call = {.op = HOST_START, .label = LABEL, .visible_devices = ""};
	BUF note = {.data = NULL};
	char cmd[128];
	const struct passwd *pw;
	struct error why;

	(void)state;
	snprintf(t.user, sizeof(t.user), "gpufsp%d", (int)getpid());
	snprintf(cmd, sizeof(cmd), "useradd -M -d / -s /bin/sh %s", t.user);
	if (system(cmd) != 0)
		return -1;
	pw = getpwnam(t.user);
	if (!pw)
		return -1;
	call.uid = pw->pw_uid;
	call.gid = pw->pw_gid;
	snprintf(t.dir, sizeof(t.dir), "/tmp/gpufs-test-probe-XXXXXX");
	if (!mkdtemp(t.dir) || chmod(t.dir, 0755) || uv_loop_init(&t.loop))
		return -1;
	if (keys_make("mine", &t.key, &t.pub, NULL) ||
	    keys_make("other", &t.other_key, &t.other_pub, NULL))
		return -1;
	snprintf(cmd, sizeof(cmd), "p%06x", (unsigned)getpid() & 0xffffff);
	t.host = local_host_new(&t.loop, t.dir, cmd, &note, &why);
	if (!t.host)
		return -1;
	call.authorized_keys = t.pub.data;
	return host_do(&call);
}

static int tear_down(void **state)
{
	char cmd[200];

	(void)state;
	host_do(&(struct host_call){.op = HOST_KILL, .label = LABEL});
	local_host_free(t.host);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	secret_wipe(&t.key);
	secret_wipe(&t.other_key);
	buf_free(&t.pub);
	buf_free(&t.other_pub);
	snprintf(cmd, sizeof(cmd), "userdel -f %s 2>/dev/null; rm -rf '%s'", t.user, t.dir);
	return uv_loop_close(&t.loop) || system(cmd) != 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logs_in),
		cmocka_unit_test(logs_in_by_name),
		cmocka_unit_test(a_pinned_key_with_a_comment_is_the_same_key),
		cmocka_unit_test(another_host_key_is_an_alarm),
		cmocka_unit_test(a_refused_key_is_told_apart),
		cmocka_unit_test(the_key_is_copied),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(cancel_at_any_moment),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(a_reset_is_not_yet),
		cmocka_unit_test(a_tarpit_times_out),
		cmocka_unit_test(half_a_banner_times_out),
		cmocka_unit_test(endless_talk_does_not_hold_the_loop),
		cmocka_unit_test(junk_is_not_yet),
		cmocka_unit_test(what_cannot_be_is_not_yet),
	};

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root: it makes a user and starts sshd as that user\n");
		return 77;
	}
	signal(SIGPIPE, SIG_IGN); /* of the servers here: libuv writes without MSG_NOSIGNAL */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
