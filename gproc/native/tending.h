/* The slave that the bootstrap starts, and the one that it finds.
 *
 * A slave has a lock (fcntl(2), F_SETLK) on a file in the directory of its runtime, which the kernel takes back when it
 * ends: the kernel tells the holder's pid, and no file could name another one.  The file has the name of the
 * slave's runtime.
 */
#ifndef GPROC_TENDING_H
#define GPROC_TENDING_H

#include "sys.h"

#define SLAVE_NAME_BYTES_MAX 64u
#define LOCK_SUFFIX ".lock"
#define SECRET_BYTES_MAX 60000u /* a pipe takes 64 KiB before anybody reads */

/* The descriptors that a slave is started with, beside 0, 1 and 2; cli/slave.py has the same. */
#define SECRET_DESCRIPTOR 3
#define READY_DESCRIPTOR 4
#define LOCK_DESCRIPTOR 5
#define LOG_DESCRIPTOR 6

/* The pid of the slave of that name; 0 if there is none, below 0 with a failure if that cannot be known. */
long slave_found(int directory, const char *name);

/* Whether a file of that name is the lock of a slave. */
bool slave_has_lock_name(const char *file);

/* Whether a process holds the lock of that file, be it on another machine with the same home; also if that cannot be
 * known. */
bool slave_holds(int directory, const char *file);

/* End the slave of that name, if there is one. */
bool slave_end(int directory, const char *name);

/* Start one: `words` is its command line, the first of them the program, in that runtime.  It reads `secret` from
 * SECRET_DESCRIPTOR.
 * This returns when it has said that it is ready, has ended, or the front end is gone; the exit status for our own. */
int slave_start(int directory, const char *name, const char *runtime, char **words, char **environment,
                const void *secret, size_t size);

#endif
