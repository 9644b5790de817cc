/* What a job sees, mounted: in a mount namespace of its own, before it gives up the slave's rights. */
#ifndef GPROC_VIEW_H
#define GPROC_VIEW_H

#include "plan.h"

/* Keep what is mounted from now on to this namespace.  What the node mounts later still comes in. */
bool view_begin(void);

/* Carry out the plan's operations, in order; what was done when one fails goes with the namespace. */
bool view_make(const struct plan *plan);

#endif
