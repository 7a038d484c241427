/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance program: checks that every case is accounted for, runs each in a process of its
 * own, and prints the table. The parent has no threads.
 *
 *   conformance [--table] [--no-fork] [-j N] [NUMBER...]
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/harness.h"

enum { MAX_JOBS = 16, CASE_SECONDS = 300 };

enum case_result { NOT_RUN, PASSED, FAILED };

struct job {
	pid_t pid;
	unsigned number;
	int out; /* memfd with what the case printed */
};

static const struct conformance_case *cases[N_CASES + 1];
static enum case_result results[N_CASES + 1];
static unsigned n_registered_twice;
static struct job jobs[MAX_JOBS];
static unsigned n_jobs;

static const char *const how_names[] = {
	[AS_IS] = "as-is",
	[IMPROVED] = "improved",
	[NOT_APPLICABLE] = "n-a",
};
_Static_assert(ARRAY_LEN(how_names) == N_HOWS, "one name per how");

static const char *const result_names[] = {
	[NOT_RUN] = "-",
	[PASSED] = "ok",
	[FAILED] = "FAILED",
};

void case_register(const struct conformance_case *c)
{
	if (!c->number || c->number > N_CASES || cases[c->number])
		n_registered_twice++;
	else
		cases[c->number] = c;
}

/* Every number once, reasons where they are due, few that are not applicable. */
static bool accounted_for(void)
{
	unsigned n_missing = 0;
	unsigned n_na = 0;
	unsigned n_unexplained = 0;

	for (unsigned i = 1; i <= N_CASES; i++) {
		if (!cases[i]) {
			fprintf(stderr, "case %u is missing\n", i);
			n_missing++;
			continue;
		}
		n_na += cases[i]->how == NOT_APPLICABLE;
		n_unexplained += cases[i]->how != AS_IS && !*cases[i]->reason;
	}
	if (n_missing || n_registered_twice || n_unexplained || n_na > MAX_NOT_APPLICABLE) {
		fprintf(stderr,
			"%u missing, %u registered twice, %u without a reason, %u not applicable "
			"(at most %d)\n",
			n_missing, n_registered_twice, n_unexplained, n_na, MAX_NOT_APPLICABLE);
		return false;
	}
	return true;
}

static void print_output(int fd)
{
	char buf[4096];
	ssize_t n;
	off_t off = 0;

	while ((n = pread(fd, buf, sizeof buf, off)) > 0) {
		fwrite(buf, 1, (size_t)n, stderr);
		off += n;
	}
}

static void job_end(struct job *j, int wstatus)
{
	bool ok = WIFEXITED(wstatus) && !WEXITSTATUS(wstatus);

	results[j->number] = ok ? PASSED : FAILED;
	if (!ok) {
		fprintf(stderr, "---- case %u (%s) failed, wait status %#x ----\n", j->number,
			cases[j->number]->title, (unsigned)wstatus);
		print_output(j->out);
	}
	close(j->out);
	*j = jobs[--n_jobs];
}

static void reap_one(void)
{
	int wstatus;
	pid_t pid = wait(&wstatus);

	for (unsigned i = 0; i < n_jobs; i++) {
		if (jobs[i].pid == pid) {
			job_end(&jobs[i], wstatus);
			return;
		}
	}
}

static void run_child(const struct conformance_case *c, int out)
{
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	alarm(CASE_SECONDS);
	c->run();
	exit(0);
}

static void job_start(const struct conformance_case *c)
{
	struct job *j = &jobs[n_jobs++];

	j->number = c->number;
	j->out = memfd_create("conformance-case", MFD_CLOEXEC);
	fflush(NULL);
	j->pid = fork();
	if (j->out < 0 || j->pid < 0) {
		perror("cannot start a case");
		exit(2);
	}
	if (!j->pid)
		run_child(c, j->out);
}

static void run_cases(const bool *wanted, bool forking, unsigned max_jobs)
{
	for (unsigned i = 1; i <= N_CASES; i++) {
		if (!wanted[i] || cases[i]->how == NOT_APPLICABLE)
			continue;
		if (!forking) {
			cases[i]->run();
			results[i] = PASSED;
			continue;
		}
		if (n_jobs == max_jobs)
			reap_one();
		job_start(cases[i]);
	}
	while (n_jobs)
		reap_one();
}

static void print_row(const struct conformance_case *c, bool markdown)
{
	const char *result = result_names[results[c->number]];

	if (markdown)
		printf("| %u | %s | %s | %s | %s |\n", c->number, c->title, how_names[c->how],
		       result, c->reason);
	else
		printf("%3u  %-8s  %-6s  %s%s%s%s\n", c->number, how_names[c->how], result,
		       c->title, *c->reason ? " (" : "", c->reason, *c->reason ? ")" : "");
}

static int print_table(const bool *wanted, bool markdown)
{
	unsigned n_how[N_HOWS] = { 0 };
	unsigned n_result[FAILED + 1] = { 0 };

	if (markdown)
		puts("| case | title | how | result | reason |\n|---|---|---|---|---|");
	for (unsigned i = 1; i <= N_CASES; i++) {
		if (!wanted[i])
			continue;
		print_row(cases[i], markdown);
		n_how[cases[i]->how]++;
		n_result[results[i]]++;
	}
	printf("\n%u as it stands, %u improved, %u not applicable\n%u passed, %u failed\n",
	       n_how[AS_IS], n_how[IMPROVED], n_how[NOT_APPLICABLE], n_result[PASSED],
	       n_result[FAILED]);
	return n_result[FAILED] ? 1 : 0;
}

int main(int argc, char **argv)
{
	bool wanted[N_CASES + 1] = { false };
	bool some = false;
	bool markdown = false;
	bool forking = true;
	unsigned max_jobs = 2;

	for (int i = 1; i < argc; i++) {
		unsigned number = (unsigned)strtoul(argv[i], NULL, 10);

		if (!strcmp(argv[i], "--table")) {
			markdown = true;
		} else if (!strcmp(argv[i], "--no-fork")) {
			forking = false;
		} else if (!strcmp(argv[i], "-j") && i + 1 < argc) {
			max_jobs = (unsigned)strtoul(argv[++i], NULL, 10);
			max_jobs = MAX(1u, MIN(max_jobs, (unsigned)MAX_JOBS));
		} else if (number >= 1 && number <= N_CASES) {
			wanted[number] = some = true;
		} else {
			fprintf(stderr, "usage: %s [--table] [--no-fork] [-j N] [NUMBER...]\n",
				argv[0]);
			return 2;
		}
	}
	for (unsigned i = 1; i <= N_CASES && !some; i++)
		wanted[i] = true;
	if (!accounted_for())
		return 2;
	run_cases(wanted, forking, max_jobs);
	return print_table(wanted, markdown);
}
