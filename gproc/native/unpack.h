/* A runtime into a directory of ours: whole and with the digest that names it, or not at all. */
#ifndef GPROC_UNPACK_H
#define GPROC_UNPACK_H

#include "supply.h"

/* What is being unpacked, or removed, has a name that begins so; then comes which machine does it: this_machine(). */
#define UNFINISHED ".new"
#define UNFINISHED_BYTES (sizeof UNFINISHED + MACHINE_BYTES)

/* The name of what is unfinished on this machine: at most one, under the lock of that directory. */
const char *unfinished(void);

/* Remove that from the directory, and what other machines have left there a day ago, also of what had come to them. */
void unfinished_remove(int directory);

/* "runtime-" and the digest in hexadecimal, with a NUL. */
void runtime_name(char name[RUNTIME_NAME_BYTES + 1], const uint8_t digest[SHA256_BYTES]);

/* Open `path`, a directory that belongs to us and in which nobody else can write; below 0, and a failure, if not. */
int open_own(const char *path);

/* Whether the runtime is there. */
bool runtime_is_there(int directory, const char *name);

/* Get what is `wanted` by supply.h, and unpack it as `name`.  Other nodes get it at `port`; 0 if they cannot. */
bool runtime_unpack(int directory, const char *name, const struct archive *wanted, uint16_t *port);

#endif
