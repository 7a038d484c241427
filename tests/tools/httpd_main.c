/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lying server as a program, for shell tests.
 *
 *   httpd_main [--size BYTES] [--file FILE] [--set MODE=VALUE&...]
 *
 * Prints its port on a line of its own and serves until its standard input ends or TERM comes.
 * Modes are changed with PUT /_ctl?MODE=VALUE&..., counters read with GET /_ctl (lib/httpd.h).
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config.h"
#include "lib/httpd.h"

static void on_term(int sig)
{
	(void)sig;
	close(STDIN_FILENO);
	_exit(0);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "file", required_argument, NULL, 'f' },
		{ "set", required_argument, NULL, 'm' },
		{ NULL, 0, NULL, 0 },
	};
	const char *file = NULL, *modes = NULL;
	uint64_t size = 1 << 20;
	struct httpd *h;
	char byte;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's' && config_parse_size(optarg, &size) == 0)
			continue;
		if (c == 'f')
			file = optarg;
		else if (c == 'm')
			modes = optarg;
		else
			return 2;
	}
	signal(SIGTERM, on_term);
	h = httpd_new(size, file);
	if (modes && httpd_try_set(h, modes) < 0)
		return 2;
	printf("%u\n", httpd_port(h));
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	httpd_free(h);
	return 0;
}
