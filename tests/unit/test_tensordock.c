/*
 * Tests of the dialect of TensorDock: requests to the letter (a create with hostile key text against a
 * golden file, and its commands through a real shell), the verdict of every kind of answer to every call,
 * locations, machines, and junk. The recorded replies are in tests/wire.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../providers/providers.h"
#include "../../providers/tensordock_parts.h"
#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "wire_test.h"

#include <cmocka.h>
#undef fail

#define TOKEN	 "token-that-is-secret"
#define LOCATION "8dd95ff0-dff9-489c-9b02-b38a366b6ab1"
#define MODEL	 "geforcertx4090-pcie-24gb"
#define KEY	 "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g"

static struct provider *td;

static int setup(void **state)
{
	static const struct account account = {.base_url = "https://dashboard.tensordock.com",
					       .key = TOKEN,
					       .balance_url = "https://marketplace.tensordock.com",
					       .image = "ubuntu2404"};

	(void)state;
	td = provider_tensordock_new(&account);
	return td ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	provider_tensordock_free(td);
	return 0;
}

/* ---- requests ---- */

static void build(struct request *q, const struct call *call)
{
	wire_build(td, call, "", q);
}

static void test_plain_requests(void **state)
{
	static const struct {
		struct call call;
		enum http_method method;
		const char *path;
	} rows[] = {
		{{.op = CALL_OFFERS}, HTTP_GET, "/api/v2/locations"},
		{{.op = CALL_LIST}, HTTP_GET, "/api/v2/instances"},
		{{.op = CALL_LOOK, .instance_id = LOCATION},
		 HTTP_GET,
		 "/api/v2/instances/" LOCATION},
		{{.op = CALL_DESTROY, .instance_id = "inst_1"},
		 HTTP_DELETE,
		 "/api/v2/instances/inst_1"},
		{{.op = CALL_ACCOUNT}, HTTP_GET, "/api/v2/instances"},
	};
	static const struct call none[] = {
		{.op = CALL_ATTACH, .instance_id = "i", .public_key = KEY},
		{.op = CALL_TEMPLATES},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		REQUEST q;

		build(&q, &rows[i].call);
		assert_int_equal(q.err, 0);
		assert_int_equal(q.r.method, rows[i].method);
		assert_string_equal(q.r.path.data, rows[i].path);
		assert_int_equal(q.r.body.len, 0);
		assert_false(q.r.keyless);
		assert_null(q.r.origin);
	}
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		REQUEST q;

		build(&q, &none[i]);
		assert_int_equal(q.err, -EINVAL);
	}
}

static void test_the_balance_has_another_door(void **state)
{
	const struct call call = {.op = CALL_ACCOUNT};
	REQUEST q;

	(void)state;
	td->account.balance_id = "a+b/c d";
	build(&q, &call);
	td->account.balance_id = NULL;
	assert_int_equal(q.err, 0);
	assert_int_equal(q.r.method, HTTP_POST);
	assert_string_equal(q.r.path.data, "/api/v0/billing/balance");
	assert_string_equal(q.r.body.data, "api_key=a%2Bb%2Fc%20d&api_token=" TOKEN);
	assert_string_equal(q.r.origin, "https://marketplace.tensordock.com");
	assert_true(q.r.form);
	assert_true(q.r.keyless);
	assert_true(q.r.body.secret);
}

static void test_ids_that_are_no_part_of_a_path(void **state)
{
	static const char *const ids[] = {"",	 ".",	"..",  "a/b", "a\\b",	  "a%2fb",
					  "a?b", "a#b", "a b", "a\n", "\xc3\xa4", "../x"};
	char longer[100];

	(void)state;
	memset(longer, 'a', sizeof longer);
	longer[96] = '\0';
	for (size_t i = 0; i <= ARRAY_LEN(ids); i++)
		for (int k = 0; k < 2; k++) {
			struct call call = {.op = k ? CALL_LOOK : CALL_DESTROY,
					    .instance_id = i < ARRAY_LEN(ids) ? ids[i] : longer};
			REQUEST q;

			build(&q, &call);
			assert_int_equal(q.err, -EINVAL);
		}
}

static void example(struct offer *o, struct create_args *c)
{
	*o = (struct offer){.gpu_count = 1, .reach = REACH_FORWARD | REACH_ADDRESS};
	COPY(o->provider_id, LOCATION "-" MODEL);
	*c = (struct create_args){.label = "gpufs-dep1-0a1b2c3d-1-0123456789abcdef",
				  .offer = o,
				  .authorized_keys = KEY " ours\n",
				  .shape = {100, 8, 32},
				  .image = "ubuntu2404",
				  .bid_u6 = UNKNOWN,
				  .reach = REACH_FORWARD};
}

static json_t *create_attributes(const struct create_args *c)
{
	const struct call call = {.op = CALL_CREATE, .create = c};
	json_t *root, *attributes;
	REQUEST q;

	build(&q, &call);
	if (q.err)
		print_error("%s\n", q.why.text);
	assert_int_equal(q.err, 0);
	assert_int_equal(q.r.method, HTTP_POST);
	assert_string_equal(q.r.path.data, "/api/v2/instances");
	assert_true(q.r.body.secret);
	assert_null(strstr(q.r.body.data, TOKEN));
	root = json_loads(q.r.body.data, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	attributes = json_incref(json_object_get(json_object_get(root, "data"), "attributes"));
	json_decref(root);
	return attributes;
}

/* The members that create_request_location_portforward.json has, with its values, and nothing else but
 * cloud_init; and those of a machine with an address. */
static void test_create_requests(void **state)
{
	static const char forward[] =
		"{\"name\":\"gpufs-dep1-0a1b2c3d-1-0123456789abcdef\",\"type\":\"virtualmachine\","
		"\"image\":\"ubuntu2404\",\"location_id\":\"" LOCATION "\",\"resources\":{"
		"\"vcpu_count\":8,\"ram_gb\":32,\"storage_gb\":100,\"gpus\":{\"" MODEL
		"\":{\"count\":1}}},\"port_forwards\":[{\"internal_port\":22,\"external_port\":0}],"
		"\"useDedicatedIp\":false,\"ssh_key\":\"" KEY " ours\"}";
	static const char address[] =
		"{\"name\":\"gpufs-dep1-0a1b2c3d-1-0123456789abcdef\",\"type\":\"virtualmachine\","
		"\"image\":\"ubuntu2204\",\"location_id\":\"" LOCATION "\",\"resources\":{"
		"\"vcpu_count\":16,\"ram_gb\":64,\"storage_gb\":250,\"gpus\":{\"" MODEL
		"\":{\"count\":4}}},\"useDedicatedIp\":true,\"ssh_key\":\"" KEY " ours\"}";
	const int64_t ports[] = {8000, 22};
	struct create_args c;
	struct offer o;
	json_t *got, *wanted;

	(void)state;
	example(&o, &c);
	got = create_attributes(&c);
	json_object_del(got, "cloud_init");
	wanted = json_loads(forward, 0, NULL);
	assert_true(json_equal(got, wanted));
	json_decref(got);
	json_decref(wanted);
	c.reach = REACH_ADDRESS;
	c.image = "ubuntu2204";
	c.shape = (struct shape){250, 15, 50}; /* odd, and not on the list */
	o.gpu_count = 4;
	c.ports = ports;
	c.port_count = 2;
	got = create_attributes(&c);
	json_object_del(got, "cloud_init");
	wanted = json_loads(address, 0, NULL);
	assert_true(json_equal(got, wanted));
	json_decref(got);
	json_decref(wanted);
	c.reach = REACH_FORWARD;
	c.shape = (struct shape){UNKNOWN, UNKNOWN, UNKNOWN};
	got = create_attributes(&c);
	wanted = json_loads("[{\"internal_port\":22,\"external_port\":0},"
			    "{\"internal_port\":8000,\"external_port\":0}]",
			    0, NULL);
	assert_true(json_equal(json_object_get(got, "port_forwards"), wanted));
	json_decref(wanted);
	wanted = json_loads("{\"vcpu_count\":8,\"ram_gb\":32,\"storage_gb\":100,\"gpus\":{\"" MODEL
			    "\":{\"count\":4}}}",
			    0, NULL);
	assert_true(json_equal(json_object_get(got, "resources"), wanted));
	json_decref(wanted);
	json_decref(got);
}

#define HOSTILE "'; touch /tmp/owned; $(id) `id` \\ \" %s\\n ${HOME} & | # \xc3\xa9"

static void hostile(struct offer *o, struct create_args *c, struct spec_env env[2])
{
	example(o, c);
	c->authorized_keys = KEY " " HOSTILE "\n" KEY " second\n";
	COPY(env[0].name, "TOKEN");
	COPY(env[0].value, HOSTILE);
	COPY(env[1].name, "EMPTY");
	env[1].value[0] = '\0';
	c->env = env;
	c->env_count = 2;
	c->on_start = "echo \"it's $TOKEN\"\nexit '3'";
}

/* What a machine is told to run, against the golden file: read the difference before you change it. */
static void test_cloud_init_is_golden(void **state)
{
	static struct spec_env env[2];
	struct create_args c;
	struct offer o;
	json_t *got, *wanted;
	json_error_t why;

	(void)state;
	hostile(&o, &c, env);
	got = create_attributes(&c);
	wanted = json_load_file(GOLDEN "/tensordock_cloud_init.json", 0, &why);
	if (!json_equal(json_object_get(got, "cloud_init"), wanted)) {
		char *text = json_dumps(json_object_get(got, "cloud_init"), JSON_INDENT(1));

		print_error("got %s\n", text);
		free(text);
		assert_true(false);
	}
	json_decref(got);
	json_decref(wanted);
}

/* Runs one command in a shell, with `from` in it replaced by `to`; what it printed. */
static void in_shell(const char *command, const char *from, const char *to, char *out, size_t size)
{
	const char *at = strstr(command, from);
	BUF text = {0};
	size_t n = 0, more;
	FILE *f;

	assert_non_null(at);
	buf_add(&text, command, (size_t)(at - command));
	buf_puts(&text, to);
	buf_puts(&text, at + strlen(from));
	f = popen(text.data, "r");
	assert_non_null(f);
	while (n + 1 < size && (more = fread(out + n, 1, size - n - 1, f)) > 0)
		n += more;
	out[n] = '\0';
	assert_int_equal(pclose(f), 0);
}

static const char *command(const json_t *attributes, const char *with)
{
	const json_t *all = json_object_get(json_object_get(attributes, "cloud_init"), "runcmd");

	for (size_t i = 0; i < json_array_size(all); i++)
		if (strstr(json_string_value(json_array_get(all, i)), with))
			return json_string_value(json_array_get(all, i));
	assert_true(false);
	return NULL;
}

/* Through a real shell, the files get exactly the bytes, and nothing else happens. */
static void test_no_text_escapes_the_shell(void **state)
{
	static struct spec_env env[2];
	struct create_args c;
	char out[4096];
	struct offer o;
	json_t *got;

	(void)state;
	unlink("/tmp/owned");
	hostile(&o, &c, env);
	got = create_attributes(&c);
	in_shell(command(got, "> /root/.ssh/authorized_keys"), "> /root/.ssh/authorized_keys", "",
		 out, sizeof out);
	assert_string_equal(out, c.authorized_keys);
	in_shell(command(got, "10-gpufs.conf"), "> /etc/ssh/sshd_config.d/10-gpufs.conf", "", out,
		 sizeof out);
	assert_string_equal(out, "SetEnv \"TOKEN='; touch /tmp/owned; $(id) `id` \\\\ \\\" %s\\\\n "
				 "${HOME} & | # \xc3\xa9\" \"EMPTY=\"\n");
	in_shell(command(got, "> /root/on_start.sh"), "> /root/on_start.sh", "", out, sizeof out);
	assert_string_equal(out, "echo \"it's $TOKEN\"\nexit '3'\n");
	/* The script gets the variables: print one instead of running it. */
	in_shell(command(got, "nohup"),
		 "nohup bash /root/on_start.sh > /var/log/on_start.log 2>&1 &", "printenv TOKEN",
		 out, sizeof out);
	assert_string_equal(out, HOSTILE "\n");
	assert_int_not_equal(access("/tmp/owned", F_OK), 0);
	json_decref(got);
}

static void refused(const struct create_args *c, const char *word)
{
	const struct call call = {.op = CALL_CREATE, .create = c};
	REQUEST q;

	build(&q, &call);
	assert_true(q.err == -EINVAL || q.err == -ERANGE);
	if (!strstr(q.why.text, word))
		print_error("%s lacks %s\n", q.why.text, word);
	assert_non_null(strstr(q.why.text, word));
}

static void test_what_cannot_be_asked(void **state)
{
	static const char *const keys[] = {"",	     "\n",	KEY "\r\n", KEY " \x01\n",
					   "\xff\n", KEY "\x7f"};
	static const char *const offers[] = {"",
					     LOCATION,
					     (LOCATION "-"),
					     (LOCATION "/" MODEL),
					     (LOCATION "-a\"b"),
					     ("8dd95ff0-dff9-489c-9b02-b38a366b6abg-" MODEL)};
	const int64_t bad_port = 65536;
	struct spec_env env = {0};
	struct create_args c;
	char label[62];
	struct offer o;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		example(&o, &c);
		c.authorized_keys = keys[i];
		refused(&c, "key");
	}
	for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
		example(&o, &c);
		COPY(o.provider_id, offers[i]);
		refused(&c, "offer");
	}
	example(&o, &c);
	memset(label, 'x', 61);
	label[61] = '\0';
	c.label = label;
	refused(&c, "name");
	example(&o, &c);
	c.image = "";
	refused(&c, "TENSORDOCK_DEFAULT_IMAGE");
	example(&o, &c);
	c.shape.ram_gb = 513;
	refused(&c, "512 GB");
	example(&o, &c);
	c.ports = &bad_port;
	c.port_count = 1;
	refused(&c, "65536");
	example(&o, &c);
	c.env = &env;
	c.env_count = 1;
	COPY(env.name, "A B");
	refused(&c, "env.A B");
	COPY(env.name, "A");
	COPY(env.value, "two\nlines");
	refused(&c, "env.A");
}

static void test_limits(void **state)
{
	const struct dialect *d = td->dialect;

	(void)state;
	/* 100 a minute: the burst and what comes in a minute after it. */
	assert_in_range(d->account_burst + 60 * SECOND_US / d->account_spacing_us, 2, 90);
	assert_false(d->attach_key);
	assert_false(d->lists_show_boot); /* lists may leave out addresses */
	assert_true(d->whole_market);
	assert_int_equal(provider_can(td), WANT_DISK | WANT_IMAGE | WANT_ON_START | WANT_PORTS |
						   WANT_VCPUS | WANT_RAM);
	assert_true(d->endpoints[1].timeout_us >= 120 * SECOND_US);
}

/* ---- replies ---- */

static void parse_for(struct wire_result *w, enum call_op op, const char *id, int status,
		      const char *body)
{
	struct wire_ask ask = {.op = op};

	COPY(ask.instance_id, id);
	wire_parse(td, &ask, status, body, strlen(body), w);
}

static void parse(struct wire_result *w, enum call_op op, int status, const char *body)
{
	parse_for(w, op, "", status, body);
}

#define NODES	"{\"status\":400,\"error\":\"No available nodes found\"}"
#define NO_IP	"{\"error\":\"No available public IPs on hostnode\",\"status\":400}"
#define MISSING "{\"error\":\"Instance not found\"}"
#define CREATED                                                                            \
	"{\"data\":{\"type\":\"virtualmachine\",\"id\":\"i-1\",\"name\":\"n\",\"status\":" \
	"\"running\"}}"
#define HTML_502 "<html><h1>Bad Gateway</h1></html>"

static void test_verdicts(void **state)
{
	static const struct {
		enum call_op op;
		int status;
		const char *body;
		enum verdict verdict;
		enum provider_error error;
	} rows[] = {
		{CALL_CREATE, 200, CREATED, SURE_YES, PE_NONE},
		{CALL_CREATE, 201, CREATED, SURE_YES, PE_NONE},
		{CALL_CREATE, 200, "{\"data\":{\"id\":\"\"}}", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{\"data\":{\"id\":\"a/b\"}}", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{}", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "<html>welcome</html>", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 302, "", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 502, CREATED, UNSURE, PE_UNKNOWN},
		{CALL_CREATE, 200, "{\"status\":500,\"error\":\"x\",\"data\":{\"id\":\"i\"}}",
		 UNSURE, PE_UNKNOWN},
		/* The same words under every status. */
		{CALL_CREATE, 200, NODES, SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 400, NODES, SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 404, NODES, SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 409, NODES, SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 503, NODES, UNSURE, PE_STALE_OFFER},
		{CALL_CREATE, 200, NO_IP, SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 400, "[{\"message\":\"no AVAILABLE nodes\",\"path\":[0]}]", SURE_NO,
		 PE_STALE_OFFER},
		{CALL_CREATE, 400, "The GPU is currently unavailable", SURE_NO, PE_STALE_OFFER},
		{CALL_CREATE, 400, "{\"error\":\"maximum 4 GPUs allowed\"}", SURE_NO, PE_INVALID},
		{CALL_CREATE, 200, "{\"status\":500,\"error\":\"oops\"}", UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 200, "{\"status\":400,\"error\":\"need at least $1\"}", SURE_NO,
		 PE_MONEY},
		{CALL_CREATE, 402, "{\"error\":\"pay\"}", SURE_NO, PE_MONEY},
		{CALL_CREATE, 400, HTML_502, UNSURE, PE_UNAVAILABLE},
		{CALL_CREATE, 401, "Unauthorized", KEY_DEAD, PE_AUTH},
		{CALL_CREATE, 200, "{\"status\":401,\"error\":\"Unauthorized\"}", KEY_DEAD,
		 PE_AUTH},
		{CALL_CREATE, 403, HTML_502, LATER, PE_UNAVAILABLE},
		{CALL_CREATE, 429, "", LATER, PE_RATE},
		{CALL_CREATE, 200, "{\"status\":429,\"error\":\"slow\"}", LATER, PE_RATE},
		{CALL_CREATE, 500, "{}", UNSURE, PE_UNAVAILABLE},
		{CALL_LOOK, 404, MISSING, SURE_NO, PE_GONE},
		{CALL_LOOK, 200, "{\"status\":404,\"error\":\"Instance not found\"}", SURE_NO,
		 PE_GONE},
		{CALL_LOOK, 404, "Not Found", SURE_NO, PE_GONE},
		{CALL_LOOK, 404, "", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 404, HTML_502, LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 404, "{\"error\":\"Hostnode unavailable\"}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 401, MISSING, KEY_DEAD, PE_AUTH},
		{CALL_LOOK, 500, MISSING, LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 200, "{\"status\":\"running\"}", LATER, PE_UNAVAILABLE},
		{CALL_LOOK, 204, "", LATER, PE_UNAVAILABLE},
		{CALL_DESTROY, 204, "", SURE_YES, PE_NONE},
		{CALL_DESTROY, 200, "", UNSURE, PE_UNAVAILABLE},
		{CALL_DESTROY, 200, "{}", UNSURE, PE_UNAVAILABLE},
		{CALL_DESTROY, 200, "{\"success\":true}", SURE_YES, PE_NONE},
		{CALL_DESTROY, 404, MISSING, SURE_YES, PE_GONE},
		{CALL_DESTROY, 404, HTML_502, UNSURE, PE_UNAVAILABLE},
		{CALL_DESTROY, 401, MISSING, KEY_DEAD, PE_AUTH},
		{CALL_DESTROY, 409, "{\"error\":\"busy\"}", SURE_NO, PE_UNKNOWN},
		{CALL_DESTROY, 200, "{\"status\":500,\"error\":\"x\"}", UNSURE, PE_UNAVAILABLE},
		{CALL_LIST, 200, "{\"data\":[]}", SURE_YES, PE_NONE},
		{CALL_LIST, 200, "{\"data\":null}", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 200, "{\"data\":{}}", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 200, "[]", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 204, "", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 200, "{\"status\":404,\"error\":\"Instance not found\"}", LATER,
		 PE_UNAVAILABLE},
		{CALL_LIST, 404, "{\"data\":[]}", LATER, PE_UNAVAILABLE},
		{CALL_LIST, 500, "{\"data\":[]}", LATER, PE_UNAVAILABLE},
		{CALL_OFFERS, 200, "{\"data\":{\"locations\":[]}}", SURE_YES, PE_NONE},
		{CALL_OFFERS, 200, "[]", LATER, PE_UNAVAILABLE},
		{CALL_OFFERS, 200, "{\"locations\":[]}", LATER, PE_UNAVAILABLE},
		{CALL_ACCOUNT, 200, "{\"data\":[]}", SURE_YES, PE_NONE},
		{CALL_ACCOUNT, 200, "{\"balance\":1,\"success\":true}", SURE_YES, PE_NONE},
		{CALL_ACCOUNT, 200, "{\"success\":false,\"error\":\"Invalid\"}", LATER,
		 PE_UNAVAILABLE},
		{CALL_ACCOUNT, 200, "{\"success\":\"false\",\"error\":\"Invalid\"}", LATER,
		 PE_UNAVAILABLE},
		/* The older API's word about its own id says nothing of the token. */
		{CALL_ACCOUNT, 401, "{\"success\":false,\"error\":\"Invalid\"}", LATER,
		 PE_UNAVAILABLE},
		{CALL_ACCOUNT, 401, "Unauthorized", KEY_DEAD, PE_AUTH},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		RESULT w;

		parse(&w, rows[i].op, rows[i].status, rows[i].body);
		if (w.r.verdict != rows[i].verdict || w.r.error != rows[i].error)
			print_error("row %zu, %s %d %s: %s %s\n", i, call_op_names[rows[i].op],
				    rows[i].status, rows[i].body, verdict_names[w.r.verdict],
				    provider_error_names[w.r.error]);
		assert_int_equal(w.r.verdict, rows[i].verdict);
		assert_int_equal(w.r.error, rows[i].error);
	}
}

static void test_words(void **state)
{
	static const char secret[] =
		"{\"error\":\"bad token abcdefghijklmnopqrstuvwxyz0123456789 in "
		"\\r\\n\\u001b[31m header\"}";
	RESULT refused, ip, two, long_text;
	char text[4096];

	(void)state;
	parse(&refused, CALL_CREATE, 400, secret);
	assert_null(strstr(refused.r.text, "abcdefghijkl"));
	assert_null(strchr(refused.r.text, '\n'));
	assert_null(strchr(refused.r.text, '\x1b'));
	parse(&ip, CALL_CREATE, 200, NO_IP);
	assert_true(ip.r.other_reach);
	parse(&two, CALL_CREATE, 400, "[{\"message\":\"a\",\"path\":[1]},{\"message\":\"b\"}]");
	assert_non_null(strstr(two.r.text, "a; b"));
	assert_false(two.r.other_reach);
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	for (size_t i = 20; i < sizeof text - 1; i += 20)
		text[i] = ' ';
	parse(&long_text, CALL_CREATE, 400, text);
	assert_true(strlen(long_text.r.text) < 256);
	assert_int_equal(long_text.r.verdict, SURE_NO);
}

static void test_balance(void **state)
{
	RESULT some, less, none;

	(void)state;
	parse(&some, CALL_ACCOUNT, 200,
	      "{\"balance\":999.987,\"hourly_cost\":0.8,\"success\":true}");
	assert_int_equal(some.r.balance_u6, 999987000);
	parse(&less, CALL_ACCOUNT, 200, "{\"balance\":-3.5,\"success\":true}");
	assert_int_equal(less.r.balance_u6, 0);
	parse(&none, CALL_ACCOUNT, 200, "{\"data\":{\"instances\":[]}}");
	assert_int_equal(none.r.verdict, SURE_YES);
	assert_int_equal(none.r.balance_u6, UNKNOWN);
}

/* ---- offers ---- */

static void test_gpu_names(void **state)
{
	static const struct {
		const char *model, *name;
		int64_t vram_gb;
	} rows[] = {
		{"a100-sxm4-80gb", "A100 SXM4", 80},
		{"a100-pcie-80gb", "A100 PCIE", 80},
		{"a40-pcie-48gb", "A40", 48},
		{"geforcertx3090-pcie-24gb", "RTX 3090", 24},
		{"geforcertx4090-pcie-24gb", "RTX 4090", 24},
		{"geforcertx4070tisuper-pcie-16gb", "RTX 4070 Ti SUPER", 16},
		{"geforcertx3060tilhr-pcie-8gb", "RTX 3060 Ti", 8},
		{"geforcegtx1070-pcie-8gb", "GTX 1070", 8},
		{"h100-sxm5-80gb", "H100 SXM", 80},
		{"h100-pcie-80gb", "H100 PCIE", 80},
		{"h100-nvl-94gb", "H100 NVL", 94},
		{"l4-pcie-24gb", "L4", 24},
		{"l40s-pcie-48gb", "L40S", 48},
		{"rtx5000ada-pcie-32gb", "RTX 5000 Ada", 32},
		{"rtx6000ada-pcie-48gb", "RTX 6000 Ada", 48},
		{"rtxa4000-pcie-16gb", "RTX A4000", 16},
		{"rtxa6000-pcie-48gb", "RTX A6000", 48},
		{"v100-sxm2-16gb", "V100 SXM2", 16},
		{"teslav100-pcie-16gb", "V100", 16},
		{"newcard", "NEWCARD", UNKNOWN},
		{"x-pcie", "X", UNKNOWN},
		{"x--gb", "X ", UNKNOWN},
		{"x-pcie-0gb", "X PCIE-0GB", UNKNOWN},
	};
	char name[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		td_gpu_name(rows[i].model, name, sizeof name);
		if (i < ARRAY_LEN(rows) - 2) /* these two are only not to break anything */
			assert_string_equal(name, rows[i].name);
		assert_int_equal(td_vram_gb(rows[i].model), rows[i].vram_gb);
	}
}

#define PRICES \
	"\"pricing\":{\"per_vcpu_hr\":0.003,\"per_gb_ram_hr\":0.002,\"per_gb_storage_hr\":5e-05}"
#define ROOM "\"resources\":{\"max_vcpus\":16,\"max_ram_gb\":1546793,\"max_storage_gb\":1000}"
#define NET(ip, forward)                                       \
	"\"network_features\":{\"dedicated_ip_available\":" ip \
	",\"port_forwarding_available\":" forward "}"

static void parse_model(struct wire_result *w, const struct shape *shape, const char *gpu)
{
	struct wire_ask ask = {.op = CALL_OFFERS};
	BUF body = {0};

	if (shape)
		ask.page.shape = *shape;
	buf_printf(&body,
		   "{\"data\":{\"locations\":[{\"id\":\"%s\",\"city\":\"M\xc3\xb6lln\","
		   "\"stateprovince\":\"M\xc3\xb6lln\",\"country\":\"Germany\",\"tier\":4,\"gpus\":"
		   "[{%s}]}]}}",
		   LOCATION, gpu);
	wire_parse(td, &ask, 200, body.data, body.len, w);
	assert_int_equal(w->r.verdict, SURE_YES);
	assert_true(w->r.complete);
}

static void test_offers_of_a_model(void **state)
{
	static const struct shape larger = {200, 10, 40}, asked = {1000, 16, 512};
	const struct offer *o;
	RESULT w, more;

	(void)state;
	parse_model(&w, NULL,
		    "\"v0Name\":\"" MODEL "\",\"max_count\":7,\"price_per_hr\":0.396667," PRICES
		    "," ROOM "," NET("false", "true"));
	assert_int_equal(w.r.count, 3);
	o = &w.offers[0];
	assert_string_equal(o->id, "tensordock-" LOCATION "-" MODEL);
	assert_string_equal(o->provider_id, LOCATION "-" MODEL);
	assert_string_equal(o->gpu_type, "RTX 4090");
	assert_string_equal(o->location, "M\xc3\xb6lln, Germany");
	assert_int_equal(o->gpu_count, 1);
	assert_int_equal(o->vram_gb, 24);
	assert_int_equal(o->price_u6, 396667 + 24000 + 64000 + 5000);
	assert_int_equal(o->reliability_m, UNKNOWN);
	assert_int_equal(o->reach, REACH_FORWARD);
	assert_int_equal(o->disk.size, 100);
	assert_int_equal(o->disk.max, 1000);
	assert_int_equal(o->vcpus.max, 16);
	assert_int_equal(o->ram.max, 512); /* a million GB are not asked for */
	assert_int_equal(offer_price(o, &asked), 396667 + 48000 + 1024000 + 50000);
	assert_string_equal(w.offers[2].id, "tensordock-" LOCATION "-" MODEL "-x4");
	assert_string_equal(w.offers[2].provider_id, LOCATION "-" MODEL);
	assert_int_equal(w.offers[2].price_u6, 4 * 396667 + 93000);
	parse_model(&more, &larger,
		    "\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":0.1," PRICES);
	assert_int_equal(more.r.count, 1);
	o = &more.offers[0];
	assert_int_equal(o->price_u6, 100000 + 30000 + 48 * 2000 + 10000);
	assert_int_equal(o->ram.size, 48); /* 40 is not on the list */
	assert_int_equal(o->vcpus.max, UNKNOWN);
	assert_int_equal(o->reach, REACH_FORWARD);
}

static void test_rows_that_are_no_offers(void **state)
{
	static const struct {
		const char *gpu;
		size_t dropped;
	} rows[] = {
		{"\"v0Name\":\"" MODEL "\",\"max_count\":0,\"price_per_hr\":0.1," PRICES, 0},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":0.1," PRICES
		 ",\"resources\":{\"max_vcpus\":0,\"max_ram_gb\":64,\"max_storage_gb\":500}",
		 0},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":0.1," PRICES
		 ",\"resources\":{\"max_vcpus\":9,\"max_ram_gb\":31,\"max_storage_gb\":500}",
		 0},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":0.1," PRICES
		 ",\"resources\":{\"max_vcpus\":9,\"max_ram_gb\":32,\"max_storage_gb\":99}",
		 0},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":0.1," PRICES
		 "," NET("false", "false"),
		 0},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":0.1", 1},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1," PRICES, 1},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":0," PRICES, 1},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":-0.1," PRICES, 1},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":NaN," PRICES, 1},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":1e400," PRICES, 1},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":100000," PRICES, 1},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":0.1,\"pricing\":{"
		 "\"per_vcpu_hr\":-1,\"per_gb_ram_hr\":0.002,\"per_gb_storage_hr\":5e-05}",
		 1},
		{"\"v0Name\":\"" MODEL "\",\"max_count\":1,\"price_per_hr\":0.1,\"pricing\":{"
		 "\"per_vcpu_hr\":0.003,\"per_gb_ram_hr\":0.002}",
		 1},
		{"\"v0Name\":\"a/b\",\"max_count\":1,\"price_per_hr\":0.1," PRICES, 1},
		{"\"v0Name\":\"\",\"max_count\":1,\"price_per_hr\":0.1," PRICES, 1},
		{"\"max_count\":1,\"price_per_hr\":0.1," PRICES, 1},
		{"\"v0Name\":\"" MODEL "\",\"price_per_hr\":0.1," PRICES, 1},
		{"\"v0Name\":\"a-model-whose-name-has-no-end-24gbxx\",\"max_count\":1,"
		 "\"price_per_hr\":0.1," PRICES,
		 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		RESULT w;

		parse_model(&w, NULL, rows[i].gpu);
		if (w.r.count || w.r.dropped != rows[i].dropped)
			print_error("row %zu: %zu offers, %zu dropped\n", i, w.r.count,
				    w.r.dropped);
		assert_int_equal(w.r.count, 0);
		assert_int_equal(w.r.dropped, rows[i].dropped);
	}
}

static void test_a_bad_location_costs_itself(void **state)
{
	static const char body[] =
		"{\"other\":{\"locations\":[1]},\"data\":{\"x\":{\"locations\":[2]},\"locations\":["
		"null,7,{\"id\":\"..\",\"gpus\":[]},{\"id\":\"" LOCATION "\",\"id\":\"twice\"},"
		"{\"id\":\"" LOCATION "\",\"gpus\":[{\"v0Name\":\"" MODEL
		"\",\"max_count\":1,\"price_per_hr\":0.1," PRICES "}]}]}}";
	RESULT w;

	(void)state;
	parse(&w, CALL_OFFERS, 200, body);
	assert_int_equal(w.r.verdict, SURE_YES);
	assert_int_equal(w.r.count, 1);
	assert_int_equal(w.r.dropped, 4);
}

/* ---- machines ---- */

static void test_states(void **state)
{
	static const struct {
		const char *word;
		enum instance_status status;
	} rows[] = {
		{"running", INST_RUNNING},
		{"Running", INST_RUNNING},
		{"creating", INST_BOOTING},
		{"queued", INST_BOOTING},
		{"provisioning", INST_BOOTING},
		{"pending", INST_BOOTING},
		{"starting", INST_BOOTING},
		{"stopping", INST_STOPPING},
		{"deleting", INST_STOPPING},
		{"stopped", INST_STOPPED},
		{"StoppedDisassociated", INST_STOPPED},
		{"stopped_disassociated", INST_STOPPED},
		{"STOPPED-DISASSOCIATED", INST_STOPPED},
		{"deleted", INST_STOPPED},
		{"terminated", INST_STOPPED},
		{"error", INST_BROKEN},
		{"failed", INST_BROKEN},
		{"relocating", INST_UNKNOWN},
		{"", INST_UNKNOWN},
		{"runningrunningrunningrunningrunningrunningrunning", INST_UNKNOWN},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		BUF body = {0};
		RESULT w;

		buf_printf(&body, "{\"id\":\"i\",\"name\":\"n\",\"status\":\"%s\"}", rows[i].word);
		parse(&w, CALL_LOOK, 200, body.data);
		assert_int_equal(w.r.verdict, SURE_YES);
		assert_int_equal(w.instances[0].status, rows[i].status);
		assert_string_equal(w.instances[0].label, "n");
	}
}

/* A machine that was stopped, and so paid for its disk, says its price again while it is deleted. */
static void test_no_rate_while_deleted(void **state)
{
	static const char *const words[] = {"deleting", "Stopping"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		BUF body = {0};
		RESULT w;

		buf_printf(&body,
			   "{\"id\":\"i\",\"name\":\"n\",\"status\":\"%s\",\"rateHourly\":0.5,"
			   "\"resources\":{\"storage_gb\":100}}",
			   words[i]);
		parse(&w, CALL_LOOK, 200, body.data);
		assert_int_equal(w.instances[0].price_u6, UNKNOWN);
		assert_int_equal(w.instances[0].rate_u6, UNKNOWN);
	}
}

static void test_addresses(void **state)
{
	static const struct {
		const char *members, *host;
		int64_t port;
		unsigned reach, in_list;
	} rows[] = {
		{"\"ipAddress\":\"203.0.113.71\",\"portForwards\":[{\"internal_port\":22,"
		 "\"external_port\":20456}]",
		 "203.0.113.71", 20456, REACH_FORWARD, REACH_FORWARD},
		{"\"ipAddress\":\"203.0.113.71\",\"portForwards\":[{\"internal_port\":\"22\","
		 "\"external_port\":\"20456\"}]",
		 "203.0.113.71", 20456, REACH_FORWARD, REACH_FORWARD},
		{"\"ipAddress\":\"203.0.113.80\",\"portForwards\":[]", "203.0.113.80", 22,
		 REACH_ADDRESS, REACH_ADDRESS},
		{"\"ipAddress\":\"203.0.113.80\",\"portForwards\":null", "203.0.113.80", 22,
		 REACH_ADDRESS, REACH_ADDRESS},
		/* In a look absent is none; a list leaves things out. */
		{"\"ipAddress\":\"203.0.113.80\"", "203.0.113.80", 22, REACH_ADDRESS, 0},
		{"\"ipAddress\":\"\",\"portForwards\":[]", "", 0, 0, 0},
		{"\"ipAddress\":null", "", 0, 0, 0},
		{"\"ipAddress\":\"-oProxyCommand=x\"", "", 0, 0, 0},
		{"\"ipAddress\":\"a b\"", "", 0, 0, 0},
		{"\"ipAddress\":\"203.0.113.71\",\"portForwards\":[{\"internal_port\":80,"
		 "\"external_port\":20456}]",
		 "", 0, REACH_FORWARD, REACH_FORWARD},
		{"\"ipAddress\":\"203.0.113.71\",\"portForwards\":[{\"internal_port\":22,"
		 "\"external_port\":70000}]",
		 "", 0, REACH_FORWARD, REACH_FORWARD},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		BUF body = {0};
		RESULT look, list;

		buf_printf(&body, "{\"id\":\"i\",%s}", rows[i].members);
		parse(&look, CALL_LOOK, 200, body.data);
		assert_string_equal(look.instances[0].ssh_host, rows[i].host);
		assert_int_equal(look.instances[0].ssh_port, rows[i].port);
		assert_int_equal(look.instances[0].reach, rows[i].reach);
		assert_string_equal(look.instances[0].ssh_user, "user");
		buf_reset(&body);
		buf_printf(&body, "{\"data\":[{\"id\":\"i\",%s}]}", rows[i].members);
		parse(&list, CALL_LIST, 200, body.data);
		assert_int_equal(list.instances[0].reach, rows[i].in_list);
	}
}

static void test_prices_of_machines(void **state)
{
	RESULT runs, stopped, unknown, silent;

	(void)state;
	parse(&runs, CALL_LOOK, 200,
	      "{\"id\":\"i\",\"status\":\"running\",\"rateHourly\":0.272999,\"resources\":{"
	      "\"storage_gb\":100}}");
	assert_int_equal(runs.instances[0].price_u6, 272999);
	assert_int_equal(runs.instances[0].rate_u6, 272999);
	parse(&stopped, CALL_LOOK, 200,
	      "{\"id\":\"i\",\"status\":\"stopped\",\"rateHourly\":0.272999,\"resources\":{"
	      "\"storage_gb\":100}}");
	assert_int_equal(stopped.instances[0].price_u6, 272999);
	assert_int_equal(stopped.instances[0].rate_u6, 5000);
	parse(&unknown, CALL_LOOK, 200,
	      "{\"id\":\"i\",\"status\":\"stopped\",\"rateHourly\":0.272999}");
	assert_int_equal(unknown.instances[0].rate_u6, 272999);
	parse(&silent, CALL_LOOK, 200, "{\"id\":\"i\",\"status\":\"running\",\"rateHourly\":-1}");
	assert_int_equal(silent.instances[0].price_u6, UNKNOWN);
	assert_int_equal(silent.instances[0].rate_u6, UNKNOWN);
}

static void test_lists(void **state)
{
	static const char *const forms[] = {
		"{\"data\":[%s]}",
		"{\"data\":{\"instances\":[%s]}}",
		"{\"data\":{\"id\":\"instances\",\"attributes\":{\"instances\":[%s]}}}",
	};
	static const char flat[] = "{\"id\":\"i\",\"name\":\"n\",\"status\":\"running\"}";
	static const char nested[] = "{\"type\":\"VM\",\"id\":\"i\",\"attributes\":{\"name\":\"n\","
				     "\"status\":\"running\"}}";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++)
		for (int k = 0; k < 3; k++) {
			RESULT w;
			char body[512];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			snprintf(body, sizeof body, forms[i], k == 2 ? "" : k ? nested : flat);
#pragma GCC diagnostic pop
			parse(&w, CALL_LIST, 200, body);
			assert_int_equal(w.r.verdict, SURE_YES);
			assert_true(w.r.complete);
			assert_int_equal(w.r.count, k == 2 ? 0 : 1);
			if (k == 2)
				continue;
			assert_string_equal(w.instances[0].label, "n");
			assert_int_equal(w.instances[0].status, INST_RUNNING);
		}
}

/* What cannot be read of a list must not make anything absent, and no label becomes ours by cleaning. */
static void test_a_list_with_bad_rows(void **state)
{
	RESULT w;

	(void)state;
	parse(&w, CALL_LIST, 200,
	      "{\"data\":[{\"id\":\"i\",\"name\":\" "
	      "gpufs-x\"},null,7,{\"name\":\"n\"},{\"id\":\"a/b\"},"
	      "{\"id\":5},{\"id\":\"j\",\"name\":7,\"status\":400}]}");
	assert_int_equal(w.r.verdict, SURE_YES);
	assert_false(w.r.complete);
	assert_int_equal(w.r.count, 2);
	assert_int_equal(w.r.dropped, 5);
	assert_int_equal(w.instances[0].label[0], '?');
	assert_int_equal(w.instances[1].status, INST_UNKNOWN);
}

static void test_another_instance_answers(void **state)
{
	RESULT w;

	(void)state;
	parse_for(&w, CALL_LOOK, "i", 200, "{\"id\":\"j\",\"status\":\"running\"}");
	assert_int_equal(w.r.verdict, LATER);
	assert_int_equal(w.r.count, 0);
}

static void test_wrong_types_everywhere(void **state)
{
	static const char *const keys[] = {
		"data",
		"id",
		"name",
		"status",
		"ipAddress",
		"portForwards",
		"rateHourly",
		"resources",
		"attributes",
		"instances",
		"locations",
		"gpus",
		"v0Name",
		"max_count",
		"price_per_hr",
		"pricing",
		"network_features",
		"error",
		"message",
		"errors",
		"success",
		"balance",
		"type",
	};
	static const int statuses[] = {200, 204, 400, 404, 500};

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(keys); k++)
		for (size_t v = 0; v < WIRE_JUNK_COUNT; v++)
			for (size_t s = 0; s < ARRAY_LEN(statuses); s++)
				for (int op = 0; op < CALL_OP_COUNT; op++) {
					BUF body = {0};
					RESULT flat, list, market;

					buf_printf(&body, "{\"%s\":%s}", keys[k], wire_junk[v]);
					parse(&flat, (enum call_op)op, statuses[s], body.data);
					assert_true(flat.r.error != PE_GONE);
					buf_reset(&body);
					buf_printf(&body,
						   "{\"data\":[{\"id\":\"i\",\"x\":1,\"%s\":%s}]}",
						   keys[k], wire_junk[v]);
					parse(&list, (enum call_op)op, statuses[s], body.data);
					assert_true(list.r.error != PE_GONE);
					buf_reset(&body);
					buf_printf(&body,
						   "{\"data\":{\"locations\":[{\"id\":\"" LOCATION
						   "\",\"gpus\":[{\"v0Name\":\"" MODEL
						   "\",\"max_count\":1,\"price_per_hr\":0.1," PRICES
						   ",\"%s\":%s},%s],\"%s\":%s}]}}",
						   keys[k], wire_junk[v], wire_junk[v], keys[k],
						   wire_junk[v]);
					parse(&market, (enum call_op)op, statuses[s], body.data);
					assert_true(market.r.error != PE_GONE);
				}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_requests),
		cmocka_unit_test(test_the_balance_has_another_door),
		cmocka_unit_test(test_ids_that_are_no_part_of_a_path),
		cmocka_unit_test(test_create_requests),
		cmocka_unit_test(test_cloud_init_is_golden),
		cmocka_unit_test(test_no_text_escapes_the_shell),
		cmocka_unit_test(test_what_cannot_be_asked),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_gpu_names),
		cmocka_unit_test(test_offers_of_a_model),
		cmocka_unit_test(test_rows_that_are_no_offers),
		cmocka_unit_test(test_a_bad_location_costs_itself),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_no_rate_while_deleted),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_prices_of_machines),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_a_list_with_bad_rows),
		cmocka_unit_test(test_another_instance_answers),
		cmocka_unit_test(test_wrong_types_everywhere),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
