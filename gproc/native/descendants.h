/* All that a plain job's program started, found by /proc: there is no namespace that would hold it together. */
#ifndef GPROC_DESCENDANTS_H
#define GPROC_DESCENDANTS_H

#include "sys.h"

/* Send a signal to every process below this one. */
void descendants_signal(int signum);

/* Stop every process below this one, those too that they start meanwhile. */
void descendants_stop(void);

/* End and bury every process below this one.  If `child` is among those that were its own, its wait status is noted. */
void descendants_end(long child, int *status);

#endif
