/*
 * What waits for the store's worker, and what comes back from it: items in lists, oldest first.
 *
 * An item owns its op; the caller's copy is emptied. There are a few spare items, made at the start: a
 * write that finds no memory is refused through its callback like any other refusal, and that needs an
 * item too.
 *
 * Owner: whoever may touch the list at that moment; store.c says who and holds the lock. Nothing here
 * locks, waits or touches the disk. Never: a secret that stays in freed memory (journal_op_free wipes).
 * Tests: tests/unit/test_store.c
 */
#include <stdlib.h>
#include <string.h>

#include "../core/check.h"
#include "store_parts.h"

#define SPARES 64 /* refusals that need no memory when there is none */

void items_init(struct item_list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

void items_add(struct item_list *l, struct item *it)
{
	it->next = NULL;
	*l->last = it;
	l->last = &it->next;
}

void items_move(struct item_list *to, struct item_list *from)
{
	if (from->first == NULL)
		return;
	*to->last = from->first;
	to->last = from->last;
	items_init(from);
}

void item_drop_op(struct item *it)
{
	if (it->op == NULL)
		return;
	journal_op_free(it->op);
	free(it->op);
	it->op = NULL;
}

void item_free(struct item **spares, struct item *it)
{
	item_drop_op(it);
	if (it->spare) {
		it->next = *spares;
		*spares = it;
		return;
	}
	free(it);
}

void spares_fill(struct item **spares)
{
	for (int i = 0; i < SPARES; i++) {
		struct item *it = xcalloc(1, sizeof(*it));

		it->spare = true;
		it->next = *spares;
		*spares = it;
	}
}

void items_free(struct item_list *l)
{
	struct item *it;

	while ((it = l->first) != NULL) {
		l->first = it->next;
		item_drop_op(it);
		free(it);
	}
}

void spares_free(struct item **spares)
{
	struct item *it;

	while ((it = *spares) != NULL) {
		*spares = it->next;
		free(it);
	}
}

static size_t op_bytes(const struct journal_op *op)
{
	size_t n = sizeof(*op);

	for (size_t i = 0; i < op->n; i++)
		n += op->v[i].len;
	return n;
}

struct item *item_new(struct item **spares)
{
	struct item *it = calloc(1, sizeof(*it));

	if (it)
		return it;
	it = *spares;
	CHECK(it != NULL); /* no memory for 64 answers of "no memory": the parent starts us again */
	*spares = it->next;
	return it;
}

void item_take(struct item *it, struct journal_op *op)
{
	it->err = 0;
	it->bytes = op_bytes(op);
	it->op = malloc(sizeof(*op));
	if (it->op == NULL) {
		it->err = -ENOMEM;
		it->bytes = 0;
		journal_op_free(op);
		return;
	}
	*it->op = *op;
	memset(op, 0, sizeof(*op)); /* the caller's copy must not free or keep the texts */
}
