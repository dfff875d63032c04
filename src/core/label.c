/*
 * Labels: what an instance carries at its provider, made before the create. Ownership is verified
 * with a truncated HMAC-SHA-256 over the rest, never guessed from a prefix, so a look-alike is
 * foreign. gpufs-<deployment 4..8>-<session: 26 base32>-<attempt 1..3>-<mac: 10 base32>   (<= 60)
 * base32 is RFC 4648's alphabet in lower case without padding: 128 bits in 26, 50 bits of mac
 * in 10. Pure (libcrypto computes). Tests: tests/unit/test_session.c.
 */
#include <openssl/hmac.h>
#include <string.h>

#include "check.h"
#include "session.h"

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

static void base32(const unsigned char *in, size_t bits, char *out, size_t chars)
{
	for (size_t i = 0; i < chars; i++) {
		unsigned v = 0;

		for (size_t b = 0; b < 5; b++) {
			size_t at = i * 5 + b;
			unsigned bit = at < bits ? (unsigned)(in[at / 8] >> (7 - at % 8)) & 1 : 0;

			v = v << 1 | bit;
		}
		out[i] = alphabet[v];
	}
	out[chars] = '\0';
}

/* Sixteen bytes of a UUID's hex digits; false if it is none. */
static bool uuid_bytes(const char *uuid, unsigned char out[16])
{
	size_t n = 0;

	memset(out, 0, 16);
	for (const char *p = uuid; *p; p++) {
		static const char hex[] = "0123456789abcdef";
		const char *at = *p == '-' ? NULL : strchr(hex, *p);

		if (*p == '-')
			continue;
		if (!at || n == 32)
			return false;
		out[n / 2] = (unsigned char)(out[n / 2] << 4 | (at - hex));
		n++;
	}
	return n == 32;
}

static void label_mac(const char *body, const unsigned char key[32], char out[11])
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	CHECK(HMAC(EVP_sha256(), key, 32, (const unsigned char *)body, strlen(body), mac, &n));
	base32(mac, 50, out, 10);
}

void label_make(char out[64], const char *deployment, const char *session_id, int64_t attempt,
		const unsigned char key[32])
{
	unsigned char id[16];
	char text[27], mac[11], body[50];
	int n;

	CHECK(uuid_bytes(session_id, id));
	CHECK(attempt >= 1 && attempt <= 999);
	base32(id, 128, text, 26);
	n = snprintf(body, sizeof body, "gpufs-%s-%s-%d", deployment, text, (int)attempt);
	CHECK(n > 0 && (size_t)n < sizeof body);
	label_mac(body, key, mac);
	n = snprintf(out, 64, "%s-%s", body, mac);
	CHECK(n > 0 && n <= LABEL_MAX);
}

static bool unbase32(const char *in, unsigned char out[16])
{
	memset(out, 0, 16);
	for (size_t i = 0; i < 26; i++) {
		const char *at = strchr(alphabet, in[i]);

		if (!in[i] || !at)
			return false;
		for (size_t b = 0; b < 5 && i * 5 + b < 128; b++) {
			size_t bit = i * 5 + b;

			if (((at - alphabet) >> (4 - b)) & 1)
				out[bit / 8] = (unsigned char)(out[bit / 8] | 1u << (7 - bit % 8));
		}
	}
	return true;
}

bool label_verify(const char *label, const char *deployment, const unsigned char key[32],
		  char session_id[40], int64_t *attempt)
{
	char body[50], id[64], mac[11], again[64];
	const char *p = label, *end;
	unsigned char b[16];
	size_t n = strlen(deployment);
	long number;
	char *stop;

	if (strlen(label) > LABEL_MAX || strncmp(p, "gpufs-", 6))
		return false;
	p += 6;
	if (strncmp(p, deployment, n) || p[n] != '-')
		return false;
	p += n + 1;
	if (strlen(p) < 26 + 3 || p[26] != '-' || !unbase32(p, b))
		return false;
	number = strtol(p + 27, &stop, 10);
	if (number < 1 || number > 999 || stop == p + 27 || *stop != '-')
		return false;
	end = stop;
	snprintf(body, sizeof body, "%.*s", (int)(end - label), label);
	label_mac(body, key, mac);
	if (strcmp(end + 1, mac))
		return false;
	snprintf(id, sizeof id,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		 b[15]);
	/* One label has one spelling: "01" for an attempt, say, is not ours. */
	label_make(again, deployment, id, number, key);
	if (strcmp(again, label))
		return false;
	copy_text(session_id, 40, id);
	*attempt = number;
	return true;
}

enum mark session_mark(const struct session *s, int64_t attempt, const char *instance_id)
{
	bool named;

	if (!s)
		return MARK_ORPHAN;
	if (attempt > s->attempt)
		return MARK_NEWER;
	if (attempt < s->attempt || s->instance_state == I_NONE)
		return MARK_LATE;
	named = strcmp(s->instance_id, instance_id) == 0;
	if (s->instance_state == I_GONE && named)
		return MARK_RISEN;
	/* Another machine of the same label: one create became two. While the outcome is open any may be
	 * the one. */
	if (!named && (s->instance_state == I_EXISTS || s->instance_state == I_GONE))
		return MARK_LATE;
	return MARK_OURS;
}
