/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket of a mount: a client sends one line of JSON, {"cmd":"stat",...}, and gets one
 * line back, {"ok":true,...} or {"ok":false,"code":-5,"error":"..."}. Only the owner of the daemon and
 * root are heard. Loop 0 serves it; what takes long runs on a short-lived thread.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <stdatomic.h>
#include <vmofs/err.h>

struct control;
struct mount;

int control_new(struct control **out, struct mount *m, struct vmofs_err *err);
/* Hears nobody any more, and tells work under way to end. */
void control_stop(struct control *c);
/* Waits for that. Commands may wait for the source, the objects and the kernel: those must end or serve. */
void control_wait(struct control *c);
/* After control_stop(); waits, too. NULL is fine. */
void control_free(struct control *c);

#endif
