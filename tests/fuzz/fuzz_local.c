/*
 * What the local host reads of files and programs, by the first byte: the record of an instance, a line of
 * nvidia-smi, the end of a log (which its owner writes), the key file; and a user's words on their way into
 * sshd_config. Most of these functions are their file's own, so the files are included.
 */
#include "../../src/io/keys.c"
#include "../../src/io/local_config.c"
#include "../../src/io/local_gpus.c"
#include "../../src/io/local_record.c"
#include "fuzz.h"

static void record(char *text)
{
	const struct local_conf c = {.deployment = "abcd1234"};
	struct local_record r;

	record_guess(&c, "gpufs-x", &r);
	if (record_parse(&r, text))
		CHECK(r.port > 0 && r.port <= 65535 && r.uid >= 0);
	CHECK(memchr(r.host_key, '\0', sizeof(r.host_key)));
}

static void gpu(char *text)
{
	struct host_gpu g = {0};

	if (smi_line(text, &g))
		CHECK(g.index >= 0 && g.name[0] && (g.memory_mb > 0 || g.memory_mb == UNKNOWN));
}

static void last_line(const char *text)
{
	char out[64];

	local_last_line(text, out, sizeof(out));
	for (const char *p = out; *p; p++)
		CHECK(*p >= ' ' && *p < 0x7f);
}

static void key_file(char *text, size_t n)
{
	struct key_file f = {0};
	struct error why = {0};

	if (key_file_parse("key", text, n, &f, &why))
		CHECK(why.text[0] && !strstr(why.text, "0123456789abcdef"));
	else
		CHECK(f.deployment[0]);
}

/* NAME, a line break, VALUE: whatever is let through, the text has as many lines as without it. */
static void config(char *text)
{
	const struct local_record r = {.label = "l", .user = "u", .uid = 1, .port = 22};
	struct spec_env e = {0};
	struct host_call call = {.authorized_keys = "k", .env = &e, .env_count = 1};
	struct error why = {0};
	BUF out = {0};
	char *rest = text;
	size_t lines = 0;

	COPY(e.name, strsep(&rest, "\n"));
	COPY(e.value, rest ? rest : "");
	if (local_env_check(&call, &why))
		return;
	local_sshd_config("/d", &r, &call, &out);
	for (size_t i = 0; i < out.len; i++)
		lines += out.data[i] == '\n';
	CHECK(!out.failed && lines == 17 && !memchr(out.data, '\r', out.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	FREE char *text = xcalloc(n + 1, 1);

	if (!n)
		return 0;
	memcpy(text, data + 1, n - 1);
	switch (data[0] % 5) {
	case 0:
		record(text);
		break;
	case 1:
		gpu(text);
		break;
	case 2:
		last_line(text);
		break;
	case 3:
		key_file(text, n - 1);
		break;
	default:
		config(text);
		break;
	}
	return 0;
}
