/* The time while the program runs: orphans are buried, orders carried out, deadlines kept. */
#ifndef GPROC_WATCH_H
#define GPROC_WATCH_H

#include "plan.h"
#include "report.h"

/* Open what wakes us.  False, and a failure, if that cannot be. */
bool watch_prepare(const struct plan *plan);

/* Until `child` has ended, or must end; what else there is of the job is left to the caller.  `status`: as wait(2) has
 * it, SIGKILL if the program did not end by itself. */
enum cause watch(const struct plan *plan, long child, int *status);

#endif
