#include "retention.h"

#include "answer.h"
#include "path.h"
#include "tending.h"
#include "tree.h"
#include "unpack.h"

#define RUNTIMES_MAX 64u
#define NAMES_MAX 4096u
#define PATH_ROOM 4096u
#define KEPT_SUFFIX ".kept"
#define PROGRAM "/ld.so" /* every runtime has it */

struct runtime {
    char name[RUNTIME_NAME_BYTES + sizeof KEPT_SUFFIX]; /* with room for a suffix */
    int64_t used_s;
    uint32_t used_ns;
    bool in_use;
};

static struct runtime runtimes[RUNTIMES_MAX];
static uint32_t count;

static bool is_runtime(const char *name) {
    static const char begin[] = "runtime-";
    if (strlen(name) != RUNTIME_NAME_BYTES || memcmp(name, begin, sizeof begin - 1) != 0) {
        return false;
    }
    for (const char *at = name + sizeof begin - 1; *at != 0; at++) {
        if (!((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f'))) {
            return false;
        }
    }
    return true;
}

static struct runtime *find(const char *name) {
    for (uint32_t index = 0; index < count; index++) {
        if (memcmp(runtimes[index].name, name, RUNTIME_NAME_BYTES) == 0) {
            return &runtimes[index];
        }
    }
    return NULL;
}

static void mark_used(const char *name) {
    struct runtime *runtime = find(name);
    if (runtime != NULL) {
        runtime->in_use = true;
    }
}

/* Call `each` with every name in the directory, as long as it says that it shall go on. */
static bool for_names(int directory, bool (*each)(int directory, const char *name)) {
    struct entries entries = {.directory = (int)SYS4(openat, directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)};
    const char *name = NULL;
    bool good = entries.directory >= 0;
    for (uint32_t seen = 0; good && seen < NAMES_MAX && (name = next_name(&entries)) != NULL; seen++) {
        good = each(directory, name);
    }
    close_quietly(entries.directory);
    return good && name == NULL && entries.size == 0; /* a failed read is no end */
}

static bool note_runtime(int directory, const char *name) {
    struct statx found;
    if (!is_runtime(name) || SYS5(statx, directory, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &found) != 0 ||
        (found.stx_mode & S_IFMT) != S_IFDIR || count == RUNTIMES_MAX) {
        return true;
    }
    struct runtime *runtime = &runtimes[count++];
    memcpy(runtime->name, name, RUNTIME_NAME_BYTES + 1);
    runtime->used_s = found.stx_mtime.tv_sec;
    runtime->used_ns = found.stx_mtime.tv_nsec;
    runtime->in_use = false;
    return true;
}

/* A slave of an older gproc has not written whose runtime it uses: then all are in use. */
static bool note_slave(int directory, const char *name) {
    char used[RUNTIME_NAME_BYTES + 1] = {0};
    if (!slave_has_lock_name(name) || !slave_holds(directory, name)) {
        return true;
    }
    int file = (int)SYS4(openat, directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    long got = file < 0 ? file : SYS3(read, file, used, RUNTIME_NAME_BYTES);
    close_quietly(file);
    if (got != (long)RUNTIME_NAME_BYTES || !is_runtime(used)) {
        return false;
    }
    mark_used(used);
    return true;
}

static char own_path[PATH_ROOM];
static size_t own_length;

static void note_process(int processes, const char *name) {
    char path[24], program[PATH_ROOM];
    size_t length = strlen(name);
    if (name[0] < '0' || name[0] > '9' || length > 16) {
        return;
    }
    memcpy(path, name, length);
    memcpy(path + length, "/exe", sizeof "/exe");
    long got = SYS4(readlinkat, processes, path, program, sizeof program);
    if (got >= (long)(own_length + 1 + RUNTIME_NAME_BYTES) && memcmp(program, own_path, own_length) == 0 &&
        program[own_length] == '/') {
        mark_used(program + own_length + 1);
    }
}

static bool note_processes(int directory) {
    struct descriptor_path link = by_descriptor(directory);
    long length = SYS4(readlinkat, AT_FDCWD, link.text, own_path, sizeof own_path - 1);
    int processes = (int)SYS4(openat, AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (length <= 0 || processes < 0) {
        close_quietly(processes);
        return false;
    }
    own_length = (size_t)length;
    struct entries entries = {.directory = processes};
    const char *name;
    while ((name = next_name(&entries)) != NULL) {
        note_process(processes, name);
    }
    close_quietly(processes);
    return entries.size == 0;
}

static int open_program(int directory, const char *runtime) {
    char path[RUNTIME_NAME_BYTES + sizeof PROGRAM];
    memcpy(path, runtime, RUNTIME_NAME_BYTES);
    memcpy(path + RUNTIME_NAME_BYTES, PROGRAM, sizeof PROGRAM);
    return (int)SYS4(openat, directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
}

static bool is_held(int directory, const struct runtime *runtime) {
    struct flock lock = {.l_type = F_WRLCK};
    int program = open_program(directory, runtime->name);
    bool held = program >= 0 && (SYS3(fcntl, program, F_GETLK, &lock) != 0 || lock.l_type != F_UNLCK);
    close_quietly(program);
    return held;
}

static bool is_kept(int directory, struct runtime *runtime) {
    struct statx found;
    memcpy(runtime->name + RUNTIME_NAME_BYTES, KEPT_SUFFIX, sizeof KEPT_SUFFIX);
    long result = SYS5(statx, directory, runtime->name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &found);
    runtime->name[RUNTIME_NAME_BYTES] = 0;
    return result != -ENOENT;
}

static bool is_later(const struct runtime *one, const struct runtime *other) {
    return one->used_s != other->used_s ? one->used_s > other->used_s : one->used_ns > other->used_ns;
}

/* The one that may stay besides: NULL if another one is in use. */
static const struct runtime *spare(const struct runtime *wanted) {
    const struct runtime *last = NULL;
    for (uint32_t index = 0; index < count; index++) {
        const struct runtime *runtime = &runtimes[index];
        if (runtime == wanted) {
            continue;
        }
        if (runtime->in_use) {
            return NULL;
        }
        if (last == NULL || is_later(runtime, last)) {
            last = runtime;
        }
    }
    return last;
}

void retention_prune(int directory, const char *name) {
    SYS4(utimensat, directory, name, NULL, AT_SYMLINK_NOFOLLOW);
    count = 0;
    if (!for_names(directory, note_runtime) || count < (find(name) == NULL ? 2 : 3)) {
        return; /* one other may stay, whoever uses it */
    }
    if (!for_names(directory, note_slave) || !note_processes(directory)) {
        return;
    }
    for (uint32_t index = 0; index < count; index++) {
        struct runtime *runtime = &runtimes[index];
        runtime->in_use = runtime->in_use || is_kept(directory, runtime) || is_held(directory, runtime);
    }
    const struct runtime *wanted = find(name), *other = spare(wanted);
    for (uint32_t index = 0; index < count; index++) {
        const struct runtime *runtime = &runtimes[index];
        if (runtime == wanted || runtime == other || runtime->in_use) {
            continue;
        }
        doing("removes a runtime that nobody uses");
        /* Under the other name first: what has a runtime's name is whole. */
        tree_remove(directory, UNFINISHED);
        if (SYS5(renameat2, directory, runtime->name, directory, UNFINISHED, 0) == 0) {
            tree_remove(directory, UNFINISHED);
        }
    }
}

void retention_hold(int directory, const char *name) {
    struct flock lock = {.l_type = F_RDLCK};
    int program = open_program(directory, name); /* open until we end: closing it gives the lock up */
    if (program >= 0) {
        SYS3(fcntl, program, F_SETLK, &lock);
    }
}
