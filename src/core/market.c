/*
 * The rows of a market (market.h), and what is remembered of offers that were taken and of machines
 * that failed. Rows lie in one array with a hash table over their ids; what leaves is marked dead and
 * swept once. Tests: tests/unit/test_market.c.
 */
#include "check.h"
#include "market_parts.h"

/* ---- interest ---- */

static bool is_set(const struct query *q, enum query_key key)
{
	return q->set & UINT32_C(1) << key;
}

static bool interest_same(const struct interest *a, const struct interest *b)
{
	return !strcmp(a->gpu, b->gpu) && !strcmp(a->provider, b->provider) &&
	       a->exact == b->exact && a->bids == b->bids;
}

bool interest_note(struct interests *all, const struct query *q, int64_t now_us)
{
	struct interest one = {.asked_us = now_us,
			       .bids = is_set(q, Q_INTERRUPTIBLE) && q->num[Q_INTERRUPTIBLE]};
	struct interest *at = all->list;
	bool fresh = true;

	if (is_set(q, Q_PROVIDER))
		COPY(one.provider, q->text[Q_PROVIDER]);
	if (is_set(q, Q_GPU)) {
		COPY(one.gpu, q->text[Q_GPU]);
		one.exact = q->gpu_exact;
	}
	if (!one.gpu[0] && !one.bids)
		return false; /* the rotation covers it */
	for (char *p = one.gpu; *p; p++)
		if (*p == '_')
			*p = ' ';
	for (size_t i = 0; i < all->count; i++) {
		struct interest *have = &all->list[i];

		if (interest_same(have, &one)) {
			at = have;
			fresh = now_us - have->asked_us >= INTEREST_US;
			goto note;
		}
		if (have->asked_us < at->asked_us)
			at = have;
	}
	if (all->count < INTERESTS_MAX)
		at = &all->list[all->count++];
note:
	*at = one;
	return fresh;
}

/* ---- life ---- */

struct market *market_new(const struct market_shape *shape)
{
	struct market *m = xcalloc(1, sizeof(*m));

	m->shape = *shape;
	if (m->shape.budget < 1)
		m->shape.budget = 1;
	for (size_t i = 0; i < ARRAY_LEN(m->sides); i++)
		m->sides[i].tie_u6 = UNKNOWN;
	return m;
}

void market_free(struct market *m)
{
	if (!m)
		return;
	if (m->loan)
		m->loan->m = NULL; /* the rows are the loan's now */
	else
		free(m->rows);
	free(m->slots);
	free(m);
}

/* ---- rows ---- */

bool market_lent(const struct market *m)
{
	return m->loan != NULL;
}

/* They are about to change. If they are lent, the loan keeps them and the market goes on with a copy. */
bool rows_own(struct market *m)
{
	struct row *rows;

	if (!m->loan)
		return true;
	rows = reallocarray(NULL, m->cap + 1, sizeof(*rows));
	if (!rows)
		return false;
	if (m->count)
		memcpy(rows, m->rows, m->count * sizeof(*rows));
	m->loan->m = NULL;
	m->loan = NULL;
	m->rows = rows;
	return true;
}

static uint64_t machine_of(const struct offer *o)
{
	return text_hash(o->machine_id[0] ? o->machine_id : o->id);
}

static size_t slot_of(const struct market *m, const char *id)
{
	return (size_t)text_hash(id) & (m->slot_count - 1);
}

static void index_add(struct market *m, size_t i)
{
	size_t at = slot_of(m, m->rows[i].o.id);

	while (m->slots[at])
		at = (at + 1) & (m->slot_count - 1);
	m->slots[at] = (uint32_t)i + 1;
}

/* False: memory is out. */
static bool index_make(struct market *m)
{
	size_t wanted = 64;

	if (m->indexed && m->slot_count >= 2 * (m->count + 1))
		return true;
	while (wanted < 4 * (m->count + 1))
		wanted *= 2;
	if (wanted > m->slot_count) {
		uint32_t *slots = calloc(wanted, sizeof(*slots));

		if (!slots)
			return false;
		free(m->slots);
		m->slots = slots;
		m->slot_count = wanted;
	} else {
		memset(m->slots, 0, m->slot_count * sizeof(*m->slots));
	}
	for (size_t i = 0; i < m->count; i++)
		index_add(m, i);
	m->indexed = true;
	return true;
}

static struct row *row_find(const struct market *m, const char *id)
{
	if (!m->indexed) {
		for (size_t i = 0; i < m->count; i++)
			if (!strcmp(m->rows[i].o.id, id))
				return &m->rows[i];
		return NULL;
	}
	for (size_t at = slot_of(m, id); m->slots[at]; at = (at + 1) & (m->slot_count - 1)) {
		struct row *r = &m->rows[m->slots[at] - 1];

		if (!strcmp(r->o.id, id))
			return r;
	}
	return NULL;
}

/* What comes from outside is bounded (MARKET_ROWS_MAX); a native provider is ourselves. */
static bool rows_grow(struct market *m, size_t n)
{
	size_t cap = m->cap ? m->cap : 64;
	struct row *rows;

	while (cap < n)
		cap *= 2;
	if (cap == m->cap)
		return true;
	rows = reallocarray(m->rows, cap, sizeof(*rows));
	if (!rows)
		return false;
	m->rows = rows;
	m->cap = cap;
	return true;
}

static bool rows_room(struct market *m, size_t n)
{
	return n <= MARKET_ROWS_MAX && rows_grow(m, n);
}

void rows_compact(struct market *m)
{
	size_t kept = 0;

	if (!rows_own(m))
		return;
	for (size_t i = 0; i < m->count; i++) {
		if (m->rows[i].dead)
			continue;
		if (kept != i)
			m->rows[kept] = m->rows[i];
		kept++;
	}
	if (kept != m->count)
		m->indexed = false;
	m->count = kept;
}

void rows_drop_bids(struct market *m)
{
	if (!rows_own(m))
		return;
	for (size_t i = 0; i < m->count; i++)
		m->rows[i].dead = m->rows[i].dead || m->rows[i].o.interruptible;
	rows_compact(m);
}

static void model_learn(struct market *m, const struct offer *o, uint64_t hash)
{
	struct model_name *n = &m->models[m->model_count];

	for (size_t i = 0; i < m->model_count; i++)
		if (m->models[i].hash == hash)
			return;
	if (m->model_count == MODELS_KNOWN_MAX)
		return;
	m->model_count++;
	COPY(n->name, o->gpu_type);
	n->hash = hash;
}

static bool row_fill(struct row *r, const struct offer *o, bool bids)
{
	*r = (struct row){.o = *o, .seen = true};
	if (bids) {
		/* One ask can be rented both ways, and a name stands for one of them. */
		if (strlen(o->id) + sizeof(BID_SUFFIX) > sizeof(r->o.id))
			return false;
		snprintf(r->o.id, sizeof(r->o.id), "%s%s", o->id, BID_SUFFIX);
	}
	r->machine = machine_of(&r->o);
	r->model = text_hash(o->gpu_type);
	return true;
}

static struct gone *gone_find(struct market *m, const char *id)
{
	uint64_t hash = m->gone_count ? text_hash(id) : 0;

	for (size_t i = 0; i < m->gone_count; i++)
		if (m->gone[i].hash == hash && !strcmp(m->gone[i].id, id))
			return &m->gone[i];
	return NULL;
}

void rows_merge(struct market *m, const struct offer *offers, size_t n, bool bids, int64_t now_us)
{
	if (!rows_own(m))
		return;
	for (size_t i = 0; i < n; i++) {
		const struct offer *o = &offers[i];
		const struct gone *g = gone_find(m, o->id);
		struct row r, *have;

		if ((g && now_us < g->until_us) || o->interruptible != bids ||
		    !row_fill(&r, o, bids) || !index_make(m))
			continue;
		model_learn(m, &r.o, r.model);
		have = row_find(m, r.o.id);
		if (have) {
			r.covered = have->covered;
			*have = r;
		} else if (rows_room(m, m->count + 1)) {
			m->rows[m->count] = r;
			index_add(m, m->count++);
		}
	}
}

void market_whole(struct market *m, const struct offer *offers, size_t n)
{
	m->whole = true;
	m->indexed = false;
	m->count = 0; /* nothing has to be copied */
	if (!rows_own(m))
		return;
	if (!rows_grow(m, n))
		n = m->cap;
	for (; m->count < n; m->count++) {
		const struct offer *o = &offers[m->count];

		m->rows[m->count] = (struct row){.o = *o, .machine = machine_of(o)};
	}
}

size_t market_rows(const struct market *m)
{
	return m->count;
}

/* ---- what was taken ---- */

static void gone_note(struct market *m, const char *id, const struct offer *o, int64_t until_us)
{
	struct gone *g = gone_find(m, id);

	if (!g) {
		g = &m->gone[m->gone_at];
		m->gone_at = (m->gone_at + 1) % GONE_MAX;
		if (m->gone_count < GONE_MAX)
			m->gone_count++;
		*g = (struct gone){.hash = text_hash(id), .machine = text_hash(id)};
		COPY(g->id, id);
	}
	g->until_us = until_us;
	if (!o)
		return;
	/* Whether its machine boots is learnt later than it left the market. */
	g->machine = machine_of(o);
	COPY(g->gpu_type, o->gpu_type);
}

/* An id as the provider knows it: the market of bids has no ids of its own. */
static void base_id(const char *id, char out[OFFER_ID_MAX])
{
	size_t n = strlen(id), tail = strlen(BID_SUFFIX);

	copy_text(out, OFFER_ID_MAX, id);
	if (n > tail && n < OFFER_ID_MAX && !strcmp(id + n - tail, BID_SUFFIX))
		out[n - tail] = '\0';
}

static bool gone_mark(struct market *m, const char *offer_id, int64_t now_us)
{
	char id[OFFER_ID_MAX], twin[OFFER_ID_MAX + sizeof(BID_SUFFIX)];
	struct row *r, *bid;

	base_id(offer_id, id);
	snprintf(twin, sizeof(twin), "%s%s", id, BID_SUFFIX);
	r = row_find(m, id);
	bid = row_find(m, twin);
	gone_note(m, id, r ? &r->o : bid ? &bid->o : NULL, now_us + GONE_MEMORY_US);
	if (r)
		r->dead = true;
	if (bid)
		bid->dead = true;
	return r || bid;
}

bool market_gone_all(struct market *m, const char (*offer_ids)[OFFER_ID_MAX], size_t n,
		     int64_t now_us)
{
	bool any = false;

	if (m->whole || !rows_own(m)) /* it is asked again, and then tells everything */
		return false;
	if (n > 1)
		(void)index_make(m); /* else each one is looked for in all rows */
	for (size_t i = 0; i < n; i++)
		any = gone_mark(m, offer_ids[i], now_us) || any;
	if (any)
		rows_compact(m);
	return any;
}

bool market_gone(struct market *m, const char *offer_id, int64_t now_us)
{
	char id[1][OFFER_ID_MAX];

	COPY(id[0], offer_id);
	return market_gone_all(m, (const char(*)[OFFER_ID_MAX])id, 1, now_us);
}

/* ---- machines that failed ---- */

static const struct machine *machine_find(const struct machine *all, size_t n, uint64_t key,
					  int64_t now_us)
{
	for (size_t i = 0; i < n; i++)
		if (all[i].key == key)
			return now_us - all[i].failed_us[0] < MACHINE_MEMORY_US ? &all[i] : NULL;
	return NULL;
}

static struct machine *machine_note(struct market *m, uint64_t key, int64_t now_us)
{
	struct machine *at = m->machines;

	for (size_t i = 0; i < m->machine_count; i++) {
		struct machine *have = &m->machines[i];

		if (have->key == key) {
			if (now_us - have->failed_us[0] >= MACHINE_MEMORY_US)
				*have = (struct machine){.key = key};
			return have;
		}
		if (have->failed_us[0] < at->failed_us[0])
			at = have;
	}
	if (m->machine_count < MACHINES_MAX)
		at = &m->machines[m->machine_count++];
	*at = (struct machine){.key = key};
	return at;
}

void market_failed(struct market *m, const char *offer_id, const char *kind, const char *reason,
		   int64_t now_us)
{
	char id[OFFER_ID_MAX];
	const struct row *r = row_find(m, offer_id);
	const struct gone *g;
	struct machine *at;

	base_id(offer_id, id);
	g = r ? NULL : gone_find(m, id);
	at = machine_note(m, r ? r->machine : g ? g->machine : text_hash(id), now_us);
	for (size_t i = MACHINE_HIDE_AT; i-- > 1;)
		at->failed_us[i] = at->failed_us[i - 1];
	at->failed_us[0] = now_us;
	at->count++;
	at->kind = kind;
	copy_text(at->offer_id, sizeof(at->offer_id), offer_id);
	copy_text(at->gpu_type, sizeof(at->gpu_type), r ? r->o.gpu_type : g ? g->gpu_type : "");
	printable_text(at->reason, sizeof(at->reason), reason);
	if (at->failed_us[MACHINE_HIDE_AT - 1] &&
	    now_us - at->failed_us[MACHINE_HIDE_AT - 1] <= MACHINE_HIDE_US) {
		at->hidden_us = now_us;
		at->until_us = now_us + MACHINE_HIDE_US;
	}
}

/* 0.7 for each time; 0.7^16 is below a thousandth. */
static int64_t lowered(int64_t confidence_m, int64_t times)
{
	for (int64_t i = 0; i < times && i < 16; i++)
		confidence_m = (confidence_m * 7 + 5) / 10;
	return confidence_m;
}

/* ---- what is visible ---- */

struct market_loan *market_lend(struct market *m)
{
	struct market_loan *l = xcalloc(1, sizeof(*l));

	CHECK(!m->loan);
	l->m = m;
	l->rows = m->rows;
	l->count = m->count;
	memcpy(l->machines, m->machines, m->machine_count * sizeof(*m->machines));
	l->machine_count = m->machine_count;
	m->loan = l;
	return l;
}

size_t market_loan_rows(const struct market_loan *l)
{
	return l->count;
}

size_t market_loan_put(const struct market_loan *l, int64_t now_us, struct offer *out)
{
	/* By the last bits of a machine's key: did one with these fail? Most rows need no search then. */
	uint64_t failed[64] = {0};
	size_t n = 0;

	for (size_t i = 0; i < l->machine_count; i++)
		failed[l->machines[i].key >> 6 & 63] |= UINT64_C(1) << (l->machines[i].key & 63);
	for (size_t i = 0; i < l->count; i++) {
		const struct row *r = &l->rows[i];
		const struct machine *bad = NULL;

		if (failed[r->machine >> 6 & 63] >> (r->machine & 63) & 1)
			bad = machine_find(l->machines, l->machine_count, r->machine, now_us);
		if (bad && now_us < bad->until_us)
			continue;
		out[n] = r->o;
		out[n].confidence_m = lowered(r->o.confidence_m,
					      r->misses + (bad ? bad->count : 0));
		n++;
	}
	return n;
}

void market_loan_end(struct market_loan *l)
{
	if (l->m)
		l->m->loan = NULL;
	else
		free(l->rows);
	free(l);
}

int64_t market_unhide_us(const struct market *m, int64_t now_us)
{
	int64_t next = INT64_MAX;

	for (size_t i = 0; i < m->machine_count; i++)
		if (m->machines[i].until_us > now_us && m->machines[i].until_us < next)
			next = m->machines[i].until_us;
	return next;
}

void market_health(const struct market *m, int64_t now_us,
		   void (*fn)(void *arg, const struct offer_health *h), void *arg)
{
	for (size_t i = 0; i < m->machine_count; i++) {
		const struct machine *bad = machine_find(m->machines, m->machine_count,
							 m->machines[i].key, now_us);
		struct offer_health h;
		bool shown = false;

		if (!bad)
			continue;
		h = (struct offer_health){.provider = m->shape.provider,
					  .offer_id = bad->offer_id,
					  .gpu_type = bad->gpu_type,
					  .failures = bad->count,
					  .multiplier_m = lowered(1000, bad->count),
					  .last_us = bad->failed_us[0],
					  .kind = bad->kind,
					  .reason = bad->reason};
		if (now_us < bad->until_us) {
			h.hidden_us = bad->hidden_us;
			h.until_us = bad->until_us;
		}
		for (size_t k = 0; k < m->count; k++) {
			if (m->rows[k].machine != bad->key)
				continue;
			shown = true;
			h.offer_id = m->rows[k].o.id;
			h.gpu_type = m->rows[k].o.gpu_type;
			fn(arg, &h);
		}
		if (!shown) /* what failed has left the market */
			fn(arg, &h);
	}
}
