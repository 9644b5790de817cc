#include "tending.h"

#include "answer.h"
#include "descriptors.h"
#include "failure.h"
#include "number.h"
#include "path.h"

#define TICK_NS 20000000
#define LOOK_S 1
#define PATIENCE_TICKS 500u /* 10 s for a slave to end its jobs and itself */
#define READY_BYTES_MAX 200u
#define STATUS_FAILED 1
#define PROCESS_CLOCK 2 /* CPUCLOCK_SCHED */

static void file_name(char *to, const char *name, const char *suffix) {
    size_t length = strlen(name);
    memcpy(to, name, length);
    memcpy(to + length, suffix, strlen(suffix) + 1);
}

static int open_file(int directory, const char *name, const char *suffix, int flags) {
    char path[SLAVE_NAME_BYTES_MAX + 8];
    file_name(path, name, suffix);
    int opened = (int)SYS4(openat, directory, path, flags | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (opened < 0) {
        fail(opened, NULL, path);
    }
    return opened;
}

/* The pid of the process that has the lock; 0 if none has it; below 0, with a failure, if that cannot be known. */
static long holder(int file) {
    struct flock lock = {.l_type = F_WRLCK};
    long result = SYS3(fcntl, file, F_GETLK, &lock);
    if (result != 0) {
        fail(result, NULL, "lock");
        return -1;
    }
    if (lock.l_type == F_UNLCK) {
        return 0;
    }
    if (lock.l_pid <= 0) { /* of another host, of a PID namespace that we do not see, or an open file description's */
        fail(-EBUSY, "a process that cannot be seen from here has it", "lock");
        return -1;
    }
    return lock.l_pid;
}

long slave_found(int directory, const char *name) {
    int file = open_file(directory, name, LOCK_SUFFIX, O_RDWR);
    long pid = file < 0 ? -1 : holder(file);
    close_quietly(file);
    return pid;
}

bool slave_has_lock_name(const char *file) {
    size_t length = strlen(file), suffix = sizeof LOCK_SUFFIX - 1;
    return length > suffix && memcmp(file + length - suffix, LOCK_SUFFIX, suffix) == 0;
}

bool slave_holds(int directory, const char *path) {
    struct flock lock = {.l_type = F_WRLCK};
    int file = (int)SYS4(openat, directory, path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    long result = file < 0 ? file : SYS3(fcntl, file, F_GETLK, &lock);
    close_quietly(file);
    return result == 0 ? lock.l_type != F_UNLCK : result != -ENOENT;
}

static void rest(void) {
    struct moment tick = {0, TICK_NS};
    SYS2(nanosleep, &tick, NULL);
}

/* Whether it becomes free within that time. */
static bool is_free(int file, uint32_t ticks) {
    for (; ticks > 0; ticks--) {
        if (holder(file) == 0) {
            return true;
        }
        still_doing("ends the slave that was there");
        rest();
    }
    return false;
}

bool slave_end(int directory, const char *name) {
    int file = open_file(directory, name, LOCK_SUFFIX, O_RDWR);
    long pid = file < 0 ? -1 : holder(file);
    bool ended = pid == 0;
    static const int signals[2] = {SIGTERM, SIGKILL};
    for (uint32_t index = 0; index < 2 && !ended && pid > 0; index++) {
        long result = SYS2(kill, pid, signals[index]);
        ended = (result == 0 || result == -ESRCH) && is_free(file, PATIENCE_TICKS);
        if (!ended) {
            fail(result == 0 ? -ETIMEDOUT : result, "the slave here does not end", name);
        }
    }
    close_quietly(file);
    return ended;
}

/* A slave that ends takes its session along, and a launcher of its own. */
static void end_child(long child) {
    static const int signals[2] = {SIGTERM, SIGKILL};
    for (uint32_t index = 0; index < 2; index++) {
        /* One that has just begun leads no session yet. */
        if (SYS2(kill, -child, signals[index]) != 0) {
            SYS2(kill, child, signals[index]);
        }
        for (uint32_t tick = 0; tick < PATIENCE_TICKS / 2; tick++) {
            if (SYS4(wait4, child, NULL, WNOHANG, NULL) != 0) {
                return;
            }
            rest();
        }
    }
}

static bool put_at(int from, int to) {
    long result = SYS3(dup3, from, to, 0);
    return result >= 0 || fail(result, NULL, "dup3");
}

/* Files first above the numbers that they shall have.  No other descriptor of them is left: see `become_slave`. */
static bool arrange(int secret, int ready, int lock, int log) {
    static const int places[4] = {SECRET_DESCRIPTOR, READY_DESCRIPTOR, LOCK_DESCRIPTOR, LOG_DESCRIPTOR};
    int files[4] = {secret, ready, lock, log};
    for (uint32_t index = 0; index < 4; index++) {
        int given = files[index];
        files[index] = (int)SYS3(fcntl, given, F_DUPFD_CLOEXEC, LOG_DESCRIPTOR + 1);
        if (files[index] < 0) {
            return fail(files[index], NULL, "descriptors");
        }
        close_quietly(given);
    }
    for (uint32_t index = 0; index < 4; index++) {
        if (!put_at(files[index], places[index])) {
            return false;
        }
        close_quietly(files[index]);
    }
    int nothing = (int)SYS4(openat, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
    return (nothing >= 0 || fail(nothing, NULL, "/dev/null")) && put_at(nothing, 0);
}

/* In the child.  The lock is of this process, and stays with it through execve(2). */
static bool become_slave(int directory, const char *name, const char *runtime, char **words, char **environment,
                         int secret, int ready) {
    uint64_t none = 0;
    int lock = open_file(directory, name, LOCK_SUFFIX, O_RDWR);
    int log = lock < 0 ? -1 : open_file(directory, name, ".log", O_WRONLY | O_APPEND | O_TRUNC);
    if (lock < 0 || log < 0) {
        return false;
    }
    SYS0(setsid);
    if (!arrange(secret, ready, lock, log)) {
        return false;
    }
    /* After all closing: a process gives its lock up with any descriptor of that file. */
    close_from(LOG_DESCRIPTOR + 1);
    SYS4(rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
    struct flock whole = {.l_type = F_WRLCK};
    long result = SYS3(fcntl, LOCK_DESCRIPTOR, F_SETLK, &whole);
    if (result != 0) {
        return fail(result, "another slave is being started here", name);
    }
    SYS2(ftruncate, LOCK_DESCRIPTOR, 0);
    SYS4(pwrite64, LOCK_DESCRIPTOR, runtime, strlen(runtime), 0); /* without it none is removed while we run */
    result = SYS3(execve, words[0], words, environment);
    return fail(result, NULL, words[0]);
}

static bool pass_secret(int writer, const void *secret, size_t size) {
    long written = SYS3(write, writer, secret, size);
    return written == (long)size || fail(written < 0 ? written : -EIO, NULL, "pipe");
}

/* The child wrote on READY_DESCRIPTOR, or closed it. */
static int tell_readiness(long child, int ready) {
    char text[READY_BYTES_MAX + 1];
    int status = 0;
    long got = SYS3(read, ready, text, READY_BYTES_MAX);
    if (got > 0) {
        text[text[got - 1] == '\n' ? got - 1 : got] = 0;
        answer("ready", text);
        return 0;
    }
    SYS4(wait4, child, &status, 0, NULL);
    text[number_write(text, (uint32_t)status)] = 0;
    answer("ended", text);
    return STATUS_FAILED;
}

/* Whether it has had the processor since this was asked last: clock_getcpuclockid(3), which needs no /proc. */
static bool has_worked(long child, struct moment *used) {
    struct moment now = {0, 0};
    SYS2(clock_gettime, (~child << 3) | PROCESS_CLOCK, &now);
    bool more = now.seconds != used->seconds || now.nanoseconds != used->nanoseconds;
    *used = now;
    return more;
}

static int watch(long child, int ready) {
    struct pollfd files[2] = {{ready, POLLIN, 0}, {0, POLLIN, 0}};
    struct moment used = {0, 0};
    for (;;) {
        struct moment tick = {LOOK_S, 0};
        long result = SYS5(ppoll, files, 2, &tick, NULL, 0);
        if (result == 0 && has_worked(child, &used)) {
            doing("starts the slave");
        }
        if (result < 0 && result != -EINTR) {
            end_child(child);
            fail(result, NULL, "poll");
            answer_failed();
            return STATUS_FAILED;
        }
        if (result > 0 && files[0].revents != 0) {
            return tell_readiness(child, ready);
        }
        if (result > 0 && files[1].revents != 0) {
            /* The front end says nothing more: it gave this node up, or is gone.  Nothing half-started stays. */
            end_child(child);
            answer("abandoned", "");
            return STATUS_FAILED;
        }
    }
}

int slave_start(int directory, const char *name, const char *runtime, char **words, char **environment,
                const void *secret, size_t size) {
    int secrets[2] = {-1, -1}, ready[2] = {-1, -1};
    long result = SYS2(pipe2, secrets, O_CLOEXEC);
    result = result == 0 ? SYS2(pipe2, ready, O_CLOEXEC) : result;
    bool good = result == 0 ? pass_secret(secrets[1], secret, size) : fail(result, NULL, "pipe");
    if (!good) {
        answer_failed();
        return STATUS_FAILED;
    }
    close_quietly(secrets[1]);
    long child = SYS5(clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        become_slave(directory, name, runtime, words, environment, secrets[0], ready[1]);
        answer_failed();
        sys_exit(STATUS_FAILED);
    }
    close_quietly(secrets[0]);
    close_quietly(ready[1]);
    if (child < 0) {
        fail(child, NULL, "clone");
        answer_failed();
        return STATUS_FAILED;
    }
    return watch(child, ready[0]);
}
