/*
 * Locations of the fake TensorDock: rows like those that were recorded, with their traps (no vCPU though
 * there are GPUs, memory in MB, a raw display name, tier 4, cities that repeat, non-ASCII letters, swapped
 * city and state, no forwarding, no address), and more of the same kind if more are asked for. With churn the
 * numbers drift between moments, as a function of the seed and the time.
 */
#include "tensordock_parts.h"

static const struct td_row known[] = {
	{"8dd95ff0-dff9-489c-9b02-b38a366b6ab1", "Chubbuck", "Idaho", "United States",
	 "geforcertx4090-pcie-24gb", "NVIDIA GeForce RTX 4090 PCIe 24GB", 1, 3, 396667, 16, 341,
	 29150, true, true},
	{"8dd95ff0-dff9-489c-9b02-b38a366b6ab1", "Chubbuck", "Idaho", "United States",
	 "rtxa6000-pcie-48gb", "NVIDIA RTX A6000 PCIe 48GB", 1, 1, 450000, 0, 64, 900, true, true},
	{"8dd95ff0-dff9-489c-9b02-b38a366b6ab1", "Chubbuck", "Idaho", "United States",
	 "geforcertx5090-pcie-32gb", "geforcertx5090-pcie-32gb", 1, 2, 540000, 32, 128, 4000, false,
	 true},
	{"1e8bfccd-8ad7-4348-9bef-b7f80607ce60", "Dallas", "Texas", "United States",
	 "geforcertx3090-pcie-24gb", "NVIDIA GeForce RTX 3090 PCIe 24GB", 0, 4, 220000, 24, 100,
	 2000, false, true},
	{"64d4a7fe-5953-426d-bc73-3b7a13463fb0", "M\xc3\xb6lln", "Hamburg", "Germany",
	 "rtx6000ada-pcie-48gb", "NVIDIA RTX 6000 Ada PCIe 48GB", 3, 8, 700000, 126, 1546793, 8000,
	 true, true},
	{"4c3af000-9057-4860-a764-c87a53656b2d", "Mumbai", "Maharashtra", "India",
	 "rtxa5000-pcie-24gb", "NVIDIA RTX A5000 PCIe 24GB", 4, 2, 210000, 30, 110, 900, false,
	 true},
	{"89a4bd05-ba7d-46ce-a462-1ad5f2ebc5dd", "Delaware", "Wilmington", "United States",
	 "geforcertx4090-pcie-24gb", "NVIDIA GeForce RTX 4090 PCIe 24GB", 2, 1, 370000, 10, 60, 700,
	 true, false},
	{"c14f2eab-e2b6-451d-833e-c379df75aa2e", "Seattle", "Washington", "United States",
	 "h100-sxm5-80gb", "NVIDIA H100 SXM5 80GB", 3, 8, 1990000, 250, 1900, 20000, true, true},
	{"53006e5a-e27d-4630-a325-965adf8b5a0d", "Mischii", "Dolj", "Romania", "a100-sxm4-80gb",
	 "NVIDIA A100 SXM4 80GB", 2, 4, 850000, 120, 900, 9000, false, true},
	{"d6a3c52e-e024-4407-9f54-057138d3e700", "New York City", "New York", "United States",
	 "v100-sxm2-16gb", "NVIDIA V100 SXM2 16GB", 0, 15, 190000, 80, 500, 3000, false, true},
	{"eea9c19e-c093-4a5a-87b3-ec8b8b84ece2", "Tallinn", "Harjumaa", "Estonia",
	 "rtxa4000-pcie-16gb", "NVIDIA RTX A4000 PCIe 16GB", 1, 0, 80000, 24, 200, 800, true, true},
};

void td_market_make(struct faketd *f, size_t n)
{
	free(f->rows);
	f->rows = xcalloc(n + 1, sizeof *f->rows);
	f->row_count = n;
	for (size_t i = 0; i < n; i++) {
		struct td_row *r = &f->rows[i];

		*r = known[i % ARRAY_LEN(known)];
		if (i < ARRAY_LEN(known))
			continue;
		/* The same once more, somewhere else and at another price. */
		snprintf(r->location, sizeof r->location, "%08x-0000-4000-8000-%012x",
			 (unsigned)(i / ARRAY_LEN(known)), (unsigned)hash64(r->location, 36, 7));
		r->gpu_u6 += td_below(f, 20000);
	}
}

static int64_t moment(const struct faketd *f, int64_t now_us)
{
	return f->c.churn_us ? now_us / f->c.churn_us : 0;
}

/* 0 to n - 1, another one at every moment. */
static int64_t wobble(const struct faketd *f, const struct td_row *r, int64_t now_us, int64_t n)
{
	int64_t at[2] = {moment(f, now_us), r - f->rows};

	return (int64_t)(hash64(at, sizeof at, f->c.seed) % (uint64_t)n);
}

int64_t td_row_most(const struct faketd *f, const struct td_row *r, int64_t now_us)
{
	return f->c.churn_us && r->most && wobble(f, r, now_us, 4) == 0 ? r->most - 1 : r->most;
}

const struct td_row *td_row_find(const struct faketd *f, const char *location, const char *model)
{
	for (size_t i = 0; i < f->row_count; i++)
		if (!strcmp(f->rows[i].location, location) && !strcmp(f->rows[i].model, model))
			return &f->rows[i];
	return NULL;
}

bool td_location_known(const struct faketd *f, const char *location)
{
	for (size_t i = 0; i < f->row_count; i++)
		if (!strcmp(f->rows[i].location, location))
			return true;
	return false;
}

static json_t *model(const struct faketd *f, const struct td_row *r, int64_t now_us)
{
	int64_t u6 = r->gpu_u6 + (f->c.churn_us ? wobble(f, r, now_us, 3000) : 0);

	return json_pack("{s:s, s:s, s:I, s:f, s:{s:I, s:I, s:I}, s:{s:f, s:f, s:f}, s:{s:b, s:b, "
			 "s:b}}",
			 "v0Name", r->model, "displayName", r->display, "max_count",
			 (json_int_t)td_row_most(f, r, now_us), "price_per_hr", (double)u6 / 1e6,
			 "resources", "max_vcpus", (json_int_t)r->vcpus, "max_ram_gb",
			 (json_int_t)r->ram_gb, "max_storage_gb", (json_int_t)r->disk_gb, "pricing",
			 "per_vcpu_hr", VCPU_U6 / 1e6, "per_gb_ram_hr", RAM_U6 / 1e6,
			 "per_gb_storage_hr", DISK_U6 / 1e6, "network_features",
			 "dedicated_ip_available", r->address && !f->c.own_ssh,
			 "port_forwarding_available", r->forwards, "network_storage_available", 0);
}

void td_search(struct td_call *x)
{
	struct faketd *f = x->f;
	json_t *all = json_array(), *gpus = NULL;
	const char *at = "";

	for (size_t i = 0; i < f->row_count; i++) {
		const struct td_row *r = &f->rows[i];

		/* A row is gone for a while now and then. */
		if (f->c.churn_us && wobble(f, r, x->now_us, 12) == 0)
			continue;
		if (strcmp(at, r->location) != 0) {
			at = r->location;
			gpus = json_array();
			json_array_append_new(all,
					      json_pack("{s:s, s:s, s:s, s:s, s:i, s:o}", "id",
							r->location, "city", r->city,
							"stateprovince", r->state, "country",
							r->country, "tier", r->tier, "gpus", gpus));
		}
		json_array_append_new(gpus, model(f, r, x->now_us));
	}
	td_answer(x, 200, json_pack("{s:{s:o}}", "data", "locations", all));
}
