/* Whether a program leaves files of its own in its working directory, which is gone with the job. */
#ifndef GPROC_LEFT_H
#define GPROC_LEFT_H

#include "sys.h"

/* Before the program starts.  `directory` is a handle for the one in which it starts; it is kept open from then on.
 * counts: whether its file system belongs to this job alone, so that a number of files tells whether there are new ones. */
void left_prepare(int directory, bool counts);

/* After its end: whether a file there is younger than its beginning.  Hidden files, and what Python compiled, are caches and
 * do not count; the node's own files, which are mounted there, do not either.  False if that takes long to find. */
bool left_any(void);

#endif
