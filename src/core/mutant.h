/*
 * Switches that break one safety rule each, to show that the simulator would notice (faults.md, The
 * simulator). In a build with -Dmutants=true the environment's MUTANT=n turns switch n on; in every
 * other build MUTANT(n) is false and nothing is left of it. The numbers:
 *
 *	1 an unsure create is taken for one that was not made		calls.c
 *	2 a label's mac is not checked					lists.c
 *	3 one list proves absence					reconcile.c
 *	4 a create does not wait for its record				reconcile.c
 *	5 absence is proven before the provider's lag is over		reconcile.c
 *	6 an accepted DELETE is the proof				reconcile.c
 *	7 a refused key means gone					wire.c
 *	8 an incomplete list removes knowledge				lists.c
 *	9 a machine that no attempt owns is left alone			strays.c
 *	10 an order whose record failed is answered with 0		orders.c
 *	11 a retry uses the label again					attempts.c
 *
 * Tests: tests/sim/test_sim.c (each_mutant_is_caught).
 */
#ifndef GPUFS_CORE_MUTANT_H
#define GPUFS_CORE_MUTANT_H

#define MUTANTS 11

#ifdef GPUFS_MUTANTS
#include <stdbool.h>
#include <stdlib.h>

static inline bool mutant_is_on(int n)
{
	const char *text = getenv("MUTANT");

	return text && atoi(text) == n;
}
#define MUTANT(n) mutant_is_on(n)
#else
#define MUTANT(n) false
#endif

#endif
