/* SPDX-License-Identifier: Apache-2.0 */
/* One connection waits for the end, others ask now and then how far it is. */
#include "cli/progress.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/macros.h"
#include "cli/opt.h"
#include "cli/text.h"

enum { LOOK_MS = 200, BAR_LEN = 30 };

static uint64_t sum_of(const json_t *sums, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(sums, name));

	return v > 0 ? (uint64_t)v : 0;
}

void progress_draw(struct progress_bar *b, const json_t *sums)
{
	const char *trouble = json_string_value(json_object_get(sums, "trouble"));
	uint64_t left = sum_of(sums, "bytes") - MIN(sum_of(sums, "stored"), sum_of(sums, "bytes"));
	char done_text[TEXT_BYTES_MAX], total_text[TEXT_BYTES_MAX];
	char bar[BAR_LEN + 1];
	size_t full;

	b->total = MAX(b->total, left);
	full = b->total ? (size_t)((double)(b->total - left) * BAR_LEN / (double)b->total) : 0;
	memset(bar, ' ', BAR_LEN);
	memset(bar, '#', MIN(full, (size_t)BAR_LEN));
	bar[BAR_LEN] = '\0';
	fprintf(stderr, "\r\033[K[%s] %s of %s stored, %llu files left%s%.60s", bar,
		text_bytes((double)(b->total - left), done_text),
		text_bytes((double)b->total, total_text), (unsigned long long)sum_of(sums, "files"),
		trouble ? ": " : "", trouble ? trouble : "");
	fflush(stderr);
	b->drawn = true;
}

void progress_clear(struct progress_bar *b)
{
	if (b->drawn)
		fputs("\r\033[K", stderr);
	b->drawn = false;
}

/* What cannot be looked at is not drawn; the end is told by the other connection. */
static void look(struct progress_bar *b, const struct client_target *t)
{
	struct vmofs_err unused = VMOFS_ERR_INIT;
	cleanup(json_decrefp) json_t *sums = NULL;

	if (!client_call(t, json_pack("{s:s, s:s}", "cmd", "writing", "path", t->inside), &sums,
			 &unused))
		progress_draw(b, sums);
}

static void wait_for_answer(const struct client_target *t, int fd, bool show)
{
	struct pollfd f = { .fd = fd, .events = POLLIN };
	struct progress_bar b = { 0 };

	while (poll(&f, 1, show ? LOOK_MS : -1) <= 0)
		if (show)
			look(&b, t);
	progress_clear(&b);
}

int progress_sync(const struct client_target *t, uint64_t timeout_ns, bool show, json_t **reply,
		  struct vmofs_err *err)
{
	cleanup(fd_closep) int fd = client_ask(
		t,
		json_pack("{s:s, s:s, s:I}", "cmd", "sync", "path", t->inside, "timeout_ms",
			  (json_int_t)((timeout_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC)),
		err);

	if (fd < 0)
		return fd;
	wait_for_answer(t, fd, show && isatty(STDERR_FILENO));
	return client_answer(t, fd, reply, err);
}

int progress_timeout(const struct args *a, uint64_t otherwise, uint64_t *out_ns,
		     struct vmofs_err *err)
{
	const char *given = args_get(a, "timeout");

	*out_ns = otherwise;
	if (given && config_parse_time(given, out_ns))
		return vmofs_err_set(err, -EINVAL,
				     "option '--timeout': '%s' is not a time such as 30s or 5m",
				     given);
	return 0;
}

void progress_print_left(FILE *out, const json_t *sums)
{
	const char *trouble = json_string_value(json_object_get(sums, "trouble"));
	uint64_t files = sum_of(sums, "files");
	uint64_t conflicts = sum_of(sums, "conflicts");
	char bytes[TEXT_BYTES_MAX];

	if (files)
		fprintf(out, "vmofs: %llu %s (%s) not stored%s%s\n", (unsigned long long)files,
			files == 1 ? "file" : "files",
			text_bytes((double)sum_of(sums, "bytes"), bytes), trouble ? ": " : "",
			trouble ? trouble : "");
	if (conflicts)
		fprintf(out, "vmofs: %llu %s in conflict with the origin; see `vmofs conflicts`\n",
			(unsigned long long)conflicts, conflicts == 1 ? "file is" : "files are");
}
