#include "view.h"

#include "failure.h"
#include "identity.h"
#include "path.h"
#include "place.h"
#include "tree.h"

/* What a job writes to holds neither devices nor set-id programs. */
#define OF_THE_JOB (MS_NODEV | MS_NOSUID)

/* What a job may write to its own binRoot: a quarter of the memory instead of tmpfs's usual half, and as many files as take
 * some 256 MB of the kernel's.  root/mounts.py has the same. */
#define TMPFS_OPTIONS "mode=0755,size=25%,nr_inodes=256k"

#define OPTIONS_BYTES 4096u /* mount(2) copies one page, with its NUL */

static bool mounted(long result, const char *at) {
    return result == 0 || fail(result, NULL, at);
}

static bool mount_on(int directory, const char *at, const char *type, unsigned long flags, const char *options) {
    struct descriptor_path path = by_descriptor(directory);
    return mounted(SYS5(mount, "gproc", path.text, type, flags, options), at);
}

bool view_begin(void) {
    return mounted(SYS5(mount, "none", "/", NULL, MS_REC | MS_SLAVE, NULL), "/");
}

static bool make_tmpfs(const struct operation *operation) {
    int directory = open_trusted(operation->at);
    bool made = directory >= 0 && mount_on(directory, operation->at, "tmpfs", OF_THE_JOB, TMPFS_OPTIONS);
    close_quietly(directory);
    return made;
}

static bool make_top(const struct operation *operation) {
    return make_tmpfs(operation) && place_make_top(operation);
}

static bool make_proc(const struct operation *operation) {
    int directory = open_without_links(operation->at);
    bool made = directory >= 0 && mount_on(directory, operation->at, "proc", OF_THE_JOB | MS_NOEXEC, NULL);
    close_quietly(directory);
    return made;
}

static bool make_directory(const struct operation *operation, const struct plan *plan) {
    int base = open_directory(operation->at);
    bool made = base >= 0 && make_below(base, operation->source, plan->uid, plan->gid);
    close_quietly(base);
    return made;
}

static bool make_copy(const struct operation *operation) {
    int source = open_directory(operation->source);
    int to = source < 0 ? -1 : open_directory(operation->at);
    bool made = to >= 0 && tree_copy(source, to);
    close_quietly(source);
    close_quietly(to);
    return made;
}

struct naming {
    const struct plan *plan;
    const char *at;
    int opened;
};

/* Make what is missing of a path, as mkdir -p does.  0, or why the last part that was tried cannot be made. */
static long make_parts(const char *path) {
    static char part[PATH_BYTES_MAX + 1];
    long made = 0;
    for (size_t used = 0; path[used] != 0 && (made == 0 || made == -EEXIST); used++) {
        part[used] = path[used];
        if (path[used + 1] == 0 || path[used + 1] == '/') {
            part[used + 1] = 0;
            made = SYS3(mkdirat, AT_FDCWD, part, 0755);
        }
    }
    return made == -EEXIST ? 0 : made;
}

/* In a child that has our memory and our descriptors, but not our rights. */
static int open_as_user(void *argument) {
    struct naming *naming = argument;
    if (!identity_become(naming->plan)) {
        return 1;
    }
    naming->opened = open_directory(naming->at);
    if (naming->opened == -ENOENT) {
        long made = make_parts(naming->at);
        naming->opened = made == 0 ? open_directory(naming->at) : (int)made;
        if (made != 0) {
            fail(made, NULL, naming->at);
        }
    }
    return 0;
}

/* The user named the directory, so a process with his rights opens it, and makes it. */
static int open_as(const struct plan *plan, const char *at) {
    struct naming naming = {plan, at, -1};
    return place_as_user(open_as_user, &naming, at) ? naming.opened : -1;
}

static bool make_shown(const struct operation *operation, const struct plan *plan) {
    int source = open_directory(operation->source);
    int to = source < 0 ? -1 : open_as(plan, operation->at);
    bool good = to >= 0;
    if (good) {
        struct descriptor_path from = by_descriptor(source), at = by_descriptor(to);
        good = mounted(SYS5(mount, from.text, at.text, NULL, MS_BIND | MS_REC, NULL), operation->at);
    }
    close_quietly(source);
    close_quietly(to);
    return good;
}

struct options {
    char text[OPTIONS_BYTES];
    size_t used;
    bool full;
};

static void add(struct options *options, const char *text) {
    for (; *text != 0; text++) {
        if (options->used + 1 >= OPTIONS_BYTES) {
            options->full = true;
            return;
        }
        options->text[options->used++] = *text;
    }
    options->text[options->used] = 0;
}

/* Name a layer by a descriptor, which stays open until the mount is done: so no character in its path is an option, and
 * what was opened is what is mounted. */
static bool add_layer(struct options *options, const char *before, int opened) {
    if (opened < 0) {
        return false;
    }
    add(options, before);
    add(options, by_descriptor(opened).text);
    return true;
}

static bool same(const char *one, const char *other) {
    size_t length = strlen(one);
    return length == strlen(other) && memcmp(one, other, length) == 0;
}

/* `at` is what will be covered; if it is a layer as well, it is the same descriptor. */
static bool mount_union(const struct operation *operation, int at) {
    static struct options options;
    int opened[LAYERS_MAX + 2];
    uint32_t count = 0;
    bool good = true;
    options.used = 0;
    options.full = false;
    for (uint32_t index = 0; good && index < operation->lowers.count; index++) {
        const char *lower = operation->lowers.words[index];
        bool covered = same(lower, operation->at);
        opened[count] = covered ? at : open_directory(lower);
        good = add_layer(&options, index == 0 ? "lowerdir=" : ":", opened[count]);
        count += good && !covered;
    }
    /* Node directories are in unions without an upper one: set-id programs there go on working for root. */
    unsigned long flags = MS_NODEV | MS_RDONLY;
    if (good && operation->upper[0] != 0) {
        flags = OF_THE_JOB;
        opened[count] = open_directory(operation->upper);
        good = add_layer(&options, ",upperdir=", opened[count]);
        count += good;
        opened[count] = good ? open_directory(operation->work) : -1;
        good = good && add_layer(&options, ",workdir=", opened[count]);
        count += good;
        /* trusted.* attributes, overlayfs's default, need CAP_SYS_ADMIN in the first user namespace (since 5.11).
           index: a hard link to a shipped file has its inode number, or git clone takes it for another file. */
        add(&options, SYS0(geteuid) == 0 ? ",index=on" : ",userxattr");
    }
    if (good && options.full) {
        good = fail(-E2BIG, "too many directories in one union", operation->at);
    }
    good = good && mount_on(at, operation->at, "overlay", flags, options.text);
    while (count > 0) {
        close_quietly(opened[--count]);
    }
    return good;
}

/* Put back what the union hides: `under` still leads to the directory that it covers. */
static bool put_back(const struct operation *operation, int under, int top, const char *name) {
    int was = open_below(under, name);
    int to = was < 0 ? -1 : open_below(top, name);
    if (to < 0) {
        close_quietly(was);
        return fail_below(-failure.code, failure.words, operation->at, name);
    }
    struct descriptor_path from = by_descriptor(was), at = by_descriptor(to);
    /* Recursive: in a user namespace a bind that would uncover what is mounted below is refused. */
    long result = SYS5(mount, from.text, at.text, NULL, MS_BIND | MS_REC, NULL);
    close_quietly(was);
    close_quietly(to);
    return result == 0 || fail_below(result, NULL, operation->at, name);
}

static bool make_overlay(const struct operation *operation) {
    int under = open_without_links(operation->at);
    bool good = under >= 0 && mount_union(operation, under);
    int top = good && operation->kept.count > 0 ? open_without_links(operation->at) : -1;
    good = good && (operation->kept.count == 0 || top >= 0);
    for (uint32_t index = 0; good && index < operation->kept.count; index++) {
        good = put_back(operation, under, top, operation->kept.words[index]);
    }
    close_quietly(under);
    close_quietly(top);
    return good;
}

bool view_make(const struct plan *plan) {
    for (uint32_t index = 0; index < plan->operation_count; index++) {
        const struct operation *operation = &plan->operations[index];
        bool made = operation->kind == TMPFS       ? make_tmpfs(operation)
                    : operation->kind == DIRECTORY ? make_directory(operation, plan)
                    : operation->kind == OVERLAY   ? make_overlay(operation)
                    : operation->kind == COPY      ? make_copy(operation)
                    : operation->kind == SHOW      ? make_shown(operation, plan)
                    : operation->kind == PLACE     ? place_make(operation, plan)
                    : operation->kind == TOP       ? make_top(operation)
                                                   : make_proc(operation);
        if (!made) {
            return false;
        }
    }
    return true;
}
