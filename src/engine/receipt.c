/*
 * The receipt: who ordered the end and when, the calls made, the evidence that the machine is gone,
 * what was billed. While the machine may still exist it says so. Loop thread. Tests:
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
	buf_printf(out, "calls create=%lld destroy=%lld look=%lld\n", (long long)s->creates,
		   (long long)s->deletes, (long long)s->looks);
	line_text(out, "evidence",
		  s->evidence ? s->evidence
		  : proven    ? "nothing was ever made"
			      : "");
	buf_printf(out, "seconds_billed %lld\n",
		   (long long)(session_billed_us(s, now) / SECOND_US));
	buf_puts(out, "cost ");
	put_money(out, session_cost_u6(s, now));
	buf_putc(out, '\n');
}
