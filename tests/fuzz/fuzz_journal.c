/*
 * A row of the database: taken, or refused with a sentence; what is taken has bounded texts, can be counted up,
 * and packs to the row that it was. The bytes are columns: a kind (0 NULL, 1 a number of 8 bytes, else a text
 * of so many bytes less 2); where they end, the row goes on as a good one.
 */
#include <stdlib.h>
#include <string.h>

#include "../../src/core/check.h"
#include "../../src/core/record.h"
#include "../../src/core/session.h"
#include "fuzz.h"

static struct journal_op good_row(void)
{
	struct session s;
	struct journal_op op;

	session_init(&s);
	COPY(s.id, "9b2f0c1d-3e4a-4b5c-8d6e-7f8091a2b3c4");
	COPY(s.name, "train");
	s.serial = 7;
	CHECK(session_pack(&s, &op) == 0);
	session_free(&s);
	return op;
}

/* Bytes of one column into op; how many were used. */
static size_t take_column(struct journal_op *op, const uint8_t *data, size_t n)
{
	size_t len = data[0];

	if (len == 0) {
		CHECK(journal_op_text(op, NULL, 0) == 0);
		return 1;
	}
	if (len == 1) {
		int64_t v = 0;

		memcpy(&v, data + 1, n - 1 < sizeof(v) ? n - 1 : sizeof(v));
		CHECK(journal_op_int(op, v) == 0);
		return n < 9 ? n : 9;
	}
	len -= 2;
	len = len < n - 1 ? len : n - 1;
	CHECK(journal_op_text(op, (const char *)data + 1, len) == 0);
	return len + 1;
}

static void same(const struct journal_op *a, const struct journal_op *b)
{
	CHECK(a->n == b->n);
	for (size_t i = 0; i < a->n; i++) {
		const struct journal_value *x = &a->v[i], *y = &b->v[i];

		if (x->type == JV_INT)
			CHECK(y->type == JV_INT && x->i == y->i);
		else if (x->type == JV_TEXT && x->len) /* an empty text may come back as NULL */
			CHECK(y->type == JV_TEXT && x->len == y->len &&
			      !memcmp(x->text, y->text, x->len));
	}
}

static void count(const struct session *s)
{
	static const int64_t moments[] = {0, 1, HOUR_US, INT64_C(1790000000000000), INT64_MAX};

	for (size_t i = 0; i < ARRAY_LEN(moments); i++) {
		(void)session_billed_us(s, moments[i]);
		(void)session_cost_u6(s, moments[i]);
	}
	(void)session_cost_max_u6(s);
	(void)session_rate_u6(s);
	(void)session_mark(s, s->attempt, s->instance_id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct journal_op op = {.table = J_SESSION}, good = good_row(), again;
	struct error why = {0};
	struct session s;

	/* The first byte: which column of the good row is the first to be replaced. */
	for (size_t at = 0, first = n ? data[0] % good.n : 0, i = 0; i < good.n; i++) {
		if (i >= first && at + 1 < n)
			at += take_column(&op, data + 1 + at, n - 1 - at);
		else if (good.v[i].type == JV_INT)
			CHECK(journal_op_int(&op, good.v[i].i) == 0);
		else
			CHECK(journal_op_text(&op, good.v[i].text, good.v[i].len) == 0);
	}
	if (session_unpack(&s, &op, &why)) {
		CHECK(why.text[0]);
	} else {
		count(&s);
		CHECK(session_pack(&s, &again) == 0);
		same(&op, &again);
		journal_op_free(&again);
		session_free(&s);
	}
	journal_op_free(&op);
	journal_op_free(&good);
	return 0;
}
