/* The rights of a process: the slave's at first, then fewer at every step, and at last those of the job's user. */
#ifndef GPROC_IDENTITY_H
#define GPROC_IDENTITY_H

#include "plan.h"

#define CAPABILITY(number) (1ull << (number))
#define NO_CAPABILITIES 0ull

/* What is needed before the view is there, and what from then on until the program runs. */
#define CAPABILITIES_FOR_MOUNTS                                                                                  \
    (CAPABILITY(CAP_SYS_ADMIN) | CAPABILITY(CAP_CHOWN) | CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_FOWNER) | \
     CAPABILITY(CAP_FSETID) | CAPABILITY(CAP_SYS_CHROOT) | CAPABILITIES_FOR_USER)
#define CAPABILITIES_FOR_USER (CAPABILITY(CAP_SETGID) | CAPABILITY(CAP_SETUID) | CAPABILITIES_FOR_SIGNALS)
#define CAPABILITIES_FOR_SIGNALS CAPABILITY(CAP_KILL)
/* Of the shim of a plain job of root's slave: to end what its user started, and to remove what he left. */
#define CAPABILITIES_OF_SHIM (CAPABILITIES_FOR_SIGNALS | CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_FOWNER))

/* Whether we are the job's user, or root. */
bool identity_may_become(const struct plan *plan);

/* As process 1 of a user namespace: map our own user and group, since an unprivileged process may map no other. */
bool identity_map(uint32_t uid, uint32_t gid);

/* Keep no more capabilities than these; what we do not have, we do not get. */
bool identity_keep(uint64_t capabilities);

/* A session keyring of the job's own: the slave's would let it read the slave's keys, keyrings(7). */
bool identity_join_keyring(void);

/* Whatever this process executes gains no rights that it does not have, for good. */
bool identity_gain_nothing(const struct plan *plan);

/* Take the groups, gid and uid of the job's user, for good. */
bool identity_become(const struct plan *plan);

#endif
