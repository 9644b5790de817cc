#include "retention.h"

#include "answer.h"
#include "path.h"
#include "tending.h"
#include "tree.h"
#include "unpack.h"

#define FOUND_MAX 128u
#define HELPER_DIGITS 32u /* cli/start.py, parcel_of */
#define NAMES_MAX 4096u
#define PATH_ROOM 4096u
#define KEPT_SUFFIX ".kept"
#define PROGRAM "/ld.so" /* every runtime has it */

/* A runtime, or a helper such as this program. */
struct found {
    char name[RUNTIME_NAME_BYTES + sizeof KEPT_SUFFIX]; /* with room for a suffix */
    int64_t used_s;
    uint32_t used_ns;
    bool is_helper, in_use;
};

static struct found all[FOUND_MAX];
static uint32_t count, helper_count;

/* `begin`, and so many hexadecimal digits. */
static bool is_named(const char *name, const char *begin, size_t digits) {
    size_t length = strlen(begin);
    if (strlen(name) != length + digits || memcmp(name, begin, length) != 0) {
        return false;
    }
    for (const char *at = name + length; *at != 0; at++) {
        if (!((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f'))) {
            return false;
        }
    }
    return true;
}

static bool is_runtime(const char *name) {
    return is_named(name, "runtime-", 2 * SHA256_BYTES);
}

static bool is_helper(const char *name) {
    return is_named(name, "helper-", HELPER_DIGITS);
}

/* The one of that name, or in which that path leads. */
static struct found *find(const char *path) {
    for (uint32_t index = 0; index < count; index++) {
        size_t length = strlen(all[index].name);
        if (strlen(path) >= length && memcmp(all[index].name, path, length) == 0) {
            return &all[index];
        }
    }
    return NULL;
}

static void mark_used(const char *path) {
    struct found *found = find(path);
    if (found != NULL) {
        found->in_use = true;
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

static bool note_found(int directory, const char *name) {
    struct statx status;
    bool helper = is_helper(name);
    uint32_t type = helper ? S_IFREG : S_IFDIR;
    if (!(helper || is_runtime(name)) || count == FOUND_MAX ||
        SYS5(statx, directory, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status) != 0 ||
        (status.stx_mode & S_IFMT) != type) {
        return true;
    }
    struct found *found = &all[count++];
    memcpy(found->name, name, strlen(name) + 1);
    found->used_s = status.stx_mtime.tv_sec;
    found->used_ns = status.stx_mtime.tv_nsec;
    found->is_helper = helper;
    found->in_use = false;
    helper_count += helper;
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

/* What a process executes, as a path below our directory; NULL if it is not there. */
static const char *executed(int processes, const char *name) {
    static char program[PATH_ROOM];
    char path[24];
    size_t length = strlen(name);
    memcpy(path, name, length);
    memcpy(path + length, "/exe", sizeof "/exe");
    long got = SYS4(readlinkat, processes, path, program, sizeof program - 1);
    program[got < 0 ? 0 : got] = 0;
    bool is_below = got > (long)own_length && memcmp(program, own_path, own_length) == 0 && program[own_length] == '/';
    return is_below ? program + own_length + 1 : NULL;
}

static void note_process(int processes, const char *name) {
    bool is_process = name[0] >= '0' && name[0] <= '9' && strlen(name) <= 16;
    const char *path = is_process ? executed(processes, name) : NULL;
    if (path != NULL) {
        mark_used(path);
    }
}

/* /proc, after our directory's path was noted; below 0 if that cannot be known. */
static int open_processes(int directory) {
    struct descriptor_path link = by_descriptor(directory);
    long length = SYS4(readlinkat, AT_FDCWD, link.text, own_path, sizeof own_path - 1);
    own_length = length < 0 ? 0 : (size_t)length;
    return length <= 0 ? -1 : (int)SYS4(openat, AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

static bool note_processes(int processes) {
    struct entries entries = {.directory = processes};
    const char *name;
    while ((name = next_name(&entries)) != NULL) {
        note_process(processes, name);
    }
    return entries.size == 0;
}

static int open_program(int directory, const char *runtime) {
    char path[RUNTIME_NAME_BYTES + sizeof PROGRAM];
    memcpy(path, runtime, RUNTIME_NAME_BYTES);
    memcpy(path + RUNTIME_NAME_BYTES, PROGRAM, sizeof PROGRAM);
    return (int)SYS4(openat, directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
}

static bool is_held(int directory, const struct found *runtime) {
    struct flock lock = {.l_type = F_WRLCK};
    int program = open_program(directory, runtime->name);
    bool held = program >= 0 && (SYS3(fcntl, program, F_GETLK, &lock) != 0 || lock.l_type != F_UNLCK);
    close_quietly(program);
    return held;
}

static bool is_kept(int directory, struct found *runtime) {
    struct statx found;
    memcpy(runtime->name + RUNTIME_NAME_BYTES, KEPT_SUFFIX, sizeof KEPT_SUFFIX);
    long result = SYS5(statx, directory, runtime->name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &found);
    runtime->name[RUNTIME_NAME_BYTES] = 0;
    return result != -ENOENT;
}

static bool is_later(const struct found *one, const struct found *other) {
    return one->used_s != other->used_s ? one->used_s > other->used_s : one->used_ns > other->used_ns;
}

/* The one of that kind that may stay besides: NULL if another one is in use. */
static const struct found *spare(const struct found *wanted, bool helper) {
    const struct found *last = NULL;
    for (uint32_t index = 0; index < count; index++) {
        const struct found *each = &all[index];
        if (each == wanted || each->is_helper != helper) {
            continue;
        }
        if (each->in_use) {
            return NULL;
        }
        if (last == NULL || is_later(each, last)) {
            last = each;
        }
    }
    return last;
}

static void remove_unused(int directory, const struct found *wanted, bool helper) {
    const struct found *other = spare(wanted, helper);
    for (uint32_t index = 0; index < count; index++) {
        const struct found *each = &all[index];
        if (each == wanted || each == other || each->in_use || each->is_helper != helper) {
            continue;
        }
        if (helper) {
            SYS3(unlinkat, directory, each->name, 0);
            continue;
        }
        doing("removes an unused runtime");
        /* Under the other name first: what has a runtime's name is whole. */
        unfinished_remove(directory);
        if (SYS5(renameat2, directory, each->name, directory, unfinished(), 0) == 0) {
            tree_remove(directory, unfinished());
        }
    }
}

/* own: the name of the helper that we are; "" if we are none of the directory. */
static void prune(int directory, int processes, const char *wanted, const char *own) {
    count = helper_count = 0;
    /* One other may stay, whether or not it is used. */
    if (!for_names(directory, note_found) ||
        (count - helper_count < (find(wanted) == NULL ? 2 : 3) && helper_count < 3)) {
        return;
    }
    if (!for_names(directory, note_slave) || !note_processes(processes)) {
        return;
    }
    for (uint32_t index = 0; index < count; index++) {
        struct found *each = &all[index];
        each->in_use = each->in_use || (!each->is_helper && (is_kept(directory, each) || is_held(directory, each)));
    }
    remove_unused(directory, find(wanted), false);
    if (is_helper(own)) {
        remove_unused(directory, find(own), true);
    }
}

void retention_prune(int directory, const char *wanted) {
    char own[PATH_ROOM] = "";
    int processes = open_processes(directory);
    const char *path = processes < 0 ? NULL : executed(processes, "self");
    SYS4(utimensat, directory, wanted, NULL, AT_SYMLINK_NOFOLLOW);
    if (path != NULL) {
        memcpy(own, path, strlen(path) + 1);
        SYS4(utimensat, directory, own, NULL, AT_SYMLINK_NOFOLLOW);
    }
    if (processes >= 0) {
        prune(directory, processes, wanted, own);
    }
    close_quietly(processes);
}

void retention_hold(int directory, const char *name) {
    struct flock lock = {.l_type = F_RDLCK};
    int program = open_program(directory, name); /* open until we end: closing it gives the lock up */
    if (program >= 0) {
        SYS3(fcntl, program, F_SETLK, &lock);
    }
}
