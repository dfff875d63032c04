/*
 * The log: one line an event, to one descriptor, as text or as JSON.
 *
 * Any thread: the loop and the workers share it, so a lock guards the settings and keeps lines
 * whole. Invariants: whatever is in a message, it stays one line (control bytes are escaped:
 * nothing from outside can forge a line); one line is one write(2); AUDIT is hidden by no level
 * (lessons.md, O-24); errno survives a call. Secrets have a type that no format takes, so they
 * cannot come here. Tests: tests/unit/test_store.c.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../core/buf.h"
#include "../core/check.h"
#include "../core/text.h"
#include "io.h"

#define MESSAGE_MAX 4096 /* bytes of one message before escaping; the rest is cut */

static const struct level {
	const char *upper, *lower;
} levels[] = {
	[LOG_DEBUG_] = {"DEBUG", "debug"}, [LOG_INFO_] = {"INFO", "info"},
	[LOG_WARN_] = {"WARN", "warn"},	   [LOG_ERROR_] = {"ERROR", "error"},
	[LOG_AUDIT_] = {"AUDIT", "audit"},
};

/* The one log of the process; everything in it is guarded by lock. */
static struct {
	pthread_mutex_t lock;
	int fd;
	enum log_level level;
	enum log_format format;
} out = {PTHREAD_MUTEX_INITIALIZER, STDERR_FILENO, LOG_INFO_, LOG_TEXT};

void log_open(int fd, enum log_level level, enum log_format format)
{
	pthread_mutex_lock(&out.lock);
	out.fd = fd;
	out.level = level;
	out.format = format;
	pthread_mutex_unlock(&out.lock);
}

static void line_render(struct buf *b, enum log_format format, enum log_level level,
			const char *message, size_t n)
{
	const struct level *l = &levels[level];

	switch (format) {
	case LOG_TEXT:
		put_time(b, clock_wall_us());
		buf_printf(b, " %s ", l->upper);
		buf_escape(b, message, n);
		buf_putc(b, '\n');
		return;
	case LOG_JSON:
		buf_puts(b, "{\"time\":\"");
		put_time(b, clock_wall_us());
		buf_printf(b, "\",\"level\":\"%s\",\"message\":", l->lower);
		buf_json(b, message, n);
		buf_puts(b, "}\n");
		return;
	}
}

static void line_write(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return; /* a log that cannot be written must not stop what it tells of */
		p += put;
		n -= (size_t)put;
	}
}

void log_vline(enum log_level level, const char *fmt, va_list ap)
{
	static const char lost[] = "gpufs: a line of the log was lost: out of memory\n";
	int saved = errno, fd;
	enum log_level wanted;
	enum log_format format;
	char message[MESSAGE_MAX];
	BUF line = {0};

	CHECK((size_t)level < ARRAY_LEN(levels));
	pthread_mutex_lock(&out.lock);
	wanted = out.level;
	format = out.format;
	fd = out.fd;
	pthread_mutex_unlock(&out.lock);
	if (level < wanted && level != LOG_AUDIT_)
		return;

	errno = saved; /* for %m */
	if (vsnprintf(message, sizeof(message), fmt, ap) < 0)
		COPY(message, fmt);
	line_render(&line, format, level, message, strlen(message));
	pthread_mutex_lock(&out.lock);
	if (line.failed)
		line_write(fd, lost, sizeof(lost) - 1);
	else
		line_write(fd, line.data, line.len);
	pthread_mutex_unlock(&out.lock);
	errno = saved;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vline(level, fmt, ap);
	va_end(ap);
}
