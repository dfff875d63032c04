/*
 * What /gpu/metrics shows, and the mount's own part of it: how many requests of each kind the kernel
 * has sent, counted where they come in. The unlisted file `counters` shows them as well; tests
 * measure with it. The names are those of linux/fuse.h; the metric calls what has no name here
 * "other". Loop thread. Tests: tests/mount/coherence.bats, tests/mount/metrics.bats.
 */
#include <linux/fuse.h>

#include "internal.h"

#define METRICS_KEEP_NS ((uint64_t)1000000000)

#define OP(name) [FUSE_##name] = #name
static const char *const operation_names[OPCODES] = {
	OP(LOOKUP),	  OP(FORGET),	     OP(GETATTR),  OP(SETATTR),	     OP(READLINK),
	OP(SYMLINK),	  OP(MKNOD),	     OP(MKDIR),	   OP(UNLINK),	     OP(RMDIR),
	OP(RENAME),	  OP(LINK),	     OP(OPEN),	   OP(READ),	     OP(WRITE),
	OP(STATFS),	  OP(RELEASE),	     OP(FSYNC),	   OP(SETXATTR),     OP(GETXATTR),
	OP(LISTXATTR),	  OP(REMOVEXATTR),   OP(FLUSH),	   OP(INIT),	     OP(OPENDIR),
	OP(READDIR),	  OP(RELEASEDIR),    OP(FSYNCDIR), OP(GETLK),	     OP(SETLK),
	OP(SETLKW),	  OP(ACCESS),	     OP(CREATE),   OP(INTERRUPT),    OP(BMAP),
	OP(DESTROY),	  OP(IOCTL),	     OP(POLL),	   OP(NOTIFY_REPLY), OP(BATCH_FORGET),
	OP(FALLOCATE),	  OP(READDIRPLUS),   OP(RENAME2),  OP(LSEEK),	     OP(COPY_FILE_RANGE),
	OP(SETUPMAPPING), OP(REMOVEMAPPING),
};
#undef OP

void counters_request(struct mount *m)
{
	const struct fuse_in_header *in = m->in.mem;

	if (m->in.size >= sizeof(*in) && in->opcode < OPCODES)
		m->counts[in->opcode]++;
}

/* The counters are kept here, where requests come in; Prometheus gets those that moved. */
static void collect(struct metric_source *src, struct metric_sink *sink)
{
	const struct mount *m = container_of(src, struct mount, metric_source);

	for (unsigned i = 0; i < OPCODES; i++)
		if (m->counts[i])
			metric_put(sink, METRIC_FUSE_REQUESTS,
				   operation_names[i] ? operation_names[i] : "other", NULL,
				   (int64_t)m->counts[i]);
}

void counters_start(struct mount *m)
{
	m->metric_source.collect = collect;
	if (m->args.metrics)
		metrics_add_source(m->args.metrics, &m->metric_source);
}

/* Almost every rendering differs from the last one, for looking at it counts as well; but what stat
 * said must be what is read then (tree, rule 10: tar and rsync trust st_size). So one text stands
 * until something happened in the engine, for a second at most. */
void mount_metrics(struct mount *m, struct buf *out)
{
	uint64_t now_ns = uv_hrtime();

	if (!m->args.metrics)
		return;
	if (!m->metrics.len || m->metrics_changes != m->changes ||
	    now_ns - m->metrics_ns > METRICS_KEEP_NS) {
		buf_reset(&m->metrics);
		metrics_text(m->args.metrics, &m->metrics);
		m->metrics_changes = m->changes;
		m->metrics_ns = now_ns;
	}
	out->failed = out->failed || m->metrics.failed;
	if (m->metrics.len)
		buf_add(out, m->metrics.data, m->metrics.len);
}

void mount_counters(const struct mount *m, struct buf *out)
{
	for (unsigned i = 0; i < OPCODES; i++) {
		if (operation_names[i])
			buf_printf(out, "%s %llu\n", operation_names[i],
				   (unsigned long long)m->counts[i]);
		else if (m->counts[i])
			buf_printf(out, "OPCODE_%u %llu\n", i, (unsigned long long)m->counts[i]);
	}
}
