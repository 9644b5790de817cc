#include "descendants.h"

#include "number.h"
#include "path.h"

/* A table for a machine with that many processes; PID_MAX_LIMIT is 16 times that.  What is not in it is found in the next
 * round, when some of those before it are gone. */
#define PROCESSES_MAX (1u << 18)
#define PIDS_MAX (1u << 22)

#define ENTRIES_BYTES 4096u
#define STAT_BYTES 256u /* name and state come first, and a name has 64 bytes at the most */

struct process {
    int32_t pid, parent;
    bool below;
};

static struct process processes[PROCESSES_MAX];
static uint32_t process_count;

static int32_t stopped[PROCESSES_MAX];
static uint32_t stopped_count;
static unsigned char is_stopped[PIDS_MAX / 8];

static long number_of(const char *text) {
    long number = 0;
    if (*text < '0' || *text > '9') {
        return -1;
    }
    for (; *text >= '0' && *text <= '9' && number < (long)PIDS_MAX; text++) {
        number = 10 * number + (*text - '0');
    }
    return number;
}

/* pid (comm) state ppid ...; comm may hold blanks and parentheses: proc_pid_stat(5). */
static long parent_of(int proc, const char *name) {
    char path[DIGITS_MAX + sizeof "/stat"], text[STAT_BYTES + 1];
    size_t length = strlen(name);
    if (length > DIGITS_MAX) {
        return -1;
    }
    memcpy(path, name, length);
    memcpy(path + length, "/stat", sizeof "/stat");
    int file = (int)SYS4(openat, proc, path, O_RDONLY | O_CLOEXEC, 0);
    long size = file < 0 ? file : SYS3(read, file, text, STAT_BYTES);
    close_quietly(file);
    if (size <= 0) {
        return -1;
    }
    text[size] = 0;
    long at = size;
    while (at > 0 && text[at] != ')') {
        at--;
    }
    return size - at > 4 ? number_of(text + at + 4) : -1;
}

static void look(void) {
    static _Alignas(8) char buffer[ENTRIES_BYTES];
    int proc = (int)SYS4(openat, AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    long size;
    process_count = 0;
    while (proc >= 0 && (size = SYS3(getdents64, proc, buffer, ENTRIES_BYTES)) > 0) {
        for (long used = 0; used < size && process_count < PROCESSES_MAX;) {
            const struct entry *entry = (const struct entry *)(const void *)(buffer + used);
            long pid = number_of(entry->name);
            long parent = pid < 0 ? -1 : parent_of(proc, entry->name);
            if (parent >= 0) {
                processes[process_count++] = (struct process){(int32_t)pid, (int32_t)parent, false};
            }
            used += entry->length;
        }
    }
    close_quietly(proc);
}

/* /proc names processes in the order of their pids. */
static const struct process *find(int32_t pid) {
    uint32_t low = 0, high = process_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (processes[middle].pid < pid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < process_count && processes[low].pid == pid ? &processes[low] : NULL;
}

static void mark_below(void) {
    int32_t ours = (int32_t)SYS0(getpid);
    bool changed = true;
    look();
    while (changed) {
        changed = false;
        for (uint32_t index = 0; index < process_count; index++) {
            struct process *process = &processes[index];
            const struct process *parent = process->below ? NULL : find(process->parent);
            if (process->parent == ours || (parent != NULL && parent->below)) {
                changed = changed || !process->below;
                process->below = true;
            }
        }
    }
}

void descendants_signal(int signum) {
    mark_below();
    for (uint32_t index = 0; index < process_count; index++) {
        if (processes[index].below) {
            /* It may be gone. */
            SYS2(kill, processes[index].pid, signum);
        }
    }
}

/* Stop whatever is below and does not stand still yet; whether there was any.  A process that stands still starts no
 * other, so that this comes to an end. */
static bool stop_more(void) {
    bool more = false;
    mark_below();
    for (uint32_t index = 0; index < process_count; index++) {
        int32_t pid = processes[index].pid;
        unsigned char bit = (unsigned char)(1u << (pid % 8));
        if (processes[index].below && (is_stopped[pid / 8] & bit) == 0 && stopped_count < PROCESSES_MAX) {
            SYS2(kill, pid, SIGSTOP);
            is_stopped[pid / 8] |= bit;
            stopped[stopped_count++] = pid;
            more = true;
        }
    }
    return more;
}

void descendants_stop(void) {
    stopped_count = 0;
    while (stop_more()) {
        continue;
    }
    for (uint32_t index = 0; index < stopped_count; index++) {
        int32_t pid = stopped[index];
        is_stopped[pid / 8] = (unsigned char)(is_stopped[pid / 8] & ~(1u << (pid % 8)));
    }
}

void descendants_end(long child, int *status) {
    for (;;) {
        stopped_count = 0;
        while (stop_more()) {
            continue;
        }
        if (stopped_count == 0) {
            return;
        }
        for (uint32_t index = 0; index < stopped_count; index++) {
            int32_t pid = stopped[index];
            SYS2(kill, pid, SIGKILL);
            is_stopped[pid / 8] = (unsigned char)(is_stopped[pid / 8] & ~(1u << (pid % 8)));
        }
        /* One of them is a child of ours, or becomes one when those between are gone. */
        int ended;
        long pid = SYS4(wait4, -1, &ended, __WALL, NULL);
        while (pid > 0) {
            if (pid == child) {
                *status = ended;
            }
            pid = SYS4(wait4, -1, &ended, __WALL | WNOHANG, NULL);
        }
    }
}
