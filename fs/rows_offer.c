/*
 * inventory/OFFER/: one file a value of an offer. The values are core's offer_fields, in its order:
 * row i is field i, so the mask of offer_diff tells which rows changed; a row repeats name, type,
 * unit and doc because a table of constants cannot borrow them, and a test compares the two. Loop
 * thread. Tests: tests/unit/test_docs.c (equal to offer_fields), tests/unit/test_rows.c.
 */
#include "../src/core/check.h"
#include "rows.h"

static int show_field(const struct ctx *x, struct buf *out)
{
	size_t i = (size_t)(x->row - offer_rows);

	CHECK(i < offer_field_count);
	size_t before = out->len;

	offer_fields[i].show(x->offer, out);
	if (out->len > before)
		buf_putc(out, '\n');
	return 0;
}

#define FIELD(name, value_type, value_unit, text) \
	UNIT_ROW(name, 0444, ROW_INFO, C_PLAIN, value_type, value_unit, show_field, text)

const struct row offer_rows[] = {
	FIELD("provider", V_TEXT, NULL, "who rents it out"),
	FIELD("provider_id", V_TEXT, NULL, "the provider's own id of this offer"),
	FIELD("gpu_type", V_TEXT, NULL, "model of the GPU; CPU where there is none"),
	FIELD("gpu_count", V_INT, NULL, "number of GPUs"),
	FIELD("vram_gb", V_INT, "GB", "memory of each GPU, nominal"),
	FIELD("price_per_hour", V_MONEY, "USD/h", "all-in price at the default disk size"),
	FIELD("location", V_TEXT, NULL, "where the machine stands"),
	FIELD("reliability", V_DECIMAL, NULL, "0 to 1, as the provider rates the machine"),
	FIELD("available", V_BOOL, NULL, "1 if it can be bought now"),
	FIELD("max_duration_hours", V_INT, "h", "longest time for which it is offered"),
	FIELD("availability_confidence", V_DECIMAL, NULL,
	      "0 to 1; falls while refreshed lists no longer show the offer"),
	FIELD("cuda_version", V_DECIMAL, NULL, "newest CUDA that the driver supports"),
	FIELD("machine_id", V_TEXT, NULL, "the provider's id of the machine behind the offer"),
	FIELD("interruptible", V_BOOL, NULL, "1 if the machine may be taken away by a higher bid"),
	FIELD("min_bid", V_MONEY, "USD/h", "lowest bid for an interruptible machine"),
	INFO_ROWS(0444, C_PLAIN, ""),
	{.path = NULL},
};
