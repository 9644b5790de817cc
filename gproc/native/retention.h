/* Which of the runtimes in a directory of ours stay: the one that is wanted, those in use, and one more.  So do helpers,
 * such as this program: this one, those that run, and one more.
 *
 * In use is a runtime
 *     - whose name is in the lock file of a slave that holds it (tending.h): also on another machine with the same home,
 *     - that a bootstrap holds until its slave has that lock,
 *     - of which a process of this machine executes something: proc(5), exe,
 *     - beside which "NAME.kept" lies, as scripts/copytonodes.sh makes it for the commands that it installs.
 */
#ifndef GPROC_RETENTION_H
#define GPROC_RETENTION_H

#include "sys.h"

/* Note that the runtime `wanted` is used now, and remove unused ones; but if no other is in use, the last used one stays.
 * The caller keeps other bootstraps of this machine away.  If it is not known whether one is in use, it stays. */
void retention_prune(int directory, const char *wanted);

/* Hold the runtime of that name until we end. */
void retention_hold(int directory, const char *name);

#endif
