/* Directories opened so that what is checked is what is used: no name is looked up twice. */
#ifndef GPROC_PATH_H
#define GPROC_PATH_H

#include "sys.h"

/* Room for the path by which a descriptor is named to mount(2). */
struct descriptor_path {
    char text[32];
};

/* A handle (O_PATH) for the directory `path`; a link in any part of it is refused.  Below 0, and a failure, if not. */
int open_without_links(const char *path);

/* The same, but links are followed: for what the administrator configured.  Below 0: the negated errno. */
int open_directory(const char *path);

/* The same, but the last part may be no link, and the directory must belong to root or to us: no other user
 * can put something into it or exchange it. */
int open_trusted(const char *path);

/* A handle for what `name` is below `directory`, of any type; no link is followed and no step leads out. */
int open_below(int directory, const char *name);

/* Make what is missing of `path` below `directory`, each part 0755 and owned by the job's user.  A part that is a link
 * is refused: it would have us, as root, give a directory elsewhere to that user. */
bool make_below(int directory, const char *path, uint32_t uid, uint32_t gid);

/* /proc/self/fd/N. */
struct descriptor_path by_descriptor(int descriptor);

void close_quietly(int descriptor);

#endif
