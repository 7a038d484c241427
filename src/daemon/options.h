/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a mount that are not a provider's, and the places configuration comes from. The
 * tables here, and those of the providers, are all there is: help, checks and man page read them.
 */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <vmofs/err.h>
#include <vmofs/provider.h>

#include "base/config.h"

struct cache_params;

extern const struct vmofs_option mount_options[];
/* The flags of mount(8) that mean something here. */
extern const struct vmofs_option vfs_options[];

/* Knows the options above and those of every provider. */
int options_new_config(struct vmofs_config **out, struct vmofs_err *err);

/*
 * Reads /etc/vmofs/vmofs.conf and ~/.config/vmofs/vmofs.conf, if they are there, then @extra (may
 * be NULL), which must be.
 */
int options_load_files(struct vmofs_config *c, const char *source, const char *extra,
		       struct vmofs_err *err);

/*
 * @dir, the value of @option, as it is called from everywhere: absolute, without links. Its last part need not be there,
 * its parent must be. The caller frees *@out.
 */
int options_dir(const char *option, const char *dir, char **out, struct vmofs_err *err);
/* A directory for what a mount keeps cannot be in the mount. Both are absolute, without links; @mountpoint "": there is none. */
int options_check_place(const char *option, const char *dir, const char *mountpoint,
			struct vmofs_err *err);

/*
 * Where the disk cache is and how large it may be: *@dir, which the caller frees, is absolute, also where it is not
 * there yet; NULL when there is none. The parent of the directory must be there. @p borrows *@dir.
 */
int options_cache(const struct vmofs_config *c, char **dir, struct cache_params *p,
		  struct vmofs_err *err);

/*
 * Calls @fn for each option: the mount's, mount(8)'s, then each provider's. A name that stands in
 * several tables is one option, and the first table describes it.
 */
void options_each(void (*fn)(void *arg, const struct vmofs_option *opt), void *arg);

#endif
