/* The program itself: a child of the job's first process. */
#ifndef GPROC_PROGRAM_H
#define GPROC_PROGRAM_H

#include "plan.h"

/* Execute the plan's program in a session of its own, with default signals and descriptors 0 to 2 only.
 *
 * becomes: whether it has to take the user's identity first; else we have it already.
 * Its pid; -1, and a failure, if it does not run. */
long program_start(const struct plan *plan, bool becomes);

#endif
