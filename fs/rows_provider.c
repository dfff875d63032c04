/*
 * providers/NAME/: how a provider is doing, and the switch that stops purchases there. Everything
 * is derived at the moment of asking: there are few providers, and calls and ages change all the
 * time. Loop thread. Tests: tests/unit/test_rows.c.
 */
#include "rows.h"

/* One show function a member of the view: text or number, in the row's own words. */
#define SHOW(name, put)                                                   \
	static int show_##name(const struct ctx *x, struct buf *out)      \
	{                                                                 \
		struct provider_view v;                                   \
                                                                          \
		if (!engine_provider_view(x->e, (size_t)x->provider, &v)) \
			return -ENOENT;                                   \
		return put;                                               \
	}

/* Microseconds to whole seconds; unknown stays unknown. */
static int64_t whole_seconds(int64_t us)
{
	return us < 0 ? UNKNOWN : us / SECOND_US;
}

/* An account may be overdrawn: that is no unknown. */
static int put_balance(struct buf *out, int64_t u6)
{
	if (u6 < UNKNOWN)
		buf_putc(out, '-');
	return put_money_line(out, u6 < UNKNOWN ? -u6 : u6);
}

SHOW(state, put_line(out, v.state))
SHOW(reason, put_line(out, v.reason))
SHOW(offers, put_int_line(out, v.offers))
SHOW(list_age, put_int_line(out, whole_seconds(v.list_age_us)))
SHOW(list_complete, put_int_line(out, v.list_complete))
SHOW(calls, put_int_line(out, v.calls))
SHOW(errors, put_int_line(out, v.errors))
SHOW(dropped, put_int_line(out, v.dropped))
SHOW(foreign, put_int_line(out, v.foreign))
SHOW(enabled, put_int_line(out, v.enabled))
SHOW(balance, put_balance(out, v.balance_u6))

static void store_enabled(const struct ctx *x, struct str text, order_cb cb, void *arg)
{
	engine_provider_enable(x->e, &x->who, (size_t)x->provider, text, cb, arg);
}

#define VALUE(name, value_type, value_unit, text) \
	UNIT_ROW(#name, 0444, ROW_INFO, C_DERIVED, value_type, value_unit, show_##name, text)

const struct row provider_rows[] = {
	VALUE(state, V_TEXT, NULL, "ok, slow, throttled, down, nokey, badkey or off"),
	VALUE(reason, V_TEXT, NULL, "the sentence behind the state"),
	VALUE(offers, V_INT, NULL, "offers of this provider on the market"),
	VALUE(list_age, V_INT, "s", "how old the newest list of offers is"),
	VALUE(list_complete, V_BOOL, NULL, "1 if the newest list shows every offer there is"),
	VALUE(balance, V_MONEY, "USD", "what the account holds, where the provider says it"),
	VALUE(calls, V_INT, NULL, "calls made since the start"),
	VALUE(errors, V_INT, NULL, "calls that failed since the start"),
	VALUE(dropped, V_INT, NULL,
	      "rows of its market that were malformed or absurd, since the start"),
	VALUE(foreign, V_INT, NULL, "machines there without our mark; they are never touched"),
	{.path = "enabled",
	 .mode = 0664,
	 .flags = ROW_INFO | ROW_ADMIN,
	 .cache = C_DERIVED,
	 .type = V_BOOL,
	 .show = show_enabled,
	 .store = store_enabled,
	 .doc = "write 0 to stop new purchases there; what exists is still watched and destroyed"},
	INFO_ROWS(0444, C_DERIVED, ""),
	{.path = NULL},
};
