#include "left.h"

#include "path.h"
#include "tree.h"

#include <asm/statfs.h>

#define ENTRIES_MAX 4000u
#define DEPTH_MAX 16u
#define MOUNT_ROOT 0x2000 /* STATX_ATTR_MOUNT_ROOT, since 5.8 */
#define READABLE (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

static int start = -1;
static bool by_number;
static uint64_t files;
static struct moment begun;

static uint64_t count_files(void) {
    struct statfs found;
    return SYS2(fstatfs, start, &found) == 0 ? (uint64_t)(found.f_files - found.f_ffree) : 0;
}

void left_prepare(int directory, bool counts) {
    start = directory;
    by_number = counts;
    files = counts ? count_files() : 0;
    /* The clock from which inodes have their times. */
    SYS2(clock_gettime, CLOCK_REALTIME_COARSE, &begun);
}

static bool is_younger(const struct statx_timestamp *time) {
    return time->tv_sec > begun.seconds || (time->tv_sec == begun.seconds && time->tv_nsec >= begun.nanoseconds);
}

static bool is_cache(const char *name) {
    static const char compiled[] = "__pycache__";
    return name[0] == '.' || (strlen(name) == sizeof compiled - 1 && memcmp(name, compiled, sizeof compiled) == 0);
}

static bool any_below(int directory, uint32_t depth, uint32_t *count) {
    struct entries entries = {.directory = directory};
    const char *name;
    while ((name = next_name(&entries)) != NULL) {
        struct statx found;
        if (++*count > ENTRIES_MAX) {
            return false;
        }
        if (is_cache(name) ||
            SYS5(statx, directory, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &found) != 0 ||
            (found.stx_attributes & MOUNT_ROOT) != 0) {
            continue;
        }
        uint32_t type = found.stx_mode & S_IFMT;
        if (type == S_IFREG) {
            bool is_place = found.stx_size == 0 && (found.stx_mode & 07777) == 0; /* place.c */
            /* Both: the copy of a file is new and has an old time, a file of another clock's has a time to come. */
            if (!is_place && is_younger(&found.stx_mtime) && is_younger(&found.stx_ctime)) {
                return true;
            }
        } else if (type == S_IFDIR && depth < DEPTH_MAX) {
            int below = (int)SYS4(openat, directory, name, READABLE, 0);
            bool any = below >= 0 && any_below(below, depth + 1, count);
            close_quietly(below);
            if (any) {
                return true;
            }
        }
    }
    return false;
}

bool left_any(void) {
    if (start < 0 || (by_number && count_files() <= files)) {
        return false;
    }
    uint32_t count = 0;
    int directory = (int)SYS4(openat, start, ".", READABLE, 0);
    bool any = directory >= 0 && any_below(directory, 0, &count);
    close_quietly(directory);
    return any;
}
