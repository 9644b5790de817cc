/* What the job has, shown at its own path on the node, whatever lies there: a directory that the user named. */
#ifndef GPROC_PLACE_H
#define GPROC_PLACE_H

#include "plan.h"

/* Run `body` in a child that shares our memory and descriptors, but has the rights of the job's user. */
bool place_as_user(int (*body)(void *), void *argument, const char *subject);

/* Carry out a PLACE: what the job's root has at `path` appears there.
 *
 * A process with the user's rights opens the directory, or the nearest one above it that exists.  What that one has on
 * the node besides is put into the job's own directory, entry by entry, before this is mounted over it: so the node's
 * own directories stay what they are.  Only what the user may look into is looked into. */
bool place_make(const struct operation *operation, const struct plan *plan);

/* Carry out a TOP: a root directory of the job's own, with the node's entries and more. */
bool place_make_top(const struct operation *operation);

#endif
