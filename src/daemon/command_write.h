/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands about what has been changed here. In a mount that is read-only nothing is. See command.h for who runs them.
 *
 *   writing   how much there is to store (for progress), whether there is a journal
 *   end       quick: how long the end of the mount may store what is left ("drain_ms"; -1: as it decides itself)
 *   dirty     the files that are not stored, with their dirty ranges ("path": below it only)
 *   sync      waits until what is below "path" is stored, at most "timeout_ms" (0: for ever)
 *   resolve   ends the conflict of the file "path": "how" is keep-local, keep-remote or save-as, this with "key"
 */
#ifndef DAEMON_COMMAND_WRITE_H
#define DAEMON_COMMAND_WRITE_H

#include <jansson.h>
#include <stdatomic.h>
#include <vmofs/err.h>

struct mount;

int command_writing(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		    struct vmofs_err *err);
int command_end(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		struct vmofs_err *err);
int command_dirty(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		  struct vmofs_err *err);
int command_sync(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		 struct vmofs_err *err);
int command_resolve(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		    struct vmofs_err *err);

/* Of `vmofs stat`: the member "write"; nothing in a mount that is read-only. */
void command_write_stats(struct mount *m, json_t *reply);

#endif
