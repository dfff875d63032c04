/*
 * The fake TensorDock itself: what it refuses, what it lets pass and writes down, the life and the bill of a
 * machine, and that the same calls give the same bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/text.h"
#include "../fake/tensordock_fake.h"

#include <cmocka.h>
#include <jansson.h>
#undef fail

#define LOCATION "8dd95ff0-dff9-489c-9b02-b38a366b6ab1"
#define MODEL	 "geforcertx4090-pcie-24gb"
#define KEY	 "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g"

static struct faketd *f;
static int64_t now;
static struct fake_http_reply reply;
static json_t *got; /* the reply's body, if it is JSON */
static const char *auth = "Bearer " FAKETD_KEY;

static int begin(void **state)
{
	struct faketd_config c;

	(void)state;
	faketd_calm(&c);
	f = faketd_new(&c);
	now = SECOND_US;
	auth = "Bearer " FAKETD_KEY;
	return 0;
}

static int end(void **state)
{
	(void)state;
	faketd_free(f);
	fake_http_reply_free(&reply);
	json_decref(got);
	got = NULL;
	return 0;
}

static int ask(const char *method, const char *target, const char *body)
{
	const struct fake_http_request q = {.method = method,
					    .target = target,
					    .auth = auth,
					    .content_type = body ? "application/json" : NULL,
					    .body = body,
					    .len = body ? strlen(body) : 0};

	faketd_request(f, now, &q, &reply);
	json_decref(got);
	got = reply.body.len ? json_loadb(reply.body.data, reply.body.len, 0, NULL) : NULL;
	return reply.status;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* A create with some of its members replaced (NULL: as they should be). */
struct create {
	const char *name, *image, *place, *resources, *reach, *ssh_key, *cloud_init;
};
static int create(const struct create *c)
{
	char body[2048];

	snprintf(body, sizeof body,
		 "{\"data\":{\"type\":\"virtualmachine\",\"attributes\":{\"name\":\"%s\",\"type\":"
		 "\"virtualmachine\",\"image\":\"%s\",%s,\"resources\":%s,%s,\"ssh_key\":\"%s\","
		 "\"cloud_init\":%s}}}",
		 c->name ? c->name : "n", c->image ? c->image : "ubuntu2404",
		 c->place ? c->place : "\"location_id\":\"" LOCATION "\"",
		 c->resources ? c->resources
			      : "{\"vcpu_count\":8,\"ram_gb\":32,\"storage_gb\":100,\"gpus\":{"
				"\"" MODEL "\":{\"count\":1}}}",
		 c->reach ? c->reach
			  : "\"port_forwards\":[{\"internal_port\":22,\"external_port\":0}]",
		 c->ssh_key ? c->ssh_key : KEY " c",
		 c->cloud_init ? c->cloud_init
			       : "{\"runcmd\":[\"printf '%s\\\\n' '" KEY
				 " it'\\\\''s' > /root/.ssh/authorized_keys\",\"cp "
				 "/root/.ssh/authorized_keys /home/user/.ssh/authorized_keys\"]}");
	return ask("POST", "/api/v2/instances", body);
}

static const char *made(const char *name)
{
	static char id[64];

	assert_in_range(create(&(struct create){.name = name}), 200, 201);
	copy_text(id, sizeof id, text(json_object_get(got, "data"), "id"));
	assert_true(id[0]);
	return id;
}

static const char *status_of(const char *id)
{
	char target[200];

	snprintf(target, sizeof target, "/api/v2/instances/%s", id);
	if (ask("GET", target, NULL) == 404 || json_is_integer(json_object_get(got, "status")))
		return "404";
	return text(json_object_get(got, "data") ? json_object_get(got, "data") : got, "status");
}

/* ---- who may ---- */

static void keys_are_looked_at(void **state)
{
	(void)state;
	assert_int_equal(ask("GET", "/api/v2/instances", NULL), 200);
	auth = "Bearer wrong";
	assert_int_equal(ask("GET", "/api/v2/instances", NULL), 401);
	assert_int_equal(ask("GET", "/api/v2/locations", NULL), 401);
	auth = NULL;
	assert_int_equal(ask("GET", "/api/v2/instances", NULL), 401);
	assert_int_equal(ask("GET", "/api/v2/locations", NULL), 200);
	assert_int_equal(faketd_violation_count(f), 0);
	ask("GET", "/api/v2/locations?api_key=x&api_token=" FAKETD_KEY, NULL);
	assert_string_equal(faketd_violation(f, 0)->rule, "key-in-url");
}

static void the_balance_is_told_to_a_form(void **state)
{
	static const char form[] = "api_key=" FAKETD_AUTH_ID "&api_token=" FAKETD_KEY;
	const struct fake_http_request q = {.method = "POST",
					    .target = "/api/v0/billing/balance",
					    .content_type = "application/x-www-form-urlencoded",
					    .body = form,
					    .len = strlen(form)};

	(void)state;
	faketd_request(f, now, &q, &reply);
	assert_string_equal(reply.body.data,
			    "{\"balance\":100.0,\"hourly_cost\":0.0,\"success\":true}");
	assert_int_equal(faketd_violation_count(f), 0);
	assert_int_equal(ask("POST", "/api/v0/billing/balance", "{}"), 200);
	assert_true(json_is_false(json_object_get(got, "success")));
	assert_int_equal(faketd_violation_count(f), 2); /* no form, and a header */
}

static void more_than_100_in_a_minute(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++, now += SECOND_US / 2)
		assert_int_equal(ask("GET", "/api/v2/instances", NULL), 200);
	assert_int_equal(ask("GET", "/api/v2/instances", NULL), 429);
	now += 11 * SECOND_US;
	assert_int_equal(ask("GET", "/api/v2/instances", NULL), 200);
}

/* ---- creates ---- */

static void what_a_create_must_be(void **state)
{
	static const struct {
		struct create c;
		const char *message;
	} rows[] = {
		{{.reach = "\"useDedicatedIp\":false"}, "SSH port (22) must be forwarded"},
		{{.reach = "\"port_forwards\":[{\"internal_port\":80,\"external_port\":0}]"},
		 "SSH port (22) must be forwarded"},
		{{.reach = "\"port_forwards\":[{\"internal_port\":22}]"}, "Invalid port"},
		{{.reach = "\"useDedicatedIp\":\"yes\""}, "Expected boolean"},
		{{.place = "\"x\":1"}, "Exactly one"},
		{{.place = "\"location_id\":\"a\",\"hostnode_id\":\"b\""}, "Exactly one"},
		{{.image = "ubuntu2404_nvidia_570"}, "Invalid image"},
		{{.ssh_key = ""}, "Required"},
		{{.ssh_key = "nonsense"}, "Invalid SSH key"},
		{{.name = ""}, "Required"},
		{{.cloud_init = "\"#cloud-config\""}, "Expected object"},
		{{.cloud_init = "{\"runcmd\":[[\"ls\"]]}"}, "Expected string"},
		{{.resources =
			  "{\"vcpu_count\":7,\"ram_gb\":32,\"storage_gb\":100,\"gpus\":{\"" MODEL
			  "\":{\"count\":1}}}"},
		 "even"},
		{{.resources =
			  "{\"vcpu_count\":8,\"ram_gb\":33,\"storage_gb\":100,\"gpus\":{\"" MODEL
			  "\":{\"count\":1}}}"},
		 "ram_gb"},
		{{.resources =
			  "{\"vcpu_count\":8,\"ram_gb\":32,\"storage_gb\":99,\"gpus\":{\"" MODEL
			  "\":{\"count\":1}}}"},
		 "storage_gb"},
		{{.resources = "{\"vcpu_count\":8,\"ram_gb\":32,\"storage_gb\":100}"}, "GPU"},
		{{.resources =
			  "{\"vcpu_count\":8,\"ram_gb\":32,\"storage_gb\":100,\"gpus\":{\"" MODEL
			  "\":{\"count\":0}}}"},
		 "count"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(create(&rows[i].c), 400);
		assert_true(json_is_array(got));
		if (!strstr(reply.body.data, rows[i].message))
			print_error("%s lacks %s\n", reply.body.data, rows[i].message);
		assert_non_null(strstr(reply.body.data, rows[i].message));
	}
	assert_int_equal(faketd_count(f), 0);
}

static void no_room(void **state)
{
	static const char too_many[] =
		"{\"vcpu_count\":8,\"ram_gb\":32,\"storage_gb\":100,\"gpus\":{\"" MODEL
		"\":{\"count\":4}}}";

	(void)state;
	assert_int_equal(create(&(struct create){.resources = too_many}), 200);
	assert_string_equal(text(got, "error"), "No available nodes found");
	assert_int_equal(json_integer_value(json_object_get(got, "status")), 400);
	/* Mumbai's hosts have no addresses. */
	assert_int_equal(
		create(&(struct create){
			.place = "\"location_id\":\"4c3af000-9057-4860-a764-c87a53656b2d\"",
			.reach = "\"useDedicatedIp\":true",
			.resources = "{\"vcpu_count\":8,\"ram_gb\":32,\"storage_gb\":100,\"gpus\":"
				     "{\"rtxa5000-pcie-24gb\":{\"count\":1}}}"}),
		200);
	assert_string_equal(text(got, "error"), "No available public IPs on hostnode");
	faketd_set_credit(f, now, 900000);
	assert_int_equal(create(&(struct create){.name = "poor"}), 400);
	assert_non_null(strstr(text(got, "error"), "balance"));
	assert_int_equal(faketd_count(f), 0);
}

static void what_passes_and_is_written_down(void **state)
{
	(void)state;
	made("a");
	assert_int_equal(faketd_violation_count(f), 0);
	made("a");
	assert_string_equal(faketd_violation(f, 0)->rule, "name-twice");
	create(&(struct create){.name = "b",
				.reach = "\"colour\":1,\"port_forwards\":[{\"internal_port\":22,"
					 "\"external_port\":0}]"});
	assert_string_equal(faketd_violation(f, 1)->rule, "unknown-member");
	ask("GET", "/api/v2/instance", NULL);
	assert_string_equal(faketd_violation(f, 2)->rule, "unknown-path");
	assert_int_equal(reply.status, 404);
}

/* ---- a life ---- */

static void a_life(void **state)
{
	struct faketd_view v;
	struct faketd_meter m;
	char id[64], target[100];

	(void)state;
	copy_text(id, sizeof id, made("n"));
	assert_string_equal(status_of(id), "creating");
	assert_null(strstr(reply.body.data, "203.0.113"));
	now += 6 * SECOND_US;
	assert_string_equal(status_of(id), "running"); /* long before it can be reached */
	assert_null(strstr(reply.body.data, "203.0.113"));
	now += 20 * SECOND_US;
	status_of(id);
	assert_non_null(strstr(reply.body.data, "203.0.113"));
	assert_int_equal(
		json_integer_value(json_object_get(
			json_array_get(json_object_get(got, "portForwards"), 0), "internal_port")),
		22);
	faketd_view(f, now, 0, &v);
	assert_false(v.login);
	now += MINUTE_US + 10 * SECOND_US;
	faketd_view(f, now, 0, &v);
	assert_true(v.login);
	assert_int_equal(v.price_u6, 396667 + 24000 + 64000 + 5000);
	assert_true(faketd_login(
		f, now, "203.0.113.2",
		json_integer_value(json_object_get(
			json_array_get(json_object_get(got, "portForwards"), 0), "external_port")),
		KEY " another comment"));
	snprintf(target, sizeof target, "/api/v2/instances/%s", id);
	assert_int_equal(ask("DELETE", target, NULL), 200);
	assert_string_equal(status_of(id), "deleting");
	now += 15 * SECOND_US;
	assert_string_equal(status_of(id), "404");
	faketd_meter(f, now, &m);
	assert_int_equal(m.alive, 0);
	assert_int_equal(m.created, 1);
	/* 6 + 20 + 70 + 15 s of it. */
	assert_int_equal(m.billed_u6, v.price_u6 * 111 / 3600);
	assert_int_equal(m.violations, 0);
}

/* The meter does not change its mind: what is stopped again was stopped all the time. */
static void stopped_twice_is_billed_once(void **state)
{
	struct faketd_view v;
	int64_t billed;

	(void)state;
	faketd_add_foreign(f, now, "theirs");
	faketd_view(f, now, 0, &v);
	now += MINUTE_US + 1;
	assert_true(faketd_event(f, now, v.id, FTE_STOP));
	now += MINUTE_US;
	faketd_view(f, now, 0, &v);
	assert_string_equal(v.status, "stopped");
	billed = v.billed_u6;
	assert_true(faketd_event(f, now, v.id, FTE_STOP));
	faketd_view(f, now, 0, &v);
	assert_int_equal(v.billed_u6, billed);
	now += HOUR_US;
	faketd_view(f, now, 0, &v);
	assert_int_equal(v.billed_u6 - billed, v.rate_u6);
}

/* `ssh_key` alone installs no key, and neither does root's file for `user`. */
static void keys_come_from_cloud_init(void **state)
{
	BUF keys = {0};

	(void)state;
	create(&(struct create){.name = "a", .cloud_init = "{\"runcmd\":[]}"});
	create(&(struct create){.name = "b",
				.cloud_init = "{\"runcmd\":[\"echo '" KEY
					      "' > /root/.ssh/authorized_keys\"]}"});
	made("c");
	now += 5 * MINUTE_US;
	faketd_keys(f, now, 1, &keys);
	faketd_keys(f, now, 2, &keys);
	assert_int_equal(keys.len, 0);
	faketd_keys(f, now, 3, &keys);
	assert_string_equal(keys.data, KEY " it's\n");
}

static void lives_that_go_wrong(void **state)
{
	static const struct {
		enum faketd_fault_kind life;
		const char *status;
	} rows[] = {
		{FTI_STUCK, "creating"},     {FTI_FAILED, "failed"},
		{FTI_STOPS, "stopped"},	     {FTI_DISASSOCIATED, "StoppedDisassociated"},
		{FTI_VANISH, "404"},	     {FTI_ODD_CASE, "RUNNING"},
		{FTI_WORD, "contemplating"},
	};
	char name[16], id[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(name, sizeof name, "n%zu", i);
		assert_int_equal(faketd_fault(f, FT_BOOT, rows[i].life, 0, 1, 0), 0);
		copy_text(id, sizeof id, made(name));
		now += 2 * MINUTE_US;
		assert_string_equal(status_of(id), rows[i].status);
	}
	faketd_fault(f, FT_BOOT, FTI_NO_FORWARDS, 0, 1, 0);
	copy_text(id, sizeof id, made("ignored"));
	now += 2 * MINUTE_US;
	assert_string_equal(status_of(id), "running");
	assert_non_null(strstr(reply.body.data, "\"portForwards\":[]"));
}

static void four_forms_of_a_list(void **state)
{
	static const char *const forms[] = {"{\"data\":[{", "{\"data\":{\"instances\":[{",
					    "{\"data\":{\"instances\":[{\"type\":\"VM\"",
					    "{\"data\":{\"type\":\"list\""};
	char line[40];
	BUF out = {0};

	(void)state;
	made("n");
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		snprintf(line, sizeof line, "set list_form %zu", i);
		assert_int_equal(faketd_control(f, now, line, &out), 0);
		assert_int_equal(ask("GET", "/api/v2/instances", NULL), 200);
		assert_int_equal(strncmp(reply.body.data, forms[i], strlen(forms[i])), 0);
	}
}

static void faults_do_what_they_say(void **state)
{
	(void)state;
	faketd_fault(f, FT_CREATE, FTF_LOST, 0, 1, 0);
	create(&(struct create){.name = "lost"});
	assert_int_equal(reply.delivery, FAKE_DROP);
	assert_int_equal(faketd_count(f), 1);
	faketd_fault(f, FT_CREATE, FTF_DROP, 0, 1, 0);
	create(&(struct create){.name = "dropped"});
	assert_int_equal(reply.delivery, FAKE_DROP);
	assert_int_equal(faketd_count(f), 1);
	faketd_fault(f, FT_CREATE, FTF_LATE, 0, 1, 0);
	assert_int_equal(create(&(struct create){.name = "late"}), 504);
	assert_int_equal(ask("GET", "/api/v2/instances", NULL), 200);
	assert_null(strstr(reply.body.data, "\"late\""));
	now += MINUTE_US;
	ask("GET", "/api/v2/instances", NULL);
	assert_non_null(strstr(reply.body.data, "\"late\""));
	assert_true(faketd_fault(f, FT_LIST, FTF_NO_IP, 0, 1, 0) < 0);
	faketd_fault(f, FT_LIST, FTF_BODY_500, 0, 1, 0);
	assert_int_equal(ask("GET", "/api/v2/instances", NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(got, "status")), 500);
}

/* Somebody else's machine is listed, and touching it is written down. */
static void foreign_machines(void **state)
{
	const char *id = faketd_add_foreign(f, now, "theirs");
	char target[100];

	(void)state;
	ask("GET", "/api/v2/instances", NULL);
	assert_non_null(strstr(reply.body.data, "\"theirs\""));
	snprintf(target, sizeof target, "/api/v2/instances/%s", id);
	ask("DELETE", target, NULL);
	assert_string_equal(faketd_violation(f, 0)->rule, "foreign-destroyed");
}

static uint64_t run_of(uint64_t seed)
{
	struct faketd_config c;
	uint64_t sum = 0;
	char name[16];

	faketd_free(f);
	faketd_defaults(&c);
	c.seed = seed;
	f = faketd_new(&c);
	now = SECOND_US;
	for (int i = 0; i < 40; i++, now += 10 * SECOND_US) {
		snprintf(name, sizeof name, "n%d", i);
		create(&(struct create){.name = name});
		sum = hash64(reply.body.data, reply.body.len, sum + (uint64_t)reply.delay_us);
		ask("GET", i % 2 ? "/api/v2/instances" : "/api/v2/locations", NULL);
		sum = hash64(reply.body.data, reply.body.len, sum);
	}
	return sum;
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
	(void)state;
	assert_true(run_of(1) == run_of(1));
	assert_true(run_of(1) != run_of(2));
}

static void the_control_language(void **state)
{
	static const char *const bad[] = {
		"",	   "nonsense",	    "fault create",	"fault x lost", "fault list no-ip",
		"set x 1", "set stale abc", "fault get 500 -1", "event stop x", "offers x",
		"credit"};
	static const char *const good[] = {"meter",
					   "instances all",
					   "journal",
					   "journal create",
					   "violations",
					   "fault get 500 2",
					   "fault list 429 50%",
					   "no-faults",
					   "set stale 10",
					   "offers",
					   "credit 5",
					   "foreign x",
					   "reset",
					   "offers 1000",
					   "help"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		BUF out = {0};

		assert_true(faketd_control(f, now, bad[i], &out) < 0);
		assert_int_equal(strncmp(out.data, "error: ", 7), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		BUF out = {0};

		assert_int_equal(faketd_control(f, now, good[i], &out), 0);
	}
	assert_int_equal(ask("GET", "/api/v2/locations", NULL), 200);
	assert_true(json_array_size(json_object_get(json_object_get(got, "data"), "locations")) >
		    500);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(keys_are_looked_at),
		T(the_balance_is_told_to_a_form),
		T(more_than_100_in_a_minute),
		T(what_a_create_must_be),
		T(no_room),
		T(what_passes_and_is_written_down),
		T(a_life),
		T(stopped_twice_is_billed_once),
		T(keys_come_from_cloud_init),
		T(lives_that_go_wrong),
		T(four_forms_of_a_list),
		T(faults_do_what_they_say),
		T(foreign_machines),
		T(the_same_seed_gives_the_same_bytes),
		T(the_control_language),
	};

	return cmocka_run_group_tests_name("fake_tensordock", tests, NULL, NULL);
}
