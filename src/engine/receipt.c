/*
 * The receipt: who ordered the end and when, the calls made, the evidence that the machine is gone,
 * what was billed and at which price. While the machine may still exist it says so. Loop thread. Tests:
 * tests/unit/test_engine.c.
 */
#include <string.h>

#include "internal.h"

static void line_time(struct buf *out, const char *key, int64_t us)
{
	buf_puts(out, key);
	if (us) {
		buf_putc(out, ' ');
		put_time(out, us);
	}
	buf_putc(out, '\n');
}

static void line_text(struct buf *out, const char *key, const char *text)
{
	buf_puts(out, key);
	if (text && text[0]) {
		buf_putc(out, ' ');
		buf_escape(out, text, strlen(text));
	}
	buf_putc(out, '\n');
}

static void line_money(struct buf *out, const char *key, int64_t u6)
{
	buf_puts(out, key);
	if (u6 >= 0) {
		buf_putc(out, ' ');
		put_money(out, u6);
	}
	buf_putc(out, '\n');
}

void engine_receipt(const struct engine *e, const struct session *s, struct buf *out)
{
	int64_t now = engine_now(e);
	bool proven = engine_proven(s);

	line_text(out, "session", s->id);
	line_text(out, "name", s->name);
	line_text(out, "proof",
		  proven ? "complete" : "not yet: the machine is still being destroyed");
	line_text(out, "provider", s->provider);
	line_text(out, "offer_id", s->offer_id);
	line_text(out, "instance_id", s->instance_id);
	line_text(out, "ordered_by", s->end_by);
	line_time(out, "ordered_at", s->end_us);
	line_text(out, "reason", s->reason);
	line_time(out, "bought_at", s->bought_us);
	line_time(out, "running_at", s->running_us);
	line_time(out, "gone_at", s->instance_state == I_GONE ? s->gone_us : 0);
	buf_printf(out, "attempts %lld\n", (long long)s->attempt);
	buf_printf(out, "calls create=%lld destroy=%lld look=%lld\n", (long long)s->creates,
		   (long long)s->deletes, (long long)s->looks);
	line_text(out, "evidence",
		  s->evidence ? s->evidence
		  : proven    ? "nothing was ever made"
			      : "");
	buf_printf(out, "seconds_billed %lld\n",
		   (long long)(session_billed_us(s, now) / SECOND_US));
	line_money(out, "price_per_hour", s->price_u6);
	line_money(out, "price_quoted", s->price_quoted_u6);
	/* What the last status cost; and what was settled before it, in this attempt and in others. */
	line_money(out, "rate_per_hour", session_rate_u6(s));
	line_money(out, "cost_settled", s->cost_prior_u6 + s->settled_u6);
	line_money(out, "cost", session_cost_u6(s, now));
}
