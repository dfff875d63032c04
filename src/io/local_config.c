/*
 * The words that a user gave, on their way into sshd: what may go there, and the text of sshd_config.
 *
 * sshd_config has its own quoting, its own patterns and its own percent signs; every value from outside
 * goes through the one that its place needs, and what no quoting can carry (a newline) is refused before.
 *
 * Owner: any worker. Pure: no file, no process. Must never: put an env value into a sentence.
 * Tests: tests/unit/test_local_host.c
 */
#include <string.h>

#include "local_parts.h"

#define KEYS_MAX ((size_t)64 << 10)

static bool env_name_ok(const char *s)
{
	if (!s[0] || (s[0] >= '0' && s[0] <= '9'))
		return false;
	return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") ==
	       strlen(s);
}

static bool one_line(const char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
			return false;
	return true;
}

int local_env_check(const struct host_call *call, struct error *why)
{
	for (size_t i = 0; i < call->env_count; i++) {
		const struct spec_env *e = &call->env[i];

		if (!memchr(e->name, '\0', sizeof(e->name)) || !env_name_ok(e->name))
			return fail(
				why, ERR_INVALID,
				"env.%.60s is not the name of an environment variable (letters, "
				"digits and _, not beginning with a digit)",
				e->name);
		if (!memchr(e->value, '\0', sizeof(e->value)) || !one_line(e->value))
			return fail(
				why, ERR_INVALID,
				"the value of env.%s has a newline or another control character, "
				"which sshd cannot pass on",
				e->name);
	}
	if (call->visible_devices && !one_line(call->visible_devices))
		return fail(why, ERR_INVALID, "the list of visible GPUs is not one line");
	if (!call->authorized_keys || !call->authorized_keys[0])
		return fail(why, ERR_INVALID, "a local session needs a key that may log in");
	if (strlen(call->authorized_keys) > KEYS_MAX)
		return fail(why, ERR_INVALID, "the keys that may log in are longer than 64 KiB");
	return 0;
}

/* As sshd's argv_split reads it: inside double quotes, backslash guards both quotes and itself. */
static void put_quoted(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_putc(b, '\\');
		buf_putc(b, *s);
	}
}

static void put_setting(struct buf *b, const char *name, const char *value)
{
	buf_puts(b, " \"");
	buf_puts(b, name);
	buf_putc(b, '=');
	put_quoted(b, value);
	buf_putc(b, '"');
}

/* A path in a directive; `expanded`: sshd replaces % in it. */
static void put_path(struct buf *b, const char *key, const char *dir, const char *file,
		     bool expanded)
{
	buf_printf(b, "%s \"", key);
	for (const char *p = dir; *p; p++) {
		if (*p == '"' || *p == '\\')
			buf_putc(b, '\\');
		if (*p == '%' && expanded)
			buf_putc(b, '%');
		buf_putc(b, *p);
	}
	buf_printf(b, "/%s\"\n", file);
}

/* A pattern that matches this name: what means something in a pattern becomes '?'. */
static void put_user_pattern(struct buf *b, const char *name)
{
	buf_puts(b, "AllowUsers ");
	for (; *name; name++)
		buf_putc(b, strchr("*?@!,\"'\\# \t", *name) ? '?' : *name);
	buf_putc(b, '\n');
}

void local_sshd_config(const char *dir, const struct local_record *r, const struct host_call *call,
		       struct buf *out)
{
	buf_puts(out, "# Made by gpufs for one session; goes with it.\n");
	buf_printf(out, "ListenAddress 127.0.0.1\nPort %lld\n", (long long)r->port);
	put_path(out, "HostKey", dir, "host_key", false);
	put_path(out, "AuthorizedKeysFile", dir, "authorized_keys", true);
	buf_puts(out, "UsePAM no\nStrictModes no\nPasswordAuthentication no\n"
		      "KbdInteractiveAuthentication no\nPubkeyAuthentication yes\n"
		      "PidFile none\nPrintMotd no\nLoginGraceTime 30\n"
		      "Subsystem sftp internal-sftp\nAcceptEnv LANG LC_*\n");
	if (r->uid == 0)
		buf_puts(out, "PermitRootLogin prohibit-password\n");
	put_user_pattern(out, r->user);
	/* One line: sshd obeys only the first SetEnv. Ours come first, since the first of a name wins. */
	buf_puts(out, "SetEnv");
	put_setting(out, LOCAL_MARK, r->label);
	put_setting(out, "CUDA_VISIBLE_DEVICES", r->visible_devices);
	put_setting(out, "CUDA_DEVICE_ORDER", "PCI_BUS_ID"); /* the order in which we number GPUs */
	for (size_t i = 0; i < call->env_count; i++)
		put_setting(out, call->env[i].name, call->env[i].value);
	buf_putc(out, '\n');
}
