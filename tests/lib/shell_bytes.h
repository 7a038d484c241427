/* SPDX-License-Identifier: Apache-2.0 */
/* What a command of the shell prints, as bytes: archives that other people's programs make, for tests of what reads them. */
#ifndef LIB_SHELL_BYTES_H
#define LIB_SHELL_BYTES_H

#include <stddef.h>
#include <stdint.h>

/* From malloc(); NULL: the command failed, or is not there. */
uint8_t *shell_bytes(const char *command, size_t *len);
/* The same of a script for python3. */
uint8_t *python_bytes(const char *script, size_t *len);

#endif
