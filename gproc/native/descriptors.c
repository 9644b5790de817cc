#include "descriptors.h"

#include "path.h"
#include "tree.h"

static int number_in(const char *name) {
    int number = 0;
    for (; *name >= '0' && *name <= '9'; name++) {
        number = 10 * number + (*name - '0');
    }
    return number;
}

void close_from(int first) {
    /* Linux 5.9; some containers refuse it with EPERM. */
    if (SYS3(close_range, first, ~0u, 0) == 0) {
        return;
    }
    struct entries entries = {.directory = (int)SYS4(openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)};
    const char *name;
    if (entries.directory < 0) {
        /* Without /proc each number is tried, and there may be 2^30 of them. */
        struct rlimit64 limit = {0, 0};
        SYS4(prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
        for (uint64_t descriptor = (uint64_t)first; descriptor < limit.rlim_cur; descriptor++) {
            SYS1(close, descriptor);
        }
        return;
    }
    /* The kernel goes through the numbers themselves, so closing one makes it leave out no other. */
    while ((name = next_name(&entries)) != NULL) {
        int descriptor = number_in(name);
        if (descriptor >= first && descriptor != entries.directory) {
            SYS1(close, descriptor);
        }
    }
    close_quietly(entries.directory);
}
