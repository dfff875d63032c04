/*
 * What answers say about a machine, and what of it enters the session's record: identity, address,
 * ports, status, price and the rate that its status costs. Direct queries, lists and the create's own
 * answer are read alike. Loop thread. Tests: tests/unit/test_engine_cloud.c.
 */
#include <string.h>

#include "internal.h"

#define SILENT_ALARM_US (15 * MINUTE_US) /* offline or unknown for so long is an alarm */
#define LEAVING_US	MINUTE_US	 /* what is being deleted is deleted again after so long */
#define FORWARDS_US	MINUTE_US /* ports that are not forwarded so long after running never are */

/* ---- the provider's words ---- */

static void said(struct life *l, const char *text)
{
	if (!text[0] || (l->said_count && !strcmp(l->said[l->said_count - 1].text, text)))
		return;
	if (l->said_count == SAID_MAX) {
		free(l->said[0].text);
		memmove(&l->said[0], &l->said[1], (SAID_MAX - 1) * sizeof l->said[0]);
		l->said_count--;
	}
	l->said[l->said_count] = (struct said){engine_now(l->e), strdup(text)};
	CHECK(l->said[l->said_count].text);
	l->said_count++;
}

void said_free(struct life *l)
{
	for (size_t i = 0; i < l->said_count; i++)
		free(l->said[i].text);
	l->said_count = 0;
}

void engine_provider_log(const struct engine *e, const struct session *s, struct buf *out)
{
	const struct life *l = life_of(e, s);

	for (size_t i = 0; i < l->said_count; i++) {
		put_time(out, l->said[i].time_us);
		buf_putc(out, ' ');
		buf_escape(out, l->said[i].text, strlen(l->said[i].text));
		buf_putc(out, '\n');
	}
}

/* ---- status ---- */

void seen_alive(struct life *l)
{
	struct observed *o = &l->o;

	memset(o->absent_us, 0, sizeof o->absent_us);
	memset(o->gone_us, 0, sizeof o->gone_us);
	o->absent_since_us = 0;
}

bool is_leaving(const struct life *l, const struct instance *in)
{
	return l->o.destroy_ok_us && in->status == INST_STOPPING &&
	       engine_now(l->e) < l->o.destroy_ok_us + LEAVING_US;
}

void forget_status_alarms(struct life *l)
{
	engine_alarm_clear(l->e, "stopped", l->s.name);
	engine_alarm_clear(l->e, "offline", l->s.name);
	engine_alarm_clear(l->e, "price", l->s.name);
	engine_alarm_clear(l->e, "host_key", l->s.name);
}

/* A machine that ran says something else now, or runs again. It is waited for, never destroyed for
 * it, unless it was interruptible and was taken back (reconcile.c). */
static bool running_status(struct life *l, enum instance_status before, bool first,
			   const struct instance *in)
{
	const char *word = instance_status_names[in->status];

	if (in->status == INST_RUNNING || in->status == INST_BOOTING) {
		engine_alarm_clear(l->e, "stopped", l->s.name);
		engine_alarm_clear(l->e, "offline", l->s.name);
		if (first || before == INST_RUNNING || before == INST_BOOTING)
			return false;
		life_reason(l, "running again");
		event(l->e, l, NULL, "status", "%s again", word);
		return true;
	}
	life_reason(l, "the provider says that the machine is %s%s%s", word,
		    in->status_text[0] ? ": " : "", in->status_text);
	event(l->e, l, NULL, "status", "%s%s%s", word, in->status_text[0] ? ": " : "",
	      in->status_text);
	if ((in->status == INST_STOPPED || in->status == INST_BROKEN) && l->s.bid_u6 == UNKNOWN)
		engine_alarm(
			l->e, "stopped", l->s.name,
			"the provider stopped this machine (its credit is used up, or somebody "
			"did it in its console); it is not destroyed, and its disk goes on "
			"costing: start it there, or rmdir the session");
	return true;
}

/* While it boots the provider's words are the reason. */
static bool boot_reason(struct life *l, const struct instance *in)
{
	const char *text = in->status_text;

	if (!text[0] && in->status == INST_OFFLINE)
		text = "the provider says that the machine's host is offline";
	else if (!text[0] && in->status == INST_UNKNOWN && l->o.by_list)
		text = "the provider does not know how the machine is";
	if (l->s.state != S_PROVISIONING || l->s.attempt_cause || in->status == INST_RUNNING ||
	    !text[0] || (l->probe && !l->o.by_list) || !strcmp(l->s.reason, text))
		return false;
	life_reason(l, "%s", text);
	return true;
}

static bool take_status(struct life *l, const struct instance *in, int64_t begun_us)
{
	struct observed *o = &l->o;
	enum instance_status before = o->status;
	bool first = !o->status_us, changed = false;

	said(l, in->status_text);
	if (first || before != in->status) {
		o->status = in->status;
		o->status_us = engine_now(l->e);
		if (l->s.state == S_RUNNING)
			changed = running_status(l, before, first, in);
	}
	if (in->status != INST_STOPPED && in->status != INST_BROKEN)
		memset(o->stopped_us, 0, sizeof o->stopped_us);
	else if (begun_us > o->stopped_us[1])
		note_pair(o->stopped_us, begun_us);
	changed |= boot_reason(l, in);
	if (in->status == INST_RUNNING && !l->s.booted_us) {
		l->s.booted_us = engine_now(l->e);
		changed = true;
	}
	return changed;
}

void watch_status(struct life *l, int64_t now_us)
{
	const struct observed *o = &l->o;
	bool silent = o->status == INST_OFFLINE || o->status == INST_UNKNOWN;

	if (l->s.instance_state != I_EXISTS || !o->status_us || !silent ||
	    now_us < o->status_us + SILENT_ALARM_US ||
	    (l->s.state != S_RUNNING && l->s.state != S_PROVISIONING))
		return;
	engine_alarm(
		l->e, "offline", l->s.name,
		"the provider has not known for more than 15 minutes how this machine is; it is "
		"waited for until the session ends");
}

/* ---- identity, address, ports ---- */

static bool take_id(struct session *s, const struct instance *in)
{
	if (!in->id[0] || !strcmp(s->instance_id, in->id))
		return false;
	COPY(s->instance_id, in->id);
	return true;
}

/* It may move, from a proxy to the machine itself once it runs: the new one is taken, the pinned host
 * key stays. */
static bool take_address(struct life *l, const struct instance *in)
{
	struct session *s = &l->s;

	if (!in->ssh_host[0] || in->ssh_port <= 0 || in->ssh_port > 65535 ||
	    (!strcmp(s->ssh_host, in->ssh_host) && s->ssh_port == in->ssh_port))
		return false;
	COPY(s->ssh_host, in->ssh_host);
	COPY(s->ssh_user, in->ssh_user);
	s->ssh_port = in->ssh_port;
	l->o.next_probe_us = 0;
	count_addressed(l);
	return true;
}

static bool take_host_key(struct session *s, const struct instance *in)
{
	if (!in->host_key[0] || (s->host_key && s->host_key[0]))
		return false;
	free(s->host_key);
	s->host_key = strdup(in->host_key);
	CHECK(s->host_key);
	return true;
}

/* With an address of its own, all its ports are open as they are: those that the spec names. */
static void put_open_ports(const struct session *s, const struct instance *in, struct buf *lines)
{
	struct spec sp;

	if (parse_spec_of(s, &sp, NULL))
		return;
	for (size_t i = 0; i < sp.port_count; i++)
		buf_printf(lines, "%d %s %d\n", (int)sp.ports[i], in->port_host, (int)sp.ports[i]);
	spec_free(&sp);
}

/* None are said before it runs and after it was stopped: what is known then stays. */
static bool take_ports(struct session *s, const struct instance *in)
{
	BUF lines = {0};

	if (!in->port_host[0])
		return false;
	if (!in->port_count && in->reach == REACH_ADDRESS)
		put_open_ports(s, in, &lines);
	else if (!in->port_count)
		return false;
	for (size_t i = 0; i < in->port_count && i < PORTS_MAX; i++)
		buf_printf(&lines, "%u %s %u\n", in->ports[i].port, in->port_host,
			   in->ports[i].host_port);
	CHECK(!lines.failed);
	if (!lines.len)
		return false;
	if (s->ports && !strcmp(s->ports, lines.data))
		return false;
	free(s->ports);
	s->ports = buf_take(&lines);
	return true;
}

/* ---- money ---- */

/* What is charged may differ from the offer by rounding: the provider rounds its total, we the disk's
 * part, by at most half a nano-dollar a GB. */
static int64_t price_slack_u6(const struct session *s)
{
	return 1 + (s->disk_gb > 0 ? s->disk_gb / 1000 : 0);
}

/* Nothing was known of what this attempt's machine costs until now: after a restart that is not so,
 * whatever this process saw. */
static bool first_price(const struct life *l)
{
	return !l->priced && (l->s.state == S_PROVISIONING ||
			      (l->s.state == S_RUNNING && l->s.running_us >= l->e->started_us));
}

/* The first price decides whether it was the one ordered. If the host raises it later, people are
 * told and the session goes on: only they may end it. */
static void judge_price(struct life *l, int64_t price_u6)
{
	const struct session *s = &l->s;
	BUF text = {.max = 200};

	if (s->cap_u6 == UNKNOWN || price_u6 <= s->cap_u6 + price_slack_u6(s)) {
		engine_alarm_clear(l->e, "price", s->name);
		return;
	}
	if (s->attempt_cause || (s->state != S_PROVISIONING && s->state != S_RUNNING))
		return;
	buf_puts(&text, "charged ");
	put_money(&text, price_u6);
	buf_puts(&text, " an hour, more than the cap ");
	put_money(&text, s->cap_u6);
	if (!first_price(l)) {
		engine_alarm(l->e, "price", s->name, text.data);
		return;
	}
	l->o.over_price = true;
	life_reason(l, "%s", text.data);
	event(l->e, l, NULL, "over_price", "%s", text.data);
}

static bool take_price(struct life *l, const struct instance *in)
{
	struct session *s = &l->s;
	int64_t price_u6 = in->price_u6, rate_u6 = in->rate_u6;
	bool first = first_price(l) && !s->rate_us;

	if (price_u6 == UNKNOWN && rate_u6 == UNKNOWN)
		return false;
	/* A DELETE was accepted: it is billed until then, at what it cost then. */
	if (s->delete_us)
		return false;
	if (price_u6 == UNKNOWN)
		price_u6 = s->price_u6;
	else
		judge_price(l, price_u6);
	l->priced = true;
	l->told_running = l->told_running || in->status == INST_RUNNING;
	/* A login worked: it runs, whatever a list that lags says. Once that was told, booting is news. */
	if (s->state == S_RUNNING && in->status == INST_BOOTING && !l->told_running &&
	    s->rate_us <= s->running_us && engine_now(l->e) < s->running_us + UNTOLD_US)
		rate_u6 = UNKNOWN;
	if (!first)
		return session_charge(s, price_u6, rate_u6, engine_now(l->e));
	if (s->price_u6 == price_u6 && s->rate_u6 == rate_u6)
		return false;
	/* The first word about it holds since the create: what boots now has only booted so far. */
	s->price_u6 = price_u6;
	s->rate_u6 = rate_u6;
	s->rate_us = s->asked_us;
	return true;
}

/* Its ports were to be forwarded, and are not. The address is that of its host, then, on which somebody
 * else may answer: it is not taken. A provider that forwards late gets a minute. */
static bool forwards_lacking(struct life *l, const struct instance *in, struct instance *instead)
{
	const struct session *s = &l->s;

	if (s->reach != REACH_FORWARD || in->reach != REACH_ADDRESS)
		return false;
	*instead = *in;
	instead->ssh_host[0] = instead->port_host[0] = '\0';
	if (in->status == INST_RUNNING && s->state == S_PROVISIONING && s->booted_us &&
	    engine_now(l->e) > s->booted_us + FORWARDS_US) {
		instead->status = INST_BROKEN;
		COPY(instead->status_text, "its ports are not forwarded, so it cannot be reached");
	}
	return true;
}

bool take_instance(struct life *l, const struct instance *in, int64_t begun_us)
{
	struct instance instead;
	bool changed = false;

	if (in->status == INST_GONE)
		return false;
	if (forwards_lacking(l, in, &instead))
		in = &instead;
	changed |= take_status(l, in, begun_us);
	changed |= take_id(&l->s, in);
	changed |= take_address(l, in);
	changed |= take_host_key(&l->s, in);
	changed |= take_ports(&l->s, in);
	changed |= take_price(l, in);
	return changed;
}
