/*
 * The account of the fake Vast.ai: balance, charges, invoices, templates, and the small calls that hardly
 * anybody makes.
 */
#include "vastai_parts.h"

void serve_account(struct ctx *x)
{
	static const char *const names[] = {"owner", NULL};
	bool other = fault_is(x, FVF_OTHER);
	int64_t credit_u6 = (int64_t)(x->f->credit_left / HOUR_US);
	double credit = other ? 3.21 : (double)credit_u6 / 1e6;
	double left = credit < 0 ? 0 : credit;

	query_only(x, names);
	say(x, 200,
	    "{\"id\": %d, \"key_id\": 9, \"username\": \"%s\", \"email\": \"%s@example.com\", "
	    "\"credit\": %.6f, \"balance\": %.6f, \"balance_threshold\": 5, "
	    "\"balance_threshold_enabled\": false, \"has_billing\": true, \"ssh_key\": \"ssh-rsa "
	    "AAAAB3...\", \"sid\": \"feedface0001\", \"api_key\": \"%s\"}",
	    other ? 777 : 123456, other ? "other" : "you", other ? "other" : "you", left,
	    credit < 0 ? credit : 0.0, x->f->key);
}

/* ---- charges ---- */

static bool day_range(const json_t *filter, const char *key, double *from, double *to)
{
	const json_t *day = json_object_get(filter, key);
	const json_t *gte = json_object_get(day, "gte"), *lte = json_object_get(day, "lte");

	*from = json_number_value(gte);
	*to = json_number_value(lte);
	return json_is_number(gte) && json_is_number(lte);
}

static json_t *filter_param(struct ctx *x)
{
	const char *text = param(x, "select_filters");
	json_t *filter = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;

	return filter;
}

static void put_charge(struct ctx *x, const struct fv_instance *i)
{
	double start = (double)(x->f->c.epoch_us + i->created_us) / 1e6;
	double end = (double)(x->f->c.epoch_us + (i->gone_us < 0 ? x->f->now_us : i->gone_us)) /
		     1e6;
	double total = (double)billed_u6(i) / 1e6, hours = (double)i->gpu_us / 3.6e9;
	double gpu = hours * (double)i->gpu_u6 / 1e6, disk = total - gpu;
	struct buf *b = &x->out->body;

	buf_printf(b,
		   "{\"start\": %.0f, \"end\": %.0f, \"type\": \"instance\", \"source\": "
		   "\"instance-%lld\", \"description\": \"Instance %lld Charges - %d days\", "
		   "\"amount\": %.3f, \"metadata\": {\"template_id\": null, \"label\": ",
		   start, end, (long long)i->id, (long long)i->id, (int)((end - start) / 86400) + 1,
		   total);
	if (i->label_null)
		buf_puts(b, "null");
	else
		buf_json(b, i->label, strlen(i->label));
	buf_printf(
		b,
		"}, \"items\": [{\"start\": %.0f, \"end\": %.0f, \"type\": \"gpu\", \"source\": "
		"null, "
		"\"description\": \"%.3f hours at $%.3f/hour\", \"amount\": %.3f, \"metadata\": "
		"{}, "
		"\"items\": []}, {\"start\": %.0f, \"end\": %.0f, \"type\": \"disk\", \"source\": "
		"null, \"description\": \"%.3f hours at $%.3f/hour\", \"amount\": %.3f, "
		"\"metadata\": {}, \"items\": []}]}",
		start, end, hours, (double)i->gpu_u6 / 1e6, gpu, start, end, (end - start) / 3600,
		(double)i->disk_u6 / 1e6, disk);
}

void serve_charges(struct ctx *x)
{
	static const char *const names[] = {"select_filters", "format",	     "limit",
					    "latest_first",   "after_token", NULL};
	json_t *filter = filter_param(x);
	double from, to;
	size_t n = 0;
	BUF rows = {.data = NULL};

	query_only(x, names);
	if (!day_range(filter, "day", &from, &to)) {
		refuse(x, 400, NULL,
		       "Must provide both 'day' gte and lte filters for instance charges");
		json_decref(filter);
		return;
	}
	say(x, 200, "[");
	for (size_t k = x->f->instance_count; k-- > 0;) {
		struct fv_instance *i = x->f->instances[k];
		double at = (double)(x->f->c.epoch_us + i->created_us) / 1e6;

		if (at < from || at > to)
			continue;
		bill(x->f, i);
		buf_puts(&x->out->body, n++ ? ", " : "");
		put_charge(x, i);
	}
	buf_puts(&x->out->body, "]");
	buf_add(&rows, x->out->body.data, x->out->body.len);
	say(x, 200,
	    "{\"success\": true, \"count\": %zu, \"total\": %zu, \"next_token\": null, "
	    "\"results\": ",
	    n, n);
	buf_add(&x->out->body, rows.data, rows.len);
	buf_puts(&x->out->body, "}");
	json_decref(filter);
}

void serve_invoices(struct ctx *x)
{
	json_t *filter = filter_param(x);
	double from, to;

	if (day_range(filter, "when", &from, &to))
		say(x, 200,
		    "{\"success\": true, \"count\": 0, \"total\": 0, \"next_token\": null, "
		    "\"results\": "
		    "[]}");
	else
		refuse(x, 200, NULL, "Invalid date range");
	json_decref(filter);
}

/* ---- templates ---- */

static const struct {
	int64_t id;
	const char *hash, *name, *image, *rest;
	bool recommended;
} templates[] = {
	{301, "4e17788f74f075dd9aab7d0d4427968f", "Example Template", "library/ubuntu",
	 "\"tag\": \"22.04\", \"env\": \"-e ENV1=val1 -p 8000:8000\", \"onstart\": \"echo "
	 "\\\"hello\\\"\", "
	 "\"runtype\": \"ssh\", \"args_str\": \"\", \"use_ssh\": true, \"ssh_direct\": true, "
	 "\"jup_direct\": true, \"recommended_disk_space\": 8, \"extra_filters\": "
	 "{\"cuda_max_good\": "
	 "{\"gte\": 12.6}}, \"creator_id\": 456, \"created_at\": 1761008618.2, \"count_created\": "
	 "3",
	 false},
	{2048, "a4d2a0b85ae6719c0906ff66e7b3b434", "vLLM", "vastai/vllm",
	 "\"tag\": \"@vastai-automatic-tag\", \"env\": \"-p 1111:1111 -p 8000:8000 -e "
	 "VLLM_MODEL=\", "
	 "\"onstart\": \"entrypoint.sh\", \"runtype\": \"jupyter\", \"args_str\": \"\", "
	 "\"use_ssh\": true, "
	 "\"ssh_direct\": true, \"jup_direct\": true, \"recommended_disk_space\": 64, "
	 "\"extra_filters\": \"{\\\"cuda_max_good\\\": {\\\"gte\\\": 12.9}}\", \"creator_id\": "
	 "62897, "
	 "\"created_at\": 1750000000.5, \"count_created\": 12034",
	 true},
	{2050, "a8a44c7363cbca20056020397e3bf072", "Open Webui (Ollama)", "vastai/openwebui",
	 "\"tag\": \"\", \"env\": null, \"onstart\": null, \"runtype\": \"args\", \"args_str\": "
	 "null, "
	 "\"use_ssh\": false, \"ssh_direct\": false, \"jup_direct\": false, "
	 "\"recommended_disk_space\": 40, \"extra_filters\": null, \"creator_id\": 62897, "
	 "\"created_at\": 1750000000, \"count_created\": 9000",
	 true},
};

bool template_known(const char *hash)
{
	for (size_t i = 0; i < ARRAY_LEN(templates); i++)
		if (!strcmp(templates[i].hash, hash))
			return true;
	return false;
}

static void template_columns(struct columns *c, size_t i)
{
	c->n = c->texts = 0;
	col_int(c, "id", templates[i].id);
	col_text(c, "hash_id", templates[i].hash);
	col_text(c, "name", templates[i].name);
	col_text(c, "image", templates[i].image);
	col_bool(c, "recommended", templates[i].recommended);
}

void serve_templates(struct ctx *x)
{
	static const char *const names[] = {"select_filters", "select_cols", "order_by", NULL};
	json_t *filter = filter_param(x);
	struct columns *c = xcalloc(1, sizeof(*c));
	struct filter_error why;
	BUF rows = {.data = NULL};
	size_t n = 0;

	query_only(x, names);
	if (filter && !filter_check(x->f, filter, &why)) {
		say(x, 400, "{\"error\": \"%s\", \"msg\": \"%s\"}", why.code, why.msg);
	} else {
		for (size_t i = 0; i < ARRAY_LEN(templates); i++) {
			template_columns(c, i);
			if (filter && !filter_match(filter, c, NULL))
				continue;
			buf_puts(&rows, n++ ? ", " : "");
			cols_json(&rows, c);
			rows.len--; /* the brace: the rest of the row follows */
			buf_printf(&rows, ", %s}", templates[i].rest);
		}
		say(x, 200, "{\"success\": true, \"templates_found\": %zu, \"templates\": [", n);
		buf_add(&x->out->body, rows.data, rows.len);
		buf_puts(&x->out->body, "]}");
	}
	free(c);
	json_decref(filter);
}

/* ---- the rest ---- */

void serve_filters(struct ctx *x)
{
	say(x, 200, "{\"success\": true, \"filters\": {\"gpu_name\": [], \"label\": []}}");
}

void serve_increases(struct ctx *x)
{
	if (!strcmp(x->q->method, "GET"))
		say(x, 200, "{\"success\": true, \"pending_price_increases\": []}");
	else
		say(x, 404, "{\"success\": false, \"error\": \"no_pending_price_increase\"}");
}

void serve_logs(struct ctx *x)
{
	static const char *const names[] = {"tail", "filter", "daemon_logs", NULL};

	if (x->body && !body_only(x, names))
		return;
	if (instance_find(x->f, x->id))
		say(x, 200,
		    "{\"success\": true, \"result_url\": \"https://s3.example.com/logs/%lld\"}",
		    (long long)x->id);
	else
		refuse(x, 404, "no_such_instance", "Instance %lld not found.", (long long)x->id);
}

void serve_volumes(struct ctx *x)
{
	if (!strcmp(x->q->method, "GET"))
		say(x, 200, "{\"volumes\": []}");
	else
		refuse(x, 404, "no_such_volume", "Volume with that ID does not exist.");
}
