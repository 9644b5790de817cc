/* A runtime from standard input into a directory of ours: whole and with the digest that names it, or not at all. */
#ifndef GPROC_UNPACK_H
#define GPROC_UNPACK_H

#include "sha256.h"

#define RUNTIME_NAME_BYTES (sizeof "runtime-" - 1 + 2 * SHA256_BYTES)

/* "runtime-" and the digest in hexadecimal, with a NUL. */
void runtime_name(char name[RUNTIME_NAME_BYTES + 1], const uint8_t digest[SHA256_BYTES]);

/* Open `path`, a directory that belongs to us and in which nobody else can write; below 0, and a failure, if not. */
int open_own(const char *path);

/* Whether the runtime is there. */
bool runtime_is_there(int directory, const char *name);

/* Read `size` bytes from standard input, and no more; unpack them as `name`. */
bool runtime_unpack(int directory, const char *name, const uint8_t digest[SHA256_BYTES], uint64_t size);

/* Read exactly that many bytes of standard input. */
bool read_exactly(void *to, size_t size);

#endif
