/*
 * Tests of the spec: both grammars to the letter, every refusal with its place, unfinished texts,
 * the canonical print (what is printed parses back to the same), and junk of every kind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* cmocka's macro; ours is in error.h */
#define wrong(...)                         \
	do {                               \
		print_error(__VA_ARGS__);  \
		_fail(__FILE__, __LINE__); \
	} while (0)

#include "../../src/core/check.h"
#include "../../src/core/spec.h"

#define ED25519 \
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@home"
#define SPEC __attribute__((cleanup(spec_free))) struct spec

static uint64_t rng_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/* The text in memory of exactly its size, so that the sanitizer sees every byte read too far. */
static int parse_n(const char *text, size_t n, struct spec *s, enum spec_end *end,
		   struct error *why)
{
	char *copy = malloc(n ? n : 1);
	int err;

	assert_non_null(copy);
	memcpy(copy, text, n);
	memset(why, 0, sizeof(*why));
	err = spec_parse(copy, n, s, end, why);
	free(copy);
	return err;
}

static int parse(const char *text, struct spec *s, enum spec_end *end, struct error *why)
{
	return parse_n(text, strlen(text), s, end, why);
}

static void parse_ok(const char *text, struct spec *s)
{
	enum spec_end end;
	struct error why;

	if (parse(text, s, &end, &why) || end != SPEC_FINISHED)
		wrong("%s: end %d: %s\n", text, (int)end, why.text);
}

static void assert_prints(const char *text, enum spec_end wanted_end, const char *printed)
{
	SPEC s;
	enum spec_end end;
	struct error why;
	BUF b = {0};

	if (parse(text, &s, &end, &why))
		wrong("%s: %s\n", text, why.text);
	buf_puts(&b, "");
	spec_put(&s, &b);
	if (strcmp(b.data, printed) != 0 || end != wanted_end)
		wrong("%s: end %d, printed:\n%s\n", text, (int)end, b.data);
}

static void test_words(void **state)
{
	SPEC s;
	enum spec_end end;
	struct error why;

	(void)state;
	assert_int_equal(
		parse("# a comment\n\toffer=local-gpu0   hours=2 # more\nlabel='a "
		      "b'\"c\\\"\\\\\"d\n"
		      "env.B=2 env.A='' consumer=tea#m protect=yes wait=max retries=05\n"
		      "ssh_timeout_minutes=10 retry_scope=any workload_type=training commit\n"
		      "ssh_public_key='" ED25519 "' max_price=0.5 hours=3\n",
		      &s, &end, &why),
		0);
	assert_int_equal(end, SPEC_FINISHED);
	assert_string_equal(s.offer, "local-gpu0");
	assert_int_equal(s.hours, 3); /* the later word counts */
	assert_string_equal(s.label, "a bc\"\\d");
	assert_string_equal(s.consumer, "tea#m");
	assert_int_equal(s.env_count, 2);
	assert_string_equal(s.env[0].name, "A");
	assert_string_equal(s.env[0].value, "");
	assert_string_equal(s.env[1].value, "2");
	assert_int_equal(s.protect, 1);
	assert_true(s.wait_us == INT64_MAX);
	assert_int_equal(s.retries, 5);
	assert_int_equal(s.ssh_timeout_us, 10 * MINUTE_US);
	assert_int_equal(s.retry_scope, RETRY_ANY);
	assert_int_equal(s.workload, W_TRAINING);
	assert_true(s.commit);
	assert_string_equal(s.ssh_public_key, ED25519);
	assert_int_equal(s.query.set, 1u << Q_MAX_PRICE);
	assert_int_equal(s.query.num[Q_MAX_PRICE], 500000);
	assert_int_equal(s.override_hard_max, 0);
}

static void test_absent(void **state)
{
	SPEC s;
	enum spec_end end;
	struct error why;

	(void)state;
	assert_int_equal(parse("", &s, &end, &why), 0);
	assert_int_equal(end, SPEC_FINISHED);
	assert_true(s.hours == UNKNOWN && s.workload == UNKNOWN && s.retries == UNKNOWN);
	assert_true(s.retry_scope == UNKNOWN && s.wait_us == UNKNOWN && s.protect == UNKNOWN);
	assert_true(s.ssh_timeout_us == UNKNOWN && !s.ssh_public_key && !s.env && !s.commit);
	assert_true(s.query.set == 0 && !s.offer[0] && !s.consumer && !s.label[0]);
}

static void test_canonical(void **state)
{
	(void)state;
	assert_prints("commit hours=13 override_hard_max=1 offer=x\n", SPEC_FINISHED,
		      "offer=x\noverride_hard_max=1\nhours=13\n");
	assert_prints("wait=30 gpu==A100_SXM4 interruptible=yes max_price=0 min_cuda=12\n",
		      SPEC_FINISHED,
		      "gpu==A100_SXM4\nmax_price=0.00\nmin_cuda=12.0\ninterruptible=1\nwait=30\n");
	assert_prints("gpu='RTX 4090' location=\"it's\"\n", SPEC_FINISHED,
		      "gpu='RTX 4090'\nlocation=\"it's\"\n");
	assert_prints("label=\"a'\\\\\\\"\"\n", SPEC_FINISHED, "label=\"a'\\\\\\\"\"\n");
	assert_prints("env.Z=1 env.A='#x' env.AA=3 env.Z=9\n", SPEC_FINISHED,
		      "env.A='#x'\nenv.AA=3\nenv.Z=9\n");
	assert_prints("min_vram=48 max_vram=24 min_vram=12\n", SPEC_FINISHED,
		      "min_vram=12\nmax_vram=24\n");
}

static void test_unfinished(void **state)
{
	(void)state;
	assert_prints("offer=X hours=2", SPEC_UNFINISHED, "offer=X\n");
	assert_prints("offer=X hours=2 ", SPEC_UNFINISHED, "offer=X\nhours=2\n");
	assert_prints("offer=X hours=2\n", SPEC_FINISHED, "offer=X\nhours=2\n");
	assert_prints("offer=X hours=2\n  \t", SPEC_FINISHED, "offer=X\nhours=2\n");
	assert_prints("offer=X hours=2 # c", SPEC_UNFINISHED, "offer=X\nhours=2\n");
	assert_prints("offer=X hours=2\n# c", SPEC_UNFINISHED, "offer=X\nhours=2\n");
	assert_prints("offer=X hours=2\n# c\n", SPEC_FINISHED, "offer=X\nhours=2\n");
	assert_prints("offer=X\nbogu", SPEC_UNFINISHED, "offer=X\n");
	assert_prints("offer=X label='a", SPEC_UNFINISHED, "offer=X\n");
	assert_prints("offer=X label='a\nhours=2\n", SPEC_UNFINISHED, "offer=X\n");
	assert_prints("offer=X label=\"a\\", SPEC_UNFINISHED, "offer=X\n");
	assert_prints("offer=X label='a'", SPEC_UNFINISHED, "offer=X\n");
	assert_prints("offer=X label=\xc3", SPEC_UNFINISHED, "offer=X\n");
	assert_prints("offer=X\n\xe2\x82", SPEC_UNFINISHED, "offer=X\n");
	assert_prints("offer=X commit", SPEC_UNFINISHED, "offer=X\n");
	assert_prints("hours=13 overr", SPEC_UNFINISHED, ""); /* may become override_hard_max */
	assert_prints("hours=13 override_hard_max=1", SPEC_UNFINISHED, "");
	assert_prints("  \t ", SPEC_FINISHED, "");
	assert_prints("\n# only\n\n", SPEC_FINISHED, "");
	assert_prints("{\"hours\":2", SPEC_UNFINISHED, "");
	assert_prints("{\"hours\":2,\"label\":\"a", SPEC_UNFINISHED, "");
	assert_prints("{\"bogus", SPEC_UNFINISHED, "");
	assert_prints("{", SPEC_UNFINISHED, "");
	assert_prints("{\"hours\":2}", SPEC_FINISHED, "hours=2\n");
}

struct refusal {
	const char *text;
	int err, line, column;
	const char *sentence; /* a part of it */
};

static void assert_refused(const struct refusal *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct spec s, fresh;
		enum spec_end end;
		struct error why;
		int err = parse(rows[i].text, &s, &end, &why);

		if (err != rows[i].err || !strstr(why.text, rows[i].sentence) ||
		    why.line != rows[i].line || why.column != rows[i].column)
			wrong("%s\n-> %d at %d:%d: %s\n", rows[i].text, err, why.line, why.column,
			      why.text);
		spec_init(&fresh);
		assert_memory_equal(&s, &fresh, sizeof(s)); /* all or nothing */
	}
}

static void test_refused_words(void **state)
{
	static const struct refusal rows[] = {
		{"bogus=1\n", -EINVAL, 1, 1, "unknown key; known are: offer"},
		{"bogus=1 off", -EINVAL, 1, 1, "unknown key"},
		{"offer=X hours=2\nbad=1\nlabel=z\n", -EINVAL, 2, 1, "bad: unknown key"},
		{"label=\xc3\xa4\xc3\xa4 bad=1\n", -EINVAL, 1, 10, "bad"}, /* in characters */
		{"hours\n", -EINVAL, 1, 1, "value is missing"},
		{"hours= \n", -EINVAL, 1, 1, "value is missing"},
		{"label=''\n", -EINVAL, 1, 1, "must not be empty"},
		{"env.A=\n", -EINVAL, 1, 1, "write ''"},
		{"=3\n", -EINVAL, 1, 1, "unknown key"},
		{"hours=0\n", -ERANGE, 1, 1,
		 "hours=0: must be 1 to 12 (an administrator may add override_hard_max=1)"},
		{"hours=-1\n", -ERANGE, 1, 1, "1 to 12"},
		{"offer=x\n hours=13\n", -ERANGE, 2, 2, "hours=13: must be 1 to 12"},
		{"hours=13 ", -ERANGE, 1, 1, "1 to 12"},
		{"hours=13 lab", -ERANGE, 1, 1, "1 to 12"},
		{"hours=13 override_hard_max=0\n", -ERANGE, 1, 1, "1 to 12"},
		{"hours=8761 override_hard_max=1\n", -ERANGE, 1, 1, ""},
		{"hours=1.5\n", -EINVAL, 1, 1, "whole number"},
		{"hours=NaN\n", -EINVAL, 1, 1, "hours=NaN: must be a whole number"},
		{"hours=0x2\n", -EINVAL, 1, 1, ""},
		{"hours=2h\n", -EINVAL, 1, 1, ""},
		{"hours=99999999999999999999\n", -ERANGE, 1, 1, ""},
		{"offer=a/b\n", -EINVAL, 1, 1, "no offer has such a name"},
		{"offer=x gpu=A100\n", -EINVAL, 1, 9, "offer= already says"},
		{"interruptible=0 offer=x\n", -EINVAL, 1, 1, "offer= already says"},
		{"min_vram=48 max_vram=24\n", -EINVAL, 1, 1, "no offer can be both"},
		{"min_gpu_count=2 gpu_count=1\n", -EINVAL, 1, 1, "no offer can be both"},
		{"gpu=x gpu=_\n", -EINVAL, 1, 7, "must not be empty"},
		{"max_price=NaN\n", -EINVAL, 1, 1, "max_price=NaN"},
		{"retries=6\n", -ERANGE, 1, 1, "0 to 5"},
		{"retry_scope=none\n", -EINVAL, 1, 1, "same_gpu, same_vram, any"},
		{"workload_type=x\n", -EINVAL, 1, 1, "llm, llm_vllm, llm_tgi, training"},
		{"wait=0\n", -ERANGE, 1, 1, ""},
		{"wait=soon\n", -EINVAL, 1, 1, "or max"},
		{"ssh_timeout_minutes=61\n", -ERANGE, 1, 1, "1 to 60"},
		{"protect=2\n", -EINVAL, 1, 1, ""},
		{"idle_minutes=5\n", -EINVAL, 1, 1, "does not support this key yet"},
		{"vcpus=0\n", -ERANGE, 1, 1, "vcpus=0"},
		{"on_stop=x\n", -EINVAL, 1, 1, "does not support this key yet"},
		{"reservation_hours=2\n", -EINVAL, 1, 1, "write hours="},
		{"commit=1\n", -EINVAL, 1, 1, "without a value"},
		{"env.=1\n", -EINVAL, 1, 1, "letters"},
		{"env.1A=1\n", -EINVAL, 1, 1, "letters"},
		{"env.A-B=1\n", -EINVAL, 1, 1, "letters"},
		{"'offer=x'\n", -EINVAL, 1, 1, "behind the '='"},
		{"offer=x {\"a\":1}\n", -EINVAL, 1, 9, "JSON"},
		{"label='a\nb'\n", -EINVAL, 1, 7, "goes on in the next line"},
		{"label=\"a\\nb\"\n", -EINVAL, 1, 9, "backslash"},
		{"label='a\tb'\n", -EINVAL, 1, 1, "control"},
		{"label=\"a\\x01\"\n", -EINVAL, 1, 1, "control"},
		{"consumer=\"a\\x00\"\n", -EINVAL, 1, 12, "not 00"},
		{"consumer=\"\\xg1\"\n", -EINVAL, 1, 11, "backslash"},
		{"consumer=\"\\x1\"\n", -EINVAL, 1, 11, "backslash"},
		{"consumer=\"\\xff\"\n", -EINVAL, 1, 1, "not valid UTF-8"},
		{"consumer=''\n", -EINVAL, 1, 1, "must not be empty"},
		{"offer=x\r\n", -EINVAL, 1, 8, "carriage return"},
		{"label=\x1b[31m\n", -EINVAL, 1, 7, "control character"},
		{"label=\xc2\x85\n", -EINVAL, 1, 7, "control character"},
		{"hours=2\nlabel=\xff\n", -EINVAL, 2, 7, "not valid UTF-8"},
		{"label=\xc3\n", -EINVAL, 1, 7, "not valid UTF-8"},
		{"[1]\n", -EINVAL, 1, 1, "unknown key"},
		{"label=0123456789012345678901234567890123456789012345678901234567890123\n",
		 -EINVAL, 1, 1, "63 bytes"},
		{"ssh_public_key=x\n", -EINVAL, 1, 1, "id_ed25519.pub"},
		{"ssh_public_key='ssh-ed25519'\n", -EINVAL, 1, 1, "not such a key"},
		{"ssh_public_key='ssh-ed25519 AAAA'\n", -EINVAL, 1, 1, "not such a key"},
		{"ssh_public_key='ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAAA'\n", -EINVAL, 1, 1,
		 "not such a key"}, /* another type inside */
		{"ssh_public_key='ssh-ed25519 ===='\n", -EINVAL, 1, 1, "not such a key"},
		{"ssh_public_key='command=\"x\" " ED25519 "'\n", -EINVAL, 1, 1, "without options"},
		{"ssh_public_key='ssh-dss AAAA'\n", -EINVAL, 1, 1, "without options"},
	};

	(void)state;
	assert_refused(rows, ARRAY_LEN(rows));
}

static void test_json(void **state)
{
	(void)state;
	assert_prints("{}", SPEC_FINISHED, "");
	assert_prints(
		" \r\n{\n\t\"offer_id\": \"x\",\r\n \"reservation_hours\" : 2, \"consumer_id\":"
		"\"a b\",\"max_retries\":3, \"workload_type\":\"ssh\"}\n\n",
		SPEC_FINISHED, "offer=x\nhours=2\nconsumer='a b'\nworkload_type=ssh\nretries=3\n");
	assert_prints("{\"gpu\":\"RTX 4090\",\"max_price\":0.50,\"min_cuda\":12.4,\"min_vram\":24,"
		      "\"interruptible\":false,\"wait\":\"max\",\"protect\":true,\"commit\":false}",
		      SPEC_FINISHED,
		      "gpu='RTX 4090'\nmin_vram=24\nmax_price=0.50\nmin_cuda=12.4\n"
		      "interruptible=0\nwait=max\nprotect=1\n");
	assert_prints("{\"env\":{\"B\":\"{\\\"x\\\":[1,2]}\",\"A\":\"\"},\"env.C\":\"\\u00e4,}\","
		      "\"hours\":13,\"override_hard_max\":true,\"wait\":5}",
		      SPEC_FINISHED,
		      "override_hard_max=1\nhours=13\nwait=5\nenv.A=''\nenv.B='{\"x\":[1,2]}'\n"
		      "env.C='\xc3\xa4,}'\n");
	assert_prints("{\"\\u0068ours\":2}", SPEC_FINISHED, "hours=2\n"); /* a key may be escaped */
}

/* A consumer is any text but NUL; what is printed is one line all the same. */
static void test_consumer(void **state)
{
	struct error why;
	enum spec_end end;
	BUF text = {0};
	SPEC s, again;

	(void)state;
	assert_prints("{\"consumer_id\":\"a\\nb\\u0007\\u0085\\\"'\\\\\"}", SPEC_FINISHED,
		      "consumer=\"a\\x0ab\\x07\\xc2\\x85\\\"'\\\\\"\n");
	assert_prints("consumer=\"a\\x0Ab\"\n", SPEC_FINISHED, "consumer=\"a\\x0ab\"\n");
	assert_prints("consumer=\"\\xc3\\xa4\"\n", SPEC_FINISHED, "consumer='\xc3\xa4'\n");
	assert_prints("consumer=\"a\\x0", SPEC_UNFINISHED, "");
	/* As long as a spec may be: kept whole; with escapes longer than that: refused. */
	buf_puts(&text, "{\"consumer\":\"");
	for (size_t i = 0; i < 60000; i++)
		buf_putc(&text, 'c');
	buf_puts(&text, "\"}");
	assert_int_equal(spec_parse(text.data, text.len, &s, &end, &why), 0);
	assert_int_equal(strlen(s.consumer), 60000);
	buf_reset(&text);
	buf_puts(&text, "{\"consumer\":\"");
	for (size_t i = 0; i < 30000; i++)
		buf_puts(&text, "\\n");
	buf_puts(&text, "\"}");
	assert_int_equal(spec_parse(text.data, text.len, &again, &end, &why), -EFBIG);
	assert_null(again.consumer);
}

/* What machine it is to be: both grammars, REST's names, what is printed. */
static void test_machine(void **state)
{
	SPEC s;

	(void)state;
	parse_ok("gpu=A100 interruptible=1 max_price=1 bid=0.15 disk_gb=100 vcpus=16 ram_gb=64 "
		 "image=a/b:c-1.0@sha256:00 "
		 "template=4e17_-788 on_start='a \"b\"; c' ports=8000,22,1 launch_mode=ssh\n",
		 &s);
	assert_true(spec_interruptible(&s));
	assert_int_equal(s.bid_u6, 150000);
	assert_int_equal(s.disk_gb, 100);
	assert_int_equal(s.vcpus, 16);
	assert_int_equal(s.ram_gb, 64);
	assert_string_equal(s.image, "a/b:c-1.0@sha256:00");
	assert_string_equal(s.template_id, "4e17_-788");
	assert_string_equal(s.on_start, "a \"b\"; c");
	assert_int_equal(s.port_count, 3);
	assert_true(s.ports[0] == 8000 && s.ports[1] == 22 && s.ports[2] == 1);
	assert_int_equal(s.launch_mode, 0);
	assert_prints("{\"docker_image\":\"x:1\",\"template_hash_id\":\"t\",\"on_start_cmd\":"
		      "\"a\\nb\\tc\",\"exposed_ports\":[80, 443],\"disk_gb\":7,\"bid\":0.25,"
		      "\"launch_mode\":\"ssh\",\"interruptible\":true}",
		      SPEC_FINISHED,
		      "interruptible=1\nbid=0.25\ndisk_gb=7\nimage=x:1\ntemplate=t\n"
		      "on_start=\"a\\x0ab\\x09c\"\nports=80,443\nlaunch_mode=ssh\n");
	assert_prints("{\"ports\":\"80,443\"}", SPEC_FINISHED, "ports=80,443\n");
	/* A shell writes line by line: what is missing is no contradiction yet. */
	assert_prints("interruptible=1\n", SPEC_FINISHED, "interruptible=1\n");
	assert_prints("bid=0.10\n", SPEC_FINISHED, "bid=0.10\n");
	assert_prints("offer=x interruptible=1 bid=0.1 max_price=0.1\n", SPEC_FINISHED,
		      "offer=x\nmax_price=0.10\ninterruptible=1\nbid=0.10\n");
}

/* Every bound from both sides. */
static void test_machine_bounds(void **state)
{
	struct error why;
	enum spec_end end;
	BUF text = {0};
	SPEC s, more;

	(void)state;
	assert_prints("disk_gb=1000000 bid=0.001\n", SPEC_FINISHED, "bid=0.001\ndisk_gb=1000000\n");
	assert_prints("bid=128\n", SPEC_FINISHED, "bid=128.00\n");
	buf_puts(&text, "ports=1");
	for (int i = 2; i <= 64; i++)
		buf_printf(&text, ",%d", i);
	buf_puts(&text, " on_start='");
	for (int i = 0; i < 4096; i++)
		buf_putc(&text, 'x');
	buf_puts(&text, "' image=");
	for (int i = 0; i < 255; i++)
		buf_putc(&text, 'i');
	buf_puts(&text, " template=");
	for (int i = 0; i < 64; i++)
		buf_putc(&text, 't');
	buf_putc(&text, '\n');
	parse_ok(text.data, &s);
	assert_int_equal(s.port_count, 64);
	assert_int_equal(strlen(s.on_start), 4096);
	assert_int_equal(strlen(s.image), 255);
	assert_int_equal(strlen(s.template_id), 64);
	buf_reset(&text);
	buf_puts(&text, "on_start=SECRET");
	for (int i = 0; i < 4096; i++)
		buf_putc(&text, 'x');
	buf_putc(&text, '\n');
	assert_int_equal(spec_parse(text.data, text.len, &more, &end, &why), -EINVAL);
	assert_null(strstr(why.text, "SECRET")); /* it may hold a token */
}

static void test_machine_refused(void **state)
{
	static const struct refusal rows[] = {
		{"disk_gb=0\n", -ERANGE, 1, 1, "disk_gb=0"},
		{"disk_gb=1000001\n", -ERANGE, 1, 1, "1000000"},
		{"disk_gb=big\n", -EINVAL, 1, 1, "disk_gb=big"},
		{"bid=0\n", -ERANGE, 1, 1, "0.001 to 128"},
		{"bid=128.1\n", -ERANGE, 1, 1, "0.001 to 128"},
		{"bid=-1\n", -EINVAL, 1, 1, "bid=-1"},
		{"interruptible=0 bid=0.1\n", -EINVAL, 1, 17, "interruptible=1"},
		{"max_price=0.1 bid=0.11\n", -EINVAL, 1, 15, "more than max_price=0.1"},
		{"image=''\n", -EINVAL, 1, 1, "empty"},
		{"image=/x\n", -EINVAL, 1, 1, "container image"},
		{"image='a b'\n", -EINVAL, 1, 1, "container image"},
		{"template=a/b\n", -EINVAL, 1, 1, "id of a template"},
		{"ports=0\n", -ERANGE, 1, 1, "1 to 65535"},
		{"ports=65536\n", -ERANGE, 1, 1, "1 to 65535"},
		{"ports=80,\n", -EINVAL, 1, 1, "commas"},
		{"ports=80,,81\n", -EINVAL, 1, 1, "commas"},
		{"ports=80,81,80\n", -EINVAL, 1, 1, "80 is there twice"},
		{"launch_mode=entrypoint\n", -EINVAL, 1, 1, "not supported"},
		{"launch_mode=shell\n", -EINVAL, 1, 1, "must be ssh"},
		{"offer=x gpu=A100\n", -EINVAL, 1, 9, "offer= already"},
		{"{\"ports\":80}", -EINVAL, 1, 2, "JSON array"},
		{"{\"ports\":[]}", -EINVAL, 1, 2, "empty"},
		{"{\"ports\":[\"80\"]}", -EINVAL, 1, 2, "JSON array"},
		{"{\"ports\":[80.5]}", -EINVAL, 1, 2, "JSON array"},
		{"{\"image\":[80]}", -EINVAL, 1, 2, "JSON string"},
		{"{\"hours\":[2]}", -EINVAL, 1, 2, "JSON number"},
		{"{\"bid\":\"0.1\"}", -EINVAL, 1, 2, "JSON number"},
		{"{\"image\":\"a\",\"docker_image\":\"b\"}", -EINVAL, 1, 14, "twice"},
		{"docker_image=x\n", -EINVAL, 1, 1, "write image="},
		{"storage_policy=preserve\n", -EINVAL, 1, 1, "not support"},
		{"idle_minutes=5\n", -EINVAL, 1, 1, "not support"},
		{"ram_gb=65537\n", -ERANGE, 1, 1, "65536"},
	};

	(void)state;
	assert_refused(rows, ARRAY_LEN(rows));
}

static void test_json_commit(void **state)
{
	SPEC s;
	enum spec_end end;
	struct error why;

	(void)state;
	assert_int_equal(parse("{\"commit\":true}", &s, &end, &why), 0);
	assert_true(s.commit);
}

static void test_refused_json(void **state)
{
	static const struct refusal rows[] = {
		{"{\n \"offer\": \"x\",\n  \"bogus\": 1\n}", -EINVAL, 3, 3, "bogus: unknown key"},
		{"{\"env\":{\"A\":\"1\"},\n\"label\":7}", -EINVAL, 2, 1, "must be a JSON string"},
		{"{\"label\":\"}{\\\"\",\"hours\":13}", -ERANGE, 1, 17, "1 to 12"},
		{"{\"hours\":\"2\"}", -EINVAL, 1, 2, "must be a JSON number"},
		{"{\"hours\":1.5}", -EINVAL, 1, 2, "hours=1.5: must be a whole number"},
		{"{\"hours\":0}", -ERANGE, 1, 2, ""},
		{"{\"hours\":-1}", -ERANGE, 1, 2, ""},
		{"{\"hours\":2e0}", -EINVAL, 1, 2, ""},
		{"{\"hours\":null}", -EINVAL, 1, 2, "must be a JSON number"},
		{"{\"hours\":[2]}", -EINVAL, 1, 2, "must be a JSON number"},
		{"{\"hours\":{\"hours\":2}}", -EINVAL, 1, 2, "must be a JSON number"},
		{"{\"protect\":null}", -EINVAL, 1, 2, "true or false"},
		{"{\"protect\":\"1\"}", -EINVAL, 1, 2, "true or false"},
		{"{\"protect\":2}", -EINVAL, 1, 2, ""},
		{"{\"commit\":\"yes\"}", -EINVAL, 1, 2, "true or false"},
		{"{\"commit\":[]}", -EINVAL, 1, 2, "true or false"},
		{"{\"max_price\":\"0.5\"}", -EINVAL, 1, 2, "JSON number"},
		{"{\"max_price\":5e-1}", -EINVAL, 1, 2, "max_price=5e-1"},
		{"{\"wait\":\"5\"}", -EINVAL, 1, 2, "\"max\""},
		{"{\"label\":\"\"}", -EINVAL, 1, 2, "must not be empty"},
		{"{\"label\":\"a\\nb\"}", -EINVAL, 1, 2, "control"},
		{"{\"label\":\"a\\u0000b\"}", -EINVAL, 1, 19, "JSON: \\u0000"},
		{"{\"gpu\":\"\\u0085\"}", -EINVAL, 1, 2, "control"},
		{"{\"env\":{\"A\":\"1\",\"B\":2}}", -EINVAL, 1, 17, "env.B: must be a JSON string"},
		{"{\"env\":{\"A\":\"1\"},\"env.A\":\"1\"}", -EINVAL, 1, 18, "twice"},
		{"{\"env\":[1]}", -EINVAL, 1, 2, "unknown key"},
		{"{\"env\":{\"A\":{\"B\":\"1\"}}}", -EINVAL, 1, 9, "must be a JSON string"},
		{"{\"offer\":\"x\",\"offer_id\":\"x\"}", -EINVAL, 1, 14, "twice"},
		{"{\"offer\":\"x\",\"gpu\":\"A100\"}", -EINVAL, 1, 14, "already says"},
		{"{\"vcpus\":\"7\"}", -EINVAL, 1, 2, "JSON number"},
		{"{\"idle_threshold_minutes\":7}", -EINVAL, 1, 2, "not support"},
		{"{\"hours\":NaN}", -EINVAL, 1, 12, "not valid JSON"},
		{"{\"a\\u0000b\":1}", -EINVAL, 1, 11, "JSON"},
	};
	struct spec s;
	enum spec_end end;
	struct error why;

	(void)state;
	assert_refused(rows, ARRAY_LEN(rows));
	assert_int_equal(parse("{\"hours\":2,\"hours\":2}", &s, &end, &why), -EINVAL);
	assert_non_null(strstr(why.text, "duplicate"));
	assert_int_equal(parse("{\"hours\":2} x", &s, &end, &why), -EINVAL);
	assert_int_equal(parse("{\"hours\" 2}\n", &s, &end, &why), -EINVAL);
	assert_int_equal(why.line, 1);
	assert_int_equal(parse("{\"hours\":99999999999999999999}", &s, &end, &why), -ERANGE);
}

static void test_junk(void **state)
{
	static char big[1 << 20];
	struct spec s;
	enum spec_end end;
	struct error why;
	size_t n = 0;

	(void)state;
	memset(big, 'x', sizeof(big));
	assert_int_equal(parse_n(big, sizeof(big), &s, &end, &why), -EFBIG);
	assert_int_equal(parse_n(big, SPEC_MAX + 1, &s, &end, &why), -EFBIG);
	assert_int_equal(parse_n(big, SPEC_MAX, &s, &end, &why), 0); /* one unfinished word */
	assert_int_equal(end, SPEC_UNFINISHED);
	memcpy(big + SPEC_MAX - 1, "\n", 1);
	assert_int_equal(parse_n(big, SPEC_MAX, &s, &end, &why), -EINVAL);
	assert_int_equal(parse_n("hours=2\n\0\n", 10, &s, &end, &why), -EINVAL);
	assert_non_null(strstr(why.text, "NUL"));
	assert_int_equal(why.line, 2);
	memcpy(big, "{\"a\":", 5);
	memset(big + 5, '[', 10000);
	assert_int_equal(parse_n(big, 10005, &s, &end, &why), -EINVAL);
	assert_non_null(strstr(why.text, "depth"));
	for (n = 0; n < 10000; n++)
		memcpy(big + n * 5, "{\"a\":", 5);
	assert_int_equal(parse_n(big, n * 5, &s, &end, &why), -EINVAL);
	memset(big, ' ', SPEC_MAX);
	assert_int_equal(parse_n(big, SPEC_MAX, &s, &end, &why), 0);
	memset(big, '=', SPEC_MAX);
	assert_int_equal(parse_n(big, SPEC_MAX, &s, &end, &why), 0);
	memset(big, '\n', SPEC_MAX);
	assert_int_equal(parse_n(big, SPEC_MAX, &s, &end, &why), 0);
	assert_int_equal(end, SPEC_FINISHED);
	assert_int_equal(spec_parse("bogus=1\n", 8, &s, &end, NULL), -EINVAL);
}

static void test_env_limits(void **state)
{
	BUF text = {0};
	SPEC s;
	enum spec_end end;
	struct error why;
	char value[SPEC_ENV_VALUE + 1];

	(void)state;
	for (int i = 0; i < SPEC_ENV_MAX; i++)
		buf_printf(&text, "env.N%d=%d\n", i, i);
	assert_int_equal(parse(text.data, &s, &end, &why), 0);
	assert_int_equal(s.env_count, SPEC_ENV_MAX);
	for (size_t i = 1; i < s.env_count; i++)
		assert_true(strcmp(s.env[i - 1].name, s.env[i].name) < 0);
	spec_free(&s);
	buf_puts(&text, "env.ONE_MORE=secret-value\n");
	assert_int_equal(parse(text.data, &s, &end, &why), -EINVAL);
	assert_null(strstr(why.text, "secret")); /* values are never quoted */
	memset(value, 'v', sizeof(value));
	value[SPEC_ENV_VALUE] = '\0';
	buf_reset(&text);
	buf_printf(&text, "env.A=%s\n", value);
	assert_int_equal(parse(text.data, &s, &end, &why), -EINVAL);
	value[SPEC_ENV_VALUE - 1] = '\0';
	buf_reset(&text);
	buf_printf(&text, "env.A=%s\n", value);
	assert_int_equal(parse(text.data, &s, &end, &why), 0);
}

/* Secrets must not be quoted by the sentences about them. */
static void test_env_secret(void **state)
{
	static const char *const texts[] = {"env.TOKEN=hunter2\tx\n env.A-B=hunter2\n",
					    "HF_TOKEN=hunter2\n",
					    "env.TOKEN='hunter2\tx'\n",
					    "{\"env\":{\"T\":\"hunter2\\n\"}}",
					    "{\"env\":{\"T-T\":\"hunter2\"}}",
					    "{\"env\":{\"T\":\"hunter2\\u0000\"}}",
					    "{\"env\":{\"T\":\"a\" \"hunter2\"}}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct spec s;
		enum spec_end end;
		struct error why;

		assert_int_equal(parse(texts[i], &s, &end, &why), -EINVAL);
		assert_null(strstr(why.text, "hunter2"));
	}
}

/* ---- properties, over random specs ---- */

static void random_text(uint64_t *rng, char *out, size_t max)
{
	static const char *const pieces[] = {"a", "Z", "0", " ", "'", "\"", "\\", "#",
					     "=", "$", "{", "}", ",", "-",  "_",  "\xc3\xa4"};
	size_t n = rng_next(rng) % max;

	*out = '\0';
	while (strlen(out) + 3 < n) {
		size_t len = strlen(out);

		copy_text(out + len, max - len, pieces[rng_next(rng) % ARRAY_LEN(pieces)]);
	}
}

static void random_query(uint64_t *rng, struct query *q)
{
	static const char *const values[Q_KEY_COUNT][2] = {
		{"local", "vast ai"}, {"RTX 4090", "=A100_SXM4"},
		{"4", "8"},	      {"1", "2"},
		{"0", "24"},	      {"48", "100000"},
		{"0", "0.1234"},      {"US", "it's #1"},
		{"0.95", "1"},	      {"0", "0.5"},
		{"12.4", "11"},	      {"0", "1"},
	};

	for (size_t k = 0; k < Q_KEY_COUNT; k++) {
		const char *value = values[k][rng_next(rng) % 2];

		if (rng_next(rng) % 2)
			assert_int_equal(query_set(q, (enum query_key)k, str_of(value), NULL), 0);
	}
}

/* Any text, line breaks and control characters too; NULL now and then. */
static char *random_any_text(uint64_t *rng)
{
	static const char *const pieces[] = {"\n",	     "\t", "\r", "\x01", "\x7f",
					     "\"",	     "'",  "\\", "#",	 "\xc2\x85",
					     "\xe2\x80\xa8", "é",  " ",	 "a"};
	BUF b = {0};
	size_t n = rng_next(rng) % 100;

	for (size_t i = 0; i < n; i++)
		buf_puts(&b, pieces[rng_next(rng) % ARRAY_LEN(pieces)]);
	return n ? buf_take(&b) : NULL;
}

static void random_spec(uint64_t *rng, struct spec *s)
{
	spec_init(s);
	if (rng_next(rng) % 2)
		COPY(s->offer, "vastai-1=+,._x");
	else
		random_query(rng, &s->query);
	s->override_hard_max = rng_next(rng) % 2;
	s->hours = 1 + (int64_t)(rng_next(rng) % (s->override_hard_max ? 8760 : 12));
	if (rng_next(rng) % 4 == 0)
		s->hours = UNKNOWN;
	s->consumer = random_any_text(rng);
	random_text(rng, s->label, sizeof(s->label));
	s->workload = (int64_t)(rng_next(rng) % (W_COUNT + 1)) - 1;
	s->retries = (int64_t)(rng_next(rng) % 7) - 1;
	s->retry_scope = (int64_t)(rng_next(rng) % 4) - 1;
	if (rng_next(rng) % 2)
		s->ssh_timeout_us = (1 + (int64_t)(rng_next(rng) % 60)) * MINUTE_US;
	if (rng_next(rng) % 2)
		s->wait_us = rng_next(rng) % 2 ? INT64_MAX : 30 * MINUTE_US;
	s->protect = (int64_t)(rng_next(rng) % 3) - 1;
	if (rng_next(rng) % 2)
		s->ssh_public_key = strdup(ED25519);
	if (rng_next(rng) % 2 &&
	    (s->offer[0] || !(s->query.set & UINT32_C(1) << Q_INTERRUPTIBLE)) &&
	    !(s->query.set & UINT32_C(1) << Q_MAX_PRICE))
		s->bid_u6 = 1000 + (int64_t)(rng_next(rng) % 127999000);
	if (rng_next(rng) % 2)
		s->disk_gb = 1 + (int64_t)(rng_next(rng) % 1000000);
	if (rng_next(rng) % 2)
		s->vcpus = 1 + (int64_t)(rng_next(rng) % 1024);
	if (rng_next(rng) % 2)
		s->ram_gb = 1 + (int64_t)(rng_next(rng) % 65536);
	if (rng_next(rng) % 2)
		COPY(s->image, "r.io/a_b/c:1.0-x@sha256:00");
	if (rng_next(rng) % 2)
		COPY(s->template_id, "Aa0_-");
	s->on_start = random_any_text(rng);
	s->port_count = rng_next(rng) % (SPEC_PORTS_MAX + 1);
	for (size_t i = 0; i < s->port_count; i++)
		s->ports[i] = 65535 - 1000 * (int64_t)i;
	s->launch_mode = (int64_t)(rng_next(rng) % 2) - 1;
	s->env_count = rng_next(rng) % 4;
	if (s->env_count) /* spec_free wipes room for all */
		s->env = calloc(SPEC_ENV_MAX, sizeof(*s->env));
	for (size_t i = 0; i < s->env_count; i++) {
		snprintf(s->env[i].name, sizeof(s->env[i].name), "N%zu", i);
		random_text(rng, s->env[i].value, 200);
	}
}

static void assert_spec_equal(const struct spec *a, const struct spec *b)
{
	assert_string_equal(a->offer, b->offer);
	assert_int_equal(a->query.set, b->query.set);
	assert_int_equal(a->query.gpu_exact, b->query.gpu_exact);
	for (size_t k = 0; k < Q_KEY_COUNT; k++) {
		assert_string_equal(a->query.text[k], b->query.text[k]);
		assert_int_equal(a->query.num[k], b->query.num[k]);
	}
	assert_int_equal(a->hours, b->hours);
	assert_int_equal(a->override_hard_max, b->override_hard_max);
	assert_string_equal(a->consumer ? a->consumer : "", b->consumer ? b->consumer : "");
	assert_string_equal(a->label, b->label);
	assert_int_equal(a->workload, b->workload);
	assert_int_equal(a->retries, b->retries);
	assert_int_equal(a->retry_scope, b->retry_scope);
	assert_int_equal(a->ssh_timeout_us, b->ssh_timeout_us);
	assert_int_equal(a->wait_us, b->wait_us);
	assert_int_equal(a->protect, b->protect);
	assert_int_equal(!a->ssh_public_key, !b->ssh_public_key);
	if (a->ssh_public_key)
		assert_string_equal(a->ssh_public_key, b->ssh_public_key);
	assert_int_equal(a->bid_u6, b->bid_u6);
	assert_int_equal(a->disk_gb, b->disk_gb);
	assert_int_equal(a->vcpus, b->vcpus);
	assert_int_equal(a->ram_gb, b->ram_gb);
	assert_string_equal(a->image, b->image);
	assert_string_equal(a->template_id, b->template_id);
	assert_string_equal(a->on_start ? a->on_start : "", b->on_start ? b->on_start : "");
	assert_int_equal(a->port_count, b->port_count);
	assert_memory_equal(a->ports, b->ports, sizeof(a->ports[0]) * a->port_count);
	assert_int_equal(a->launch_mode, b->launch_mode);
	assert_int_equal(a->env_count, b->env_count);
	for (size_t i = 0; i < a->env_count; i++) {
		assert_string_equal(a->env[i].name, b->env[i].name);
		assert_string_equal(a->env[i].value, b->env[i].value);
	}
}

/* Parsing what is printed gives the same, and every beginning of it is accepted as unfinished or
 * whole: a shell that writes in pieces is never refused in between. */
static void test_round_trip(void **state)
{
	uint64_t rng = 20240607;

	(void)state;
	for (int round = 0; round < 1500; round++) {
		SPEC a;
		SPEC b;
		enum spec_end end;
		struct error why;
		BUF text = {0};

		random_spec(&rng, &a);
		spec_put(&a, &text);
		if (!text.data)
			continue;
		if (parse_n(text.data, text.len, &b, &end, &why))
			wrong("%s\n%s\n", text.data, why.text);
		assert_int_equal(end, SPEC_FINISHED);
		assert_spec_equal(&a, &b);
		for (size_t n = 0; round < 100 && n < text.len; n++) {
			SPEC part;

			if (parse_n(text.data, n, &part, &end, &why))
				wrong("%.*s\n%s\n", (int)n, text.data, why.text);
			assert_true(end == SPEC_UNFINISHED || n == 0 || text.data[n - 1] == '\n');
		}
	}
}

static void test_json_prefixes(void **state)
{
	static const char text[] = "{\"offer_id\": \"x\", \"hours\": 12, \"protect\": true,\n"
				   "\"label\": \"\xc3\xa4 \\u00e4\\n\", \"env\": {\"A\": \"b\"}, "
				   "\"max_price\": 0.50, \"commit\": false}";
	SPEC s;
	enum spec_end end;
	struct error why;

	(void)state;
	for (size_t n = 1; n + 1 < sizeof(text); n++) {
		if (parse_n(text, n, &s, &end, &why))
			wrong("%.*s\n%s\n", (int)n, text, why.text);
		assert_int_equal(end, SPEC_UNFINISHED);
	}
	assert_int_equal(parse_n(text, sizeof(text) - 1, &s, &end, &why),
			 -EINVAL); /* \n in label */
}

/* Random words and bytes: no crash, an error has a sentence and a place, and what is accepted
 * prints to something that parses to the same print. */
static void test_random(void **state)
{
	static const char *const pieces[] = {
		"offer=x", "hours=2",  "hours=13",    " ",
		"\n",	   "'",	       "\"",	      "\\",
		"#",	   "=",	       "label=",      "env.A=",
		"commit",  "{",	       "}",	      "\"hours\"",
		":",	   "2",	       ",",	      "[",
		"]",	   "gpu=A100", "\xc3\xa4",    "\xff",
		"\xc3",	   "\t",       "wait=max",    "true",
		"\"env\"", "\"A\"",    "max_price=1", "override_hard_max=1",
	};
	uint64_t rng = 31337;
	size_t accepted = 0, refused = 0;

	(void)state;
	for (int round = 0; round < 60000; round++) {
		struct spec s;
		struct spec again;
		enum spec_end end;
		struct error why;
		BUF text = {0};
		BUF out = {0};
		BUF out_again = {0};
		size_t n = rng_next(&rng) % 16;

		buf_puts(&text, rng_next(&rng) % 4 ? "" : "{");
		while (n--)
			buf_puts(&text, pieces[rng_next(&rng) % ARRAY_LEN(pieces)]);
		for (size_t i = 0; i < text.len && round % 8 == 0; i++)
			if (rng_next(&rng) % 8 == 0)
				text.data[i] = (char)rng_next(&rng);
		if (parse_n(text.data, text.len, &s, &end, &why)) {
			refused++;
			assert_true(strlen(why.text) > 10 && why.line > 0 && why.column >= 0);
			assert_true(utf8_valid(why.text, strlen(why.text)));
			assert_null(s.env);
			continue;
		}
		accepted++;
		buf_puts(&out, "");
		spec_put(&s, &out);
		if (parse_n(out.data, out.len, &again, &end, &why))
			wrong("%s\nprints\n%s\n%s\n", text.data, out.data, why.text);
		assert_int_equal(end, SPEC_FINISHED);
		buf_puts(&out_again, "");
		spec_put(&again, &out_again);
		assert_string_equal(out.data, out_again.data);
		spec_free(&s);
		spec_free(&again);
	}
	assert_true(accepted > 1000 && refused > 1000);
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < spec_key_count; i++) {
		BUF example = {0};
		SPEC s;
		enum spec_end end;
		struct error why;

		assert_true(strlen(spec_keys[i].doc) > 10);
		buf_printf(&example, "%s\n", spec_keys[i].example);
		if (strstr(example.data, "..."))
			continue; /* a key that is cut short for people */
		if (parse(example.data, &s, &end, &why))
			wrong("%s: %s\n", example.data, why.text);
	}
	for (size_t i = 0; i < W_COUNT; i++)
		assert_non_null(workload_names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_refused_words),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_commit),
		cmocka_unit_test(test_refused_json),
		cmocka_unit_test(test_junk),
		cmocka_unit_test(test_env_limits),
		cmocka_unit_test(test_env_secret),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_json_prefixes),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_consumer),
		cmocka_unit_test(test_machine),
		cmocka_unit_test(test_machine_bounds),
		cmocka_unit_test(test_machine_refused),
	};

	return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}
