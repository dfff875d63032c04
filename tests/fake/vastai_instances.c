/*
 * Instances of the fake Vast.ai: their clock-driven states (wire page, 7.2), what each costs, and how
 * they look in a reply. Billing is exact: rate times time, settled whenever the rate changes.
 */
#include "vastai_parts.h"

const char *const actual_names[A_COUNT] = {"null",    "created", "loading",   "running", "exited",
					   "stopped", "frozen",	 "rebooting", "unknown", "offline"};
const char *const intent_names[4] = {"running", "stopped", "frozen", "unloaded"};

#define STOP_US (2 * SECOND_US) /* from an order to stop until the container has exited */

bool instance_alive(const struct fv_instance *i)
{
	return i->gone_us < 0;
}

struct fv_instance *instance_any(struct fakevast *f, int64_t id)
{
	for (size_t k = f->instance_count; k-- > 0;)
		if (f->instances[k]->id == id)
			return f->instances[k];
	return NULL;
}

struct fv_instance *instance_find(struct fakevast *f, int64_t id)
{
	struct fv_instance *i = instance_any(f, id);

	return i && instance_alive(i) ? i : NULL;
}

struct fv_instance *instance_new(struct fakevast *f, const struct machine_info *m)
{
	struct fv_instance *i = xcalloc(1, sizeof(*i));

	f->instances = grow(f->instances, f->instance_count, sizeof(struct fv_instance *));
	f->instances[f->instance_count++] = i;
	i->id = f->next_instance;
	f->next_instance += 1 + random_below(&f->rnd_boot, 7);
	i->m = *m;
	i->created_us = i->since_us = f->now_us;
	i->shown_us = f->now_us + f->c.lag_us;
	i->gone_us = i->running_us = -1;
	i->returns_us = NEVER;
	i->intended = i->cur = I_RUNNING;
	i->proxy_only = m->ports == 0;
	if (!f->c.own_ssh) {
		snprintf(i->ssh_host, sizeof(i->ssh_host), "ssh%d.vast.ai", (int)(i->id % 9) + 1);
		i->proxy_port = 10000 + (int)(i->id % 50000);
		i->direct_port = 30000 + (int)(i->id * 7 % 20000);
	}
	return i;
}

void instance_free(struct fv_instance *i)
{
	for (size_t k = 0; k < i->key_count; k++)
		free(i->keys[k].line);
	free(i->keys);
	free(i->env);
	free(i);
}

void instance_key(struct fakevast *f, struct fv_instance *i, const char *line, int64_t from_us)
{
	i->keys = grow(i->keys, i->key_count, sizeof(*i->keys));
	i->keys[i->key_count++] = (struct fv_key){f->next_key++, from_us, copy_of(line)};
}

/* ---- money ---- */

int64_t billed_u6(const struct fv_instance *i)
{
	return (int64_t)(i->billed / HOUR_US);
}

void bill(const struct fakevast *f, struct fv_instance *i)
{
	int64_t dt = f->now_us - i->since_us;

	i->billed += (__int128)i->rate_u6 * dt;
	if (i->rate_u6 > i->disk_u6)
		i->gpu_us += dt;
	i->since_us = f->now_us;
}

/* USD an hour in the present status. Unknown counts as running: nobody has said that it is free. */
static int64_t rate_of(const struct fv_instance *i)
{
	if (!instance_alive(i) || i->cur == I_UNLOADED)
		return 0;
	switch (i->actual) {
	case A_RUNNING:
	case A_FROZEN:
	case A_REBOOTING:
	case A_UNKNOWN:
		return i->gpu_u6 + i->disk_u6;
	case A_OFFLINE:
		return 0;
	case A_NULL:
	case A_CREATED:
	case A_LOADING:
	case A_EXITED:
	case A_STOPPED:
	case A_COUNT:
		break;
	}
	return i->disk_u6;
}

void instance_rate(struct fakevast *f, struct fv_instance *i)
{
	int64_t rate = rate_of(i);

	bill(f, i);
	settle_credit(f, f->now_us);
	f->rate_sum_u6 += rate - i->rate_u6;
	i->rate_u6 = rate;
}

/* ---- events ---- */

void instance_event(struct fv_instance *i, int64_t at_us, enum inst_what what, enum actual status)
{
	size_t k = i->event_count;

	CHECK(k < INST_EVENTS);
	i->event_count++;
	/* Kept in order of time; of one moment in order of arrival. */
	for (; k > 0 && i->events[k - 1].at_us > at_us; k--)
		i->events[k] = i->events[k - 1];
	i->events[k] = (struct inst_event){.at_us = at_us, .what = what, .status = status};
}

int64_t instance_next_us(const struct fv_instance *i)
{
	int64_t next = i->event_count ? i->events[0].at_us : NEVER;

	return i->returns_us < next ? i->returns_us : next;
}

static void set_actual(struct fakevast *f, struct fv_instance *i, enum actual status)
{
	bool away = i->actual == A_OFFLINE || i->actual == A_UNKNOWN;

	if (away && status != A_OFFLINE && status != A_UNKNOWN)
		i->before = status; /* seen when its host is heard again */
	else
		i->actual = status;
	if (i->actual == A_RUNNING && i->running_us < 0)
		i->running_us = f->now_us;
	switch (status) {
	case A_LOADING:
		if (!i->stuck)
			COPY(i->text, "4c7d45f7c63c: Download complete\n");
		break;
	case A_RUNNING:
		snprintf(i->text, sizeof(i->text), "success, running %.100s/ssh", i->image);
		break;
	case A_NULL:
	case A_CREATED:
	case A_EXITED:
	case A_STOPPED:
	case A_FROZEN:
	case A_REBOOTING:
	case A_UNKNOWN:
	case A_OFFLINE:
	case A_COUNT:
		break;
	}
	instance_rate(f, i);
}

void instance_gone(struct fakevast *f, struct fv_instance *i)
{
	i->gone_us = f->now_us;
	i->event_count = 0;
	instance_rate(f, i);
	market_release(f, i->m.machine_id);
}

static void come_back(struct fakevast *f, struct fv_instance *i)
{
	i->returns_us = NEVER;
	i->gone_us = -1;
	i->deleted = false;
	i->intended = i->cur = I_RUNNING;
	set_actual(f, i, A_RUNNING);
}

static void event_run(struct fakevast *f, struct fv_instance *i, const struct inst_event *e)
{
	switch (e->what) {
	case E_NONE:
		break;
	case E_STATUS:
		set_actual(f, i, e->status);
		break;
	case E_STOP:
		i->cur = i->intended;
		set_actual(f, i, A_EXITED);
		break;
	case E_OUTBID:
		i->intended = i->cur = I_STOPPED;
		i->text[0] = '\0';
		set_actual(f, i, A_EXITED);
		break;
	case E_GONE:
		instance_gone(f, i);
		break;
	case E_CLOUD:
		if (i->actual != A_OFFLINE && i->actual != A_UNKNOWN)
			i->before = i->actual;
		set_actual(f, i, e->status);
		break;
	case E_RETURN:
		i->actual = i->before;
		instance_rate(f, i);
		break;
	}
}

void instance_step(struct fakevast *f, struct fv_instance *i)
{
	while (i->event_count && i->events[0].at_us <= f->now_us) {
		struct inst_event e = i->events[0];

		memmove(i->events, i->events + 1, --i->event_count * sizeof(e));
		event_run(f, i, &e);
	}
	if (i->returns_us <= f->now_us)
		come_back(f, i);
}

void instance_stop(struct fakevast *f, struct fv_instance *i)
{
	i->intended = I_STOPPED;
	i->event_count = 0;
	if (i->actual == A_RUNNING)
		instance_event(i, f->now_us + scaled(f, STOP_US), E_STOP, A_EXITED);
	else
		event_run(f, i, &(struct inst_event){.what = E_STOP});
}

void instance_start(struct fakevast *f, struct fv_instance *i, int64_t delay_us)
{
	i->intended = i->cur = I_RUNNING;
	i->event_count = 0;
	instance_event(i, f->now_us + delay_us, E_STATUS, A_RUNNING);
}

/* ---- lives ---- */

static void script(struct fakevast *f, struct fv_instance *i, enum fakevast_fault_kind kind,
		   int64_t param, int64_t ready)
{
	int64_t later = ready + (param ? param : 30 * SECOND_US);
	int64_t back = ready + SECOND_US + (param ? param : 60 * SECOND_US);

	switch ((int)kind) {
	case FVI_EXITED:
		instance_event(i, later, E_STATUS, A_EXITED);
		break;
	case FVI_VANISH:
		instance_event(i, later, E_GONE, A_NULL);
		break;
	case FVI_VANISH_BOOT:
		instance_event(i, f->now_us + f->c.loading_us, E_GONE, A_NULL);
		break;
	case FVI_OFFLINE:
	case FVI_UNHEARD:
		instance_event(i, ready + SECOND_US, E_CLOUD,
			       kind == FVI_OFFLINE ? A_OFFLINE : A_UNKNOWN);
		instance_event(i, back, E_RETURN, A_NULL);
		break;
	case FVI_OUTBID:
		instance_event(i, later, E_OUTBID, A_NULL);
		break;
	case FVI_FROZEN:
		instance_event(i, later, E_STATUS, A_FROZEN);
		break;
	case FVI_PRICE:
		i->gpu_u6 = i->gpu_u6 * (param ? param : 1500) / 1000;
		break;
	default:
		break;
	}
}

/* A life that never comes to running: what is shown instead. */
static bool bad_boot(struct fakevast *f, struct fv_instance *i, enum fakevast_fault_kind kind)
{
	int64_t at = f->now_us + f->c.loading_us;

	switch ((int)kind) {
	case FVI_STUCK:
		instance_event(i, at, E_STATUS, A_LOADING);
		return true;
	case FVI_MANIFEST:
		i->stuck = true;
		snprintf(i->text, sizeof(i->text),
			 "Error response from daemon: manifest for %.80s not found: manifest "
			 "unknown\n",
			 i->image);
		instance_event(i, at, E_STATUS, A_LOADING);
		return true;
	case FVI_ABANDONED:
		COPY(i->text,
		     "Error response from daemon: failed to create task for container: OCI "
		     "runtime create failed: unresolvable CDI devices\n");
		i->intended = i->cur = I_STOPPED;
		return true;
	case FVI_RACE:
		i->intended = i->cur = I_STOPPED;
		instance_event(i, at, E_STATUS, A_LOADING);
		return true;
	default:
		return false;
	}
}

void instance_boot(struct fakevast *f, struct fv_instance *i)
{
	int64_t param, boot = f->c.boot_min_us +
			      random_below(&f->rnd_boot, f->c.boot_max_us - f->c.boot_min_us + 1);
	enum fakevast_fault_kind kind = fault_draw(f, FV_BOOT, &param);
	int64_t created = f->now_us + f->c.created_us, loading = f->now_us + f->c.loading_us;

	if (kind == FVI_SLOW_BOOT)
		boot = param ? param : HOUR_US;
	i->no_login = kind == FVI_NO_LOGIN;
	i->deaf = kind == FVI_DEAF;
	i->proxy_only = i->proxy_only || kind == FVI_PROXY_ONLY;
	if (!kind && strstr(i->image, "no-such-image"))
		kind = FVI_MANIFEST;
	if (f->c.created_us < boot)
		instance_event(i, created, E_STATUS, A_CREATED);
	instance_rate(f, i);
	if (bad_boot(f, i, kind))
		return;
	if (f->c.loading_us < boot)
		instance_event(i, loading, E_STATUS, A_LOADING);
	instance_event(i, f->now_us + boot, E_STATUS, A_RUNNING);
	script(f, i, kind, param, f->now_us + boot);
}

/* ---- how it looks ---- */

static void ports_json(const struct fv_instance *i, struct buf *b)
{
	buf_puts(b, "{");
	if (!i->proxy_only && i->direct_port) {
		buf_printf(b,
			   "\"22/tcp\": [{\"HostIp\": \"0.0.0.0\", \"HostPort\": \"%d\"}, "
			   "{\"HostIp\": \"::\", \"HostPort\": \"%d\"}]",
			   i->direct_port, i->direct_port);
		for (size_t k = 0; k < i->port_count; k++) {
			const struct instance_port *p = &i->ports[k];
			int host = p->port >= 70000 ? p->port : i->direct_port + 1 + (int)k;

			buf_printf(b,
				   ", \"%d/%s\": [{\"HostIp\": \"0.0.0.0\", \"HostPort\": \"%d\"}, "
				   "{\"HostIp\": \"::\", \"HostPort\": \"%d\"}]",
				   p->port, p->udp ? "udp" : "tcp", host, host);
		}
	}
	buf_puts(b, "}");
}

static void price_object(struct columns *c, const char *name, double gpu, double disk)
{
	col_raw(c, name,
		col_print(c,
			  "{\"gpuCostPerHour\": %.16g, \"diskHour\": %.16g, \"totalHour\": %.16g, "
			  "\"discountTotalHour\": 0, \"discountedTotalPerHour\": %.16g}",
			  gpu, disk, gpu + disk, gpu + disk));
}

/* Address, ports and telemetry: each there from its own moment on. */
static void address_columns(const struct fakevast *f, const struct fv_instance *i,
			    struct columns *c, struct buf *room)
{
	bool known = i->proxy_port && (i->actual != A_NULL), up = i->actual == A_RUNNING;
	bool jupyter = strstr(i->runtype, "jupyter") != NULL;
	const char *ip = f->c.own_ssh ? i->ssh_host : i->m.ip;

	col_text(c, "ssh_host", known ? i->ssh_host : NULL);
	col_text(c, "ssh_idx", known ? "3" : NULL);
	if (known)
		col_int(c, "ssh_port", jupyter ? i->proxy_port - 1 : i->proxy_port);
	else
		col_null(c, "ssh_port");
	col_text(c, "public_ipaddr", known ? col_print(c, up ? "%s \n" : "%s", ip) : NULL);
	/* A host that is away keeps showing what it reported last. */
	if (up || (i->before == A_RUNNING && (i->actual == A_OFFLINE || i->actual == A_UNKNOWN))) {
		ports_json(i, room);
		col_raw(c, "ports", room->data);
	} else {
		col_null(c, "ports");
	}
	col_int(c, "direct_port_count", i->proxy_only ? 0 : 100);
	col_int(c, "direct_port_start", up && !i->proxy_only ? i->direct_port : -1);
	col_int(c, "direct_port_end", up && !i->proxy_only ? i->direct_port + 64 : -1);
}

static void telemetry_columns(const struct fakevast *f, const struct fv_instance *i,
			      struct columns *c)
{
	bool seen = i->running_us >= 0 && f->now_us - i->running_us > scaled(f, MINUTE_US);

	if (seen) {
		col_real(c, "gpu_util", 3);
		col_real(c, "gpu_temp", 41);
		col_real(c, "mem_usage", 1.92);
		col_real(c, "vmem_usage", 0.43);
		col_real(c, "uptime_mins", (double)(f->now_us - i->running_us) / 60e6);
	} else {
		col_null(c, "gpu_util");
		col_null(c, "gpu_temp");
		col_null(c, "mem_usage");
		col_null(c, "vmem_usage");
		col_null(c, "uptime_mins");
	}
	col_real(c, "cpu_util", seen ? 0.7 : 0);
	if (seen)
		col_real(c, "mem_limit", 61.9);
	else
		col_null(c, "mem_limit");
	col_real(c, "disk_usage", seen ? 2.4 : -1);
	col_real(c, "disk_util", seen ? 2.4 : -1);
}

static void other_columns(const struct fakevast *f, const struct fv_instance *i, struct columns *c)
{
	const struct machine_info *m = &i->m;

	col_int(c, "bundle_id", m->bundle_id);
	col_int(c, "host_id", m->host_id);
	col_real(c, "bw_nvlink", 0);
	col_real(c, "client_run_time", 1.1);
	col_text(c, "country_code", "SE");
	col_text(c, "cpu_arch", "amd64");
	col_int(c, "cpu_cores", m->cores);
	col_real(c, "cpu_cores_effective", m->cores);
	col_text(c, "cpu_name", "AMD Ryzen 7 7700 8-Core Processor");
	col_int(c, "cpu_ram", m->cpu_ram_mb);
	col_null(c, "credit_balance");
	col_null(c, "credit_discount");
	col_real(c, "credit_discount_max", 0.4);
	col_real(c, "disk_bw", 3120.5);
	col_text(c, "disk_name", "nvme");
	col_real(c, "disk_space", (double)i->disk_gb);
	col_real(c, "dlperf", m->gpu->dlperf);
	/* Seconds left until the listing ends; negative when it has. */
	col_real(c, "duration", (double)m->duration_s - (double)(f->now_us - i->created_us) / 1e6);
	col_real(c, "end_date",
		 (double)(f->c.epoch_us + i->created_us) / 1e6 + (double)m->duration_s);
	col_bool(c, "external", false);
	col_raw(c, "extra_env", i->env ? i->env : "[]");
	col_real(c, "dlperf_per_dphtotal", 22.183404974866942);
	col_real(c, "flops_per_dphtotal", 27.46814902424601);
	col_real(c, "vram_costperhour", 4.079441760601181e-05);
	col_text(c, "geolocation", m->place);
	col_text(c, "gpu_arch", m->gpu->amd ? "amd" : "nvidia");
	col_real(c, "gpu_frac", (double)m->num_gpus / m->machine_gpus);
	col_int(c, "gpu_lanes", 16);
	col_real(c, "gpu_mem_bw", m->gpu->mem_bw);
	col_real(c, "host_run_time", 2592000);
	col_int(c, "hosting_type", 0);
	col_raw(c, "image_args", "[]");
	col_text(c, "jupyter_token",
		 "00000000000000000000000000000000feedfacefeedfacefeedfacefeedface");
	col_text(c, "local_ipaddrs", "192.168.1.20 172.17.0.1 \n");
	col_text(c, "logo", "/static/logos/vastai_small2.png");
	col_int(c, "machine_dir_ssh_port", 51199);
	col_text(c, "mobo_name", "B650");
	col_text(c, "onstart", i->onstart_shown[0] ? i->onstart_shown : NULL);
	col_text(c, "os_version", "22.04");
	col_real(c, "pci_gen", 4);
	col_real(c, "pcie_bw", 22.1);
	col_real(c, "reliability2", m->reliability);
	col_real(c, "score", 22.04);
	col_bool(c, "static_ip", false);
	col_text(c, "template_hash_id", i->template_hash[0] ? i->template_hash : NULL);
	col_null(c, "template_id");
	col_null(c, "template_name");
	col_text(c, "time_remaining", "");
	col_text(c, "time_remaining_isbid", "");
	col_real(c, "total_flops", m->gpu->tflops);
	col_text(c, "verification", m->verification == 1 ? "verified" : "unverified");
	col_raw(c, "volume_info", "[]");
	col_null(c, "webpage");
	telemetry_columns(f, i, c);
}

void instance_columns(const struct fakevast *f, const struct fv_instance *i, struct columns *c,
		      struct buf *room)
{
	const struct machine_info *m = &i->m;
	double gpu = (double)i->gpu_u6 / 1e6, disk = (double)i->disk_u6 / 1e6;
	bool billed = i->rate_u6 > i->disk_u6;

	c->n = c->texts = 0;
	col_int(c, "id", i->id);
	col_text(c, "actual_status", i->actual == A_NULL ? NULL : actual_names[i->actual]);
	col_text(c, "intended_status", intent_names[i->intended]);
	col_text(c, "cur_state", intent_names[i->cur]);
	col_text(c, "next_state", intent_names[i->cur == I_UNLOADED ? I_UNLOADED : i->intended]);
	col_text(c, "label", i->label_null ? NULL : i->label);
	col_text(c, "status_msg", i->text[0] ? i->text : NULL);
	col_int(c, "machine_id", m->machine_id);
	col_text(c, "image_uuid", i->image);
	col_text(c, "image_runtype", i->runtype);
	col_text(c, "gpu_name", m->gpu->name);
	col_int(c, "num_gpus", m->num_gpus);
	col_int(c, "gpu_ram", m->gpu->ram_mb);
	col_int(c, "gpu_totalram", (int64_t)m->gpu->ram_mb * m->num_gpus);
	col_bool(c, "is_bid", i->bid);
	col_real(c, "min_bid", (double)i->min_bid_u6 / 1e6);
	col_real(c, "dph_base", gpu);
	col_real(c, "dph_total", gpu + disk);
	col_real(c, "storage_cost", (double)m->storage_u6 / 1e6);
	col_real(c, "storage_total_cost", disk);
	col_real(c, "start_date", (double)(f->c.epoch_us + i->created_us) / 1e6);
	price_object(c, "search", gpu, disk);
	price_object(c, "instance", billed ? gpu : 0, i->rate_u6 ? disk : 0);
	address_columns(f, i, c, room);
	if (!f->c.terse)
		other_columns(f, i, c);
}
