#include "tree.h"

#include "failure.h"
#include "number.h"
#include "path.h"

/* Each level of a tree takes three descriptors, of which a process usually may have 1,024, and 3 KB of stack. */
#define DEPTH_MAX 128u

#define TARGET_BYTES 4096u /* PATH_MAX */
#define COPY_BYTES (8L << 20) /* for each sendfile(2), which takes so long at most */
#define MOUNT_ROOT 0x2000 /* STATX_ATTR_MOUNT_ROOT, since 5.8 */
#define REMOVAL_S 60 /* a program may have left millions of files, and there is a next slave to clear them away */
#define READABLE_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

const char *next_name(struct entries *entries) {
    for (;;) {
        if (entries->used >= entries->size) {
            entries->size = SYS3(getdents64, entries->directory, entries->buffer, ENTRIES_BYTES);
            entries->used = 0;
            if (entries->size <= 0) {
                return NULL;
            }
        }
        const struct entry *entry = (const struct entry *)(const void *)(entries->buffer + entries->used);
        const char *name = entry->name;
        entries->used += entry->length;
        if (name[0] != '.' || (name[1] != 0 && (name[1] != '.' || name[2] != 0))) {
            return name;
        }
    }
}

static bool copy_link(int source, int to, const char *name) {
    char target[TARGET_BYTES];
    long length = SYS4(readlinkat, source, name, target, sizeof target - 1);
    if (length >= 0) {
        target[length] = 0;
        length = SYS3(symlinkat, target, to, name);
    }
    return length >= 0 || fail(length, NULL, name);
}

static bool copy_bytes(int reader, int writer, uint64_t left) {
    while (left > 0) {
        long moved = SYS6(copy_file_range, reader, NULL, writer, NULL, left, 0);
        if (moved == -EXDEV || moved == -EINVAL || moved == -ENOSYS || moved == -EOPNOTSUPP) {
            /* Across file systems before 5.3 and after 5.19, and if one of the two does not take part. */
            moved = SYS4(sendfile, writer, reader, NULL, left < COPY_BYTES ? (long)left : COPY_BYTES);
        }
        if (moved <= 0) {
            return fail(moved == 0 ? -EIO : moved, moved == 0 ? "it became shorter while it was copied" : NULL, "");
        }
        left -= (uint64_t)moved;
    }
    return true;
}

/* A sparse file in memory would take all of its size there. */
static bool copy_around_holes(int reader, int writer, uint64_t size) {
    uint64_t at = 0;
    while (at < size) {
        long begin = SYS3(lseek, reader, (long)at, SEEK_DATA);
        if (begin == -ENXIO) {
            break; /* nothing but a hole is left */
        }
        long end = begin < 0 ? begin : SYS3(lseek, reader, begin, SEEK_HOLE);
        long moved = end < 0 ? end : SYS3(lseek, reader, begin, SEEK_SET);
        moved = moved < 0 ? moved : SYS3(lseek, writer, begin, SEEK_SET);
        if (moved < 0) {
            return fail(moved, NULL, "");
        }
        at = (uint64_t)end < size ? (uint64_t)end : size;
        if ((uint64_t)begin < at && !copy_bytes(reader, writer, at - (uint64_t)begin)) {
            return false;
        }
    }
    long sized = SYS2(ftruncate, writer, (long)size);
    return sized == 0 || fail(sized, NULL, "");
}

static bool copy_file(int source, int to, const char *name, const struct statx *of, int *copy) {
    int reader = (int)SYS4(openat, source, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    if (reader < 0) {
        return fail(reader, NULL, name);
    }
    *copy = (int)SYS4(openat, to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool sparse = of->stx_blocks * 512 < of->stx_size;
    bool good = *copy < 0 ? fail(*copy, NULL, name)
                : sparse  ? copy_around_holes(reader, *copy, of->stx_size)
                          : copy_bytes(reader, *copy, of->stx_size);
    close_quietly(reader);
    return good;
}

static bool copy_level(int source, int to, uint32_t depth);

static bool copy_directory(int source, int to, const char *name, uint32_t depth, int *copy) {
    long made = SYS3(mkdirat, to, name, 0700);
    *copy = made != 0 ? (int)made : (int)SYS4(openat, to, name, READABLE_DIRECTORY, 0);
    int below = *copy < 0 ? *copy : (int)SYS4(openat, source, name, READABLE_DIRECTORY, 0);
    bool good = below < 0 ? fail(below, NULL, name) : copy_level(below, *copy, depth + 1);
    close_quietly(below);
    return good;
}

/* What belongs to an inode: the copy's owner before its mode, since chown(2) takes set-id bits away. */
static bool copy_attributes(const struct statx *of, int to, const char *name, int copy) {
    long result = 0;
    if (SYS0(geteuid) == 0) {
        result = SYS5(fchownat, to, name, of->stx_uid, of->stx_gid, AT_SYMLINK_NOFOLLOW);
    }
    if (result == 0 && copy >= 0) {
        struct moment times[2] = {
            {of->stx_atime.tv_sec, of->stx_atime.tv_nsec},
            {of->stx_mtime.tv_sec, of->stx_mtime.tv_nsec},
        };
        result = SYS2(fchmod, copy, of->stx_mode & 07777);
        result = result == 0 ? SYS4(utimensat, copy, NULL, times, 0) : result;
    }
    return result == 0 || fail(result, NULL, name);
}

static bool copy_entry(int source, int to, const char *name, uint32_t depth) {
    struct statx found;
    int copy = -1;
    bool good;
    long result = SYS5(statx, source, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &found);
    if (result != 0) {
        return fail(result, NULL, name);
    }
    switch (found.stx_mode & S_IFMT) {
    case S_IFLNK:
        good = copy_link(source, to, name);
        break;
    case S_IFDIR:
        good = copy_directory(source, to, name, depth, &copy);
        break;
    case S_IFREG:
        good = copy_file(source, to, name, &found, &copy);
        break;
    default:
        good = fail(-EINVAL, "neither file, directory nor link", name);
    }
    good = good && copy_attributes(&found, to, name, copy);
    close_quietly(copy);
    return good;
}

static bool copy_level(int source, int to, uint32_t depth) {
    struct entries entries = {.directory = source};
    const char *name;
    if (depth > DEPTH_MAX) {
        return fail(-ENAMETOOLONG, "its directories lie too deep in one another", "");
    }
    while ((name = next_name(&entries)) != NULL) {
        if (!copy_entry(source, to, name, depth)) {
            return false;
        }
    }
    return entries.size == 0 || fail(entries.size, NULL, "");
}

bool tree_copy(int source, int to) {
    int readable = (int)SYS4(openat, source, ".", READABLE_DIRECTORY, 0);
    bool good = readable < 0 ? fail(readable, NULL, "") : copy_level(readable, to, 0);
    close_quietly(readable);
    return good;
}

/* Removal.  `top` is where directories that lie too deep are moved to, so that no depth is too much. */
struct removal {
    int top;
    uint32_t moved, device_major, device_minor;
    int64_t until_s;
};

static void remove_below(struct removal *removal, int here, uint32_t depth);

static bool move_up(struct removal *removal, int here, const char *name) {
    char to[24] = "deep-";
    size_t used = strlen(to);
    to[used + number_write(to + used, removal->moved++)] = 0;
    return SYS4(renameat, here, name, removal->top, to) == 0;
}

/* What a job of root's has mounted in its tree stays: it is the node's. */
static bool is_mounted(const struct removal *removal, int directory) {
    struct statx found;
    long result = SYS5(statx, directory, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &found);
    bool same = result == 0 && found.stx_dev_major == removal->device_major && found.stx_dev_minor == removal->device_minor;
    return !same || (found.stx_attributes & MOUNT_ROOT) != 0;
}

/* A job may have taken its own rights to a directory away.  Root needs none. */
static int open_readable(int here, const char *name) {
    int below = (int)SYS4(openat, here, name, READABLE_DIRECTORY, 0);
    if (below == -EACCES && SYS0(geteuid) != 0) {
        SYS3(fchmodat, here, name, 0700);
        below = (int)SYS4(openat, here, name, READABLE_DIRECTORY, 0);
    }
    return below;
}

static bool remove_entry(struct removal *removal, int here, const char *name, uint32_t depth) {
    long result = SYS3(unlinkat, here, name, 0);
    if (result != -EISDIR && result != -EPERM) {
        return result == 0;
    }
    if (depth >= DEPTH_MAX) {
        return move_up(removal, here, name);
    }
    int below = open_readable(here, name);
    if (below >= 0 && !is_mounted(removal, below)) {
        SYS2(fchmod, below, 0700);
        remove_below(removal, below, depth + 1);
    }
    close_quietly(below);
    return SYS3(unlinkat, here, name, AT_REMOVEDIR) == 0;
}

static void remove_below(struct removal *removal, int here, uint32_t depth) {
    bool progress = true;
    while (progress && seconds() < removal->until_s) {
        /* What is removed while a directory is read may hide what comes next: so until nothing more goes. */
        struct entries entries = {.directory = here};
        const char *name;
        progress = false;
        SYS3(lseek, here, 0, 0);
        while (seconds() < removal->until_s && (name = next_name(&entries)) != NULL) {
            progress = remove_entry(removal, here, name, depth) || progress;
        }
    }
}

void tree_remove(int parent, const char *name) {
    struct removal removal = {.top = open_readable(parent, name), .until_s = seconds() + REMOVAL_S};
    struct statx found;
    if (removal.top >= 0 && SYS5(statx, removal.top, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &found) == 0) {
        removal.device_major = found.stx_dev_major;
        removal.device_minor = found.stx_dev_minor;
        if (!is_mounted(&removal, removal.top)) {
            SYS2(fchmod, removal.top, 0700);
            remove_below(&removal, removal.top, 0);
        }
    }
    close_quietly(removal.top);
    SYS3(unlinkat, parent, name, AT_REMOVEDIR);
}
