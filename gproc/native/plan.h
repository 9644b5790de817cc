/* A job as the slave planned it: typed operations, checked one by one before the first is carried out.
 *
 * A plan is a header and a row of operations, all numbers little-endian:
 *
 *     header     "gpi4", u32 length of the whole
 *     operation  u32 kind, u32 length of what follows, then its fields
 *     text       u32 length, that many bytes without a NUL, and one NUL, so that it can be used in place
 *     list       u32 count, that many texts
 *
 * Nothing here is trusted: paths are absolute and have no "..", ids are real ones, counts and lengths are bounded, an
 * operation that may come once comes once, and a plan has not one byte too many.  No memory is allocated: a plan stays
 * in the buffer that it was read into, and the tables that point into it have a fixed size.
 */
#ifndef GPROC_PLAN_H
#define GPROC_PLAN_H

#include "sys.h"

#define PLAN_FORMAT "gpi4"
#define PLAN_HEADER_BYTES 8u

/* ARG_MAX of execve(2) is 6 MiB at the most: a quarter of a stack of 24 MiB; beside it is room for a view. */
#define PLAN_BYTES_MAX (9u << 20)

/* The kernel counts 8 bytes for the pointer to each argument as well: 6 MiB are fewer than 700,000 of one byte. */
#define WORDS_MAX (1u << 20)

#define OPERATIONS_MAX 4096u /* of a view: more than a bundle has directories with code */
#define LAYERS_MAX 128u      /* of one union; 24 bytes each, and mount(2) takes one page */
#define TOPS_MAX 256u      /* entries of a root directory that a bundle has and a node has not */
#define KEPT_MAX 4096u       /* of one union; root/facts.py keeps 200, and what is mounted there */
#define CANDIDATES_MAX 4096u /* elements of a PATH */
#define CGROUPS_MAX 8u       /* one for each controller of version 1 that is used */
#define GROUPS_MAX 65536u    /* NGROUPS_MAX */
#define LIMITS_MAX 32u       /* RLIM_NLIMITS is 16, and each may come twice */
#define PATH_BYTES_MAX 4095u /* PATH_MAX with its NUL is 4096 */
#define NO_ID 0xffffffffu    /* to setresuid(2): leave it as it is */

enum kind {
    /* Once each. */
    NAMESPACES = 1, /* u32: bits of OWN_USERS; mount and PID namespaces are always made */
    OOM_SCORE = 2,  /* i32, as /proc/self/oom_score_adj has it */
    CGROUP = 3,     /* list of directories: cgroups to join */
    ROOT = 4,       /* of a plain job: texts parent, name, source or "", directory to start in or "" */
    USER = 5,       /* u32 uid, u32 gid, u32 count, that many u32 groups */
    NICE = 6,       /* i32, added to our own */
    CPUS = 7,       /* u32: how many of those that we may use */
    UMASK = 8,      /* u32 */
    CWD = 9,        /* text */
    TERMINAL = 10,  /* standard input becomes the controlling terminal */
    DEADLINE = 11,  /* u64: nanoseconds of CLOCK_BOOTTIME, when the job ends whatever it does */
    LEASE = 12,     /* u64: the same, until the slave prolongs it */
    EXEC = 13,      /* lists of candidates, arguments, environment */
    HOLD = 14,      /* the slave gets a handle for the directory to start in; a plain job's root stays for it */
    TELL = 15,      /* the slave is told whether files are left in the directory to start in */
    /* Any number of times, in order. */
    TMPFS = 20,     /* text at */
    DIRECTORY = 21, /* texts base, path */
    OVERLAY = 22,   /* text at, text upper or "", text work or "", lists of lowers and of what is kept */
    COPY = 23,      /* texts source, at */
    PROC = 24,      /* text at */
    SHOW = 25,      /* texts source, at: a directory that the user named */
    PLACE = 27,     /* texts at: a directory that the user named, root: what is shown; u32 1: without what lies there;
                       list of names below `at` that give way to the node's own */
    TOP = 28,       /* text at, lists of directories, of links and of their targets */
    LIMIT = 26,     /* u32 resource, u32 0: the soft limit alone, 1: both; u64 value */
};

#define OWN_USERS 1u

struct list {
    char **words; /* followed by a NULL */
    uint32_t count;
};

struct operation {
    enum kind kind;
    const char *at;     /* TMPFS, OVERLAY, COPY, PROC, SHOW, PLACE, TOP; the base of a DIRECTORY */
    const char *source; /* COPY, SHOW; the path of a DIRECTORY; the root of a PLACE */
    const char *upper, *work;
    struct list lowers, kept; /* of a TOP: targets, and the links' names; of a PLACE, kept: what gives way */
    struct list made;
    bool whole, stays, yields; /* of a PLACE */
};

struct limit {
    uint32_t resource;
    bool both;
    uint64_t value;
};

struct plan {
    bool namespaces, own_users;
    bool has_oom_score;
    int32_t oom_score;
    struct list cgroups;
    const char *root_parent, *root_name, *root_source, *root_cwd; /* root_parent is NULL if there is no root */
    uint32_t uid, gid, group_count;
    uint32_t groups[GROUPS_MAX];
    bool has_nice;
    int32_t nice;
    uint32_t cpus; /* 0: as many as we */
    uint32_t umask;
    const char *cwd;
    bool terminal, hold, tell;
    uint64_t deadline_ns, lease_ns; /* 0: none */
    struct list candidates, arguments, environment; /* no candidates: the view is tried, and nothing runs */
    uint32_t operation_count, limit_count;
    struct operation operations[OPERATIONS_MAX];
    struct limit limits[LIMITS_MAX];
};

/* How long the plan is whose header begins at `bytes`; PLAN_HEADER_BYTES if that is none. */
size_t plan_size(const char *bytes);

/* Read `size` bytes at `bytes`, which have to outlive the plan.  False, and a failure, if they are no plan. */
bool plan_read(struct plan *plan, char *bytes, size_t size);

#endif
