#include "path.h"

#include "failure.h"
#include "number.h"

#define HANDLE (O_PATH | O_CLOEXEC)
#define DIRECTORY_HANDLE (HANDLE | O_DIRECTORY)

/* What stat(2) shows for a user that a user namespace does not map: /proc/sys/kernel/overflowuid. */
#define OVERFLOW_UID 65534u

#define PART_BYTES_MAX 255 /* NAME_MAX */

void close_quietly(int descriptor) {
    if (descriptor >= 0) {
        SYS1(close, descriptor);
    }
}

struct descriptor_path by_descriptor(int descriptor) {
    struct descriptor_path path = {"/proc/self/fd/"};
    size_t used = strlen(path.text);
    used += number_write(path.text + used, (uint32_t)descriptor);
    path.text[used] = 0;
    return path;
}

/* The next part of a path into `part`, and what follows it; NULL at the end, with an empty part, or if it is too long. */
static const char *next_part(const char *path, char part[PART_BYTES_MAX + 1]) {
    size_t length = 0;
    while (*path == '/') {
        path++;
    }
    while (*path != 0 && *path != '/' && length < PART_BYTES_MAX) {
        part[length++] = *path++;
    }
    part[length] = 0;
    return length == 0 || (*path != 0 && *path != '/') ? NULL : path;
}

/* For kernels before 5.6, which have no openat2(2): part by part, each one no link. */
static int open_stepwise(int directory, const char *path) {
    char part[PART_BYTES_MAX + 1] = "";
    int here = (int)SYS4(openat, directory, ".", DIRECTORY_HANDLE, 0);
    while (here >= 0 && (path = next_part(path, part)) != NULL) {
        int below = (int)SYS4(openat, here, part, HANDLE | O_NOFOLLOW, 0);
        close_quietly(here);
        here = below;
    }
    if (here >= 0 && part[0] != 0) {
        close_quietly(here);
        return -ENAMETOOLONG;
    }
    return here;
}

static int open_resolved(int directory, const char *path, uint64_t resolve) {
    struct how how = {HANDLE, 0, resolve};
    int opened = (int)SYS4(openat2, directory, path, &how, sizeof how);
    if (opened != -ENOSYS) {
        return opened;
    }
    if (path[0] == '/') {
        int top = (int)SYS4(openat, AT_FDCWD, "/", DIRECTORY_HANDLE, 0);
        opened = top < 0 ? top : open_stepwise(top, path);
        close_quietly(top);
        return opened;
    }
    return open_stepwise(directory, path);
}

static int is_directory(int opened, const char *path) {
    struct statx found;
    long result = SYS5(statx, opened, "", AT_EMPTY_PATH, STATX_TYPE, &found);
    if (result == 0 && (found.stx_mode & S_IFMT) != S_IFDIR) {
        result = -ENOTDIR;
    }
    if (result != 0) {
        close_quietly(opened);
        fail(result, NULL, path);
        return -1;
    }
    return opened;
}

int open_without_links(const char *path) {
    int opened = open_resolved(AT_FDCWD, path, NO_SYMLINKS | NO_MAGICLINKS);
    if (opened < 0) {
        fail(opened, opened == -ELOOP ? "it is a symbolic link, or behind one" : NULL, path);
        return -1;
    }
    return is_directory(opened, path);
}

int open_directory(const char *path) {
    int opened = (int)SYS4(openat, AT_FDCWD, path, DIRECTORY_HANDLE, 0);
    if (opened < 0) {
        fail(opened, NULL, path);
    }
    return opened;
}

int open_trusted(const char *path) {
    int opened = (int)SYS4(openat, AT_FDCWD, path, DIRECTORY_HANDLE | O_NOFOLLOW, 0);
    struct statx found;
    if (opened < 0) {
        fail(opened, NULL, path);
        return -1;
    }
    long result = SYS5(statx, opened, "", AT_EMPTY_PATH, STATX_UID, &found);
    uint32_t own = (uint32_t)SYS0(geteuid);
    /* In a user namespace root is one of the users that are not mapped; root/binroot.py told them apart before. */
    bool trusted = result == 0 && (found.stx_uid == own || (own != 0 && found.stx_uid == OVERFLOW_UID));
    if (!trusted) {
        static char words[40] = "it belongs to user ";
        static const size_t used = sizeof "it belongs to user " - 1;
        close_quietly(opened);
        words[used + number_write(words + used, result == 0 ? found.stx_uid : 0)] = 0;
        fail(result == 0 ? -EPERM : result, result == 0 ? words : NULL, path);
        return -1;
    }
    return opened;
}

int open_below(int directory, const char *name) {
    int opened = open_resolved(directory, name, NO_SYMLINKS | NO_MAGICLINKS | BENEATH);
    if (opened < 0) {
        fail(opened, NULL, name);
    }
    return opened;
}

bool make_below(int directory, const char *path, uint32_t uid, uint32_t gid) {
    char part[PART_BYTES_MAX + 1] = "";
    const char *rest = path;
    int here = (int)SYS4(openat, directory, ".", DIRECTORY_HANDLE, 0);
    long result = here < 0 ? here : 0;
    while (result == 0 && (rest = next_part(rest, part)) != NULL) {
        long made = SYS3(mkdirat, here, part, 0755);
        int below = made != 0 && made != -EEXIST ? (int)made
                                                 : (int)SYS4(openat, here, part, DIRECTORY_HANDLE | O_NOFOLLOW, 0);
        close_quietly(here);
        here = below;
        result = below < 0 ? below : 0;
        if (made == 0 && result == 0 && SYS0(geteuid) == 0) {
            result = SYS5(fchownat, here, "", uid, gid, AT_EMPTY_PATH);
        }
    }
    close_quietly(here);
    if (result == 0 && part[0] != 0) {
        result = -ENAMETOOLONG; /* next_part stopped at a part, not at the end */
    }
    bool link = result == -ENOTDIR || result == -ELOOP;
    return result == 0 || fail(result, link ? "no directory, or a link" : NULL, path);
}
