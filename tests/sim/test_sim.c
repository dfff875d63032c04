/*
 * Runs lives of the simulator (sim.h): SIM_LIVES of them, from seed SIM_FIRST on, in as many processes as
 * SIM_JOBS says. A failing seed is printed as one command and as the end of its story;
 *
 *	SIM_SEED=N tests/sim/test_sim          one life, told whole on stderr
 *	SIM_BOUNDARY=N SIM_AT=CLOUDS …         the standard life, killed at this boundary
 *	SIM_LIVES=5000000 tests/sim/test_sim   a long run
 *
 * In a build with -Dmutants=true each switch of src/core/mutant.h must be noticed. No row of the fault
 * matrix may be without effect in a whole run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src/core/mutant.h"
#include "sim.h"

#include <cmocka.h>
#include <jansson.h>

#ifdef __SANITIZE_ADDRESS__
#define LIVES_DEFAULT 250 /* a life takes many times as long */
#else
#define LIVES_DEFAULT 5000
#endif
#define LIVES_FOR_MATRIX 3000 /* faults come by chance: fewer lives need not meet the rarest row */
#define JOBS_DEFAULT	 2
#define JOBS_MAX	 64
#define TWICE		 25 /* seeds that are lived twice */
#define STORY_TAIL	 70 /* lines */
#define MUTANT_LIVES	 4000

/* Shared with the processes that live. */
struct job {
	uint64_t seed; /* that it lives now */
	bool failed;
	char wrong[512];
	struct sim_counts counts;
};
static struct job *jobs;
static struct sim sim;
static const char *program;

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && text[0] ? strtoull(text, NULL, 10) : otherwise;
}

static void print_tail(FILE *f)
{
	char line[700];
	long lines = 0, at = 0;

	rewind(f);
	while (fgets(line, sizeof line, f))
		lines++;
	rewind(f);
	while (fgets(line, sizeof line, f))
		if (at++ >= lines - STORY_TAIL)
			fputs(line, stderr);
}

/* The end of its story, whether it fails or dies. */
static void tell_story(uint64_t seed)
{
	FILE *f = tmpfile();
	pid_t child;

	assert_non_null(f);
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		static struct sim_counts counts;

		setvbuf(f, NULL, _IOLBF, 0);
		sim_life(&sim, seed, f, &counts);
		fflush(f);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	print_tail(f);
	fclose(f);
}

static void live(struct job *job, uint64_t first, uint64_t lives, uint64_t step)
{
	for (uint64_t i = 0; i < lives && !job->failed; i += step) {
		job->seed = first + i;
		if (!sim_life(&sim, job->seed, NULL, &job->counts)) {
			COPY(job->wrong, sim.wrong);
			job->failed = true;
		}
	}
}

static void run_jobs(uint64_t first, uint64_t lives, size_t n)
{
	pid_t pids[JOBS_MAX];
	int status;

	for (size_t i = 0; i < n; i++) {
		fflush(NULL);
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i])
			continue;
		live(&jobs[i], first + i, lives - i, n);
		_exit(0);
	}
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		if (status && !jobs[i].failed) {
			snprintf(jobs[i].wrong, sizeof jobs[i].wrong, "the process died, status %d",
				 status);
			jobs[i].failed = true;
		}
	}
}

static void report_failures(size_t n)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		unsigned long long seed = (unsigned long long)jobs[i].seed;

		if (!jobs[i].failed)
			continue;
		if (!any)
			tell_story(seed);
		print_error("life %llu: %s\n    SIM_SEED=%llu %s\n", seed, jobs[i].wrong, seed,
			    program);
		any = true;
	}
	if (any)
		fail();
}

static void add_counts(struct sim_counts *sum, const struct sim_counts *c)
{
	sum->lives += c->lives;
	sum->events += c->events;
	sum->requests += c->requests;
	sum->crashes += c->crashes;
	sum->people += c->people;
	sum->sessions += c->sessions;
	sum->machines += c->machines;
	sum->running += c->running;
	sum->receipts += c->receipts;
	sum->braked += c->braked;
	sum->moved += c->moved;
	if (c->settle_max_us > sum->settle_max_us)
		sum->settle_max_us = c->settle_max_us;
	for (size_t i = 0; i < sizeof sum->faults / sizeof ***sum->faults; i++)
		(&sum->faults[0][0][0])[i] += (&c->faults[0][0][0])[i];
	for (size_t i = 0; i < ARRAY_LEN(sum->troubles); i++)
		sum->troubles[i] += c->troubles[i];
}

/* ---- tests ---- */

static void nothing_is_orphaned_lost_or_bought_twice(void **state)
{
	uint64_t lives = number_of("SIM_LIVES", LIVES_DEFAULT);
	uint64_t first = number_of("SIM_FIRST", 1), n = number_of("SIM_JOBS", JOBS_DEFAULT);
	struct timespec a, b;
	struct sim_counts sum = {0};

	(void)state;
	n = n < 1 ? 1 : n > JOBS_MAX ? JOBS_MAX : n;
	n = n > lives ? lives : n;
	clock_gettime(CLOCK_MONOTONIC, &a);
	run_jobs(first, lives, (size_t)n);
	clock_gettime(CLOCK_MONOTONIC, &b);
	report_failures((size_t)n);
	for (size_t i = 0; i < n; i++)
		add_counts(&sum, &jobs[i].counts);
	print_message(
		"# %llu lives in %lld s: %llu events, %llu requests, %llu crashes, %llu orders, "
		"%llu sessions, %llu machines, %llu times running, %llu receipts, %llu brakes, "
		"%llu retries at another cloud; settled after at most %lld s\n",
		(unsigned long long)sum.lives, (long long)(b.tv_sec - a.tv_sec),
		(unsigned long long)sum.events, (unsigned long long)sum.requests,
		(unsigned long long)sum.crashes, (unsigned long long)sum.people,
		(unsigned long long)sum.sessions, (unsigned long long)sum.machines,
		(unsigned long long)sum.running, (unsigned long long)sum.receipts,
		(unsigned long long)sum.braked, (unsigned long long)sum.moved,
		(long long)(sum.settle_max_us / SECOND_US));
}

#if LIVES_DEFAULT >= LIVES_FOR_MATRIX
static size_t missing_faults(const struct sim_counts *sum, size_t cloud, enum sim_op op)
{
	const struct sim_cloud_kind *k = sim_cloud_kinds[cloud];
	size_t missing = 0;

	for (unsigned i = 1; i < k->fault_kinds; i++) {
		struct sim_fault f = k->fault(op, i);

		if (!f.fits || sim_fault_never(op, &f) || sum->faults[cloud][op][i])
			continue;
		print_error("never: fault %s of %s at %s\n", k->fault_name(i), sim_op_names[op],
			    k->name);
		missing++;
	}
	return missing;
}

/* What of the matrix this run did not meet. */
static void every_row_of_the_fault_matrix_happened(void **state)
{
	static const enum sim_op ops[] = {SIM_SEARCH,  SIM_CREATE, SIM_LIST,	SIM_GET,
					  SIM_DESTROY, SIM_ATTACH, SIM_ACCOUNT, SIM_BOOT};
	struct sim_counts sum = {0};
	size_t missing = 0;

	(void)state;
	for (size_t i = 0; i < JOBS_MAX; i++)
		add_counts(&sum, &jobs[i].counts);
	/* Only where somebody asked for fewer (SIM_LIVES), to look into one of them. */
	if (sum.lives < LIVES_FOR_MATRIX) {
		print_message("skipped: %llu lives need not meet every row, %d do\n",
			      (unsigned long long)sum.lives, LIVES_FOR_MATRIX);
		skip();
	}
	for (size_t i = 0; i < sim_trouble_count(); i++) {
		if (sum.troubles[i])
			continue;
		print_error("never: %s\n", sim_trouble_name(i));
		missing++;
	}
	for (size_t c = 0; c < SIM_CLOUDS; c++)
		for (size_t i = 0; i < ARRAY_LEN(ops); i++)
			missing += missing_faults(&sum, c, ops[i]);
	assert_int_equal(missing, 0);
	assert_true(sum.moved > 0);
}
#endif

/* At each cloud alone, and at both. */
static void a_kill_at_any_boundary_changes_nothing(void **state)
{
	static struct sim_counts counts;

	(void)state;
	for (unsigned clouds = 1; clouds <= SIM_ALL_CLOUDS; clouds++) {
		uint64_t at = 0;

		do {
			if (sim_standard_life(&sim, clouds, ++at, NULL, &counts))
				continue;
			sim_standard_life(&sim, clouds, at, stderr, &counts);
			fail_msg("killed at boundary %llu: %s\n    SIM_AT=%u SIM_BOUNDARY=%llu %s",
				 (unsigned long long)at, sim.wrong, clouds, (unsigned long long)at,
				 program);
		} while (sim.boundaries >= at);
		print_message("# clouds %u: %llu boundaries\n", clouds, (unsigned long long)at - 1);
		assert_true(at > 50);
	}
}

static void a_cloud_that_fails_hinders_no_other(void **state)
{
	static struct sim_counts counts;

	(void)state;
	for (size_t cloud = 0; cloud < SIM_CLOUDS; cloud++)
		for (int i = 0; i < 2 * SIM_FAILURES; i++) {
			enum sim_failure how = (enum sim_failure)(i / 2);

			if (sim_beside_life(&sim, cloud, how, i % 2, NULL, &counts))
				continue;
			sim_beside_life(&sim, cloud, how, i % 2, stderr, &counts);
			fail_msg("%s fails (%d, %d): %s", sim_cloud_kinds[cloud]->name, (int)how,
				 i % 2, sim.wrong);
		}
}

#ifdef GPUFS_MUTANTS
/* Behind these another rule stands (a direct query, the provider's lag), and no life has got past both
 * yet: they are shown, and not counted. */
static bool stands_behind(int mutant)
{
	return mutant == 3 || mutant == 8;
}

/* Lives until one is wrong, or the process dies of it; 0: none is. */
static uint64_t lives_until_wrong(int mutant, uint64_t most)
{
	char number[16];

	snprintf(number, sizeof number, "%d", mutant);
	memset(&jobs[0], 0, sizeof jobs[0]);
	assert_int_equal(setenv("MUTANT", number, 1), 0);
	run_jobs(1, most, 1);
	assert_int_equal(unsetenv("MUTANT"), 0);
	return jobs[0].failed ? jobs[0].seed : 0;
}

static void each_mutant_is_caught(void **state)
{
	int survived = 0;

	(void)state;
	for (int i = 1; i <= MUTANTS; i++) {
		uint64_t n = lives_until_wrong(i, MUTANT_LIVES);

		print_message("# mutant %d: %s %llu: %s\n", i, n ? "caught in life" : "SURVIVES",
			      (unsigned long long)n, jobs[0].wrong);
		survived += !n && !stands_behind(i);
	}
	assert_int_equal(survived, 0);
}
#endif

static void the_same_seed_is_the_same_life(void **state)
{
	static struct sim_counts counts;

	(void)state;
	for (uint64_t seed = 1; seed <= TWICE; seed++) {
		uint64_t hash;

		sim_life(&sim, seed, NULL, &counts);
		hash = sim.hash;
		sim_life(&sim, seed, NULL, &counts);
		if (sim.hash != hash)
			fail_msg("seed %llu is not the same life twice", (unsigned long long)seed);
		sim_life(&sim, seed + TWICE, NULL, &counts);
		assert_true(sim.hash != hash);
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_orphaned_lost_or_bought_twice),
		cmocka_unit_test(a_kill_at_any_boundary_changes_nothing),
		cmocka_unit_test(a_cloud_that_fails_hinders_no_other),
#if LIVES_DEFAULT >= LIVES_FOR_MATRIX /* else too few for every row: the plain build has it */
		cmocka_unit_test(every_row_of_the_fault_matrix_happened),
#endif
		cmocka_unit_test(the_same_seed_is_the_same_life),
#ifdef GPUFS_MUTANTS
		cmocka_unit_test(each_mutant_is_caught),
#endif
	};
	uint64_t seed = number_of("SIM_SEED", 0), at = number_of("SIM_BOUNDARY", 0);

	(void)argc;
	program = argv[0];
	json_object_seed(1); /* nothing may depend on it, and nothing shall */
	jobs = mmap(NULL, JOBS_MAX * sizeof *jobs, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (jobs == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	if (seed || at) {
		bool good = seed ? sim_life(&sim, seed, stderr, &jobs[0].counts)
				 : sim_standard_life(&sim,
						     (unsigned)number_of("SIM_AT", SIM_ALL_CLOUDS),
						     at, stderr, &jobs[0].counts);

		printf("life %llu, trace %016llx: %s\n", (unsigned long long)(seed + at),
		       (unsigned long long)sim.hash, good ? "good" : sim.wrong);
		return !good;
	}
	return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
