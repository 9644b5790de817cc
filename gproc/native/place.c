#include "place.h"

#include "failure.h"
#include "identity.h"
#include "path.h"
#include "tree.h"

#define STACK_BYTES (64u << 10)
#define HANDLE (O_PATH | O_CLOEXEC)
#define READABLE (O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC)

/* Entries of the node's that one job puts back; each takes some 25 us.  What the job has itself costs a look only, and a
 * bundle has its own bound. */
#define ENTRIES_MAX 4000u
#define TOO_MANY "with it, more than 4,000 entries stand beside what was sent: cd there first, or send from another directory"

/* Directories in one another that both sides have. */
#define DEPTH_MAX 16u

#define TARGET_BYTES 4096u /* PATH_MAX */

#define NOT_LOOKED (-4096) /* no errno is as large */

struct search {
    const struct plan *plan;
    const char *path; /* below `from`, or absolute */
    int from;
    bool whole;       /* the directory itself will do, unread */
    size_t length;    /* what of the path was found */
    int found, list;  /* a handle, and a descriptor to read it by; below 0 a negated errno */
};

bool place_as_user(int (*body)(void *), void *argument, const char *subject) {
    static _Alignas(16) char stack[STACK_BYTES];
    long child = sys_clone(CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, body, stack + sizeof stack, argument);
    if (child < 0) {
        return fail(child, NULL, subject);
    }
    SYS4(wait4, child, NULL, __WALL, NULL);
    return true;
}

/* Whether our rights are enough to list a directory and to open what is in it. */
static int open_list(int handle) {
    int list = (int)SYS4(openat, handle, ".", READABLE, 0);
    int inside = list < 0 ? list : (int)SYS4(openat, list, ".", HANDLE | O_DIRECTORY, 0);
    if (inside < 0) {
        close_quietly(list);
        return inside;
    }
    close_quietly(inside);
    return list;
}

static bool look(struct search *search, const char *path, bool last) {
    search->found = (int)SYS4(openat, search->from, path, HANDLE | O_DIRECTORY, 0);
    search->list = -1;
    if (search->found < 0) {
        return false;
    }
    if (search->whole && last) {
        return true;
    }
    search->list = open_list(search->found);
    if (search->list < 0) {
        close_quietly(search->found);
        search->found = search->list;
        return false;
    }
    return true;
}

/* In the child: the directory, or the nearest one above it into which the user may look. */
static int find(void *argument) {
    static char part[PATH_BYTES_MAX + 1];
    struct search *search = argument;
    if (!identity_become(search->plan)) {
        return 1;
    }
    size_t whole = strlen(search->path);
    memcpy(part, search->path, whole + 1);
    for (size_t length = whole; length > 0; length--) {
        if (length != whole && part[length] != '/') {
            continue;
        }
        part[length] = 0;
        if (look(search, part, length == whole)) {
            search->length = length;
            return 0;
        }
    }
    return 1;
}

/* In the child: one name in a directory, which may be no link. */
static int find_below(void *argument) {
    struct search *search = argument;
    if (!identity_become(search->plan)) {
        return 1;
    }
    search->found = (int)SYS4(openat, search->from, search->path, HANDLE | O_DIRECTORY | O_NOFOLLOW, 0);
    search->list = search->found < 0 ? search->found : open_list(search->found);
    close_quietly(search->found);
    return 0;
}

static uint32_t type_of(int directory, const char *name) {
    struct statx found;
    uint32_t flags = AT_SYMLINK_NOFOLLOW | (name[0] == 0 ? AT_EMPTY_PATH : 0) | AT_NO_AUTOMOUNT;
    return SYS5(statx, directory, name, flags, STATX_TYPE, &found) == 0 ? found.stx_mode & S_IFMT : 0;
}

/* Note what failed for `name` in the node's directory; with an empty name, for the directory itself. */
static bool fail_in(long result, const char *words, int node, const char *name) {
    char path[TARGET_BYTES];
    struct descriptor_path opened = by_descriptor(node);
    long length = SYS4(readlinkat, AT_FDCWD, opened.text, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return name[0] == 0 ? fail(result, words, path) : fail_below(result, words, path, name);
}

static bool bind(int from, int to, const char *subject) {
    struct descriptor_path source = by_descriptor(from), at = by_descriptor(to);
    /* Recursive: in a user namespace a bind that would uncover what is mounted below is refused. */
    long result = SYS5(mount, source.text, at.text, NULL, MS_BIND | MS_REC, NULL);
    return result == 0 || fail(result, NULL, subject);
}

static bool put_link(int was, int own, const char *name) {
    char target[TARGET_BYTES];
    long length = SYS4(readlinkat, was, "", target, sizeof target - 1);
    if (length >= 0) {
        target[length] = 0;
        length = SYS3(symlinkat, target, own, name);
    }
    return length >= 0 || fail(length, NULL, "");
}

/* Whether a name is a directory, which root may open although it may not ask: what a user has mounted by FUSE is closed to
 * everybody else. */
static bool opens_as_directory(int node, const char *name) {
    int opened = (int)SYS4(openat, node, name, HANDLE | O_DIRECTORY | O_NOFOLLOW, 0);
    close_quietly(opened);
    return opened >= 0;
}

/* One entry of the node's directory, also in our own, which has nothing of that name.  The place of a file has no mode
 * bits: so it can be told from what the job writes, once nothing is mounted there (copy/written.py). */
static bool put(int node, int own, const char *name) {
    int was = (int)SYS4(openat, node, name, HANDLE | O_NOFOLLOW, 0);
    if (was == -ENOENT) {
        return true; /* it went meanwhile */
    }
    if (was < 0) {
        return fail_in(was, NULL, node, name);
    }
    uint32_t type = type_of(was, "");
    if (type == 0) {
        type = opens_as_directory(node, name) ? S_IFDIR : S_IFREG;
    }
    bool good = true;
    if (type == S_IFLNK) {
        good = put_link(was, own, name);
    } else {
        long made = type == S_IFDIR ? SYS3(mkdirat, own, name, 0755) : SYS4(mknodat, own, name, S_IFREG, 0);
        int to = made < 0 ? (int)made : (int)SYS4(openat, own, name, HANDLE | O_NOFOLLOW, 0);
        good = (to >= 0 || fail(to, NULL, "")) && bind(was, to, "");
        close_quietly(to);
    }
    close_quietly(was);
    return good || fail_in(-failure.code, NULL, node, name);
}

static bool same_device(int one, int other) {
    struct statx first, second;
    return SYS5(statx, one, "", AT_EMPTY_PATH, STATX_TYPE, &first) == 0 &&
           SYS5(statx, other, "", AT_EMPTY_PATH, STATX_TYPE, &second) == 0 &&
           first.stx_dev_major == second.stx_dev_major && first.stx_dev_minor == second.stx_dev_minor;
}

/* What the node has in a directory, also in ours; of what both have, ours is shown.  `node` is closed. */
static bool put_all(const struct plan *plan, int node, int own, uint32_t depth, uint32_t *count) {
    struct entries entries = {.directory = node};
    const char *name;
    bool good = true;
    while (good && (name = next_name(&entries)) != NULL) {
        uint32_t type = type_of(own, name);
        if (type == 0) {
            good = ++*count > ENTRIES_MAX ? fail_in(-E2BIG, TOO_MANY, node, "") : put(node, own, name);
        } else if (type == S_IFDIR && type_of(node, name) == S_IFDIR && depth < DEPTH_MAX) {
            struct search below = {.plan = plan, .path = name, .from = node, .found = NOT_LOOKED, .list = -1};
            good = place_as_user(find_below, &below, name);
            int inside = good && below.list >= 0 ? open_below(own, name) : -1;
            good = good && (below.list < 0 || inside >= 0);
            if (good && below.list >= 0 && same_device(own, inside)) { /* else the node's own is there already */
                good = put_all(plan, below.list, inside, depth + 1, count);
                below.list = -1;
            }
            close_quietly(below.list);
            close_quietly(inside);
        }
    }
    close_quietly(node);
    return good;
}

struct held {
    const struct plan *plan;
    const struct list *names;
    int node, own;
    bool has[KEPT_MAX];
};

/* The directory of a name below another, as a descriptor, and its last part. */
static int open_parent(int directory, const char *name, const char **last) {
    static char parent[PATH_BYTES_MAX + 1];
    size_t slash = 0;
    for (size_t index = 0; name[index] != 0; index++) {
        slash = name[index] == '/' ? index : slash;
    }
    memcpy(parent, name, slash);
    parent[slash] = 0;
    *last = name + (slash > 0 ? slash + 1 : 0);
    return open_below(directory, slash > 0 ? parent : ".");
}

/* Whether the user may look into each directory on the way to a name, as `put_all` does, and each is the node's: a directory
 * on the device of the job's own root was shown there before. */
static bool may_look(const struct held *held, const char *name) {
    static char part[PATH_BYTES_MAX + 1];
    uint32_t depth = 0;
    bool may = true;
    for (size_t index = 0; may && name[index] != 0; index++) {
        part[index] = name[index];
        if (name[index] == '/') {
            part[index] = 0;
            int directory = open_below(held->node, part);
            int list = directory < 0 ? directory : open_list(directory);
            may = list >= 0 && !same_device(held->own, list) && ++depth <= DEPTH_MAX;
            close_quietly(list);
            close_quietly(directory);
            part[index] = '/';
        }
    }
    return may;
}

/* In the child: which of the names the node has itself, and will be put back. */
static int find_held(void *argument) {
    struct held *held = argument;
    if (!identity_become(held->plan)) {
        return 1;
    }
    for (uint32_t index = 0; index < held->names->count; index++) {
        const char *name = held->names->words[index], *last;
        held->has[index] = false;
        if (may_look(held, name)) {
            int directory = open_parent(held->node, name, &last);
            held->has[index] = directory >= 0 && type_of(directory, last) != 0;
            close_quietly(directory);
        }
    }
    return 0;
}

/* Remove the directories above a name that have nothing in them any more: the node has them too. */
static void remove_empty(int own, const char *name) {
    static char path[PATH_BYTES_MAX + 1];
    size_t length = strlen(name);
    memcpy(path, name, length + 1);
    bool empty = true;
    while (empty) {
        while (length > 0 && path[length - 1] != '/') {
            length--;
        }
        if (length == 0) {
            return;
        }
        path[--length] = 0;
        const char *last;
        int parent = open_parent(own, path, &last);
        empty = parent >= 0 && SYS3(unlinkat, parent, last, AT_REMOVEDIR) == 0;
        close_quietly(parent);
    }
}

/* Remove from our own directory what the node has itself: it is put back after that, as all that the node has. */
static bool give_way(const struct operation *operation, const struct plan *plan, int node, int own) {
    static struct held held;
    held.plan = plan;
    held.names = &operation->kept;
    held.node = node;
    held.own = own;
    bool good = place_as_user(find_held, &held, operation->at);
    for (uint32_t index = 0; good && index < operation->kept.count; index++) {
        const char *last;
        int directory = held.has[index] ? open_parent(own, operation->kept.words[index], &last) : -1;
        /* The node's own is there already, by a directory below this one that was shown before: never remove that. */
        bool is_ours = directory >= 0 && same_device(own, directory);
        long result = directory < 0 ? -ENOENT : is_ours ? SYS3(unlinkat, directory, last, 0) : -EBUSY;
        good = result == 0 || result == -ENOENT || result == -EBUSY ||
               fail_below(result, NULL, operation->at, operation->kept.words[index]);
        close_quietly(directory);
        /* Not if the directory is not there any more: its owner may have moved it, and the one above may be the node's. */
        if (good && is_ours && result != -EBUSY) {
            remove_empty(own, operation->kept.words[index]);
        }
    }
    return good;
}

static bool has_more_than(uint32_t most, int directory) {
    int list = (int)SYS4(openat, directory, ".", READABLE, 0);
    struct entries entries = {.directory = list};
    uint32_t count = 0;
    while (list >= 0 && count <= most && next_name(&entries) != NULL) {
        count++;
    }
    close_quietly(list);
    return list < 0 || count > most;
}

static bool show(const struct operation *operation, const struct plan *plan, struct search *search, int root) {
    static char path[PATH_BYTES_MAX + 1];
    memcpy(path, operation->at + 1, search->length);
    path[search->length - 1] = 0;
    bool is_there = search->length == strlen(operation->at);
    bool gives_way = operation->kept.count > 0 && is_there && search->list >= 0;
    int own = open_below(root, path);
    if (own == -ENOENT && gives_way) {
        return true; /* all of it has given way to the node's own, with a directory around it */
    }
    if (own >= 0 && !same_device(own, root)) {
        close_quietly(own);
        return true; /* the same, and it was put back */
    }
    bool good = own >= 0 || fail(own, NULL, operation->at);
    good = good && (!gives_way || give_way(operation, plan, search->list, own));
    if (good && gives_way && !operation->stays && !has_more_than(0, own)) {
        good = bind(search->found, own, operation->at);
        close_quietly(own);
        return good;
    }
    if (good && gives_way && operation->yields && has_more_than(ENTRIES_MAX, search->found)) {
        close_quietly(own);
        return true; /* the node's own is as much what is meant */
    }
    if (good && search->list >= 0) {
        uint32_t count = 0;
        good = put_all(plan, search->list, own, 0, &count);
        search->list = -1;
    }
    good = good && bind(own, search->found, operation->at);
    close_quietly(own);
    return good;
}

bool place_make(const struct operation *operation, const struct plan *plan) {
    struct search search = {
        .plan = plan, .path = operation->at, .from = AT_FDCWD, .whole = operation->whole, .found = NOT_LOOKED,
        .list = -1};
    if (!place_as_user(find, &search, operation->at)) {
        return false;
    }
    if (search.found < 0) {
        /* If it was not looked for, `identity_become` has noted why. */
        return search.found != NOT_LOOKED && fail(search.found, NULL, operation->at);
    }
    int root = open_directory(operation->source);
    /* What is on the device of the job's own root is shown already, by an operation before this one. */
    bool good = root >= 0 && (same_device(root, search.found) || show(operation, plan, &search, root));
    close_quietly(root);
    close_quietly(search.list);
    close_quietly(search.found);
    return good;
}

static bool put_node_top(int node, int own, const char *first) {
    struct entries entries = {.directory = node};
    const char *name;
    /* It has the directory that we stand in: before anything is mounted there, which would come along. */
    bool good = first[0] == 0 || put(node, own, first);
    uint32_t count = 0;
    while (good && (name = next_name(&entries)) != NULL) {
        if (++count > ENTRIES_MAX) {
            good = fail(-E2BIG, "it has too many entries", "/");
        } else if (type_of(own, name) == 0) {
            good = put(node, own, name);
        }
    }
    return good;
}

/* The tmpfs that is mounted at `operation->at` becomes the root directory. */
bool place_make_top(const struct operation *operation) {
    static char first[TARGET_BYTES];
    size_t used = 0;
    for (const char *at = operation->at + 1; *at != 0 && *at != '/' && used + 1 < sizeof first; at++) {
        first[used++] = *at;
    }
    first[used] = 0;
    int node = (int)SYS4(openat, AT_FDCWD, "/", READABLE, 0);
    int own = node < 0 ? node : open_directory(operation->at);
    bool good = own >= 0 && put_node_top(node, own, first);
    long result = 0;
    for (uint32_t index = 0; good && result == 0 && index < operation->made.count; index++) {
        result = SYS3(mkdirat, own, operation->made.words[index], 0755);
    }
    for (uint32_t index = 0; good && result == 0 && index < operation->kept.count; index++) {
        result = SYS3(symlinkat, operation->lowers.words[index], own, operation->kept.words[index]);
    }
    if (good && result == 0) {
        struct descriptor_path path = by_descriptor(own);
        result = SYS5(mount, path.text, "/", NULL, MS_MOVE, NULL);
    }
    if (good && result == 0) {
        result = SYS1(fchdir, own);
    }
    if (good && result == 0) {
        result = SYS1(chroot, ".");
    }
    close_quietly(node);
    close_quietly(own);
    return good && (result == 0 || fail(result, NULL, "/"));
}
