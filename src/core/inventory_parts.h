/*
 * The inside of inventory.h: what a snapshot holds beside its offers (inventory_lines.c).
 */
#ifndef GPUFS_CORE_INVENTORY_PARTS_H
#define GPUFS_CORE_INVENTORY_PARTS_H

#include "inventory.h"

/* Once the offers are in order. False: memory is out, and what was made is freed with the snapshot. */
bool inventory_number_words(struct inventory *inv);
/* The same; words come before these two. */
bool inventory_collect_numbers(struct inventory *inv);
bool inventory_collect_parts(struct inventory *inv);
/* The same; `before` may be NULL: then every line is rendered. */
bool inventory_render_lines(struct inventory *inv, const struct inventory *before);

#endif
