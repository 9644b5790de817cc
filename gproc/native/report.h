/* What the slave is told, and what it says: two pipes that only it and a job's first process have.  If the plan has a
 * HOLD, reports go into a socket, because only a socket carries descriptors.
 *
 * A report: u8 kind, u8 stage, u8 cause, u8 1 if files are left, i32 value, u32 length of what follows: of a failure two texts, each with
 * its NUL, words and subject.  Each is written at once, and shorter than PIPE_BUF: none comes between another's bytes.
 * From the slave first a plan comes, then orders: u32 kind, u32 signal, u64 nanoseconds.  When the slave is
 * gone, or has enough of the job, that pipe ends.
 */
#ifndef GPROC_REPORT_H
#define GPROC_REPORT_H

#include "sys.h"

/* The descriptors that the slave starts this program with, beside the job's own 0, 1 and 2. */
#define SLAVE_DESCRIPTOR 3
#define REPORT_DESCRIPTOR 4

enum cause { ITSELF, STOPPED, PAST_DEADLINE, PAST_LEASE, SLAVE_GONE };

enum order_kind { SEND_SIGNAL = 1, PROLONG_LEASE = 2 };

struct order {
    uint32_t kind, signum;
    uint64_t until_ns;
};

/* The job's process 1, by the pid that it has for the slave. */
void report_begun(long pid);

/* The program's end, as wait(2) tells it, what ended it, and whether it has left files: left.h. */
void report_ended(int status, enum cause cause, bool left);

/* A handle for the directory in which the program starts.  Only if REPORT_DESCRIPTOR is a socket, as of a plan's HOLD. */
void report_held(int directory);

/* What `failure` holds. */
void report_failed(void);

/* Read one order; less than its size if the slave is gone. */
long report_next_order(struct order *order);

/* Whether reports have no reader any more. */
bool report_slave_gone(void);

#endif
