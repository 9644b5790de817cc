/* Bounds on a job: cgroups that it joins, and what it inherits from its first process. */
#ifndef GPROC_LIMITS_H
#define GPROC_LIMITS_H

#include "plan.h"

/* How soon the kernel ends this process, and what comes of it, when memory ends. */
bool limits_score(const struct plan *plan);

/* With the slave's rights: enter the cgroups. */
bool limits_join(const struct plan *plan);

/* With the user's rights, so that no user gets by `nice` what the kernel would refuse that user. */
bool limits_apply(const struct plan *plan);

#endif
