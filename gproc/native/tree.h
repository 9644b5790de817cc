/* Directory trees copied and removed by descriptors: no link is followed, even if users may write to them. */
#ifndef GPROC_TREE_H
#define GPROC_TREE_H

#include "sys.h"

#define ENTRIES_BYTES 2048u

/* A directory that is being read. */
struct entries {
    int directory;
    long size, used;
    _Alignas(8) char buffer[ENTRIES_BYTES];
};

/* The next name but . and ..; NULL at the end, or if the directory cannot be read. */
const char *next_name(struct entries *entries);

/* Copy what is below the directory `source` into the directory `to`: owners (as root), modes, links, times. */
bool tree_copy(int source, int to);

/* Remove `name` below the directory `parent`, and what is below it.  What cannot be removed stays; root/binroot.py tries
 * again. */
void tree_remove(int parent, const char *name);

#endif
