/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a mount whose files can be changed, read and checked: what the writer and the journal are made with.
 * Set-up path of one thread.
 */
#ifndef DAEMON_WRITE_OPTIONS_H
#define DAEMON_WRITE_OPTIONS_H

#include <stdint.h>
#include <sys/types.h>
#include <vmofs/err.h>

#include "base/config.h"
#include "write/writer.h"

struct write_options {
	struct writer_params writer; /* what the options say of it, nothing else */
	char *journal_dir;           /* owned, absolute; NULL: no journal */
	uint64_t journal_size;
};

/* Whether files can be changed, by rw or cow. Of `ro` and these the later one counts. */
bool write_options_wanted(const struct vmofs_config *c);
/* Whether what is changed is kept here, and the source is only read. */
bool write_options_cow(const struct vmofs_config *c);
int write_options_check_cow(const struct vmofs_config *c, struct vmofs_err *err);
/*
 * @memory: bytes of the pool. What contradicts itself is an error. write_options_release() follows in any case.
 */
int write_options_read(struct write_options *out, const struct vmofs_config *c, uint64_t memory,
		       struct vmofs_err *err);
void write_options_release(struct write_options *o);

/* Where the journal is by the options: absolute, the caller frees it. NULL: "none" was given. */
int write_options_journal_dir(const struct vmofs_config *c, char **out, struct vmofs_err *err);

/* Where what is changed is kept with cow: absolute, the caller frees it. */
int write_options_cow_dir(const struct vmofs_config *c, char **out, struct vmofs_err *err);

/* Why @source, which @provider serves, cannot be mounted with rw, and what can be done. Returns -EROFS. */
int write_options_refuse(const char *source, const char *provider, struct vmofs_err *err);

#endif
