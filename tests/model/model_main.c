/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: vm_model [--steps N] [--seed S] [--only S] [--verbose]
 *
 * Many short runs, each with a seed derived from S, until N steps are done. When something is wrong,
 * the seed of the run, the step and the last operations are printed; `--only` replays that one run.
 * Without --steps the environment's VM_MODEL_STEPS counts.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "model/model.h"

enum { STEPS_DEFAULT = 1000000, RUN_SECONDS_MAX = 120 };

struct world world;

const int model_codes[] = { -EIO,       -EBADMSG, -ESTALE, -EACCES,  -ENOENT,
			    -ETIMEDOUT, -ENOSPC,  -EDQUOT, -ENOBUFS, -ESHUTDOWN };
const unsigned model_n_codes = ARRAY_LEN(model_codes);

/* ---- reporting ---- */

static void print_op(const struct trace *t)
{
	fprintf(stderr,
		"%8" PRIu64 "  %-18s vmo %u  %#" PRIx64 "+%#" PRIx64 "  %" PRId64 "  -> %" PRId64
		"\n",
		t->step, t->what, t->vmo, t->off, t->len, t->arg, t->ret);
}

static void print_trace(void)
{
	unsigned n = MIN(world.n_trace, (unsigned)MODEL_TRACE);

	for (unsigned i = world.n_trace - n; i < world.n_trace; i++)
		print_op(&world.trace[i % MODEL_TRACE]);
	fprintf(stderr,
		"vm_model: seed %" PRIu64 ", step %" PRIu64 "%s%s; replay: vm_model --only %" PRIu64
		"\n",
		world.seed, world.step, world.tight ? ", tight" : "",
		world.sparse          ? ", sparse"
			: world.dense ? ", dense"
				      : "",
		world.seed);
}

void model_fail(const char *fmt, ...)
{
	va_list ap;

	print_trace();
	va_start(ap, fmt);
	fputs("vm_model: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	signal(SIGABRT, SIG_DFL);
	_exit(1);
}

static void on_signal(int sig)
{
	print_trace();
	signal(sig, SIG_DFL);
	raise(sig);
}

void trace_op(const char *what, const struct ref_vmo *v, uint64_t off, uint64_t len, int64_t arg)
{
	world.trace[world.n_trace++ % MODEL_TRACE] = (struct trace){
		.step = world.step,
		.what = what,
		.vmo = v ? (unsigned)(v - world.vmo) : 99,
		.off = off,
		.len = len,
		.arg = arg,
		.ret = INT64_MIN,
	};
	world.n_ops++;
	if (world.verbose)
		print_op(&world.trace[(world.n_trace - 1) % MODEL_TRACE]);
}

int64_t trace_ret(int64_t ret)
{
	world.trace[(world.n_trace - 1) % MODEL_TRACE].ret = ret;
	if (world.verbose)
		fprintf(stderr, "          -> %" PRId64 "\n", ret);
	return ret;
}

/* ---- choices ---- */

static struct ref_vmo *pick_of(unsigned n)
{
	unsigned start = (unsigned)pick(n);

	for (unsigned i = 0; i < n; i++)
		if (world.vmo[(start + i) % n].vmo)
			return &world.vmo[(start + i) % n];
	return NULL;
}

struct ref_vmo *pick_vmo(void)
{
	return pick_of(chance(60) ? MODEL_ROOTS : MODEL_VMOS);
}

struct ref_vmo *pick_root(void)
{
	return pick_of(MODEL_ROOTS);
}

struct range pick_bytes(const struct ref_vmo *v, uint64_t max)
{
	unsigned w = (unsigned)pick((v->n + v->window_len - 1) / v->window_len);
	uint64_t first = v->window[w] * PAGE;
	uint64_t end = MIN(first + MIN(v->window_len, v->n - w * v->window_len) * PAGE, v->size);
	struct range g;

	if (first >= end)
		return (struct range){ first, 0 };
	g.off = first + pick(end - first);
	if (chance(40))
		g.off &= ~(PAGE - 1);
	g.len = 1 + pick(MIN(end - g.off, max));
	if (chance(40))
		g.len = MIN((g.len + PAGE - 1) & ~(PAGE - 1), end - g.off);
	return g;
}

struct range pick_pages(const struct ref_vmo *v, unsigned max)
{
	struct range g = pick_bytes(v, max * PAGE);
	uint64_t end;

	if (!g.len)
		return g;
	end = page_ceil(g.off + g.len) * PAGE;
	g.off &= ~(PAGE - 1);
	g.len = end - g.off;
	return g;
}

/* ---- one run ---- */

/* Pages between windows: 1 TiB in all; a sanitizer's shadow leaves less room for addresses. */
#ifdef VMOFS_SANITIZED
#define SPARSE_STEP (UINT64_C(1) << 24)
#else
#define SPARSE_STEP (UINT64_C(1) << 26)
#endif

static void set_windows(struct ref_vmo *v)
{
	v->window_len = MODEL_PAGES;
	v->n = 1 + (unsigned)pick(chance(70) ? 20 : MODEL_PAGES);
	if (world.dense) {
		v->window_len = 12;
		v->n = MODEL_WINDOWS * v->window_len;
		for (unsigned i = 0; i < MODEL_WINDOWS; i++)
			v->window[i] = (i + 1) * (STORE_BLOCK / PAGE) - 12 + pick(13);
	}
	if (world.sparse) {
		v->window_len = 8;
		v->n = MODEL_WINDOWS * v->window_len;
		for (unsigned i = 0; i < MODEL_WINDOWS; i++)
			v->window[i] =
				i * SPARSE_STEP + pick(UINT64_C(1) << 25) % (SPARSE_STEP / 2);
	}
	v->size = ref_off(v, v->n - 1) + (chance(50) ? PAGE : 1 + pick(PAGE));
}

static void new_root(struct ref_vmo *v)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	bool trap = chance(50);

	*v = (struct ref_vmo){ .used = true };
	set_windows(v);
	v->flags = (trap ? VMO_TRAP_DIRTY : 0) | (chance(70) && !world.dense ? VMO_RESIZABLE : 0);
	v->data = calloc(v->n, PAGE);
	for (unsigned i = 0; i < v->n; i++)
		v->page[i].allow = BIT(PAGE_ABSENT);
	script_init(&v->script, v, trap, chance(80));
	trace_op("new", v, v->size, v->flags, 0);
	if (vmo_new(&v->vmo, world.pool, &v->script.base, v->size, v->flags | VMO_WRITABLE, &err) <
	    0)
		model_fail("vmo_new: %s", err.msg);
	if (chance(50))
		script_set_near(&v->script, v->vmo);
}

/* Dirty pages that leave only a few to everybody else. */
static void new_ballast(void)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint64_t pages = VM_POOL_MIN / PAGE - (6 + pick(30));
	static unsigned char buf[64 * 4096];

	script_init(&world.ballast_script, NULL, false, false);
	if (vmo_new(&world.ballast, world.pool, &world.ballast_script.base, pages * PAGE,
		    VMO_WRITABLE, &err))
		model_fail("ballast: %s", err.msg);
	for (uint64_t i = 0; i < pages; i++) {
		if (vmo_supply(world.ballast, i * PAGE, buf, PAGE) != (int64_t)PAGE)
			model_fail("ballast: supply of page %ju", (uintmax_t)i);
		if (vmo_write(world.ballast, i * PAGE, "x", 1, NULL) != 1)
			model_fail("ballast: write of page %ju", (uintmax_t)i);
	}
	world.ballast_pages = pages;
}

static void world_begin(uint64_t seed)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	bool verbose = world.verbose;
	uint64_t kind;

	memset(&world, 0, sizeof world);
	world.verbose = verbose;
	world.seed = seed;
	world.rng.state = seed;
	kind = pick(100);
	world.tight = kind < 20;
	world.sparse = kind >= 90;
	world.dense = kind >= 80 && kind < 90;
	world.step = 1;
	sched_reset();
	if (vm_pool_new(&world.pool, world.tight ? VM_POOL_MIN : MIB(64), &err) < 0)
		model_fail("pool: %s", err.msg);
	if (world.tight)
		new_ballast();
	new_root(&world.vmo[0]);
	if (chance(world.tight ? 60 : 25))
		new_root(&world.vmo[1]);
}

static void run_op(const struct model_op *table)
{
	uint64_t total = 0, at;

	for (const struct model_op *op = table; op->name; op++)
		total += op->weight;
	at = pick(total);
	for (; at >= table->weight; table++)
		at -= table->weight;
	table->run();
}

/* In a tight budget the checks themselves let others run, and these evict. */
static void next_step(void)
{
	world.step++;
	for (unsigned i = 0; world.tight && i < MODEL_VMOS; i++)
		if (world.vmo[i].vmo)
			check_states(&world.vmo[i]);
}

static void step(void)
{
	static const struct model_op *const tables[] = { model_reader_ops, model_answer_ops,
							 model_task_ops };

	next_step();
	run_op(tables[pick(ARRAY_LEN(tables))]);
	check_step();
}

/* ---- the end of a run ---- */

static void end_pins(void)
{
	for (unsigned i = 0; i < MODEL_PINS; i++) {
		if (!world.pin[i].v || world.pin[i].busy)
			continue;
		vmo_unpin(&world.pin[i].pin);
		world.pin[i].v = NULL;
	}
}

/* Everything outstanding is answered: everybody who waits must come to an end. */
static void drain(void)
{
	for (unsigned i = 0; i < 4000; i++) {
		bool busy = false;

		next_step();
		/* What is pinned for writing stays dirty. */
		end_pins();
		if (!task_run_one())
			for (unsigned k = 0; k < MODEL_ROOTS && !busy; k++)
				busy = world.vmo[k].vmo && answer_one(&world.vmo[k]);
		else
			busy = true;
		check_step();
		if (!busy)
			return;
	}
	model_fail("answering everything does not come to an end");
}

static void close_root(struct ref_vmo *v)
{
	if (!v->vmo)
		return;
	vmo_close(v->vmo);
	if (v->script.n || !v->script.detached || !v->script.closed ||
	    v->script.near_closed != v->script.has_near)
		model_fail("after close: %u requests", v->script.n);
	if (v->script.charged)
		model_fail("after close: the guard has %ju pages", (uintmax_t)v->script.charged);
	vmo_put(v->vmo);
	free(v->data);
	v->vmo = NULL;
	v->used = false;
}

static void run_tasks_out(void)
{
	next_step();
	if (world.tight)
		expire_after(NSEC_PER_SEC);
	for (unsigned i = 0; i < 1000 && task_run_one(); i++)
		check_step();
	if (task_any())
		model_fail("a task sleeps for ever");
}

static void check_empty_pool(void)
{
	struct vm_pool_stats s;

	vm_pool_stats(world.pool, &s);
	if (s.resident || s.reserved)
		model_fail("at the end %ju bytes are resident, %ju reserved", (uintmax_t)s.resident,
			   (uintmax_t)s.reserved);
}

static void world_end(void)
{
	if (chance(60)) {
		ops_end_reads();
		end_pins();
		next_step();
		ops_end_tokens();
		if (world.tight)
			expire_after(NSEC_PER_SEC);
		drain();
		run_tasks_out();
	}
	ops_finish_reads();
	next_step();
	check_step();
	op_detach_all();
	next_step();
	check_step();
	run_tasks_out();
	ops_end_tokens();
	end_pins();
	ops_put_clones();
	for (unsigned i = 0; i < MODEL_ROOTS; i++)
		close_root(&world.vmo[i]);
	if (world.ballast) {
		vmo_close(world.ballast);
		vmo_put(world.ballast);
	}
	check_empty_pool();
	vm_pool_free(world.pool);
}

/* Returns the steps it took. */
static uint64_t run(uint64_t seed)
{
	uint64_t n;

	/* A call that never comes back is a failure too. */
	alarm(RUN_SECONDS_MAX);
	world_begin(seed);
	n = 100 + pick(1500);
	/* After a detach not much more can happen. */
	for (uint64_t i = 0; i < n && !(world.vmo[0].detached && chance(2)); i++)
		step();
	world_end();
	return n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "steps", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "only", required_argument, NULL, 'o' },
		{ "verbose", no_argument, NULL, 'v' },
		{ 0 },
	};
	const char *env = getenv("VM_MODEL_STEPS");
	uint64_t steps = env ? strtoull(env, NULL, 0) : STEPS_DEFAULT;
	uint64_t seed = 1, done = 0, n_ops = 0, only = 0;
	struct prng seeds;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'n')
			steps = strtoull(optarg, NULL, 0);
		else if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'o')
			only = strtoull(optarg, NULL, 0);
		else if (c == 'v')
			world.verbose = true;
		else
			return 2;
	}
	signal(SIGABRT, on_signal);
	signal(SIGALRM, on_signal);
#ifndef VMOFS_SANITIZED
	signal(SIGSEGV, on_signal);
#endif
	seeds.state = seed;
	printf("vm_model: seed %" PRIu64 ", %" PRIu64 " steps\n", seed, steps);
	fflush(stdout);
	while (done < steps) {
		done += run(only ? only : prng_next(&seeds) >> 1);
		n_ops += world.n_ops;
		if (only)
			break;
	}
	sched_exit();
	printf("vm_model: %" PRIu64 " steps, %" PRIu64 " operations: all well\n", done, n_ops);
	return 0;
}
