#include "program.h"

#include "failure.h"
#include "identity.h"
#include "limits.h"

#define STACK_BYTES (64u << 10)
#define SHELL_WORDS_MAX 65536u

struct start {
    const struct plan *plan;
    bool becomes;
};

/* As the kernel has it: a handler (0 is the default), flags, restorer, mask. */
struct disposition {
    unsigned long fields[4];
};

static void reset_signals(void) {
    struct disposition standard = {{0}};
    uint64_t none = 0;
    for (int signum = 1; signum <= SIGNALS; signum++) {
        if (signum != SIGKILL && signum != SIGSTOP) {
            SYS4(rt_sigaction, signum, &standard, NULL, sizeof none);
        }
    }
    SYS4(rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

/* A text file without "#!": as execvp(3) has it, a shell reads it. */
static void execute_by_shell(const struct plan *plan, const char *path) {
    static char *words[SHELL_WORDS_MAX + 3];
    static char shell[] = "/bin/sh";
    uint32_t count = plan->arguments.count - 1;
    if (count > SHELL_WORDS_MAX) {
        fail(-E2BIG, NULL, path);
        return;
    }
    words[0] = shell;
    words[1] = (char *)(uintptr_t)path;
    memcpy(words + 2, plan->arguments.words + 1, count * sizeof words[0]);
    words[count + 2] = NULL;
    fail(SYS3(execve, shell, words, plan->environment.words), NULL, shell);
}

/* As execvp(3) does it: permission denied is only the answer if nothing else is found. */
static void execute(const struct plan *plan) {
    long denied = 0, missing = -ENOENT;
    const char *denied_at = NULL, *missing_at = plan->candidates.words[0];
    for (uint32_t index = 0; index < plan->candidates.count; index++) {
        const char *path = plan->candidates.words[index];
        long result = SYS3(execve, path, plan->arguments.words, plan->environment.words);
        if (result == -ENOENT || result == -ENOTDIR) {
            missing = result;
            missing_at = path;
        } else if (result == -EACCES || result == -EPERM) {
            denied = result;
            denied_at = path;
        } else if (result == -ENOEXEC) {
            execute_by_shell(plan, path);
            return;
        } else {
            fail(result, NULL, path);
            return;
        }
    }
    fail(denied != 0 ? denied : missing, NULL, denied != 0 ? denied_at : missing_at);
}

/* In the child, which shares our memory: what it notes in `failure`, we read. */
static int run(void *argument) {
    const struct start *start = argument;
    const struct plan *plan = start->plan;
    SYS0(setsid);
    begin_stage(STAGE_IDENTITY);
    if (start->becomes && !identity_become(plan)) {
        return 1;
    }
    begin_stage(STAGE_LIMITS);
    if (!limits_apply(plan)) {
        return 1;
    }
    begin_stage(STAGE_CWD);
    long result = SYS1(chdir, plan->cwd);
    if (result != 0) {
        fail(result, NULL, plan->cwd);
        return 1;
    }
    begin_stage(STAGE_EXEC);
    SYS1(umask, plan->umask);
    if (plan->terminal && (result = SYS3(ioctl, 0, TIOCSCTTY, 0)) != 0) {
        fail(result, "it cannot become the controlling terminal", "standard input");
        return 1;
    }
    reset_signals();
    execute(plan);
    return 1;
}

long program_start(const struct plan *plan, bool becomes) {
    static _Alignas(16) char stack[STACK_BYTES];
    struct start start = {plan, becomes};
    failure.code = 0;
    /* We stand still until it has executed the program, or ended. */
    long child = sys_clone(CLONE_VM | CLONE_VFORK | SIGCHLD, run, stack + sizeof stack, &start);
    if (child < 0) {
        begin_stage(STAGE_EXEC);
        fail(child, NULL, "fork");
        return -1;
    }
    if (failure.code != 0) {
        SYS4(wait4, child, NULL, __WALL, NULL);
        return -1;
    }
    return child;
}
