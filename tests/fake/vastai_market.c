/*
 * The market of the fake Vast.ai: its offers, and what a search shows of them. Offers are short-lived:
 * what is rented or withdrawn comes back later under a new id, on the same machine. A search is a
 * changing sample of at most 64 rows, priced for `allocated_storage`.
 */
#include "vastai_parts.h"

static const struct gpu_model models[] = {
	{"RTX 3090", 24576, 860, 350, 0.17, 35.6, 30.2, 936, false},
	{"RTX 3090 Ti", 24564, 860, 450, 0.19, 40.0, 33.1, 1008, false},
	{"RTX 4090", 24564, 890, 450, 0.32, 82.6, 106.6, 1008, false},
	{"RTX 4090 D", 24564, 890, 425, 0.30, 73.5, 95.0, 1008, false},
	{"RTX 5090", 32607, 1200, 575, 0.42, 107.6, 141.8, 1792, false},
	{"RTX A5000", 24564, 860, 230, 0.20, 27.8, 25.0, 768, false},
	{"RTX 6000Ada", 49140, 890, 300, 0.72, 91.1, 98.0, 960, false},
	{"A100 SXM4", 81920, 800, 400, 0.95, 19.5, 160.0, 2039, false},
	{"H100 SXM", 81559, 900, 700, 2.05, 66.9, 420.0, 3350, false},
	{"H100 NVL", 95830, 900, 400, 2.10, 60.0, 380.0, 3938, false},
	{"H200", 143771, 900, 700, 2.60, 66.9, 470.0, 4800, false},
	{"L40S", 46068, 890, 350, 0.60, 91.6, 97.0, 864, false},
	{"Tesla V100", 16160, 700, 300, 0.11, 15.7, 21.0, 900, false},
	{"Q RTX 8000", 49152, 750, 260, 0.24, 16.3, 18.0, 672, false},
	{"RX 7900 XTX", 24560, 0, 355, 0.20, 61.4, 40.0, 960, true},
};
static const char *const places[] = {"Ontario, CA", "Sweden, SE",  "Texas, US",	    "Iowa, US",
				     "Poland, PL",  "Guangxi, CN", "Bulgaria, BG",  ", CN",
				     "Quebec, CA",  "Norway, NO",  "California, US"};
static const char *const drivers[] = {"535.183.01", "550.54.15", "570.124.04", "580.65.06"};
static const int driver_numbers[] = {535183001, 550054015, 570124004, 580065006};

enum quirk { Q_NO_PLACE = 1, Q_NO_CORES = 2, Q_FLOATS = 4, Q_PADDED = 8, Q_OS_NUMBER = 16 };

#define WITHDRAWN_US (60 * SECOND_US) /* until a withdrawn offer is listed again */
#define RELIST_US    (5 * SECOND_US)

static void offer_make(struct fakevast *f, struct fv_offer *o)
{
	static const int sizes[] = {1, 1, 1, 1, 2, 4, 8};
	struct random *r = &f->rnd_market;
	struct machine_info *m = &o->m;

	*o = (struct fv_offer){.id = f->next_offer, .back_us = NEVER};
	f->next_offer += 1 + random_below(r, 40);
	m->gpu = &models[random_below(r, ARRAY_LEN(models))];
	m->machine_id = 20000 + f->next_offer % 60000;
	m->host_id = 80000 + random_below(r, 200000);
	m->bundle_id = 1598539855 + random_below(r, 300000000);
	m->num_gpus = sizes[random_below(r, ARRAY_LEN(sizes))];
	m->machine_gpus = m->num_gpus * (int)(1 + random_below(r, 2));
	m->gpu_u6 = (int64_t)(m->gpu->usd * m->num_gpus * (600 + (double)random_below(r, 1000)) *
			      1000);
	m->storage_u6 = 50000 + random_below(r, 14) * 25000;
	m->min_bid_u6 = m->gpu_u6 * (500 + random_below(r, 300)) / 1000;
	m->disk_gb = 20 + (double)random_below(r, 400000) / 100;
	m->reliability = 0.6 + (double)random_below(r, 400000) / 1e6;
	m->inet_down = 50 + (double)random_below(r, 80000) / 10;
	m->inet_up = 20 + (double)random_below(r, 80000) / 10;
	m->cuda = m->gpu->amd ? 0 : 12.0 + (double)random_below(r, 11) / 10;
	m->duration_s = 3600 + random_below(r, 150 * 86400);
	m->ports = random_below(r, 10) ? 100 + (int)random_below(r, 1900) : 0;
	m->cores = 16 << random_below(r, 4);
	m->cpu_ram_mb = 32000 + (int)random_below(r, 500000);
	m->verification = random_below(r, 100) < 80 ? 1 : random_below(r, 4) ? 0 : -1;
	m->place = places[random_below(r, ARRAY_LEN(places))];
	m->quirks = random_next(r) & random_next(r);
	snprintf(m->ip, sizeof(m->ip), "203.0.113.%d", (int)random_below(r, 254) + 1);
	o->storage_only = random_below(r, 20) == 0;
}

void market_make(struct fakevast *f, size_t n)
{
	free(f->offers);
	f->offers = xcalloc(n, sizeof(*f->offers));
	f->offer_count = n;
	for (size_t i = 0; i < n; i++)
		offer_make(f, &f->offers[i]);
}

void market_unmake(struct fakevast *f)
{
	free(f->offers);
}

struct fv_offer *market_find(struct fakevast *f, int64_t id)
{
	for (size_t i = 0; i < f->offer_count; i++)
		if (f->offers[i].id == id && f->offers[i].back_us == NEVER)
			return &f->offers[i];
	return NULL;
}

void market_withdraw(struct fakevast *f, struct fv_offer *o)
{
	o->back_us = f->now_us + scaled(f, WITHDRAWN_US);
}

void market_release(struct fakevast *f, int64_t machine_id)
{
	for (size_t i = 0; i < f->offer_count; i++) {
		struct fv_offer *o = &f->offers[i];

		if (o->rented && o->m.machine_id == machine_id)
			o->back_us = f->now_us + scaled(f, RELIST_US);
	}
}

void market_advance(struct fakevast *f)
{
	for (size_t i = 0; i < f->offer_count; i++) {
		struct fv_offer *o = &f->offers[i];

		if (o->back_us > f->now_us)
			continue;
		o->back_us = NEVER;
		o->rented = false;
		o->id = f->next_offer;
		f->next_offer += 1 + random_below(&f->rnd_market, 40);
	}
}

int64_t market_due_us(const struct fakevast *f)
{
	int64_t next = NEVER;

	for (size_t i = 0; i < f->offer_count; i++)
		next = f->offers[i].back_us < next ? f->offers[i].back_us : next;
	return next;
}

int64_t storage_hour_u6(int64_t storage_month_u6, int64_t gb)
{
	return (storage_month_u6 * gb + 360) / 720; /* a month is 720 hours */
}

/* ---- a row ---- */

struct pricing {
	double gpu, disk, total;
};

static void price_object(struct columns *c, const char *name, double gpu, double disk)
{
	col_raw(c, name,
		col_print(c,
			  "{\"gpuCostPerHour\": %.16g, \"diskHour\": %.16g, \"totalHour\": %.16g, "
			  "\"discountTotalHour\": 0, \"discountedTotalPerHour\": %.16g}",
			  gpu, disk, gpu + disk, gpu + disk));
}

static void number(struct columns *c, const struct machine_info *m, const char *name, double v)
{
	if (m->quirks & Q_FLOATS)
		col_real(c, name, v);
	else
		col_int(c, name, (int64_t)v);
}

/* Seconds left of the listing; one that would end is prolonged by its host. */
static int64_t seconds_left(const struct fakevast *f, const struct machine_info *m)
{
	int64_t left = m->duration_s - f->now_us / SECOND_US;

	return left > 3600 ? left : 3600;
}

/* What filters ask for under the name of another column. */
static void hidden_columns(const struct fakevast *f, struct columns *c,
			   const struct machine_info *m)
{
	size_t n = strlen(m->place);

	col_text(c, ".geolocation", m->quirks & Q_NO_PLACE ? NULL : m->place + n - 2);
	col_bool(c, ".datacenter", m->machine_gpus >= 8);
	col_int(c, ".duration", seconds_left(f, m));
	col_bool(c, ".verified", m->verification == 1);
}

static void client_columns(const struct fakevast *f, struct columns *c, const struct fv_offer *o,
			   bool bid, const struct pricing *p)
{
	const struct machine_info *m = &o->m;

	col_int(c, "id", o->id);
	col_int(c, "ask_contract_id", o->id);
	col_int(c, "machine_id", m->machine_id);
	col_int(c, "host_id", m->host_id);
	col_text(c, "gpu_name", o->storage_only ? NULL : m->gpu->name);
	col_int(c, "num_gpus", o->storage_only ? 0 : m->num_gpus);
	number(c, m, "gpu_ram", o->storage_only ? 0 : m->gpu->ram_mb);
	number(c, m, "gpu_total_ram", o->storage_only ? 0 : (double)m->gpu->ram_mb * m->num_gpus);
	col_real(c, "cuda_max_good", m->cuda);
	col_real(c, "dph_base", o->storage_only ? 0 : p->gpu);
	col_real(c, "dph_total", p->total);
	col_real(c, "storage_cost", (double)m->storage_u6 / 1e6);
	col_real(c, "storage_total_cost", p->disk);
	col_real(c, "min_bid", (double)m->min_bid_u6 / 1e6);
	col_bool(c, "is_bid", bid);
	col_real(c, "reliability", m->reliability);
	col_real(c, "reliability2", m->reliability);
	col_real(c, "duration", (double)seconds_left(f, m) + 0.565657616);
	col_real(c, "disk_space", m->disk_gb);
	col_text(c, "geolocation", m->quirks & Q_NO_PLACE ? NULL : m->place);
	col_text(c, "verification",
		 m->verification == 1	? "verified"
		 : m->verification == 0 ? "unverified"
					: "deverified");
	col_int(c, "vericode", m->verification == 1);
	col_bool(c, "rentable", !o->rented);
	col_bool(c, "rented", o->rented);
	col_bool(c, "external", false);
	col_text(c, "resource_type", o->storage_only ? "disk" : "gpu");
	number(c, m, "direct_port_count", m->ports);
}

static void network_columns(struct columns *c, const struct machine_info *m)
{
	col_real(c, "inet_down", m->inet_down);
	col_real(c, "inet_down_cost", 0.001953125);
	col_real(c, "inet_up", m->inet_up);
	col_real(c, "inet_up_cost", 0.001953125);
	col_real(c, "internet_down_cost_per_tb", 2);
	col_real(c, "internet_up_cost_per_tb", 2);
}

static void other_columns(const struct fakevast *f, struct columns *c, const struct fv_offer *o,
			  const struct pricing *p)
{
	const struct machine_info *m = &o->m;
	size_t driver = (size_t)(m->machine_id % 4);
	double share = (double)m->num_gpus / m->machine_gpus;
	int64_t end_s = (f->c.epoch_us + f->now_us) / SECOND_US + seconds_left(f, m);

	col_int(c, "bundle_id", m->bundle_id);
	col_null(c, "bundled_results");
	col_real(c, "bw_nvlink", m->num_gpus >= 8 ? 478.1 : 0);
	number(c, m, "compute_cap", m->gpu->compute_cap);
	col_text(c, "cpu_arch", "amd64");
	if (m->quirks & Q_NO_CORES)
		col_null(c, "cpu_cores");
	else
		number(c, m, "cpu_cores", m->cores);
	col_real(c, "cpu_cores_effective", m->cores * share);
	col_real(c, "cpu_ghz", 2.3);
	col_text(c, "cpu_name", "AMD EPYC 7642 48-Core Processor");
	number(c, m, "cpu_ram", o->storage_only ? 0 : m->cpu_ram_mb);
	col_real(c, "credit_discount_max", 0.4);
	col_real(c, "discount_rate", 0);
	col_real(c, "discounted_dph_total", p->total);
	col_real(c, "discounted_hourly", 0);
	col_real(c, "disk_bw", 2545.2940000000003);
	col_text(c, "disk_name", "INTEL SSDPE2KX080T8");
	col_real(c, "dlperf", m->gpu->dlperf * m->num_gpus);
	col_real(c, "dlperf_per_dphtotal",
		 p->total > 0 ? m->gpu->dlperf * m->num_gpus / p->total : 0);
	col_real(c, "dph_total_adj", p->total);
	col_int(c, "driver_vers", driver_numbers[driver]);
	col_text(c, "driver_version", drivers[driver]);
	col_real(c, "end_date", (double)end_s);
	col_real(c, "flops_per_dphtotal",
		 p->total > 0 ? m->gpu->tflops * m->num_gpus / p->total : 0);
	col_int(c, "geolocode", 921675020);
	col_text(c, "gpu_arch", m->gpu->amd ? "amd" : "nvidia");
	col_bool(c, "gpu_display_active", false);
	col_real(c, "gpu_frac", share);
	col_raw(c, "gpu_ids", "[82267]");
	col_int(c, "gpu_lanes", 16);
	col_real(c, "gpu_max_power", m->gpu->watts);
	col_real(c, "gpu_mem_bw", m->gpu->mem_bw);
	col_int(c, "has_avx", 1);
	col_int(c, "hosting_type", m->machine_gpus >= 8);
	col_null(c, "hostname");
	network_columns(c, m);
	price_object(c, "instance", 0, p->disk);
	col_text(c, "logo", "/static/logos/vastai_small2.png");
	col_text(c, "mobo_name", "H12SSL");
	if (m->quirks & Q_OS_NUMBER)
		col_real(c, "os_version", 22.04);
	else
		col_text(c, "os_version", "22.04");
	col_real(c, "pci_gen", 4);
	col_real(c, "pcie_bw", 12.3);
	col_text(c, "public_ipaddr", col_print(c, m->quirks & Q_PADDED ? "%s \n" : "%s", m->ip));
	col_real(c, "reliability_mult", 0.7710531);
	col_int(c, "rn", 1);
	col_real(c, "score", m->gpu->dlperf * m->reliability / (p->total > 0.01 ? p->total : 0.01));
	price_object(c, "search", p->gpu, p->disk);
	col_real(c, "start_date", 1722348655.847011);
	col_bool(c, "static_ip", m->ports > 0);
	col_text(c, "time_remaining", "");
	col_text(c, "time_remaining_isbid", "");
	col_real(c, "total_flops", m->gpu->tflops * m->num_gpus);
	col_bool(c, "vms_enabled", false);
	col_real(c, "vram_costperhour", 0.010282798675568581);
	col_null(c, "webpage");
}

static void offer_columns(const struct fakevast *f, struct columns *c, const struct fv_offer *o,
			  bool bid, double gb)
{
	struct pricing p = {.gpu = (double)(bid ? o->m.min_bid_u6 : o->m.gpu_u6) / 1e6,
			    .disk = (double)o->m.storage_u6 / 1e6 * gb / 720};

	p.total = (o->storage_only ? 0 : p.gpu) + p.disk;
	c->n = c->texts = 0;
	client_columns(f, c, o, bid, &p);
	hidden_columns(f, c, &o->m);
	if (!f->c.terse)
		other_columns(f, c, o, &p);
}

/* ---- a search ---- */

struct search {
	json_t *filter; /* owned: the query without what is no filter */
	bool bid;
	double gb;
	int64_t limit;
	struct {
		const char *column;
		bool down;
	} order[4];
	size_t orders;
};
struct hit {
	struct columns *row;
	int64_t id;
	struct value keys[4]; /* of the order; looked up once */
};

static bool order_of(struct search *s, const json_t *order)
{
	size_t i;
	json_t *pair;

	if (!json_is_array(order) || json_array_size(order) > ARRAY_LEN(s->order))
		return false;
	json_array_foreach(order, i, pair)
	{
		const char *column = json_string_value(json_array_get(pair, 0));
		const char *way = json_string_value(json_array_get(pair, 1));

		if (json_array_size(pair) != 2 || !column || !way ||
		    (strcmp(way, "asc") != 0 && strcmp(way, "desc") != 0))
			return false;
		s->order[s->orders].column = column;
		s->order[s->orders++].down = !strcmp(way, "desc");
	}
	return true;
}

/* The members that are no filters. NULL, or what is wrong. */
static const char *search_options(struct search *s, const json_t *q)
{
	const json_t *type = json_object_get(q, "type"), *limit = json_object_get(q, "limit");
	const json_t *gb = json_object_get(q, "allocated_storage");
	const json_t *order = json_object_get(q, "order");
	const char *word = json_string_value(type);

	if (type && (!word || (strcmp(word, "on-demand") != 0 && strcmp(word, "ondemand") != 0 &&
			       strcmp(word, "bid") != 0 && strcmp(word, "reserved") != 0)))
		return "type is not a valid search type";
	if (limit && (!json_is_integer(limit) || json_integer_value(limit) < 1))
		return "limit must be a positive integer";
	if (gb && (!json_is_number(gb) || json_number_value(gb) < 0))
		return "allocated_storage must be a number";
	if (order && !order_of(s, order))
		return "order must be a list of [column, asc|desc]";
	s->bid = word && !strcmp(word, "bid");
	s->limit = limit ? json_integer_value(limit) : 64;
	s->gb = gb ? json_number_value(gb) : 8;
	return NULL;
}

static void watch_filters(struct ctx *x, const json_t *filter)
{
	struct columns c;
	struct fv_offer sample = {
		.m = {.gpu = models, .num_gpus = 1, .machine_gpus = 1, .place = places[0]}};
	const char *field;
	json_t *ops;
	FREE char *names = NULL;

	c.n = c.texts = 0;
	offer_columns(x->f, &c, &sample, false, 8);
	json_object_foreach((json_t *)filter, field, ops)
	{
		if (!strcmp(field, "id"))
			violate(x, "id-filter", "a filter by id matches nothing");
		else if (!x->f->c.terse && !col_find(&c, field) &&
			 strcmp(field, "datacenter") != 0 && strcmp(field, "verified") != 0)
			violate(x, "unknown-field", "filter by the unknown column %s", field);
		if (strcmp(field, "gpu_name") != 0)
			continue;
		free(names);
		names = json_dumps(ops, JSON_COMPACT);
		if (names && strchr(names, '_'))
			violate(x, "gpu-name", "names have spaces, not underscores: %.100s", names);
	}
}

static int hit_compare(const void *a, const void *b, void *arg)
{
	const struct search *s = arg;
	const struct hit *l = a, *r = b;

	for (size_t i = 0; i < s->orders; i++) {
		int order = value_compare(&l->keys[i], &r->keys[i]);

		if (order)
			return s->order[i].down ? -order : order;
	}
	return (l->id > r->id) - (l->id < r->id);
}

static struct hit hit_of(const struct search *s, struct columns *row, int64_t id)
{
	struct hit h = {.row = row, .id = id};

	for (size_t i = 0; i < s->orders; i++) {
		const struct value *v = col_find(row, s->order[i].column);

		h.keys[i] = v ? *v : (struct value){V_NULL, 0, NULL};
	}
	return h;
}

static bool offer_shows(struct fakevast *f, const struct search *s, const struct fv_offer *o,
			struct columns *row)
{
	if (o->back_us != NEVER && !o->rented)
		return false;
	if ((o->storage_only && !f->c.storage_rows) || json_object_get(s->filter, "id"))
		return false;
	offer_columns(f, row, o, s->bid, s->gb);
	if (random_hit(&f->rnd_sample, f->c.sample_ppm))
		return false;
	if (filter_match(s->filter, row, NULL) && o->m.disk_gb >= s->gb)
		return true;
	return f->c.breaking_rows && random_hit(&f->rnd_sample, 30000);
}

static void answer_search(struct ctx *x, struct search *s)
{
	struct fakevast *f = x->f;
	struct hit *hits = xcalloc(f->offer_count, sizeof(*hits));
	struct columns *row = NULL;
	size_t n = 0, most;

	for (size_t i = 0; i < f->offer_count; i++) {
		row = row ? row : malloc(sizeof(*row));
		CHECK(row != NULL);
		if (!offer_shows(f, s, &f->offers[i], row))
			continue;
		hits[n++] = hit_of(s, row, f->offers[i].id);
		row = NULL;
	}
	free(row);
	qsort_r(hits, n, sizeof(*hits), hit_compare, s);
	most = (size_t)(s->limit < f->c.page_cap ? s->limit : f->c.page_cap);
	say(x, 200, "{\"offers\": [");
	for (size_t i = 0; i < n; i++) {
		if (i < most) {
			buf_puts(&x->out->body, i ? ", " : "");
			cols_json(&x->out->body, hits[i].row);
		}
		free(hits[i].row);
	}
	buf_puts(&x->out->body, "]}");
	free(hits);
}

static void search(struct ctx *x, const json_t *q)
{
	static const char *const no_filters[] = {
		"order",     "type",	    "limit",	  "allocated_storage", "disable_bundling",
		"extra_ids", "template_id", "sort_option"};
	struct search s = {.filter = json_deep_copy(q)};
	const char *wrong = search_options(&s, q);
	struct filter_error why;

	for (size_t i = 0; i < ARRAY_LEN(no_filters); i++)
		json_object_del(s.filter, no_filters[i]);
	if (wrong) {
		violate(x, "search", "%s", wrong);
		say(x, 400, "{\"error\": \"invalid_request\", \"msg\": \"%s\"}", wrong);
	} else if (!filter_check(x->f, s.filter, &why)) {
		say(x, 400, "{\"error\": \"%s\", \"msg\": \"%s\"}", why.code, why.msg);
	} else {
		watch_filters(x, s.filter);
		/* The server's own, where nothing else is said (OpenAPI; but unverified rows do come). */
		if (!json_object_get(s.filter, "rentable"))
			json_object_set_new(s.filter, "rentable", json_pack("{s:b}", "eq", 1));
		if (!json_object_get(s.filter, "rented"))
			json_object_set_new(s.filter, "rented", json_pack("{s:b}", "eq", 0));
		answer_search(x, &s);
	}
	json_decref(s.filter);
}

/* POST with the query as body; GET with it in `q`, everything else in the URL is ignored. */
void serve_search(struct ctx *x)
{
	static const char *const names[] = {"q", NULL};
	json_t *q = x->body ? json_incref(x->body) : NULL;
	const char *text;
	char copy[sizeof(x->text)];

	query_only(x, names);
	if (!strcmp(x->q->method, "GET")) {
		text = param(x, "q");
		copy_text(copy, sizeof(copy), text ? text : "{}");
		q = json_loads(copy, JSON_REJECT_DUPLICATES, NULL);
	}
	if (!json_is_object(q))
		say(x, 400, "{\"error\": \"invalid_request\", \"msg\": \"Invalid json body\"}");
	else
		search(x, q);
	json_decref(q);
}

void serve_search_asks(struct ctx *x)
{
	static const char *const names[] = {"select_cols", "q", NULL};

	if (!body_only(x, names))
		return;
	if (json_is_object(json_object_get(x->body, "q")))
		search(x, json_object_get(x->body, "q"));
	else
		say(x, 400, "{\"error\": \"invalid_request\", \"msg\": \"Invalid json body\"}");
}
