/*
 * Work in slices: one turn of the loop gives the door about TURN_NS. What comes to its turn later is
 * suspended and waits in line, so that the mount, whose requests are served between two turns, never
 * waits for eight clients that fetch the whole market at once (measured: 21 ms without this).
 *
 * A large answer is a list of pieces of texts that stay where they are, copied into the socket a
 * slice at a time; it holds what they point into. Loop thread. Tests: tests/mount/http_slices.bats,
 * tests/bench/http.
 */
#include <stdlib.h>
#include <string.h>

#include "parts.h"

#define TURN_NS	     ((uint64_t)500 * 1000)
#define TURN_RESUMES 4 /* more would only be suspended again */
#define SLICE_BYTES  ((size_t)128 << 10)

/* ---- turns ---- */

bool turn_spent(const struct http *h)
{
	return !h->stopped && uv_hrtime() - h->turn_ns > TURN_NS;
}

void turn_wait(struct conn *k)
{
	struct http *h = k->h;

	CHECK(!k->waits);
	k->waits = true;
	k->behind = NULL;
	if (!h->line)
		h->line = k;
	else
		h->line_end->behind = k;
	h->line_end = k;
	MHD_suspend_connection(k->c);
}

void turn_next(struct http *h, bool all)
{
	if (h->line)
		http_kick(h);
	for (int i = 0; h->line && (all || i < TURN_RESUMES); i++) {
		struct conn *k = h->line;

		h->line = k->behind;
		k->waits = false;
		MHD_resume_connection(k->c);
	}
}

/* ---- large answers ---- */

struct large *large_new(struct request *r)
{
	struct large *l = calloc(1, sizeof(*l));

	if (l)
		l->k = r->conn;
	return l;
}

bool large_add(struct large *l, const char *p, size_t n)
{
	struct str *last = l->count ? &l->pieces[l->count - 1] : NULL;

	l->total += n;
	if (last && last->p + last->n == p) {
		last->n += n;
		return true;
	}
	if (l->count == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 16;
		struct str *more = reallocarray(l->pieces, cap, sizeof(*more));

		if (!more)
			return false;
		l->pieces = more;
		l->cap = cap;
	}
	CHECK(l->pieces != NULL);
	l->pieces[l->count++] = (struct str){p, n};
	return true;
}

void large_free(void *arg)
{
	struct large *l = arg;

	if (!l)
		return;
	market_text_unref(l->market);
	buf_free(&l->own);
	free(l->pieces);
	free(l);
}

/* libmicrohttpd asks for one block a turn, from the beginning to the end. */
static ssize_t large_read(void *arg, uint64_t pos, char *out, size_t max)
{
	struct large *l = arg;
	size_t done = 0;

	(void)pos;
	if (turn_spent(l->k->h)) {
		turn_wait(l->k);
		return 0;
	}
	while (done < max && l->at < l->count) {
		const struct str *piece = &l->pieces[l->at];
		size_t n = piece->n - l->used;

		n = n < max - done ? n : max - done;
		memcpy(out + done, piece->p + l->used, n);
		done += n;
		l->used += n;
		if (l->used == piece->n) {
			l->at++;
			l->used = 0;
		}
	}
	return done ? (ssize_t)done : MHD_CONTENT_READER_END_WITH_ERROR;
}

struct MHD_Response *large_response(struct large *l)
{
	struct MHD_Response *m = MHD_create_response_from_callback(l->total, SLICE_BYTES,
								   large_read, l, large_free);

	if (!m)
		large_free(l);
	return m;
}
