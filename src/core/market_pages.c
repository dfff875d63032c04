/*
 * Which page of a market comes next (market.h), and what a page tells about the rows that it did not
 * show. A page is the end of its range only if it has less than half of what a page may bring, or
 * nothing dearer than its beginning: a quarter of the rows may be missing after the cap was applied
 * (wire page of Vast.ai, 4.3), and taking a thinned page for the end would call everything dearer
 * absent. The next page begins at the last price. Tests: tests/unit/test_market.c.
 */
#include "check.h"
#include "market_parts.h"

/* ---- model pages ---- */

static void model_ask(struct market *m, const char *name, bool bids)
{
	struct page_ask *ask = &m->model_asks[m->model_ask_count];

	for (size_t i = 0; i < m->model_ask_count; i++)
		if (m->model_asks[i].interruptible == bids && !strcmp(m->model_asks[i].gpu, name))
			return;
	if (m->model_ask_count == MODEL_ASKS_MAX)
		return;
	m->model_ask_count++;
	*ask = (struct page_ask){.interruptible = bids};
	COPY(ask->gpu, name);
}

static bool concerns(const struct market *m, const struct interest *in, int64_t now_us)
{
	char wanted[64], name[64];

	if (now_us - in->asked_us >= INTEREST_US || (in->bids && !m->shape.bids))
		return false;
	if (!in->provider[0])
		return true;
	fold(in->provider, wanted, sizeof(wanted));
	fold(m->shape.provider, name, sizeof(name));
	return !strcmp(wanted, name);
}

static void model_asks_add(struct market *m, const struct interest *in)
{
	const struct side *s = &m->sides[in->bids];
	bool known = false;

	/* A market that fits on one page needs no pages of its parts. */
	if (!in->gpu[0] || s->last_pages == 1 || m->shape.whole)
		return;
	for (size_t i = 0; i < m->model_count; i++) {
		if (!gpu_model_match(in->gpu, m->models[i].name, in->exact))
			continue;
		known = true;
		model_ask(m, m->models[i].name, in->bids);
	}
	if (!known && !s->last_pages) /* the market may have it, and call it so */
		model_ask(m, in->gpu, in->bids);
}

static void quota_set(struct market *m)
{
	size_t n = m->model_ask_count, most = (size_t)m->budget - 1;

	if (m->budget == 1) { /* one page a refresh: models and the rest take turns */
		most = m->rest_first ? 0 : 1;
		m->rest_first = n > 0 && !m->rest_first;
	}
	m->model_quota = n < most ? n : most;
}

void market_begin(struct market *m, const struct interests *all, int64_t now_us)
{
	bool bids = false;

	m->model_ask_count = 0;
	m->budget = m->shape.budget;
	m->kind = PAGE_NONE;
	for (size_t i = 0; i < all->count; i++)
		if (concerns(m, &all->list[i], now_us)) {
			bids = bids || all->list[i].bids;
			model_asks_add(m, &all->list[i]);
		}
	if (m->bids && !bids) { /* nobody looks at it any more, so nobody keeps it current */
		rows_drop_bids(m);
		m->sides[1] = (struct side){.tie_u6 = UNKNOWN};
	}
	m->bids = bids;
	for (size_t i = 0; i < ARRAY_LEN(m->sides); i++) {
		struct side *s = &m->sides[i];

		s->began = s->from_u6 == 0 && s->tie_u6 == UNKNOWN;
		s->done = i == 1 && !bids;
	}
	quota_set(m);
}

/* ---- the rotation ---- */

/* Do rows of this model stand on both sides of the price? Others need not be asked for at it. */
static bool spans(const struct market *m, uint64_t model, bool bids, int64_t price_u6)
{
	bool below = false, above = false;

	for (size_t i = 0; i < m->count && !(below && above); i++) {
		const struct row *r = &m->rows[i];

		if (r->model != model || r->o.interruptible != bids)
			continue;
		below = below || r->o.price_u6 <= price_u6;
		above = above || r->o.price_u6 >= price_u6;
	}
	return below && above;
}

static void round_ask(struct market *m, struct side *s, struct page_ask *ask)
{
	bool bids = s == &m->sides[1];

	*ask = (struct page_ask){.from_price_u6 = s->from_u6, .interruptible = bids};
	m->kind = PAGE_ROUND;
	if (s->tie_u6 == UNKNOWN)
		return;
	while (s->tie_at < m->model_count && !spans(m, m->models[s->tie_at].hash, bids, s->tie_u6))
		s->tie_at++;
	if (s->tie_at < m->model_count) {
		COPY(ask->gpu, m->models[s->tie_at].name);
		ask->from_price_u6 = s->tie_u6;
		m->kind = PAGE_TIE;
		return;
	}
	ask->from_price_u6 = s->from_u6 = s->tie_u6 + 1;
	s->tie_u6 = UNKNOWN;
}

bool market_next(struct market *m, struct page_ask *out)
{
	struct side *s = &m->sides[m->side_turn & 1];

	m->kind = PAGE_NONE;
	if (m->budget == 0)
		return false;
	if (m->model_quota) {
		m->model_quota--;
		m->ask = m->model_asks[m->model_turn++ % m->model_ask_count];
		m->kind = PAGE_MODEL;
	} else {
		if (s->done)
			s = &m->sides[~m->side_turn & 1];
		if (s->done)
			return false;
		m->side_turn = s == &m->sides[0];
		round_ask(m, s, &m->ask);
	}
	m->budget--;
	m->ask.limit = PAGE_ASK_ROWS;
	m->ask.shape = m->shape.machine;
	*out = m->ask;
	return true;
}

/* ---- a page ---- */

/* Rows of the ask's range up to `to_u6`, exclusive: they would have been shown. */
static void cover(struct market *m, const struct page_ask *ask, int64_t to_u6)
{
	uint64_t model = text_hash(ask->gpu);

	if (!rows_own(m))
		return;
	for (size_t i = 0; i < m->count; i++) {
		struct row *r = &m->rows[i];

		if (r->o.interruptible != ask->interruptible ||
		    (ask->gpu[0] && r->model != model) || r->o.price_u6 >= to_u6)
			continue;
		if (r->o.price_u6 >= ask->from_price_u6)
			r->covered = true;
	}
}

static void round_page(struct side *s, int64_t last_u6, bool onwards, bool end)
{
	s->pages++;
	if (end) {
		/* What began in this refresh is not asked for again in it. */
		s->done = s->began;
		s->began = true;
		s->last_pages = s->pages;
		s->pages = s->from_u6 = 0;
	} else if (onwards) {
		s->from_u6 = last_u6;
	} else {
		s->tie_u6 = last_u6 > s->from_u6 ? last_u6 : s->from_u6;
		s->tie_at = 0;
	}
}

/* All its rows are in. */
static void page_over(struct market *m, const struct result *res)
{
	struct side *s = &m->sides[m->ask.interruptible];
	int64_t cap = m->shape.page_rows > 0 ? m->shape.page_rows : m->ask.limit;
	int64_t rows = (int64_t)res->rows, last = res->last_price_u6;
	bool onwards = last > m->ask.from_price_u6;
	bool end = m->shape.whole || rows < (cap + 1) / 2 || (rows < cap && !onwards);

	/* One model at one price fills the page: it cannot be split, what it shows must do. */
	if (m->kind == PAGE_TIE && !end && !onwards)
		last++;
	/* No row at all of a model may as well mean that its name is another by now. */
	if (rows || !m->ask.gpu[0])
		cover(m, &m->ask, end ? INT64_MAX : last);
	if (m->kind == PAGE_ROUND)
		round_page(s, last, onwards, end);
	else if (m->kind == PAGE_TIE)
		s->tie_at++;
	m->kind = PAGE_NONE;
}

bool market_page_slice(struct market *m, const struct result *res, size_t *at, size_t most,
		       int64_t now_us)
{
	size_t n = res->count - *at < most ? res->count - *at : most;

	CHECK(m->kind != PAGE_NONE);
	if (n)
		rows_merge(m, res->offers + *at, n, m->ask.interruptible, now_us);
	*at += n;
	if (*at < res->count)
		return false;
	page_over(m, res);
	return true;
}

void market_page(struct market *m, const struct result *res, int64_t now_us)
{
	size_t at = 0;

	(void)market_page_slice(m, res, &at, res->count, now_us);
}

void market_end(struct market *m)
{
	m->kind = PAGE_NONE;
	if (!rows_own(m))
		return;
	for (size_t i = 0; i < m->count; i++) {
		struct row *r = &m->rows[i];

		if (r->seen)
			r->misses = 0;
		else if (r->covered && ++r->misses >= MISSES_MAX)
			r->dead = true;
		r->seen = r->covered = false;
	}
	rows_compact(m);
}

bool market_complete(const struct market *m)
{
	return m->sides[0].last_pages > 0;
}
