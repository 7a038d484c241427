/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a mount whose files can be changed: the journal, the writer, and what joins them with the tree. Made by the main
 * thread, looked at by commands. A mount that is read-only has none of them, and every call here does nothing then.
 */
#ifndef DAEMON_MOUNT_WRITE_H
#define DAEMON_MOUNT_WRITE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <vmofs/err.h>
#include <vmofs/source.h>

struct fs_tree_source_params;
struct journal;
struct local;
struct mount;
struct writer;

struct mount_write {
	struct local *local;     /* owned, as all below; NULL: read-only */
	struct writer *writer;   /* NULL too while it is being made */
	struct journal *journal; /* NULL: nothing survives the daemon */
	char *journal_dir;
	json_t *recovered; /* of files that the journal had: state, bytes and key; NULL: none */
	/* How long the end of the mount may store what is left; see mount_write_set_drain(). Any thread. */
	atomic_uint_least64_t drain_ns;
	atomic_bool drain_is_set;
};

/* Before anything is opened: whether the mount is to be changed, and whether @ops' source can be. */
int mount_write_check(struct mount *m, const char *provider, const struct vmofs_source_ops *ops,
		      struct vmofs_err *err);
/* Three steps around the making of the tree, when the source and the cache of objects are there. */
int mount_write_new_local(struct mount *m, const struct vmofs_source_info *info,
			  struct vmofs_err *err);
void mount_write_tree_params(struct mount *m, struct fs_tree_source_params *p);
int mount_write_new_writer(struct mount *m, const struct vmofs_source_info *info,
			   struct vmofs_err *err);

/* What the journal has becomes files, before the mount is shown; and, when the log is where it stays, the words for it. */
int mount_write_recover(struct mount *m, struct vmofs_err *err);
void mount_write_log_recovered(struct mount *m);

/* Called now and then by who waits. */
struct mount_write_look {
	void (*look)(void *arg, struct mount *m);
	void *arg;
};
/*
 * Stores what is left, for at most @ns (0: as long as it takes), or until there is a signal on m->signal_fd. @look may be NULL. Main
 * thread.
 */
void mount_write_store(struct mount *m, uint64_t ns, const struct mount_write_look *look);

/* So long the end of the mount may take to store what is left. -1: as it is decided by itself. */
void mount_write_set_drain(struct mount *m, int64_t ms);
enum mount_end { MOUNT_END_FAILED, MOUNT_END_SIGNAL, MOUNT_END_UNMOUNTED, MOUNT_NENDS };
/*
 * Stores what is left, as long as there is time, then leaves it to the journal. A signal on m->signal_fd ends the storing at once.
 * The session still serves, but nothing can be written any more when it returns.
 */
void mount_write_finish(struct mount *m, enum mount_end how);
/* Nobody uses the files any more; before the tree and the objects go. */
void mount_write_free(struct mount *m);

#endif
