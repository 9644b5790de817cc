#include "report.h"

#include "failure.h"

#define WORDS_BYTES_MAX 120u

enum report_kind { BEGUN = 1, ENDED = 2, FAILED = 3, HELD = 4 };

struct report {
    uint8_t kind, stage, cause, left;
    int32_t value;
    uint32_t texts_bytes;
    char texts[WORDS_BYTES_MAX + SUBJECT_BYTES_MAX];
};

static void tell(struct report *report, size_t texts_bytes) {
    report->texts_bytes = (uint32_t)texts_bytes;
    /* If the slave is gone, the report is not missed: SIGPIPE is held back like all signals. */
    SYS3(write, REPORT_DESCRIPTOR, report, offsetof(struct report, texts) + texts_bytes);
}

void report_begun(long pid) {
    struct report report = {.kind = BEGUN, .value = (int32_t)pid};
    tell(&report, 0);
}

void report_ended(int status, enum cause cause, bool left) {
    struct report report = {.kind = ENDED, .cause = (uint8_t)cause, .left = left, .value = status};
    tell(&report, 0);
}

void report_held(int directory) {
    struct report report = {.kind = HELD};
    struct piece piece = {&report, offsetof(struct report, texts)};
    struct with_descriptor held = {
        offsetof(struct with_descriptor, descriptor) + sizeof held.descriptor, SOCKET_LEVEL, DESCRIPTORS, directory};
    struct message message = {.pieces = &piece, .piece_count = 1, .control = &held, .control_size = sizeof held};
    SYS3(sendmsg, REPORT_DESCRIPTOR, &message, 0);
}

void report_failed(void) {
    struct report report = {.kind = FAILED, .stage = (uint8_t)failure.stage, .value = failure.code};
    const char *words = failure.words == NULL ? "" : failure.words;
    size_t used = 0;
    while (*words != 0 && used + 1 < WORDS_BYTES_MAX) {
        report.texts[used++] = *words++;
    }
    report.texts[used++] = 0;
    size_t length = strlen(failure.subject);
    memcpy(report.texts + used, failure.subject, length + 1);
    tell(&report, used + length + 1);
}

long report_next_order(struct order *order) {
    return SYS3(read, SLAVE_DESCRIPTOR, order, sizeof *order);
}

bool report_slave_gone(void) {
    struct pollfd slave = {SLAVE_DESCRIPTOR, 0, 0};
    struct moment at_once = {0, 0};
    long ready = SYS5(ppoll, &slave, 1, &at_once, NULL, 0);
    return ready > 0 && (slave.revents & (POLLHUP | POLLERR)) != 0;
}
