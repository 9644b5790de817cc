#include "watch.h"

#include "descendants.h"
#include "failure.h"

#define SECOND_NS 1000000000ull

static int children = -1, alarm_clock = -1;
static uint64_t lease_ns;

static uint64_t earlier(uint64_t one, uint64_t other) {
    return one == 0 || (other != 0 && other < one) ? other : one;
}

/* CLOCK_BOOTTIME runs on while a machine is suspended: a lease that the slave could not prolong has ended then. */
static bool set_alarm(const struct plan *plan) {
    uint64_t at_ns = earlier(plan->deadline_ns, lease_ns);
    struct {
        struct moment interval, at;
    } alarm = {{0, 0}, {(int64_t)(at_ns / SECOND_NS), (int64_t)(at_ns % SECOND_NS)}};
    if (at_ns == 0) {
        return true;
    }
    if (alarm_clock < 0) {
        alarm_clock = (int)SYS2(timerfd_create, CLOCK_BOOTTIME, O_CLOEXEC | O_NONBLOCK);
    }
    long result = alarm_clock < 0 ? alarm_clock : SYS4(timerfd_settime, alarm_clock, TFD_TIMER_ABSTIME, &alarm, NULL);
    return result == 0 || fail(result, NULL, "timerfd");
}

static uint64_t now_ns(void) {
    struct moment now = {0, 0};
    SYS2(clock_gettime, CLOCK_BOOTTIME, &now);
    return (uint64_t)now.seconds * SECOND_NS + (uint64_t)now.nanoseconds;
}

bool watch_prepare(const struct plan *plan) {
    uint64_t mask = SIGNAL_BIT(SIGCHLD);
    children = (int)SYS4(signalfd4, -1, &mask, sizeof mask, O_CLOEXEC | O_NONBLOCK);
    if (children < 0) {
        return fail(children, NULL, "signalfd");
    }
    lease_ns = plan->lease_ns;
    return set_alarm(plan);
}

/* Whether `child` is among those that have ended. */
static bool bury(long child, int *status) {
    struct signalfd_siginfo told;
    SYS3(read, children, &told, sizeof told);
    for (;;) {
        int ended;
        long pid = SYS4(wait4, -1, &ended, __WALL | WNOHANG, NULL);
        if (pid <= 0) {
            return false;
        }
        if (pid == child) {
            *status = ended;
            return true;
        }
    }
}

static void pass_on(const struct plan *plan, int signum) {
    if (plan->namespaces) {
        /* To every process of the namespace but this one: kill(2). */
        SYS2(kill, -1, signum);
    } else if (signum == SIGSTOP) {
        descendants_stop();
    } else {
        descendants_signal(signum);
    }
}

/* Whether the job goes on after the next order. */
static bool obey(const struct plan *plan, enum cause *cause) {
    struct order order;
    long size = report_next_order(&order);
    if (size == -EINTR || size == -EAGAIN) {
        return true;
    }
    if (size != (long)sizeof order) {
        *cause = SLAVE_GONE;
        return false;
    }
    if (order.kind == SEND_SIGNAL && order.signum == SIGKILL) {
        *cause = STOPPED;
        return false;
    }
    if (order.kind == SEND_SIGNAL && order.signum >= 1 && order.signum <= SIGNALS) {
        pass_on(plan, (int)order.signum);
    } else if (order.kind == PROLONG_LEASE) {
        lease_ns = order.until_ns;
        return set_alarm(plan);
    }
    return true;
}

static bool in_time(const struct plan *plan, enum cause *cause) {
    uint64_t now = now_ns();
    if (plan->deadline_ns != 0 && now >= plan->deadline_ns) {
        *cause = PAST_DEADLINE;
        return false;
    }
    if (lease_ns != 0 && now >= lease_ns) {
        *cause = PAST_LEASE;
        return false;
    }
    uint64_t expirations;
    SYS3(read, alarm_clock, &expirations, sizeof expirations);
    return true;
}

enum cause watch(const struct plan *plan, long child, int *status) {
    enum cause cause = ITSELF;
    *status = SIGKILL;
    for (;;) {
        struct pollfd awaited[] = {{children, POLLIN, 0}, {SLAVE_DESCRIPTOR, POLLIN, 0}, {alarm_clock, POLLIN, 0}};
        SYS5(ppoll, awaited, 3, NULL, NULL, 0);
        if (awaited[0].revents != 0 && bury(child, status)) {
            return ITSELF;
        }
        if (awaited[1].revents != 0 && !obey(plan, &cause)) {
            return cause;
        }
        if (awaited[2].revents != 0 && !in_time(plan, &cause)) {
            return cause;
        }
    }
}
