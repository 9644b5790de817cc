#include "limits.h"

#include "failure.h"
#include "number.h"
#include "path.h"

#define NICE_ZERO 20 /* getpriority(2): the system call returns 20 less the nice value */
#define CPU_BYTES 1024u /* 8,192 processors: the most that Linux can be built for */

static bool write_below(int directory, const char *base, const char *name, const char *text) {
    int file = (int)SYS4(openat, directory, name, O_WRONLY | O_CLOEXEC, 0);
    long result = file < 0 ? file : SYS3(write, file, text, strlen(text));
    close_quietly(file);
    return result >= 0 || fail_below(result, NULL, base, name);
}

bool limits_score(const struct plan *plan) {
    char text[1 + DIGITS_MAX + 1] = "-";
    bool negative = plan->oom_score < 0;
    if (!plan->has_oom_score) {
        return true;
    }
    text[negative + number_write(text + negative, (uint32_t)(negative ? -plan->oom_score : plan->oom_score))] = 0;
    return write_below(AT_FDCWD, "/proc/self", "/proc/self/oom_score_adj", text);
}

bool limits_join(const struct plan *plan) {
    for (uint32_t index = 0; index < plan->cgroups.count; index++) {
        const char *path = plan->cgroups.words[index];
        int group = open_without_links(path);
        bool joined = group >= 0 && write_below(group, path, "cgroup.procs", "0");
        close_quietly(group);
        if (!joined) {
            return false;
        }
    }
    return true;
}

static bool apply_limit(const struct limit *limit) {
    struct rlimit64 now;
    long result = SYS4(prlimit64, 0, limit->resource, NULL, &now);
    if (result == 0) {
        now.rlim_cur = limit->value < now.rlim_max ? limit->value : now.rlim_max;
        now.rlim_max = limit->both ? now.rlim_cur : now.rlim_max;
        result = SYS4(prlimit64, 0, limit->resource, &now, NULL);
    }
    return result == 0 || fail(result, NULL, "setrlimit");
}

static bool apply_nice(int32_t added) {
    int64_t nice = NICE_ZERO - SYS2(getpriority, PRIO_PROCESS, 0) + (int64_t)added;
    int64_t bounded = nice < -NICE_ZERO ? -NICE_ZERO : nice >= NICE_ZERO ? NICE_ZERO - 1 : nice;
    long result = SYS3(setpriority, PRIO_PROCESS, 0, bounded);
    return result == 0 || fail(result, NULL, "nice");
}

static bool apply_cpus(uint32_t count) {
    unsigned char mask[CPU_BYTES];
    long size = SYS3(sched_getaffinity, 0, sizeof mask, mask);
    if (size < 0) {
        return fail(size, NULL, "sched_getaffinity");
    }
    for (long bit = 0; bit < 8 * size; bit++) {
        unsigned char one = (unsigned char)(1u << (bit % 8));
        if ((mask[bit / 8] & one) != 0) {
            mask[bit / 8] = (unsigned char)(count > 0 ? mask[bit / 8] : mask[bit / 8] & ~one);
            count -= count > 0;
        }
    }
    long result = SYS3(sched_setaffinity, 0, size, mask);
    return result == 0 || fail(result, NULL, "sched_setaffinity");
}

bool limits_apply(const struct plan *plan) {
    for (uint32_t index = 0; index < plan->limit_count; index++) {
        if (!apply_limit(&plan->limits[index])) {
            return false;
        }
    }
    return (!plan->has_nice || apply_nice(plan->nice)) && (plan->cpus == 0 || apply_cpus(plan->cpus));
}
