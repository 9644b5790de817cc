/* One process, or two.  With namespaces, the one that the slave started makes them together with the job's process 1,
 * says that one's pid, and ends at once: process 1 is the slave's own child (CLONE_PARENT), and the kernel ends all of
 * its PID namespace with it, and it with the slave.  Without namespaces the one that was started is the job's shim: a
 * subreaper (prctl(2)), below which all stays that the program leaves behind.
 *
 * It has the slave's rights at first, and gives them up step by step.  It trusts what the slave planned as far as the
 * plan was checked, and nothing that belongs to the job: no name there is followed as a link, nothing of it is read.
 */
#include "init.h"

#include "descendants.h"
#include "descriptors.h"
#include "failure.h"
#include "identity.h"
#include "left.h"
#include "limits.h"
#include "path.h"
#include "place.h"
#include "program.h"
#include "tree.h"
#include "view.h"
#include "watch.h"

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

#define PROCESS_1_STACK_BYTES (1u << 20) /* each level of a tree that is copied takes some 3 KB: tree.c */

static struct plan plan;
static char bytes[PLAN_BYTES_MAX];

static int root_parent = -1; /* a handle for where the root of a plain job lies, once it is made */

static void set(int option, unsigned long value) {
    SYS5(prctl, option, value, 0, 0, 0);
}

/* Nothing may come in from where we were started: signals wait, descriptors go. */
static void come_off(void) {
    uint64_t all = ALL_SIGNALS;
    unsigned long standard[4] = {0};
    SYS4(rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all);
    SYS4(rt_sigaction, SIGCHLD, &standard, NULL, sizeof all); /* an ignored SIGCHLD would bury children unseen */
    close_from(REPORT_DESCRIPTOR + 1);
    SYS3(fcntl, SLAVE_DESCRIPTOR, F_SETFD, FD_CLOEXEC);
    SYS3(fcntl, REPORT_DESCRIPTOR, F_SETFD, FD_CLOEXEC);
    SYS1(umask, 0);
    SYS5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

/* Its header says how long a plan is; what follows it in the pipe are orders. */
static bool read_plan(void) {
    size_t size = 0, whole = PLAN_HEADER_BYTES;
    begin_stage(STAGE_LAUNCHER);
    while (size < whole) {
        long more = SYS3(read, SLAVE_DESCRIPTOR, bytes + size, whole - size);
        if (more <= 0) {
            return fail(more == 0 ? -EPIPE : more, "it does not come whole", "plan");
        }
        size += (size_t)more;
        if (size == PLAN_HEADER_BYTES) {
            whole = plan_size(bytes);
        }
    }
    return plan_read(&plan, bytes, size);
}

static bool may_run(void) {
    begin_stage(STAGE_IDENTITY);
    bool may = identity_may_become(&plan);
    begin_stage(may ? STAGE_LAUNCHER : STAGE_IDENTITY);
    return may;
}

static bool parent_lives(void) {
    begin_stage(STAGE_LAUNCHER);
    return !report_slave_gone() || fail(-EPIPE, "the slave is gone", "");
}

/* What every job has, before its user's rights. */
static bool enclose(void) {
    /* System V's shared memory, semaphores and queues end with the job.  A kernel may have no such namespace, and a plain
     * job of a slave that is not root cannot have one: then it runs without. */
    SYS1(unshare, CLONE_NEWIPC);
    begin_stage(STAGE_LIMITS);
    if (!limits_join(&plan)) {
        return false;
    }
    begin_stage(STAGE_IDENTITY);
    return identity_join_keyring();
}

/* Process 1 of a PID namespace that gets smaller rights with every line. */
static bool make_private(uint32_t own_uid, uint32_t own_gid) {
    bool of_root = plan.uid == 0; /* root's program gets all rights at execve(2), so its bounding set must be the slave's */
    set(PR_SET_PDEATHSIG, SIGKILL);
    begin_stage(STAGE_VIEW);
    if (plan.own_users && !identity_map(own_uid, own_gid)) {
        return false;
    }
    set(PR_SET_DUMPABLE, 0); /* not before: /proc/self/uid_map would belong to root */
    if (!of_root && !identity_keep(CAPABILITIES_FOR_MOUNTS)) {
        return false;
    }
    if (!enclose()) {
        return false;
    }
    begin_stage(STAGE_VIEW);
    if (!view_begin() || !view_make(&plan)) {
        return false;
    }
    begin_stage(STAGE_IDENTITY);
    if (!of_root && !identity_keep(CAPABILITIES_FOR_USER)) {
        return false;
    }
    if (!identity_gain_nothing(&plan) || !identity_become(&plan) ||
        (!of_root && !identity_keep(NO_CAPABILITIES))) {
        return false;
    }
    /* A change of identity takes both back: prctl(2). */
    set(PR_SET_PDEATHSIG, SIGKILL);
    set(PR_SET_DUMPABLE, 0);
    return true;
}

static bool make_root(void) {
    root_parent = open_trusted(plan.root_parent);
    if (root_parent < 0) {
        return false;
    }
    /* Closed to its user until it is whole: the user must not exchange entries while we, as root, work in it. */
    long result = SYS3(mkdirat, root_parent, plan.root_name, 0700);
    if (result != 0) {
        close_quietly(root_parent);
        root_parent = -1;
        return fail_below(result, NULL, plan.root_parent, plan.root_name);
    }
    int root = (int)SYS4(openat, root_parent, plan.root_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    bool good = root >= 0 || fail_below(root, NULL, plan.root_parent, plan.root_name);
    if (good && plan.root_source[0] != 0) {
        int source = open_directory(plan.root_source);
        good = source >= 0 && tree_copy(source, root);
        close_quietly(source);
    }
    good = good && make_below(root, plan.root_cwd, plan.uid, plan.gid);
    /* Others are kept out for good: a directory in it may be open to all, as /tmp is, and sticky bits do not travel. */
    if (good && SYS0(geteuid) == 0) {
        result = SYS3(fchown, root, plan.uid, plan.gid);
    }
    close_quietly(root);
    return good && (result == 0 || fail_below(result, NULL, plan.root_parent, plan.root_name));
}

static bool make_plain(void) {
    set(PR_SET_CHILD_SUBREAPER, 1);
    set(PR_SET_DUMPABLE, 0);
    if (!enclose()) {
        return false;
    }
    begin_stage(STAGE_VIEW);
    if (plan.root_parent != NULL && !make_root()) {
        return false;
    }
    begin_stage(STAGE_IDENTITY);
    return identity_gain_nothing(&plan);
}

/* With the rights of the job's user.  If the user may not look there, the program cannot start either. */
static int open_start(void *opened) {
    *(int *)opened = plan.namespaces || identity_become(&plan) ? open_directory(plan.cwd) : -1;
    return 0;
}

/* The directory outlives the program, all of its namespaces, and us, as long as the slave has a handle. */
static void keep_start(void) {
    int directory = -1;
    if (plan.namespaces) {
        open_start(&directory); /* we are that user already */
    } else {
        place_as_user(open_start, &directory, plan.cwd);
    }
    if (directory >= 0 && plan.hold) {
        report_held(directory);
    }
    if (directory >= 0 && plan.tell) {
        left_prepare(directory, plan.namespaces);
    } else {
        close_quietly(directory);
    }
}

static void leave_nothing(long child, int *status) {
    if (!plan.namespaces) {
        descendants_end(child, status);
    }
    if (root_parent >= 0) {
        tree_remove(root_parent, plan.root_name);
    }
}

/* `plan` and we are all that is left of the slave's rights, but for what a shim needs to end and remove its job. */
static int look_after(long child) {
    int status;
    bool root = SYS0(geteuid) == 0;
    begin_stage(STAGE_LAUNCHER);
    identity_keep(!root             ? NO_CAPABILITIES
                  : plan.namespaces ? CAPABILITIES_FOR_SIGNALS
                                    : CAPABILITIES_OF_SHIM);
    /* A reader shall see the end when the program's own descriptors are closed. */
    for (int descriptor = 0; descriptor <= 2; descriptor++) {
        SYS1(close, descriptor);
    }
    SYS1(chdir, "/");
    enum cause cause = watch(&plan, child, &status);
    bool left = plan.tell && left_any();
    if (plan.hold && cause != SLAVE_GONE) {
        close_quietly(root_parent); /* the slave removes it, once it has what it wants of it */
        root_parent = -1;
    }
    leave_nothing(child, &status);
    report_ended(status, cause, left);
    return 0;
}

static int run_job(uint32_t own_uid, uint32_t own_gid) {
    bool made = plan.namespaces ? make_private(own_uid, own_gid) : make_plain();
    if (made && parent_lives()) {
        if (plan.candidates.count == 0) {
            report_ended(0, ITSELF, false);
            return 0;
        }
        begin_stage(STAGE_LAUNCHER);
        if (plan.hold || plan.tell) {
            keep_start();
        }
        long child = watch_prepare(&plan) ? program_start(&plan, !plan.namespaces) : -1;
        if (child > 0) {
            return look_after(child);
        }
    }
    struct failure first = failure;
    int unused;
    leave_nothing(0, &unused);
    failure = first;
    report_failed();
    return 1;
}

struct ids {
    uint32_t uid, gid;
};

static int run_private(void *ids) {
    return run_job(((struct ids *)ids)->uid, ((struct ids *)ids)->gid);
}

/* Process 1 shares our memory, which we leave to it at once: to copy it would take a fourth of what a namespace does.  We
 * touch nothing of it from here on but our own stack. */
static int make_process_1(const struct ids *ids) {
    static _Alignas(16) char stack[PROCESS_1_STACK_BYTES];
    static struct ids kept;
    unsigned long flags = CLONE_VM | CLONE_PARENT | CLONE_NEWPID | CLONE_NEWNS | (plan.own_users ? CLONE_NEWUSER : 0);
    kept = *ids;
    long init = sys_clone(flags, run_private, stack + sizeof stack, &kept);
    if (init < 0) {
        fail(init, NULL, "clone with new namespaces");
        report_failed();
        return 1;
    }
    report_begun(init);
    return 0;
}

int init_run(void) {
    /* A user namespace shows them only when they are mapped. */
    struct ids ids = {(uint32_t)SYS0(getuid), (uint32_t)SYS0(getgid)};
    come_off();
    if (!read_plan() || !may_run() || !limits_score(&plan)) {
        report_failed();
        return 1;
    }
    return plan.namespaces ? make_process_1(&ids) : run_job(ids.uid, ids.gid);
}
