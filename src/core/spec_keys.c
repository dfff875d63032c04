/*
 * The keys of a spec: one table of what they are called and mean, one of how they are read and
 * printed. Values of env.NAME may be secrets, so no sentence ever quotes one. A key that gpufs
 * knows of and cannot do yet is refused by name, never ignored. Pure; any thread. Tests:
 * tests/unit/test_spec.c.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "spec_parts.h"
#include "text_parts.h"

#define PUBLIC_KEY_MAX 4096 /* an RSA key of 16384 bits has 2800 characters */

const char *const workload_names[W_COUNT] = {
	[W_LLM] = "llm",
	[W_LLM_VLLM] = "llm_vllm",
	[W_LLM_TGI] = "llm_tgi",
	[W_TRAINING] = "training",
	[W_BATCH] = "batch",
	[W_INTERACTIVE] = "interactive",
	[W_INFERENCE] = "inference",
	[W_SSH] = "ssh",
	[W_BENCHMARK] = "benchmark",
};
const char *const retry_scope_names[3] = {
	[RETRY_SAME_GPU] = "same_gpu",
	[RETRY_SAME_VRAM] = "same_vram",
	[RETRY_ANY] = "any",
};

const struct spec_key spec_keys[] = {
	[K_OFFER] = {"offer", "offer_id", NULL, "id of the offer to buy; instead of selection keys",
		     "offer=local-gpu0"},
	[K_OVERRIDE_HARD_MAX] = {"override_hard_max", NULL, NULL,
				 "1 allows more than 12 hours; for administrators only",
				 "override_hard_max=1"},
	[K_HOURS] = {"hours", "reservation_hours", "h",
		     "how long the session lives from its purchase: 1 to 12", "hours=2"},
	[K_CONSUMER] = {"consumer", "consumer_id", NULL,
			"whose cost it is, for the books: any text", "consumer=team-a"},
	[K_WORKLOAD_TYPE] = {"workload_type", NULL, NULL,
			     "what it is for, a word for the books; llm if not said",
			     "workload_type=training"},
	[K_LABEL] = {"label", NULL, NULL, "any short text for people; at most 63 bytes",
		     "label='first try'"},
	[K_RETRIES] = {"retries", "max_retries", NULL,
		       "how many other offers to try if one fails: 0 to 5", "retries=3"},
	[K_RETRY_SCOPE] = {"retry_scope", NULL, NULL,
			   "which offers a retry may take: same_gpu, same_vram or any",
			   "retry_scope=same_gpu"},
	[K_SSH_PUBLIC_KEY] = {"ssh_public_key", NULL, NULL,
			      "one OpenSSH public key to install beside the session's own",
			      "ssh_public_key='ssh-ed25519 AAAA... me@home'"},
	[K_SSH_TIMEOUT_MINUTES] = {"ssh_timeout_minutes", NULL, "min",
				   "how long SSH may take to answer once the machine runs: 1 to 60",
				   "ssh_timeout_minutes=10"},
	[K_WAIT] = {"wait", NULL, "min",
		    "how long to wait for a matching offer; max = for ever; not said = not at all",
		    "wait=30"},
	[K_PROTECT] = {"protect", NULL, NULL, "1 makes rmdir of the session EBUSY", "protect=1"},
	[K_BID] = {"bid", NULL, "USD/h",
		   "with interruptible=1: what you pay at most; more than another's keeps the "
		   "machine",
		   "bid=0.15"},
	[K_DISK_GB] = {"disk_gb", NULL, "GB", "size of the machine's disk", "disk_gb=100"},
	[K_VCPUS] = {"vcpus", NULL, NULL,
		     "virtual CPUs of the machine, where the provider lets you choose", "vcpus=16"},
	[K_RAM_GB] = {"ram_gb", NULL, "GB",
		      "memory of the machine, where the provider lets you choose", "ram_gb=64"},
	[K_IMAGE] = {"image", "docker_image", NULL, "container image to run, with its tag",
		     "image=pytorch/pytorch:latest"},
	[K_TEMPLATE] = {"template", "template_hash_id", NULL,
			"id of a template of the provider, which an image= overrides",
			"template=4e17788f74f075dd9aab7d0d4427968f"},
	[K_ON_START] = {"on_start", "on_start_cmd", NULL,
			"shell commands that the machine runs when it starts; at most 4096 bytes",
			"on_start='pip install vllm'"},
	[K_PORTS] = {"ports", "exposed_ports", NULL,
		     "ports of the machine to be reached from outside, with commas; see ports/",
		     "ports=8000,8888"},
	[K_LAUNCH_MODE] = {"launch_mode", NULL, NULL,
			   "ssh, which is the only one: the machine is logged in to",
			   "launch_mode=ssh"},
	[K_ENV] = {"env.", NULL, NULL,
		   "env.NAME=VALUE sets an environment variable on the machine; at most 64",
		   "env.MODEL=llama"},
	[K_COMMIT] = {"commit", NULL, NULL,
		      "a word without a value: buy at once, so that a refusal reaches the shell",
		      "commit"},
};
const size_t spec_key_count = ARRAY_LEN(spec_keys);
_Static_assert(ARRAY_LEN(spec_keys) == K_COUNT, "every key has a row");

/* Of later stages, and REST fields that go with them. */
static const char *const later_keys[] = {
	"idle_minutes", "storage_policy", "on_stop",	 "model_id",
	"quantization", "auto_retry",	  "gpu_indices", "idle_threshold_minutes",
};

/* ---- reading: each gets the value, and says "must ..." if it does not like it ---- */

static int read_free_text(struct str v, char out[64], struct error *why)
{
	if (v.n > 63)
		return fail(why, ERR_INVALID, "is too long; at most 63 bytes are allowed");
	memcpy(out, v.p, v.n);
	out[v.n] = '\0';
	return 0;
}

static int read_offer(struct spec *s, struct str v, struct error *why)
{
	if (v.n >= sizeof(s->offer))
		return fail(why, ERR_INVALID, "is too long for an offer; see inventory/");
	for (size_t i = 0; i < v.n; i++) {
		char c = v.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		      (c && strchr("._=,+-", c))))
			return fail(why, ERR_INVALID,
				    "no offer has such a name; see inventory/ for those there are");
	}
	memcpy(s->offer, v.p, v.n);
	s->offer[v.n] = '\0';
	return 0;
}

static int read_override(struct spec *s, struct str v, struct error *why)
{
	return parse_bool(v, &s->override_hard_max, why);
}

/* Up to a year here: whether more than 12 is allowed is known only at the end of the text. */
static int read_hours(struct spec *s, struct str v, struct error *why)
{
	int64_t hours = 0;
	int err = parse_int(v, 1, SPEC_HOURS_OVERRIDE_MAX, &hours, why);

	if (err == -ERANGE)
		return fail(why, ERR_RANGE,
			    "must be 1 to %d (an administrator may add override_hard_max=1)",
			    SPEC_HOURS_MAX);
	if (err)
		return err;
	s->hours = hours;
	return 0;
}

static int read_consumer(struct spec *s, struct str v, struct error *why)
{
	char *copy = strndup(v.p, v.n);

	if (!copy)
		return fail(why, ERR_NO_MEMORY, "out of memory");
	free(s->consumer);
	s->consumer = copy;
	return 0;
}

static int read_label(struct spec *s, struct str v, struct error *why)
{
	return read_free_text(v, s->label, why);
}

static int read_choice(struct str v, const char *const *names, size_t n, int64_t *out,
		       struct error *why)
{
	BUF list = {.max = 200};

	for (size_t i = 0; i < n; i++) {
		if (str_is(v, names[i])) {
			*out = (int64_t)i;
			return 0;
		}
		buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
	}
	return fail(why, ERR_INVALID, "must be one of: %s", list.data ? list.data : "");
}

static int read_workload(struct spec *s, struct str v, struct error *why)
{
	return read_choice(v, workload_names, W_COUNT, &s->workload, why);
}

static int read_retry_scope(struct spec *s, struct str v, struct error *why)
{
	return read_choice(v, retry_scope_names, ARRAY_LEN(retry_scope_names), &s->retry_scope,
			   why);
}

static int read_retries(struct spec *s, struct str v, struct error *why)
{
	return parse_int(v, 0, 5, &s->retries, why);
}

static int read_ssh_timeout(struct spec *s, struct str v, struct error *why)
{
	int64_t minutes = 0;
	int err = parse_int(v, 1, 60, &minutes, why);

	if (err == 0)
		s->ssh_timeout_us = minutes * MINUTE_US;
	return err;
}

static int read_wait(struct spec *s, struct str v, struct error *why)
{
	int64_t minutes = 0;
	int err;

	if (str_is(v, "max")) {
		s->wait_us = INT64_MAX;
		return 0;
	}
	err = parse_int(v, 1, SPEC_WAIT_MINUTES_MAX, &minutes, why);
	if (err == -EINVAL)
		return fail(why, ERR_INVALID, "must be a whole number of minutes, or max");
	if (err == 0)
		s->wait_us = minutes * MINUTE_US;
	return err;
}

static int read_protect(struct spec *s, struct str v, struct error *why)
{
	bool yes = false;
	int err = parse_bool(v, &yes, why);

	if (err == 0)
		s->protect = yes;
	return err;
}

/* ---- public keys ---- */

static int base64_value(char c)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(alphabet, c) : NULL;

	return at ? (int)(at - alphabet) : -1;
}

/* Decode the first `want` bytes and check all of the rest. False if it is not canonical base64. */
static bool base64_check(struct str v, unsigned char *head, size_t want)
{
	size_t digits = v.n, got = 0;
	uint32_t bits = 0;
	unsigned have = 0;

	while (digits > 0 && v.n - digits < 2 && v.p[digits - 1] == '=')
		digits--;
	if (v.n % 4 != 0 || digits < 4)
		return false;
	for (size_t i = 0; i < digits; i++) {
		int d = base64_value(v.p[i]);

		if (d < 0)
			return false;
		bits = (bits << 6 | (uint32_t)d) & 0xffffffu;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		if (got < want)
			head[got++] = (unsigned char)(bits >> have);
	}
	return got == want && (bits & ((1u << have) - 1)) == 0;
}

static const char *const key_types[] = {
	"ssh-ed25519",
	"ssh-rsa",
	"ecdsa-sha2-nistp256",
	"ecdsa-sha2-nistp384",
	"ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com",
	"sk-ecdsa-sha2-nistp256@openssh.com",
};

/* The blob repeats the type, with its length in front: a key that was cut or mixed up shows here.
 */
static bool key_blob_is(struct str blob, const char *type)
{
	unsigned char head[4 + 40];
	size_t n = strlen(type);

	CHECK(n <= 40);
	return base64_check(blob, head, 4 + n) && head[0] == 0 && head[1] == 0 && head[2] == 0 &&
	       head[3] == n && memcmp(head + 4, type, n) == 0;
}

static int read_public_key(struct spec *s, struct str v, struct error *why)
{
	const char *space = memchr(v.p, ' ', v.n), *end;
	struct str type = {v.p, space ? (size_t)(space - v.p) : v.n}, blob = {"", 0};
	BUF copy = {.max = PUBLIC_KEY_MAX};
	char *taken;
	size_t i = 0;

	if (v.n > PUBLIC_KEY_MAX)
		return fail(why, ERR_INVALID, "is longer than any public key");
	while (i < ARRAY_LEN(key_types) && !str_is(type, key_types[i]))
		i++;
	if (i == ARRAY_LEN(key_types))
		return fail(
			why, ERR_INVALID,
			"must be one line of an OpenSSH public key file without options, such as "
			"'ssh-ed25519 AAAA... me@home'; write the content of "
			"~/.ssh/id_ed25519.pub");
	if (space) {
		blob.p = space + 1;
		blob.n = v.n - type.n - 1;
		end = memchr(blob.p, ' ', blob.n);
		blob.n = end ? (size_t)(end - blob.p) : blob.n;
	}
	if (!key_blob_is(blob, key_types[i]))
		return fail(why, ERR_INVALID,
			    "the text behind %s is not such a key; copy the whole line",
			    key_types[i]);
	buf_add(&copy, v.p, v.n);
	taken = buf_take(&copy);
	if (!taken)
		return fail(why, ERR_NO_MEMORY, "out of memory");
	free(s->ssh_public_key);
	s->ssh_public_key = taken;
	return 0;
}

/* ---- the rules: what JSON type a key takes, and how it is read ---- */

enum json_takes { TAKES_TEXT, TAKES_NUMBER, TAKES_BOOL, TAKES_MINUTES, TAKES_LIST };

static const struct {
	enum json_takes takes;
	int (*read)(struct spec *s, struct str v, struct error *why);
} rules[K_COUNT] = {
	[K_OFFER] = {TAKES_TEXT, read_offer},
	[K_OVERRIDE_HARD_MAX] = {TAKES_BOOL, read_override},
	[K_HOURS] = {TAKES_NUMBER, read_hours},
	[K_CONSUMER] = {TAKES_TEXT, read_consumer},
	[K_WORKLOAD_TYPE] = {TAKES_TEXT, read_workload},
	[K_LABEL] = {TAKES_TEXT, read_label},
	[K_RETRIES] = {TAKES_NUMBER, read_retries},
	[K_RETRY_SCOPE] = {TAKES_TEXT, read_retry_scope},
	[K_SSH_PUBLIC_KEY] = {TAKES_TEXT, read_public_key},
	[K_SSH_TIMEOUT_MINUTES] = {TAKES_NUMBER, read_ssh_timeout},
	[K_WAIT] = {TAKES_MINUTES, read_wait},
	[K_PROTECT] = {TAKES_BOOL, read_protect},
	[K_BID] = {TAKES_NUMBER, spec_read_bid},
	[K_DISK_GB] = {TAKES_NUMBER, spec_read_disk},
	[K_VCPUS] = {TAKES_NUMBER, spec_read_vcpus},
	[K_RAM_GB] = {TAKES_NUMBER, spec_read_ram},
	[K_IMAGE] = {TAKES_TEXT, spec_read_image},
	[K_TEMPLATE] = {TAKES_TEXT, spec_read_template},
	[K_ON_START] = {TAKES_TEXT, spec_read_on_start},
	[K_PORTS] = {TAKES_LIST, spec_read_ports},
	[K_LAUNCH_MODE] = {TAKES_TEXT, spec_read_launch_mode},
	[K_ENV] = {TAKES_TEXT, NULL},	 /* spec_env_set */
	[K_COMMIT] = {TAKES_BOOL, NULL}, /* apply_commit */
};

static int fail_word(struct spec_parse_state *st, const struct spec_word *w, enum err code,
		     const char *text)
{
	char key[80];

	show_value(key, sizeof(key), w->key);
	return fail_at(st->why, code, w->line, w->column, "%s: %s", key, text);
}

static enum json_takes query_takes(enum query_key key)
{
	if (query_keys[key].type == V_TEXT)
		return TAKES_TEXT;
	return query_keys[key].type == V_BOOL ? TAKES_BOOL : TAKES_NUMBER;
}

/* JSON says what a value is, so a number in quotes is refused as the REST API refuses it. */
static int check_type(struct spec_parse_state *st, const struct spec_word *w, enum json_takes takes)
{
	const char *wanted = NULL;

	if (w->kind == WORD_BARE)
		return fail_word(st, w, ERR_INVALID, "a value is missing; write key=value");
	if (w->kind == WORD_PLAIN)
		return 0;
	switch (takes) {
	case TAKES_TEXT:
		wanted = w->kind == WORD_TEXT ? NULL : "must be a JSON string";
		break;
	case TAKES_NUMBER:
		wanted = w->kind == WORD_NUMBER ? NULL : "must be a JSON number, without quotes";
		break;
	case TAKES_BOOL: /* protect reads as 1 or 0 in the tree, so numbers are fine */
		wanted = w->kind == WORD_BOOL || w->kind == WORD_NUMBER
				 ? NULL
				 : "must be true or false, without quotes";
		break;
	case TAKES_MINUTES:
		wanted = w->kind == WORD_NUMBER || str_is(w->value, "max")
				 ? NULL
				 : "must be a JSON number without quotes, or \"max\"";
		break;
	case TAKES_LIST:
		wanted = w->kind == WORD_LIST || w->kind == WORD_TEXT
				 ? NULL
				 : "must be a JSON array of numbers, or a string of them with "
				   "commas";
		break;
	}
	return wanted ? fail_word(st, w, ERR_INVALID, wanted) : 0;
}

static int fail_unknown(struct spec_parse_state *st, const struct spec_word *w)
{
	char text[sizeof(st->why->text)];
	BUF list = {.max = 400};

	for (size_t i = 0; i < ARRAY_LEN(later_keys); i++)
		if (str_is(w->key, later_keys[i]))
			return fail_word(st, w, ERR_INVALID,
					 "gpufs does not support this key yet; leave it out");
	for (size_t i = 0; i < spec_key_count; i++)
		if (spec_keys[i].json_alias && str_is(w->key, spec_keys[i].json_alias)) {
			buf_printf(&list, "is the name in JSON; here write %s=", spec_keys[i].name);
			return fail_word(st, w, ERR_INVALID, list.data ? list.data : "");
		}
	for (size_t i = 0; i < spec_key_count; i++)
		buf_printf(&list, "%s%s ", spec_keys[i].name, i == K_ENV ? "NAME" : "");
	for (size_t i = 0; i < Q_KEY_COUNT; i++)
		buf_printf(&list, "%s ", query_keys[i].name);
	copy_text(text, sizeof(text), "unknown key; known are: ");
	if (list.data)
		copy_text(text + strlen(text), sizeof(text) - strlen(text), list.data);
	text[strlen(text) - 1] = '\0';
	return fail_word(st, w, ERR_INVALID, text);
}

static int apply_commit(struct spec_parse_state *st, const struct spec_word *w)
{
	bool yes = true;

	if (w->kind == WORD_PLAIN)
		return fail_word(st, w, ERR_INVALID, "is a word without a value; write commit");
	if (w->kind != WORD_BARE &&
	    (check_type(st, w, TAKES_BOOL) || parse_bool(w->value, &yes, NULL)))
		return fail_word(st, w, ERR_INVALID, "must be true or false, without quotes");
	st->out->commit = yes;
	return 0;
}

static int apply_query(struct spec_parse_state *st, const struct spec_word *w, enum query_key key,
		       bool once)
{
	struct error inner;
	int err = check_type(st, w, query_takes(key));

	if (err)
		return err;
	if (once && st->query_place[key].line)
		return fail_word(st, w, ERR_INVALID, "is there twice; leave out one of them");
	if (query_set(&st->out->query, key, w->value, &inner))
		return fail_at(st->why, inner.code, w->line, w->column, "%s", inner.text);
	st->query_place[key].line = w->line;
	st->query_place[key].column = w->column;
	return 0;
}

static int apply_env(struct spec_parse_state *st, const struct spec_word *w, bool once)
{
	struct str name = {w->key.p + strlen("env."), w->key.n - strlen("env.")};
	struct error inner;
	int err = check_type(st, w, TAKES_TEXT);

	if (err)
		return err;
	if (w->value.n == 0 && !w->quoted)
		return fail_word(st, w, ERR_INVALID,
				 "a value is missing; write '' for an empty one");
	if (spec_env_set(st->out, name, w->value, once, &inner))
		return fail_word(st, w, inner.code, inner.text);
	return 0;
}

static int spec_key_find(const struct spec_word *w, bool aliases)
{
	if (w->key.n >= 4 && memcmp(w->key.p, "env.", 4) == 0)
		return K_ENV;
	for (int i = 0; i < K_COUNT; i++) {
		if (i == K_ENV)
			continue;
		if (str_is(w->key, spec_keys[i].name) ||
		    (aliases && spec_keys[i].json_alias && str_is(w->key, spec_keys[i].json_alias)))
			return i;
	}
	return -1;
}

/* No value holds a control character, however it was written (escapes can write one), but for a
 * consumer's, which comes from accounts elsewhere and may be any text, and for a script. */
static bool value_is_clean(struct str v, bool any_text)
{
	for (size_t i = 0; i < v.n;) {
		int step = utf8_step(v.p + i, v.n - i);

		if (step <= 0 || (!any_text && utf8_is_control(v.p + i, step)))
			return false;
		i += (size_t)step;
	}
	return true;
}

int spec_apply(struct spec_parse_state *st, const struct spec_word *w, bool once)
{
	bool json = w->kind != WORD_BARE && w->kind != WORD_PLAIN;
	int id = spec_key_find(w, json), key = query_key_find(w->key), err;
	struct error inner;
	char shown[56];
	bool any_text;

	if (id < 0 && key < 0)
		return fail_unknown(st, w);
	any_text = id == K_CONSUMER || id == K_ON_START;
	if (!value_is_clean(w->value, any_text))
		return fail_word(st, w, ERR_INVALID,
				 any_text ? "the value is not valid UTF-8"
					  : "the value must not hold control characters, "
					    "line breaks included");
	if (id == K_ENV)
		return apply_env(st, w, once);
	if (id < 0)
		return apply_query(st, w, (enum query_key)key, once);
	if (once && st->place[id].line)
		return fail_word(st, w, ERR_INVALID,
				 "is there twice (perhaps under its other name); leave out one");
	st->place[id].line = w->line;
	st->place[id].column = w->column;
	if (id == K_COMMIT)
		return apply_commit(st, w);
	err = check_type(st, w, rules[id].takes);
	if (err)
		return err;
	if (w->value.n == 0)
		return fail_word(st, w, ERR_INVALID,
				 json || w->quoted ? "must not be empty; leave the key out instead"
						   : "a value is missing; write key=value");
	if (rules[id].read(st->out, w->value, &inner) == 0)
		return 0;
	show_value(shown, sizeof(shown),
		   id == K_ON_START ? str_of("...") : w->value); /* may hold a token */
	return fail_at(st->why, inner.code, w->line, w->column, "%s=%s: %s", spec_keys[id].name,
		       shown, inner.text);
}
