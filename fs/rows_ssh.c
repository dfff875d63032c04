/*
 * sessions/NAME/ssh/ and env: what ssh(1) and shells read as their own language, made from texts
 * that a provider sent. Loop thread.
 *
 * Invariants: a host, user or port of unexpected characters is unknown, so that nothing can add an
 * option, a line or a command; the host key is always checked strictly; paths begin with
 * PUBLIC_MOUNT, where the reader sees the tree, and are quoted as ssh_config(5) wants it. Tests:
 * tests/unit/test_rows.c, tests/mount/.
 */
#include "rows_ssh.h"

#include <string.h>

#include "rows.h"

static bool only(const char *s, const char *allowed)
{
	static const char alnum[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

	if (!*s || *s == '-') /* "-oProxyCommand=…" is an option to ssh, not a host */
		return false;
	for (; *s; s++)
		if (!strchr(alnum, *s) && !strchr(allowed, *s))
			return false;
	return true;
}

static bool host_known(const struct session *s)
{
	return only(s->ssh_host, ".:_-");
}

static bool user_known(const struct session *s)
{
	return only(s->ssh_user, "._-");
}

static bool port_known(const struct session *s)
{
	return s->ssh_port >= 1 && s->ssh_port <= 65535;
}

bool ssh_known(const struct session *s)
{
	return host_known(s) && user_known(s) && port_known(s);
}

int session_show_ssh_host(const struct ctx *x, struct buf *out)
{
	return host_known(x->session) ? put_line(out, x->session->ssh_host) : 0;
}

int session_show_ssh_port(const struct ctx *x, struct buf *out)
{
	return port_known(x->session) ? put_int_line(out, x->session->ssh_port) : 0;
}

int session_show_ssh_user(const struct ctx *x, struct buf *out)
{
	return user_known(x->session) ? put_line(out, x->session->ssh_user) : 0;
}

static void put_path(const struct ctx *x, const struct session *s, const char *file,
		     struct buf *out)
{
	buf_printf(out, "%s/sessions/%s/%s", public_mount(x), s->name, file);
}

/* Bare where no shell reads anything into it, else in single quotes. */
static void put_shell_word(const char *s, struct buf *out)
{
	if (only(s, "/._-+,=@:"))
		buf_puts(out, s);
	else
		buf_shell(out, s);
}

/* ssh_config(5): in double quotes, and '%' doubled since these options know tokens. */
static void put_config_path(const struct ctx *x, const struct session *s, const char *option,
			    const char *file, struct buf *out)
{
	BUF path = {0};

	put_path(x, s, file, &path);
	buf_printf(out, "    %s \"", option);
	for (size_t i = 0; i < path.len; i++) {
		if (path.data[i] == '"' || path.data[i] == '\\')
			buf_putc(out, '\\');
		if (path.data[i] == '%')
			buf_putc(out, '%');
		buf_putc(out, path.data[i]);
	}
	buf_puts(out, "\"\n");
	out->failed |= path.failed;
}

void ssh_put_block(const struct ctx *x, const struct session *s, struct buf *out)
{
	if (!ssh_known(s))
		return;
	buf_printf(out, "Host %s.gpu\n", s->name);
	buf_printf(out, "    HostName %s\n", s->ssh_host);
	buf_printf(out, "    Port %lld\n", (long long)s->ssh_port);
	buf_printf(out, "    User %s\n", s->ssh_user);
	put_config_path(x, s, "IdentityFile", "ssh/key", out);
	buf_puts(out, "    IdentitiesOnly yes\n");
	put_config_path(x, s, "UserKnownHostsFile", "ssh/known_hosts", out);
	/* The address of a machine may move while ssh shakes hands (a cloud's proxy, then the machine
	 * itself): its key is looked up by a name that does not. */
	buf_printf(out, "    HostKeyAlias %s.gpu\n", s->name);
	buf_puts(out, "    GlobalKnownHostsFile /dev/null\n"
		      "    StrictHostKeyChecking yes\n"
		      "    UpdateHostKeys no\n");
}

int ssh_show_config(const struct ctx *x, struct buf *out)
{
	ssh_put_block(x, x->session, out);
	return 0;
}

int ssh_show_command(const struct ctx *x, struct buf *out)
{
	BUF path = {0};

	if (!ssh_known(x->session))
		return 0;
	put_path(x, x->session, "ssh/config", &path);
	if (path.failed)
		return -ENOMEM;
	buf_puts(out, "ssh -F ");
	put_shell_word(path.data, out);
	buf_printf(out, " %s.gpu\n", x->session->name);
	return 0;
}

int ssh_show_key(const struct ctx *x, struct buf *out)
{
	const struct secret *key = &x->session->private_key;

	if (!key->bytes || key->len == 0)
		return 0;
	buf_add(out, key->bytes, key->len);
	if (key->bytes[key->len - 1] != '\n')
		buf_putc(out, '\n'); /* OpenSSH refuses a key whose last line has no end */
	return 0;
}

/* One line of the session's own, without the newline that it may or may not carry. */
static int put_own_line(const char *s, struct buf *out)
{
	size_t n = s ? strcspn(s, "\n") : 0;

	if (n > 0) {
		buf_escape(out, s, n);
		buf_putc(out, '\n');
	}
	return 0;
}

int ssh_show_key_pub(const struct ctx *x, struct buf *out)
{
	return put_own_line(x->session->public_key, out);
}

int ssh_show_known_hosts(const struct ctx *x, struct buf *out)
{
	const struct session *s = x->session;

	if (!s->host_key || !*s->host_key || !host_known(s) || !port_known(s))
		return 0;
	/* sshd(8): the plain name means port 22, any other stands in brackets. First the alias of config. */
	buf_printf(out, "%s.gpu,", s->name);
	if (s->ssh_port == 22)
		buf_printf(out, "%s ", s->ssh_host);
	else
		buf_printf(out, "[%s]:%lld ", s->ssh_host, (long long)s->ssh_port);
	return put_own_line(s->host_key, out);
}

static void put_env(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "GPU_%s=", name);
	buf_shell(out, value);
	buf_putc(out, '\n');
}

/* A line whose value is what `show` writes, without its newline. */
static void put_env_shown(const struct ctx *x, struct buf *out, const char *name,
			  int (*show)(const struct ctx *x, struct buf *out))
{
	BUF value = {0};

	show(x, &value);
	if (value.len > 0 && value.data[value.len - 1] == '\n')
		value.data[--value.len] = '\0';
	put_env(out, name, value.data ? value.data : "");
	out->failed |= value.failed;
}

static void put_env_path(const struct ctx *x, struct buf *out, const char *name, const char *file)
{
	BUF path = {0};

	put_path(x, x->session, file, &path);
	put_env(out, name, path.data ? path.data : "");
	out->failed |= path.failed;
}

int ssh_show_env(const struct ctx *x, struct buf *out)
{
	static const struct {
		const char *name;
		int (*show)(const struct ctx *x, struct buf *out);
	} values[] = {
		{"ID", session_show_id},
		{"HOST", session_show_ssh_host},
		{"PORT", session_show_ssh_port},
		{"USER", session_show_ssh_user},
		{"PROVIDER", session_show_provider},
		{"TYPE", session_show_gpu_type},
		{"COUNT", session_show_gpu_count},
		{"VRAM_GB", session_show_vram_gb},
		{"PRICE_PER_HOUR", session_show_price_per_hour},
		{"EXPIRES_AT", session_show_expires_at},
	};

	if (!x->session->bought_us)
		return 0;
	put_env(out, "NAME", x->session->name);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		put_env_shown(x, out, values[i].name, values[i].show);
	put_env_path(x, out, "KEY", "ssh/key");
	put_env_path(x, out, "KNOWN_HOSTS", "ssh/known_hosts");
	put_env_path(x, out, "SSH_CONFIG", "ssh/config");
	return 0;
}
