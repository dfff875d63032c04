/* See web_fake.h. */
#include "web_fake.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../src/core/check.h"

/* ---- connections ---- */

static void *conn_main(void *arg)
{
	struct web_conn *c = arg;
	struct web *w = c->web;
	int now = ++w->active, max = w->active_max;

	while (now > max && !atomic_compare_exchange_weak(&w->active_max, &max, now))
		;
	if (!c->tls || SSL_accept(c->tls) == 1)
		w->serve(c);
	SSL_free(c->tls);
	w->active--;
	pthread_mutex_lock(&w->lock);
	close(c->fd);
	c->fd = -1;
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void *accept_main(void *arg)
{
	struct web *w = arg;
	int fd;

	while ((fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct web_conn *c = &w->conns[w->accepted];

		CHECK(w->accepted < WEB_CONNECTIONS_MAX);
		*c = (struct web_conn){.web = w, .fd = fd};
		if (w->tls) {
			c->tls = SSL_new(w->tls);
			CHECK(c->tls && SSL_set_fd(c->tls, fd) == 1);
		}
		w->accepted++; /* before any answer */
		CHECK(pthread_create(&c->thread, NULL, conn_main, c) == 0);
	}
	return NULL;
}

void web_start(struct web *w, void (*serve)(struct web_conn *c), const void *arg, SSL_CTX *tls)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);

	memset(w, 0, sizeof(*w));
	w->serve = serve;
	w->arg = arg;
	w->tls = tls;
	CHECK(pthread_mutex_init(&w->lock, NULL) == 0);
	w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(w->fd >= 0 && bind(w->fd, (void *)&at, n) == 0 && listen(w->fd, 256) == 0);
	CHECK(getsockname(w->fd, (void *)&at, &n) == 0);
	w->port = ntohs(at.sin_port);
	CHECK(pthread_create(&w->thread, NULL, accept_main, w) == 0);
}

void web_stop(struct web *w)
{
	shutdown(w->fd, SHUT_RDWR);
	pthread_join(w->thread, NULL);
	close(w->fd);
	for (size_t i = 0; i < w->accepted; i++) {
		pthread_mutex_lock(&w->lock);
		if (w->conns[i].fd >= 0)
			shutdown(w->conns[i].fd, SHUT_RDWR);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->conns[i].thread, NULL);
	}
	pthread_mutex_destroy(&w->lock);
	SSL_CTX_free(w->tls);
}

/* ---- bytes ---- */

static ssize_t conn_read(struct web_conn *c, void *p, size_t n)
{
	return c->tls ? SSL_read(c->tls, p, (int)n) : recv(c->fd, p, n, 0);
}

static bool read_exactly(struct web_conn *c, void *p, size_t n)
{
	for (char *at = p; n > 0;) {
		ssize_t got = conn_read(c, at, n);

		if (got <= 0)
			return false;
		at += got;
		n -= (size_t)got;
	}
	return true;
}

bool web_write(struct web_conn *c, const void *p, size_t n)
{
	for (const char *at = p; n > 0;) {
		ssize_t put = c->tls ? SSL_write(c->tls, at, (int)n)
				     : send(c->fd, at, n, MSG_NOSIGNAL);

		if (put <= 0)
			return false;
		at += put;
		n -= (size_t)put;
	}
	return true;
}

bool web_say(struct web_conn *c, const char *text)
{
	return web_write(c, text, strlen(text));
}

bool web_answer(struct web_conn *c, int status, const char *headers, const char *body)
{
	char head[1024];

	snprintf(head, sizeof(head), "HTTP/1.1 %d Word\r\nContent-Length: %zu\r\n%s\r\n", status,
		 strlen(body), headers);
	return web_say(c, head) && web_say(c, body);
}

void web_wait_for_close(struct web_conn *c)
{
	char byte[256];

	while (conn_read(c, byte, sizeof(byte)) > 0)
		;
}

bool web_read(struct web_conn *c, struct web_request *r)
{
	size_t n = 0;
	const char *length;

	memset(r, 0, sizeof(*r));
	while (!strstr(r->head, "\r\n\r\n")) {
		if (n + 1 >= sizeof(r->head) || !read_exactly(c, r->head + n, 1))
			return false;
		n++;
	}
	if (sscanf(r->head, "%7s %255s", r->method, r->target) != 2)
		return false;
	length = strcasestr(r->head, "\r\ncontent-length:");
	r->body_len = length ? strtoul(length + 17, NULL, 10) : 0;
	for (size_t at = 0; at < r->body_len; at++) {
		char byte;

		if (!read_exactly(c, &byte, 1))
			return false;
		if (at + 1 < sizeof(r->body))
			r->body[at] = byte;
	}
	c->web->requests++;
	return true;
}

/* ---- TLS ---- */

static int choose_protocol(SSL *s, const unsigned char **out, unsigned char *out_len,
			   const unsigned char *in, unsigned int in_len, void *arg)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1";
	unsigned char *chosen = NULL;

	(void)s;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, both, sizeof(both) - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static void name_certificate(X509 *x, const char *address)
{
	char san[64];
	X509_EXTENSION *e;

	snprintf(san, sizeof(san), "IP:%s", address);
	e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
	CHECK(e && X509_add_ext(x, e, -1) == 1);
	X509_EXTENSION_free(e);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"test", -1, -1, 0);
	CHECK(X509_set_issuer_name(x, X509_get_subject_name(x)) == 1);
}

SSL_CTX *web_tls_new(const char *address, const char *file, bool h2)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	FILE *f = fopen(file, "we");

	CHECK(ctx && key && x && f);
	CHECK(X509_set_version(x, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1);
	CHECK(X509_gmtime_adj(X509_getm_notBefore(x), -86400) != NULL);
	CHECK(X509_gmtime_adj(X509_getm_notAfter(x), 86400) != NULL);
	CHECK(X509_set_pubkey(x, key) == 1);
	name_certificate(x, address);
	CHECK(X509_sign(x, key, EVP_sha256()) > 0 && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
	CHECK(SSL_CTX_use_certificate(ctx, x) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
	if (h2)
		SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	X509_free(x);
	EVP_PKEY_free(key);
	return ctx;
}

/* ---- just enough of HTTP/2 (RFC 9113) ---- */

enum { H2_DATA = 0, H2_HEADERS = 1, H2_SETTINGS = 4, END_STREAM = 1, END_HEADERS = 4, ACK = 1 };

static bool h2_write(struct web_conn *c, unsigned char type, unsigned char flags,
		     const unsigned char *stream, const char *payload, size_t n)
{
	unsigned char head[9] = {0, 0, (unsigned char)n, type, flags};

	memcpy(head + 5, stream, 4);
	return web_write(c, head, sizeof(head)) && web_write(c, payload, n);
}

bool web_is_h2(struct web_conn *c)
{
	const unsigned char *name = NULL;
	unsigned int n = 0;

	SSL_get0_alpn_selected(c->tls, &name, &n);
	return n == 2 && memcmp(name, "h2", 2) == 0;
}

void web_serve_h2(struct web_conn *c)
{
	static const unsigned char connection[4];
	unsigned char head[24]; /* first the client's preface, then frame heads of 9 bytes */
	unsigned char payload[16384];

	if (!read_exactly(c, head, 24) || !h2_write(c, H2_SETTINGS, 0, connection, "", 0))
		return;
	while (read_exactly(c, head, 9)) {
		size_t n = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];

		if (n > sizeof(payload) || !read_exactly(c, payload, n))
			return;
		if (head[3] == H2_SETTINGS && !(head[4] & ACK))
			h2_write(c, H2_SETTINGS, ACK, connection, "", 0);
		if (head[3] != H2_HEADERS)
			continue;
		c->web->requests++;
		h2_write(c, H2_HEADERS, END_HEADERS, head + 5, "\x88", 1); /* :status 200 */
		h2_write(c, H2_DATA, END_STREAM, head + 5, c->web->arg, strlen(c->web->arg));
	}
}
